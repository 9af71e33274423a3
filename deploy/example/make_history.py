"""Makes streams/data/history: CME's margins and the earlier bitcoin closes.

python deploy/example/make_history.py SOURCE, where SOURCE holds cme_margins/ and coinbase/ as streams/data/README.md says.
"""

import csv
import gzip
import io
import shutil
import sys
import zipfile
from pathlib import Path

from streams.sources import DATA

HISTORY = DATA / "history"
SYMBOLS = ("BTC", "ZB", "ZF", "ZN", "ZT")
FIRST_CLOSE = "2015-01-13"  # before it most days are missing


def iso(day: str) -> str:
    """2017-12-18 out of 20171218."""
    return f"{day[:4]}-{day[4:6]}-{day[6:8]}"


def write(name: str, lines: list[str]) -> None:
    """Lines as a compressed file that is the same at every making."""
    (HISTORY / name).write_bytes(gzip.compress("\n".join(lines).encode() + b"\n", 9, mtime=0))


def main() -> None:
    """Write all files and show their sizes."""
    source = Path(sys.argv[1])
    HISTORY.mkdir(exist_ok=True)
    margins = set()
    for symbol in SYMBOLS:
        with (source / "cme_margins" / f"{symbol}.csv").open(newline="") as file:
            margins |= {f"{symbol},{iso(row['date'])},{row['initial']},{row['maintenance']}" for row in csv.DictReader(file)}
    write("cme_margins.csv.gz", ["symbol,date,initial,maintenance", *sorted(margins)])
    with zipfile.ZipFile(source / "coinbase" / "btcusd_trade.zip") as bars:
        rows = list(csv.reader(io.TextIOWrapper(bars.open("btcusd.csv"))))
    closes = [f"{iso(row[0])},{row[4]}" for row in rows if iso(row[0]) >= FIRST_CLOSE]
    write("btc_coinbase.csv.gz", ["date,btc", *closes])
    shutil.copyfile(source / "cme_margins" / "LICENSE-Apache-2.0", HISTORY / "LICENSE-Apache-2.0")
    for file in sorted(HISTORY.iterdir()):
        sys.stdout.write(f"{file.stat().st_size:>9,} {file.name}\n")


if __name__ == "__main__":
    main()
