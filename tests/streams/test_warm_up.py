"""What a worker does for the first time never waits for a compiler: the warm-up has done all of it before."""

import subprocess
import sys

from tests.services import ROOT

SCRIPT = """
import importlib, pkgutil, sys
import numpy as np
from numba.core.dispatcher import Dispatcher
import engine
from engine.events import NS
from engine.frames import Genesis
from engine.limits import Limits
from streams.warm_up import ALONE, TOGETHER, stepped, warm_up

genesis = Genesis(log_id="0" * 32, shards=1, time_mode="wall", start_ns=NS, limits=Limits())
modules = [importlib.import_module(one.name) for one in pkgutil.walk_packages(engine.__path__, "engine.")]
kernels = {id(found): found for one in modules for found in vars(one).values() if isinstance(found, Dispatcher)}

def ready():
    return {f"{one.__module__}.{one.__name__}" for one in kernels.values() if one.signatures}

warm_up(genesis)
before = ready()
one = stepped(genesis, ALONE + TOGETHER)
assert len(one.open_calls()) == 1 and one.open_calls()[0].said
slots = np.arange(one.account_count, dtype=np.int32)
one.books(slots), one.book_hashes(slots), one.figures(one.take_touched())
one.population(), one.warnings(), one.reconciliation(), one.to_bytes(), one.digest(), one.shard_digest()
print(sorted(ready() - before), {"engine.books._gather", "engine.calls.say_call", "engine.warning._add_options"} <= before)
"""


def test_what_a_worker_does_is_compiled_before() -> None:
    command = [sys.executable, "-c", f"from streams.compiled import use_cache\nuse_cache()\n{SCRIPT}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[] True"
