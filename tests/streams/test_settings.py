"""Where settings come from, which wins, and the one line that a wrong one ends in."""

from pathlib import Path

import pytest

from engine.limits import Limits
from streams import settings
from streams.settings import ConfigError, Settings, load


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_defaults_hold_where_nothing_is_said() -> None:
    assert load(None, {}, {}) == Settings()


def test_file_then_environment_then_flags(empty_folder: Path) -> None:
    (empty_folder / "crossmargin.toml").write_text('kafka = "a:1"\nshards = 2\nbatch_ms = 7\n[limits]\naccounts = 9\n')
    merged, sources = settings.load_with_sources(
        None, {"CROSSMARGIN_SHARDS": "3", "CROSSMARGIN_KAFKA": "b:2", "PATH": "x"}, {"kafka": "c:3", "redis_url": None}
    )
    assert (merged.kafka, merged.shards, merged.batch_ms) == ("c:3", 3, 7)
    assert merged.limits == Limits(accounts=9)
    assert merged.redis_url == Settings().redis_url
    assert sources["kafka"] == "flag --kafka"
    assert sources["shards"] == "environment CROSSMARGIN_SHARDS"
    assert sources["limits.accounts"] == "crossmargin.toml"
    assert sources["redis_url"] == "default"


def test_a_named_file_must_exist(empty_folder: Path) -> None:
    (empty_folder / "mine.toml").write_text("shards = 5\n")
    assert load("mine.toml", {}, {}).shards == 5
    assert load(None, {"CROSSMARGIN_CONFIG": "mine.toml"}, {}).shards == 5
    with pytest.raises(ConfigError, match=r"flag --config: found 'none\.toml', which is not a file"):
        load("none.toml", {}, {})
    with pytest.raises(ConfigError, match="environment CROSSMARGIN_CONFIG: found 'none'"):
        load(None, {"CROSSMARGIN_CONFIG": "none"}, {})


def test_environment_and_file_give_every_setting_back(empty_folder: Path) -> None:
    chosen = Settings(
        kafka="k:1",
        kafka_config={"sasl.password": 'a "b", c=d', "security.protocol": "SASL_SSL"},
        snapshot_seconds=0.5,
        mock_kafka=True,
        time_mode="event",
        limits=Limits(ids=77, ahead_ms=0),
    )
    assert load(None, settings.environment(chosen), {}) == chosen
    (empty_folder / "chosen.toml").write_text(settings.toml(chosen))
    assert load("chosen.toml", {}, {}) == chosen


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("SHARDS", "0", "environment CROSSMARGIN_SHARDS: found '0'; allowed: a whole number, 1 to 1024"),
        ("SHARDS", "four", "environment CROSSMARGIN_SHARDS: found 'four'; allowed: a whole number, 1 to 1024"),
        ("SHARDS", "1.5", "environment CROSSMARGIN_SHARDS: found '1.5'; allowed: a whole number, 1 to 1024"),
        ("KAFKA", " ", "environment CROSSMARGIN_KAFKA: found ''; allowed: host:port"),
        ("TIME_MODE", "later", "environment CROSSMARGIN_TIME_MODE: found 'later'; allowed: event or wall"),
        (
            "MOCK_KAFKA",
            "maybe",
            "environment CROSSMARGIN_MOCK_KAFKA: found 'maybe'; allowed: true or false (1 or 0 in the environment)",
        ),
        (
            "SNAPSHOT_SECONDS",
            "nan",
            "environment CROSSMARGIN_SNAPSHOT_SECONDS: found 'nan'; allowed: a number, more than 0 to 3600",
        ),
        (
            "METRICS_PORT",
            "70000",
            "environment CROSSMARGIN_METRICS_PORT: found '70000'; allowed: a whole number, 1 to 65535",
        ),
        (
            "LIMITS_AHEAD_MS",
            "-1",
            "environment CROSSMARGIN_LIMITS_AHEAD_MS: found '-1'; allowed: a whole number, at least 0",
        ),
        ("SHRDS", "3", "environment CROSSMARGIN_SHRDS: unknown setting; allowed: CROSSMARGIN_SHARDS"),
    ],
)
def test_a_wrong_variable_ends_in_one_line(name: str, text: str, line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(None, {"CROSSMARGIN_" + name: text}, {})
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)
    assert caught.value.status == 2


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('shards = "3"', "crossmargin.toml: shards: found '3'; allowed: a whole number, 1 to 1024"),
        ("shards = true", "crossmargin.toml: shards: found True; allowed: a whole number, 1 to 1024"),
        ("shard = 3", "crossmargin.toml: shard: unknown setting; allowed: shards"),
        ("limits = 3", "crossmargin.toml: limits: found 3; allowed: a table"),
        ("[limits]\naccount = 3", "crossmargin.toml: limits.account: unknown setting; allowed: limits.accounts"),
        ("shards = ", "crossmargin.toml: not a readable TOML file: "),
        (
            'kafka_config = ["a"]',
            "crossmargin.toml: kafka_config: found something else (not shown); allowed: librdkafka properties",
        ),
        (
            '[kafka_config]\n"group.id" = "x"',
            "crossmargin.toml: kafka_config: found the property 'group.id', which crossmargin sets",
        ),
    ],
)
def test_a_wrong_file_ends_in_one_line(empty_folder: Path, text: str, line: str) -> None:
    (empty_folder / "crossmargin.toml").write_text(text + "\n")
    with pytest.raises(ConfigError) as caught:
        load(None, {}, {})
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)


