"""Every setting, once: its name, type, range, default and meaning, and where its value comes from.

Defaults < crossmargin.toml < environment CROSSMARGIN_* < flags. A setting that is unknown, of the wrong type or out of range
ends in one line that names the setting, where it stands, what was found and what is allowed.
"""

import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_type_hints

import msgspec
from msgspec import Meta, inspect

from engine.limits import Limits
from streams.addresses import FORMS

FILE_NAME: Final = "crossmargin.toml"
ENVIRONMENT: Final = "CROSSMARGIN_"
CONFIG_VARIABLE: Final = "CROSSMARGIN_CONFIG"  # names the settings file, as the flag --config does
OTHER_VARIABLES: Final = (
    "CROSSMARGIN_TEST_",
    "CROSSMARGIN_REQUIRE",
    "CROSSMARGIN_BENCH_",
    "CROSSMARGIN_SIMULATION_",
    CONFIG_VARIABLE,
)
MASK: Final = "********"
DEFAULT_REDIS: Final = "redis://127.0.0.1:6379/0"
OURS: Final = frozenset(  # librdkafka properties that the protocol of the log depends on
    (
        "acks auto.offset.reset bootstrap.servers delivery.timeout.ms enable.auto.commit enable.auto.offset.store"
        " enable.idempotence group.id message.max.bytes message.timeout.ms transactional.id"
    ).split()
)
_SECRET_PROPERTY = re.compile(r"password|secret|passphrase|key\.pem|jaas", re.IGNORECASE)
_URL_PASSWORD = re.compile(r"^([a-z0-9+.-]+://[^/@:]*):[^@]*@", re.IGNORECASE)
_QUERY_SECRET = re.compile(r"([?&](?:password|secret|token|key)=)[^&]*", re.IGNORECASE)


class UserError(Exception):
    """Something a user can put right: printed as one line, exit status 1."""

    status = 1


class ConfigError(UserError):
    """Wrong use or bad configuration: printed as one line, exit status 2."""

    status = 2


