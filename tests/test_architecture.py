"""The rules of the house: imports go one way, the engine does no I/O, each outward name stands once, files stay short."""

import ast
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from engine.codes import EXPLANATION, Code
from engine.core import MarginEngine
from engine.events import KIND_OF, RECORD
from engine.frames import RANGE, Frame, FrameKind, encode_frame
from monitors.keys import PREFIX
from monitors.metrics import METRICS, TABLE
from streams.settings import Settings
from streams.topics import TOPICS

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {"engine": {"engine"}, "monitors": {"engine", "monitors"}, "streams": {"engine", "monitors", "streams"}}
MAX_LINES = 500
SOURCES = {package: sorted((ROOT / package).rglob("*.py")) for package in MAY_IMPORT}
PYTHON = [file for folder in (*MAY_IMPORT, "tests", "deploy") for file in sorted((ROOT / folder).rglob("*.py"))]
COMPILED = {"kernel", "part", "inlined", "callable_part"}

# What the engine may import: computation only. No os, io, pathlib, socket, time, random, threading, subprocess, logging.
PURE_LIBRARIES = {"llvmlite", "msgspec", "numba", "numpy", "xxhash"}
PURE_STANDARD = {
    "collections", "collections.abc", "dataclasses", "datetime", "decimal", "enum", "fractions", "functools", "itertools",
    "math", "operator", "re", "struct", "typing",
}  # fmt: skip
# What reaches files, the screen, the environment, the clock or randomness without an import of its own.
IMPURE_CALLS = {
    "__import__", "breakpoint", "compile", "eval", "exec", "fromfile", "genfromtxt", "input", "loadtxt", "memmap", "now",
    "objmode", "open", "open_memmap", "print", "savetxt", "savez", "savez_compressed", "today", "tofile", "utcnow",
}  # fmt: skip
IMPURE_ATTRIBUTES = {"environ", "random"}
MACHINE_PATH = re.compile("(?<![\\w.])/(work|root|home|Users|mnt)/")
# What monitors and streams build on: to rename or drop one of these changes the surface of the engine.
ENGINE_SURFACE = {
    "account_count", "account_ids", "account_info", "agreements", "book_hashes", "books", "builder", "clock_ns",
    "definitions", "digest", "figures", "find_account", "from_bytes", "genesis", "id_span_ns", "is_open", "market_bytes",
    "open_calls", "population", "reconciliation", "rule_set", "shard_digest", "step", "stored", "take_agreements",
    "take_touched", "to_bytes", "usage", "warnings",
}  # fmt: skip


def modules() -> Iterator[tuple[str, Path]]:
    """(package, file) of every source file."""
    return ((package, file) for package, files in SOURCES.items() for file in files)


def each_module() -> list[object]:
    """Every source file as a test parameter with its path as id."""
    return [pytest.param(package, file, id=str(file.relative_to(ROOT))) for package, file in modules()]


def imported(tree: ast.Module, package: str) -> Iterator[str]:
    """Dotted names of all modules a source imports, wherever in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield package if node.level else str(node.module)


def strings(file: Path) -> Iterator[str]:
    """Every string of a source that is not a docstring; pieces of f-strings too."""
    tree = ast.parse(file.read_text("utf-8"))
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, documented) and node.body and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes) and id(node) not in docstrings:
            yield node.value if isinstance(node.value, str) else node.value.decode("latin-1")


def files_with(pattern: str) -> set[str]:
    """Source files in which a string matches the pattern from its start."""
    found = re.compile(pattern)
    return {str(file.relative_to(ROOT)) for _, file in modules() if any(found.match(text) for text in strings(file))}


@pytest.mark.parametrize(("package", "file"), each_module())
def test_imports_go_one_way(package: str, file: Path) -> None:
    names = {name.split(".")[0] for name in imported(ast.parse(file.read_text("utf-8")), package)}
    assert names & {*MAY_IMPORT, "tests"} <= MAY_IMPORT[package]


@pytest.mark.parametrize("file", [pytest.param(f, id=f.name) for f in SOURCES["engine"]])
def test_engine_is_pure(file: Path) -> None:
    tree = ast.parse(file.read_text("utf-8"))
    for name in imported(tree, "engine"):
        top = name.split(".")[0]
        assert top == "engine" or top in PURE_LIBRARIES or name in PURE_STANDARD, f"{file.name} imports {name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) != "re.compile":
            called = ast.unparse(node.func).rpartition(".")[2]
            assert called not in IMPURE_CALLS, f"{file.name}:{node.lineno} calls {called}"
        if isinstance(node, ast.Attribute):
            assert node.attr not in IMPURE_ATTRIBUTES, f"{file.name}:{node.lineno} uses .{node.attr}"


def test_pure_standard_modules_exist() -> None:
    assert {name.split(".")[0] for name in PURE_STANDARD} <= sys.stdlib_module_names


@pytest.mark.parametrize(("package", "file"), each_module())
def test_source_files_are_short(package: str, file: Path) -> None:
    assert len(file.read_text("utf-8").splitlines()) <= MAX_LINES


def test_test_files_are_short() -> None:
    lines = {file.name: len(file.read_text("utf-8").splitlines()) for file in (ROOT / "tests").rglob("*.py")}
    assert {name: count for name, count in lines.items() if count > MAX_LINES} == {}


def compiled(tree: ast.AST) -> Iterator[tuple[ast.FunctionDef, str]]:
    """The functions of a source that are compiled, with what compiles them."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            yield from ((node, name) for one in node.decorator_list if (name := ast.unparse(one)) in COMPILED)


