"""What the verbs of the command line share: flags for settings, and output as tables or JSON."""

import functools
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import click
import msgspec

from streams import settings as sources
from streams.settings import Settings

_LOG_FORMAT: Final = "%(asctime)s %(levelname).1s %(name)s: %(message)s"
ORIGINS: Final = "crossmargin.origins"  # where the context keeps the source of each setting
KAFKA: Final = ("kafka", "kafka_config")
REDIS: Final = ("redis_url", "redis_prefix")

Verb = Callable[..., None]
json_flag: Final = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")


class Verbs(click.Group):
    """A group of verbs that proposes those like a mistyped one, as click does for options."""

    group_class = type  # groups in it are such groups, too

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """The verb that the first argument names; UsageError where there is none."""
        if args[0] not in self.commands:
            from difflib import get_close_matches  # slow to import, needed for an error only

            if near := get_close_matches(args[0], self.commands):
                ctx.fail(f"No such command '{args[0]}'. Did you mean {' or '.join(near)}?")
        return super().resolve_command(ctx, args)


def with_settings(*names: str) -> Callable[[Verb], Verb]:
    """Gives a verb the merged settings as its first argument, and a flag for each setting named here."""

    def decorate(verb: Verb) -> Verb:
        @functools.wraps(verb)
        def merged(config: str | None, **options: Any) -> None:
            flags = {name: options.pop(name) for name in names}
            chosen, origins = sources.load_with_sources(config, os.environ, flags)
            click.get_current_context().meta[ORIGINS] = origins
            verb(chosen, **options)

        defaults = Settings()
        decorated: Verb = merged
        for name in reversed(names):
            default = getattr(defaults, name) or "none"
            text = f"{sources.DESCRIPTIONS[name]} [{sources.variable(name)}; default: {default}]"
            decorated = click.option(sources.flag(name), name, metavar="VALUE", help=text)(decorated)
        help_text = f"Settings file [{sources.CONFIG_VARIABLE}; default: {sources.FILE_NAME} where it exists]."
        return click.option("--config", metavar="FILE", help=help_text)(decorated)

    return decorate


def log_to_stderr() -> None:
    """A long-running process tells on stderr what it does."""
    import logging

    logging.basicConfig(level=logging.INFO, format=_LOG_FORMAT, stream=sys.stderr)


def cell(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}={text}" for key, text in value.items())
    return str(value)


def print_json(value: object) -> None:
    click.echo(msgspec.json.encode(value, enc_hook=str))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], title: str | None = None) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, box=None, header_style="bold", pad_edge=False)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 250
    if title:
        console.print(Text(f"\n{title}", style="bold"))
    console.print(table)


def print_tables(tables: Sequence[tuple[str, tuple[str, ...], list[tuple[str, ...]]]]) -> None:
    """Each table that has rows, under its title."""
    for title, columns, rows in tables:
        if rows:
            print_table(columns, rows, title)


def print_shown(shown: Any, as_json: bool) -> None:
    """What a verb shows, as data or as tables."""
    if as_json:
        print_json(shown.data)
    else:
        print_tables(shown.tables)
