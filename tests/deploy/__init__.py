"""What deployment files and documents say about the command: read here, for tests."""

from collections.abc import Sequence

import click

from streams.cli import cli


def verbs() -> dict[str, click.Command]:
    """Every verb of crossmargin with its command."""
    return dict(cli.commands)


def check_command(words: Sequence[str]) -> None:
    """Fail unless the words after `crossmargin` are a verb with flags and arguments that it takes; nothing is run."""
    verb, *rest = words
    assert verb in verbs(), f"crossmargin has no verb {verb}"
    command = verbs()[verb]
    while isinstance(command, click.Group) and rest and rest[0] in command.commands:
        command, rest = command.commands[rest[0]], rest[1:]
    context = click.Context(command, info_name=verb)
    try:
        values, left, _ = command.make_parser(context).parse_args(list(rest))
    except click.UsageError as error:
        raise AssertionError(f"crossmargin {' '.join(words)}: {error.format_message()}") from error
    assert not left, f"crossmargin {' '.join(words)}: {left} is too much"
    for parameter in command.params:
        given = values.get(str(parameter.name))
        if isinstance(parameter.type, click.Choice | click.types.IntParamType | click.types.FloatParamType) and given:
            for value in given if isinstance(given, list | tuple) else (given,):
                parameter.type.convert(value, parameter, context)
        assert given or not parameter.required, f"crossmargin {' '.join(words)}: {parameter.name} is missing"