def in_python(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes of a source outside of compiled functions."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef) or COMPILED.isdisjoint(map(ast.unparse, child.decorator_list)):
            yield from (child, *in_python(child))


def test_python_calls_no_part_of_a_kernel() -> None:
    """It would end the process: nothing was compiled that takes Python's arguments."""
    trees = {".".join(f.relative_to(ROOT).with_suffix("").parts): ast.parse(f.read_text("utf-8")) for f in PYTHON}
    parts = {f"{name}.{f.name}" for name, tree in trees.items() for f, how in compiled(tree) if how in ("part", "inlined")}
    assert "engine.portfolio._margin" in parts
    for name, tree in trees.items():
        known = {part.rpartition(".")[2]: part for part in parts if part.rpartition(".")[0] == name}
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                known |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
        for node in in_python(tree):
            called = ""
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
                called = known.get(node.id, "")
            elif isinstance(node, ast.Attribute):
                first, _, rest = ast.unparse(node).partition(".")
                called = f"{known[first]}.{rest}" if first in known else ""
            assert called not in parts, f"{name}, line {node.lineno} calls {called}: make it a callable_part"


@pytest.mark.parametrize(("layout", "size"), [(RECORD, 64), (RANGE, 24)], ids=["record", "range"])
def test_log_layouts_have_no_padding(layout: "np.dtype[np.void]", size: int) -> None:
    assert layout.itemsize == size
    assert sum(layout[name].itemsize for name in layout.names or ()) == size
    assert not layout.isalignedstruct


def test_frame_header_is_64_bytes() -> None:
    empty = Frame(FrameKind.RECORDS, shard=0, shards=1, log_id=bytes(16), writer=1, number=0)
    assert len(encode_frame(empty)) == 64


def test_every_code_is_explained_used_and_tested() -> None:
    codes = set(Code) - {Code.OK}
    assert set(EXPLANATION) == codes
    assert len(set(EXPLANATION.values())) == len(codes)
    sources = "".join(file.read_text("utf-8") for _, file in modules() if file.name != "codes.py")
    tests = "".join(file.read_text("utf-8") for file in (ROOT / "tests").rglob("*.py"))
    for code in codes:
        word = re.compile(rf"\b({code.name}|{code.reason})\b")
        assert word.search(sources), f"{code.name} is never given"
        assert word.search(tests), f"{code.name} has no test"


# Outward names


def test_topics_stand_once() -> None:
    assert [name for name, count in Counter(topic.name for topic in TOPICS).items() if count > 1] == []
    assert {topic.name for topic in TOPICS} >= set(KIND_OF)
    assert files_with(r"margin\.(alerts|calls)$") == {"streams/topics.py"}
    # A label of doctor and a file of replay are called after the log; neither addresses the topic.
    assert files_with(r"margin\.log$") <= {"streams/topics.py", "streams/doctor.py", "streams/replay.py"}


def test_metric_names_come_from_the_table() -> None:
    assert len(TABLE) == len(METRICS)
    samples = {name + suffix for name in TABLE for suffix in ("", "_bucket", "_sum", "_count", "_gsum", "_gcount")}
    used = {text for _, file in modules() for text in strings(file) if re.fullmatch("crossmargin_[a-z_]*[a-z]", text)}
    assert used - samples == set()


def test_redis_keys_stand_in_one_table() -> None:
    # The default of a setting repeats the prefix, so that the command need not load numpy to say what it is.
    assert files_with("cm:") <= {"monitors/keys.py", "streams/settings.py"}
    assert Settings().redis_prefix == PREFIX
    lua = "".join(file.read_text("utf-8") for file in (ROOT / "monitors").glob("*.lua"))
    assert PREFIX not in lua, "scripts are given their keys"


def test_public_surface_of_the_engine() -> None:
    assert {name for name in vars(MarginEngine) if not name.startswith("_")} == ENGINE_SURFACE
    assert {name for name in vars(MarginEngine(0)) if not name.startswith("_")} == {"offset", "shard"}


def test_no_absolute_machine_paths() -> None:
    texts = [file for folder in (*MAY_IMPORT, "tests", "deploy", ".ci") for file in sorted((ROOT / folder).rglob("*"))]
    texts += [file for file in ROOT.iterdir() if file.suffix in (".md", ".toml", ".yml") or file.name == "Makefile"]
    for file in texts:
        if file.is_file() and file.suffix in (".py", ".lua", ".sh", ".md", ".toml", ".yml", ".json", ".jsonl", ".csv", ""):
            found = MACHINE_PATH.search(file.read_text("utf-8"))
            assert not found, f"{file.relative_to(ROOT)} names {found and found[0]}"
