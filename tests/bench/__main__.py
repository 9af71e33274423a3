"""`python -m tests.bench [NAME...] [--json] [--OPTION N...]`: all benchmarks, or those named, one after another.

With --json each prints one line of JSON when it is done. What happens meanwhile is told on stderr.
"""

import dataclasses
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, Final

import click

from streams.settings import UserError
from tests.bench import (
    end_to_end,
    kernels,
    latency,
    memory,
    models,
    outage,
    sequencer,
    shock,
    shock_chain,
    web,
    worker,
)
from tests.bench.result import Figures, Sizes, as_json, as_table, document
from tests.bench.services import Services

BENCHMARKS: Final[dict[str, Callable[[Sizes, Services], tuple[Figures, list[str]]]]] = {
    "kernels": kernels.run,
    "models": models.run,
    "memory": memory.run,
    "sequencer": sequencer.run,
    "worker": worker.run,
    "end_to_end": end_to_end.run,
    "latency": latency.run,
    "web": web.run,
    "shock": shock.run,
    "shock_chain": shock_chain.run,
    "outage": outage.run,
}


def _with_sizes(command: Callable[..., None]) -> Callable[..., None]:
    """An option for every field of Sizes."""
    for one in reversed(dataclasses.fields(Sizes)):
        flag = "--" + one.name.replace("_", "-")
        kind: Any = one.type if isinstance(one.type, type) else {"int": int, "float": float, "str": str}[str(one.type)]
        command = click.option(flag, one.name, type=kind, default=one.default, show_default=True, help=one.metadata["help"])(
            command
        )
    return command


@click.command(context_settings={"max_content_width": 120})
@click.argument("names", nargs=-1, metavar="[NAME]...", type=click.Choice(list(BENCHMARKS)))
@click.option("--json", "json", is_flag=True, help="Print a line of JSON for each benchmark instead of a table.")
@_with_sizes
def main(names: tuple[str, ...], json: bool, **sizes: Any) -> None:
    """Run the benchmarks named, or all: kernels, models, memory, sequencer, worker, end_to_end, latency, web, shock,
    shock_chain, outage.

    Those from sequencer to latency, shock_chain and outage need Java and Maven for a real Kafka (or
    CROSSMARGIN_TEST_KAFKA, whose topics are deleted) and, as web and shock do, start a Valkey of their own.
    """
    chosen = Sizes(**sizes)
    given = {name: value for name, value in sizes.items() if value != getattr(Sizes(), name)}
    with ExitStack() as stack:
        services = stack.enter_context(Services())
        for name in names or BENCHMARKS:
            begun = time.perf_counter()
            figures, notes = BENCHMARKS[name](chosen, services)
            result = document(name, figures, notes, time.perf_counter() - begun, given)
            click.echo(as_json(result) if json else as_table(result) + "\n")


if __name__ == "__main__":
    try:
        main(prog_name="crossmargin bench")
    except UserError as error:
        click.echo(f"crossmargin bench: {error}", err=True)
        sys.exit(error.status)