Port = Annotated[int, Meta(ge=1, le=65_535)]
AnyPort = Annotated[int, Meta(ge=0, le=65_535)]
Text = Annotated[str, Meta(min_length=1, max_length=4096)]


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All settings of a process; the description of each field is its documentation."""

    kafka: Annotated[Text, Meta(description="Kafka bootstrap servers: host:port, comma-separated")] = "127.0.0.1:9092"
    kafka_config: Annotated[dict[str, str], Meta(description="librdkafka properties for TLS and SASL")] = {}
    redis_url: Annotated[Text, Meta(description="redis://, rediss:// or unix:// URL of Redis or Valkey")] = DEFAULT_REDIS
    redis_prefix: Annotated[Text, Meta(description="what every Redis key starts with")] = "cm:1:"
    shards: Annotated[int, Meta(ge=1, le=1024, description="partitions of margin.log, fixed when it is created")] = 16
    input_partitions: Annotated[int, Meta(ge=1, le=64, description="partitions of each input topic that is created")] = 4
    snapshots: Annotated[Text, Meta(description="where workers keep snapshots: a directory or an fsspec URL")] = "snapshots"
    metrics_host: Annotated[Text, Meta(description="address of /metrics, /healthz and /readyz")] = "127.0.0.1"
    metrics_port: Annotated[Port, Meta(description="port of the worker's /metrics")] = 9400
    sequencer_metrics_port: Annotated[Port, Meta(description="port of the sequencer's /metrics")] = 9401
    notifier_metrics_port: Annotated[Port, Meta(description="port of the notifier's /metrics")] = 9402
    web_metrics_port: Annotated[Port, Meta(description="port of the web server's /metrics")] = 9403
    time_mode: Annotated[Literal["wall", "event"], Meta(description="a new log's time: the sequencer's, or events'")] = (
        "wall"
    )
    batch_events: Annotated[int, Meta(ge=1, le=65_536, description="a sequencer batch closes at so many messages")] = 8192
    batch_ms: Annotated[int, Meta(ge=1, le=100, description="or after so many milliseconds")] = 3
    snapshot_seconds: Annotated[float, Meta(gt=0, le=3600, description="time between two snapshots of a shard")] = 10
    snapshots_kept: Annotated[int, Meta(ge=2, le=10_000, description="snapshots of a shard kept, for moments gone by")] = 2
    watchdog_seconds: Annotated[float, Meta(ge=1, le=3600, description="a worker that stands still so long is ended")] = 30
    figures_per_second: Annotated[float, Meta(gt=0, le=1000, description="how often changed figures go to Redis")] = 20
    notices: Annotated[Text, Meta(description="TOML file of the notifier's webhooks")] = "notices.toml"
    notifier_group: Annotated[Text, Meta(description="Kafka consumer group of the notifier, before -ROUTE")] = (
        "crossmargin-notifier"
    )
    user: Annotated[
        str, Meta(max_length=64, pattern="^[ -~]*$", description="who acts on margin calls; empty: the login name")
    ] = ""
    mock_kafka: Annotated[bool, Meta(description="Kafka is librdkafka's mock cluster, as in the demo")] = False
    web_host: Annotated[Text, Meta(description="address of the page and the JSON API")] = "127.0.0.1"
    web_port: Annotated[AnyPort, Meta(description="port of the page and the JSON API; 0: a free one")] = 8800
    web_tokens: Annotated[Text, Meta(description="file of web tokens, as crossmargin web-token add writes it")] = (
        "web-tokens.jsonl"
    )
    web_requests_per_second: Annotated[float, Meta(gt=0, le=100_000, description="requests a second of one user")] = 50
    limits: Annotated[Limits, Meta(description="capacities per shard and parameters of a new log")] = Limits()


def _names() -> dict[str, Any]:
    """Every setting by its full name (limits as limits.NAME) with its annotated type."""
    hints = get_type_hints(Settings, include_extras=True)
    limits = get_type_hints(hints.pop("limits").__origin__, include_extras=True)
    return hints | {f"limits.{name}": kind for name, kind in limits.items()}


TYPES: Final = _names()
DESCRIPTIONS: Final = {name: kind.__metadata__[-1].description for name, kind in TYPES.items() if "." not in name}


def variable(name: str) -> str:
    """The environment variable of a setting: limits.accounts is CROSSMARGIN_LIMITS_ACCOUNTS."""
    return ENVIRONMENT + name.replace(".", "_").upper()


def flag(name: str) -> str:
    """The command-line flag of a setting: redis_url is --redis-url."""
    return "--" + name.replace("_", "-")


def load(path: Path | str | None, env: Mapping[str, str], flags: Mapping[str, object]) -> Settings:
    """Merge the sources; path None takes crossmargin.toml of the working directory where it exists. Raises ConfigError."""
    return load_with_sources(path, env, flags)[0]


def load_with_sources(
    path: Path | str | None, env: Mapping[str, str], flags: Mapping[str, object]
) -> tuple[Settings, dict[str, str]]:
    """The settings, and for each full name where its value comes from (`default` or a file, variable or flag)."""
    values: dict[str, Any] = {}
    sources: dict[str, str] = dict.fromkeys(TYPES, "default")
    file = _settings_file(path, env)
    if file is not None:
        for name, value in _read(file).items():
            values[name], sources[name] = _checked(name, value, f"{file}: {name}", strict=True), str(file)
    variables = {variable(name): name for name in TYPES}
    for key, text in env.items():
        if key.startswith(ENVIRONMENT) and not key.startswith(OTHER_VARIABLES):
            if key not in variables:
                raise ConfigError(f"environment {key}: unknown setting; allowed: {_near(key, list(variables))}")
            name = variables[key]
            values[name], sources[name] = _checked(name, text, f"environment {key}", strict=False), f"environment {key}"
    for name, value in flags.items():
        if value is not None:
            if name not in TYPES:
                raise ConfigError(f"flag {flag(name)}: unknown setting; allowed: {_near(name, list(TYPES))}")
            values[name], sources[name] = _checked(name, value, f"flag {flag(name)}", strict=False), f"flag {flag(name)}"
    limits = {name.removeprefix("limits."): values.pop(name) for name in list(values) if name.startswith("limits.")}
    return Settings(**values, limits=Limits(**limits)), sources


def environment(settings: Settings) -> dict[str, str]:
    """The settings as CROSSMARGIN_* variables, for a child process; load() gives them back."""
    return {variable(name): _text(value) for name, value in flat(settings).items()}


def toml(settings: Settings) -> str:
    """The settings as a settings file; load() gives them back."""
    return "".join(f"{name} = {_toml_value(value)}\n" for name, value in flat(settings).items())


def _toml_value(value: Any) -> str:
    """JSON but for tables: TOML writes its texts, numbers and truth values alike."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{json.dumps(key)} = {json.dumps(text)}' for key, text in value.items())}}}"
    return json.dumps(value)


def flat(settings: Settings) -> dict[str, Any]:
    """Every setting by its full name."""
    whole = msgspec.structs.asdict(settings)
    limits: Limits = whole.pop("limits")
    return whole | {f"limits.{name}": value for name, value in msgspec.structs.asdict(limits).items()}


def masked(settings: Settings) -> dict[str, Any]:
    """Every setting by its full name, passwords and other secrets replaced by asterisks."""
    return {name: _mask(value) for name, value in flat(settings).items()}


