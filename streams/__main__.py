"""python -m streams VERB: the same as the command crossmargin."""

from streams.cli import main

if __name__ == "__main__":
    main()