def test_a_wrong_flag_ends_in_one_line() -> None:
    with pytest.raises(ConfigError, match="flag --shards: found '-4'; allowed: a whole number, 1 to 1024"):
        load(None, {}, {"shards": "-4"})
    with pytest.raises(ConfigError, match="flag --redis: unknown setting; allowed: redis_url"):
        load(None, {}, {"redis": "x"})


ADDRESSES = {
    "kafka": "host:port, more of them comma-separated",
    "redis_url": "redis:// or rediss://[USER:PASSWORD@]HOST[:PORT][/DATABASE], or unix://PATH",
    "metrics_host": "a host name or an IP address",
    "web_host": "a host name or an IP address",
}


NO_ADDRESSES = {
    "kafka": ("a b", ":9092", "a:", "a:x", "a:0", "a:70000", "a:1,,b:2", "http://a:1", "[::1"),
    "redis_url": (
        *("frob", "redis://", "redis://:6379/0", "redis://a:x", "redis://a:70000/0", "http://a:1/0", "redis://a/first"),
        *("redis://a/0/1", "redis://a/0#x", "redis://[::1", "redis://a/0?frob=1", "redis://a/0?socket_timeout=long"),
        *("unix://", "unix://a", "REDIS://a"),
    ),
    "metrics_host": ("http://a", "a b", "a..b", "a:1", "[::1]", "1::2::3"),
    "web_host": ("a/b",),
}
GOOD_ADDRESSES = {
    "kafka": ("broker", "a:1, b.example:2,192.0.2.1:65535", "[::1]:9092", "kafka_1:19092"),
    "redis_url": (
        *("redis://a", "redis://:p:@%23@a:1/15", "rediss://u:p@[::1]:6380/0", "unix:///s.sock"),
        *("unix://u:p@/run/s.sock?db=3", "redis://a/?socket_timeout=2.5&max_connections=9"),
    ),
    "metrics_host": ("127.0.0.1",),
    "web_host": ("0.0.0.0", "::", "fe80::1", "desk.example", "localhost"),
}


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in NO_ADDRESSES.items() for text in texts])
def test_what_is_no_address_is_wrong_use(name: str, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(None, {}, {name: text})
    assert str(caught.value).startswith(f"flag {settings.flag(name)}: found '{text}'; allowed: {ADDRESSES[name]}")


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in GOOD_ADDRESSES.items() for text in texts])
def test_addresses_are_taken_as_written(name: str, text: str) -> None:
    assert getattr(load(None, {}, {name: text}), name) == text


def test_a_wrong_url_is_told_without_its_password() -> None:
    for text in ("redis//u:hunter2@a", "redis:/hunter2@a:1", "redis://u:hunter2@a:x/0", "http://:hunter2@a", "hunter2@a"):
        with pytest.raises(ConfigError) as caught:
            load(None, {"CROSSMARGIN_REDIS_URL": text}, {})
        assert "********@a" in str(caught.value)
        assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("text", ['{"sasl.username": "u", "linger": 5}', "sasl.username=u, linger=5"])
def test_kafka_properties_as_json_or_pairs(text: str) -> None:
    assert load(None, {"CROSSMARGIN_KAFKA_CONFIG": text}, {}).kafka_config == {"sasl.username": "u", "linger": "5"}


def test_secrets_are_masked_and_never_in_a_message() -> None:
    secret = "hunter2"
    merged = load(
        None,
        {
            "CROSSMARGIN_KAFKA_CONFIG": f"sasl.password={secret},ssl.key.password={secret},sasl.username=desk",
            "CROSSMARGIN_REDIS_URL": f"rediss://user:{secret}@cache:6379/0?password={secret}",
            "CROSSMARGIN_SNAPSHOTS": f"s3://key:{secret}@bucket/x",
        },
        {},
    )
    shown = settings.masked(merged)
    assert secret not in repr(shown)
    assert shown["kafka_config"]["sasl.username"] == "desk"
    assert shown["redis_url"] == "rediss://user:********@cache:6379/0?password=********"
    assert merged.kafka_config["sasl.password"] == secret
    with pytest.raises(ConfigError) as caught:
        load(None, {"CROSSMARGIN_KAFKA_CONFIG": secret}, {})
    assert secret not in str(caught.value)


def test_every_setting_is_described() -> None:
    assert all(settings.DESCRIPTIONS[name] for name in settings.TYPES if "." not in name)
    assert set(settings.flat(Settings())) == set(settings.TYPES)