def masked_url(url: str) -> str:
    """The URL without its password, for messages."""
    return _QUERY_SECRET.sub(rf"\g<1>{MASK}", _URL_PASSWORD.sub(rf"\g<1>:{MASK}@", url))


def _mask(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: MASK if _SECRET_PROPERTY.search(key) else text for key, text in value.items()}
    return masked_url(value) if isinstance(value, str) else value


def _settings_file(path: Path | str | None, env: Mapping[str, str]) -> Path | None:
    named = path or env.get(CONFIG_VARIABLE)
    if not named:
        return Path(FILE_NAME) if Path(FILE_NAME).is_file() else None
    if not Path(named).is_file():
        origin = "flag --config" if path else f"environment {CONFIG_VARIABLE}"
        raise ConfigError(f"{origin}: found '{named}', which is not a file; allowed: the path of a TOML file")
    return Path(named)


def _read(file: Path) -> dict[str, Any]:
    """The file's settings by full name, still unchecked; ConfigError where it cannot be read or names an unknown setting."""
    try:
        content = tomllib.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file}: not a readable TOML file: {error}") from error
    limits = content.pop("limits", {})
    if not isinstance(limits, dict):
        raise ConfigError(f"{file}: limits: found {limits!r}; allowed: a table [limits]")
    found = content | {f"limits.{name}": value for name, value in limits.items()}
    for name in found:
        if name not in TYPES:
            raise ConfigError(f"{file}: {name}: unknown setting; allowed: {_near(name, list(TYPES))}")
    return found


def _checked(name: str, value: object, where: str, *, strict: bool) -> Any:
    """The value as the setting's type; strict=False takes text as in the environment. ConfigError in one line."""
    if name == "kafka_config":
        return _properties(value, where)
    if not strict and isinstance(value, str):
        value = value.strip()
    try:
        converted = msgspec.convert(value, TYPES[name], strict=strict)
        if name in FORMS and not FORMS[name].fits(converted):
            raise ValueError(name)
    except ValueError as error:  # msgspec.ValidationError is one
        found = _without_secret(value) if isinstance(value, str) else value
        raise ConfigError(f"{where}: found {found!r}; allowed: {allowed(name)}") from error
    return converted


def _without_secret(text: str) -> str:
    """The text for a message; of a broken URL nothing before its @, where a password may stand."""
    masked = masked_url(text)
    return f"{MASK}@{text.rpartition('@')[2]}" if "@" in text and masked == text else masked


def _properties(value: object, where: str) -> dict[str, str]:
    """librdkafka properties of a table, a JSON object, or name=value pairs; never shows a value, which may be a secret."""
    if isinstance(value, str):
        pairs = (pair.split("=", 1) for pair in value.split(",") if pair.strip())
        try:
            value = json.loads(value) if value.lstrip().startswith("{") else dict(pairs)
        except ValueError:
            value = None
    if not isinstance(value, dict) or not all(isinstance(one, str | int | float) for one in value.values()):
        raise ConfigError(f"{where}: found something else (not shown); allowed: {allowed('kafka_config')}")
    properties = {str(key).strip(): _text(one).strip() for key, one in value.items()}
    for key in properties:
        if key in OURS or not key:
            raise ConfigError(
                f"{where}: found the property '{key}', which crossmargin sets; allowed: properties for TLS and SASL"
            )
    return properties


def allowed(name: str) -> str:
    """What a setting takes, in words."""
    if name == "kafka_config":
        return "librdkafka properties as a table, a JSON object of strings, or name=value,name=value"
    if name in FORMS:
        return FORMS[name].allowed
    kind: Any = inspect.type_info(TYPES[name])
    while isinstance(kind, inspect.Metadata):
        kind = kind.type
    match kind:
        case inspect.BoolType():
            return "true or false (1 or 0 in the environment)"
        case inspect.LiteralType(values=values):
            return " or ".join(str(value) for value in values)
        case inspect.StrType():
            return "text, not empty" if kind.min_length else f"printable ASCII, up to {kind.max_length} characters"
        case _:
            noun = "a whole number" if isinstance(kind, inspect.IntType) else "a number"
            low = f"more than {kind.gt}" if kind.gt is not None else f"{kind.ge}"
            return f"{noun}, at least {low}" if kind.le is None else f"{noun}, {low} to {kind.le}"


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value, sort_keys=True) if isinstance(value, dict) else str(value)


def _near(name: str, names: list[str]) -> str:
    """The names to propose for a mistyped one: the close ones, or all."""
    from difflib import get_close_matches  # slow to import, needed for an error only

    return ", ".join(get_close_matches(name, names, n=3, cutoff=0.6) or names)
