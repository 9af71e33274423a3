"""docker-compose.yml, image and prometheus.yml against the project, without a daemon: commands, settings, ports, mounts."""

import fnmatch
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from streams.notifier import read_routes
from streams.settings import Settings, load
from streams.web_access import TokenFile
from streams.web_api import ROUTES
from tests.deploy import check_command
from tests.services import KAFKA_IMAGE, require

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
LASTING = {name: one for name, one in SERVICES.items() if one["restart"] == "unless-stopped" and "profiles" not in one}
SCRAPED = {  # settings of the port at which each process is scraped
    "sequencer": "sequencer_metrics_port",
    "worker": "metrics_port",
    "notifier": "notifier_metrics_port",
    "web": "web_metrics_port",
}
PROMETHEUS_FILE = ROOT / "deploy" / "prometheus" / "prometheus.yml"
PROMETHEUS: dict[str, Any] = yaml.safe_load(PROMETHEUS_FILE.read_text("utf-8"))
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def instructions() -> list[tuple[str, str]]:
    """(INSTRUCTION, rest) of the Dockerfile, continued lines joined, comments left out."""
    text = re.sub(r"^#.*\n", "", (ROOT / "deploy" / "Dockerfile").read_text("utf-8"), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", " ", text).splitlines()
    return [(line.split()[0], line.partition(" ")[2].strip()) for line in lines if line.strip()]


DOCKERFILE = instructions()


def settings_of(service: str) -> Settings:
    """The settings that a process of this service would have; ConfigError for a variable or value that is not one."""
    return load(None, {key: str(value) for key, value in OURS[service].get("environment", {}).items()}, {})


def kafka_listeners(variable: str) -> dict[str, tuple[str, int]]:
    """Host and port by listener name."""
    pattern = re.compile(r"(\w+)://([^:,]*):(\d+)")
    return {name: (host, int(port)) for name, host, port in pattern.findall(SERVICES["kafka"]["environment"][variable])}


def scraped_port(service: str) -> int:
    """The port on which this service shows its metrics."""
    port: int = getattr(settings_of(service), SCRAPED[service])
    return port


def own_ports(service: str) -> list[int]:
    """All ports on which this service answers: the page has one, beside that of its metrics."""
    return [*([settings_of(service).web_port] if service == "web" else []), scraped_port(service)]


def ports(service: str) -> list[tuple[str, str, int]]:
    """(address, port or range, port in the container) of what a service publishes."""
    found = [str(entry).rsplit(":", 2) for entry in SERVICES[service].get("ports", [])]
    return [(address, published, int(inside)) for address, published, inside in found]


def copied() -> list[str]:
    """What the image takes from the project."""
    sources = [rest.split()[:-1] for word, rest in DOCKERFILE if word == "COPY"]
    return [name for names in sources for name in names]


def test_all_processes_are_here() -> None:
    assert set(OURS) == SCRAPED.keys() | {"web-token"}


@pytest.mark.parametrize("service", sorted(SCRAPED))
def test_command_is_a_real_verb(service: str) -> None:
    command = OURS[service]["command"]
    check_command(command if isinstance(command, list) else shlex.split(command))


@pytest.mark.parametrize("service", sorted(SCRAPED))
def test_settings_are_real_and_reach_the_services(service: str) -> None:
    assert all(key.startswith("CROSSMARGIN_") for key in OURS[service]["environment"])
    settings = settings_of(service)
    host, port = settings.kafka.rsplit(":", 1)
    advertised = kafka_listeners("KAFKA_ADVERTISED_LISTENERS")
    assert (host, int(port)) in advertised.values()
    redis = urlsplit(settings.redis_url)
    assert redis.hostname in SERVICES
    assert redis.port in {inside for _, _, inside in ports(str(redis.hostname))}
    assert settings.metrics_host == "0.0.0.0", "Prometheus is in another container"


def test_both_processes_have_the_same_log_settings() -> None:
    assert settings_of("sequencer") == settings_of("worker")


def test_kafka_listens_where_it_says() -> None:
    environment = SERVICES["kafka"]["environment"]
    listens, advertised = kafka_listeners("KAFKA_LISTENERS"), kafka_listeners("KAFKA_ADVERTISED_LISTENERS")
    assert {name: port for name, (_, port) in listens.items() if name in advertised} == {
        name: port for name, (_, port) in advertised.items()
    }
    assert {part.split(":")[0] for part in environment["KAFKA_LISTENER_SECURITY_PROTOCOL_MAP"].split(",")} == set(listens)
    assert environment["KAFKA_INTER_BROKER_LISTENER_NAME"] in advertised
    controller = environment["KAFKA_CONTROLLER_LISTENER_NAMES"]
    assert environment["KAFKA_CONTROLLER_QUORUM_VOTERS"] == f"{environment['KAFKA_NODE_ID']}@kafka:{listens[controller][1]}"
    assert all(value == "1" for key, value in environment.items() if key.endswith(("_REPLICATION_FACTOR", "_MIN_ISR")))
    host = next(address for address in advertised.values() if address[0] == "127.0.0.1")
    assert ("127.0.0.1", str(host[1]), host[1]) in ports("kafka")
    assert f"{host[0]}:{host[1]}" == Settings().kafka, "the command on the host finds this Kafka by its defaults"


def test_kafka_is_the_version_of_make_kafka_and_of_the_tests() -> None:
    version = SERVICES["kafka"]["image"].partition(":")[2]
    pom = (ROOT / "deploy" / "kafka" / "pom.xml").read_text("utf-8")
    assert re.findall(r"<artifactId>kafka_[\d.]+</artifactId>\s*<version>([\d.]+)</version>", pom) == [version]
    assert SERVICES["kafka"]["image"] == KAFKA_IMAGE


@pytest.mark.parametrize("service", sorted(LASTING))
def test_only_loopback_is_published(service: str) -> None:
    published = ports(service)
    assert published, f"{service} publishes nothing"
    assert {address for address, _, _ in published} == {"127.0.0.1"}


def test_published_ports_do_not_collide() -> None:
    taken: list[int] = []
    for service in SERVICES:
        for _, published, _ in ports(service):
            first, _, last = published.partition("-")
            taken.extend(range(int(first), int(last or first) + 1))
    assert len(taken) == len(set(taken))


@pytest.mark.parametrize("service", sorted(SCRAPED))
def test_own_ports_are_published(service: str) -> None:
    assert [inside for _, _, inside in ports(service)] == own_ports(service)
    exposed = " ".join(rest for word, rest in DOCKERFILE if word == "EXPOSE").split()
    assert {str(port) for port in own_ports(service)} <= set(exposed)


def test_two_workers_have_a_port_each() -> None:
    [(_, published, _)] = ports("worker")
    first, last = map(int, published.split("-"))
    assert SERVICES["worker"]["deploy"]["replicas"] == 2 <= last - first + 1
    assert "container_name" not in SERVICES["worker"]


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_images_are_pinned(service: str) -> None:
    assert re.fullmatch(r"[\w./-]+:v?\d+\.\d+\.\d+(-[\w.]+)?", SERVICES[service]["image"])


def test_our_image_has_the_version_of_the_project() -> None:
    assert {service["image"] for service in OURS.values()} == {f"{PROJECT['name']}:{PROJECT['version']}"}


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_dependencies_become_healthy(service: str) -> None:
    for name, how in SERVICES[service].get("depends_on", {}).items():
        lasts = name in LASTING
        assert how == {"condition": "service_healthy" if lasts else "service_completed_successfully"}
        assert ("healthcheck" in SERVICES[name]) == lasts


@pytest.mark.parametrize("service", sorted(LASTING))
def test_every_service_has_a_health_check(service: str) -> None:
    own = "HEALTHCHECK" in dict(DOCKERFILE) and service in OURS
    assert own or "healthcheck" in SERVICES[service]


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_mounts_exist(service: str) -> None:
    for volume in SERVICES[service].get("volumes", []):
        source = volume.split(":")[0]
        if source.startswith("."):
            assert (ROOT / source).exists()
        else:
            assert source in COMPOSE["volumes"]


def test_snapshots_lie_in_a_volume_the_user_may_write() -> None:
    home = settings_of("worker").snapshots
    assert f"snapshots:{home}" in OURS["worker"]["volumes"]
    user = next(rest for word, rest in DOCKERFILE if word == "USER")
    made = " ".join(rest for word, rest in DOCKERFILE if word == "RUN")
    assert f"install -d -o {user} -g {user} {home}" in made


def test_named_volumes_are_used() -> None:
    used = {volume.split(":")[0] for service in SERVICES.values() for volume in service.get("volumes", [])}
    assert used >= set(COMPOSE["volumes"])


# The image


def test_image_is_built_from_the_project() -> None:
    for service in OURS.values():
        build = service["build"]
        assert (ROOT / build["context"] / build["dockerfile"]) == ROOT / "deploy" / "Dockerfile"
    needed = {"pyproject.toml", PROJECT["readme"], *PROJECT["license-files"], "engine", "monitors", "streams"}
    assert set(copied()) == needed
    assert all((ROOT / name).exists() for name in copied())


def test_dockerignore_keeps_what_the_image_needs() -> None:
    rules = [line for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line and not line.startswith("#")]
    for name in copied():
        kept = True
        for rule in rules:
            if fnmatch.fnmatch(name, rule.removeprefix("!")):
                kept = rule.startswith("!")
        assert kept, f".dockerignore leaves {name} out"


def test_base_image_is_pinned_and_new_enough() -> None:
    [base] = [rest for word, rest in DOCKERFILE if word == "FROM"]
    match = re.fullmatch(r"python:(\d+)\.(\d+)\.\d+-slim-\w+", base)
    assert match
    assert f">={match[1]}.{match[2]}" == PROJECT["requires-python"]


def test_image_runs_the_command_as_a_user() -> None:
    words = [word for word, _ in DOCKERFILE]
    user = dict(DOCKERFILE)["USER"]
    assert user not in ("root", "0")
    assert words.index("USER") > max(i for i, word in enumerate(words) if word == "RUN"), "nothing is installed as the user"
    entry, command = (yaml.safe_load(dict(DOCKERFILE)[word]) for word in ("ENTRYPOINT", "CMD"))
    assert entry == ["crossmargin"]
    assert entry[0] in PROJECT["scripts"]
    check_command(command)
    assert PurePosixPath(settings_of("worker").snapshots).is_relative_to(dict(DOCKERFILE)["WORKDIR"])


def test_health_checks_ask_each_process() -> None:
    image = dict(DOCKERFILE)["HEALTHCHECK"]
    assert f"http://127.0.0.1:{scraped_port('worker')}/healthz" in image
    assert "healthcheck" not in OURS["worker"]
    for service, path in (("sequencer", "/healthz"), ("notifier", "/healthz"), ("web", "/api/health")):
        assert f"http://127.0.0.1:{own_ports(service)[0]}{path}" in " ".join(OURS[service]["healthcheck"]["test"])
    assert any(route.path == "/api/health" and route.role is None for route in ROUTES)


# Prometheus


def test_prometheus_scrapes_every_process() -> None:
    targets = set()
    for job in PROMETHEUS["scrape_configs"]:
        assert job.get("metrics_path", "/metrics") == "/metrics"
        for lookup in job["dns_sd_configs"]:
            targets |= {(name, lookup["port"]) for name in lookup["names"]}
    assert targets == {(service, scraped_port(service)) for service in SCRAPED}
    assert {job["job_name"] for job in PROMETHEUS["scrape_configs"]} == SCRAPED.keys()


def test_prometheus_reads_the_mounted_file() -> None:
    service = SERVICES["prometheus"]
    flags = dict(flag.removeprefix("--").split("=", 1) for flag in service["command"])
    mounts = {volume.split(":")[1]: volume.split(":")[0] for volume in service["volumes"]}
    file = PurePosixPath(flags["config.file"])
    assert (ROOT / mounts[str(file.parent)] / file.name).resolve() == PROMETHEUS_FILE
    assert mounts[flags["storage.tsdb.path"]] in COMPOSE["volumes"]


def test_alerts_reach_alertmanager_and_it_reads_the_mounted_file() -> None:
    [place] = PROMETHEUS["alerting"]["alertmanagers"]
    [address] = place["static_configs"][0]["targets"]
    name, _, port = address.partition(":")
    assert int(port) in {inside for _, _, inside in ports(name)}
    flags = dict(flag.removeprefix("--").split("=", 1) for flag in SERVICES[name]["command"])
    mounts = {volume.split(":")[1]: volume.split(":")[0] for volume in SERVICES[name]["volumes"]}
    file = PurePosixPath(flags["config.file"])
    assert (ROOT / mounts[str(file.parent)] / file.name).is_file()
    assert mounts[flags["storage.path"]] in COMPOSE["volumes"]


# Secrets


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_no_secret_stands_in_the_file(service: str) -> None:
    """What Grafana and the page keep secret comes from files that are made at the first start, in a volume."""
    volumes = {mount.split(":")[1]: mount.split(":")[0] for mount in SERVICES[service].get("volumes", [])}
    for name, value in SERVICES[service].get("environment", {}).items():
        assert "@" not in value or name.startswith("KAFKA_"), f"{name} may hold a password"
        if re.search("PASSWORD|SECRET|TOKEN", name):
            assert name.endswith(("__FILE", "_TOKENS")), f"{name} is not the path of a file"
            assert volumes[str(PurePosixPath(value).parent)] in COMPOSE["volumes"]


def test_the_page_has_a_token_of_its_own(tmp_path: Path) -> None:
    """One made at the first start, in the volume and the file that the web server reads."""
    tokens = PurePosixPath(settings_of("web").web_tokens)
    maker = OURS["web-token"]
    assert maker["command"] == [str(tokens.parent)]
    assert f"web:{tokens.parent}" in maker["volumes"]
    assert f"web:{tokens.parent}" in OURS["web"]["volumes"]
    folders = next(rest for word, rest in DOCKERFILE if word == "RUN" and "install -d" in rest)
    assert str(tokens.parent) in folders.split()

    def start() -> str:
        script = ROOT / "deploy" / "web" / "first-start.sh"
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        subprocess.run(["sh", str(script), str(tmp_path)], check=True, timeout=60, env={**os.environ, "PATH": path})
        return (tmp_path / "desk_token").read_text("ascii").strip()

    token = start()
    found = TokenFile(tmp_path / tokens.name).find(token)
    assert found is not None
    assert (found.user, found.role, found.once) == ("desk", "operator", False)
    assert {file.stat().st_mode & 0o077 for file in tmp_path.iterdir()} == {0}
    assert start() == token, "a second start keeps it"


def test_notices_are_wanted_before_they_are_sent() -> None:
    """The notifier starts in a profile of its own, with a file of webhooks that it can read."""
    notifier = OURS["notifier"]
    assert notifier["profiles"] == ["notices"]
    [mount] = notifier["volumes"]
    source, inside, _ = mount.split(":")
    assert inside == settings_of("notifier").notices
    secrets = re.findall(r'^secret_env = "(\w+)"', (ROOT / source).read_text("utf-8"), re.MULTILINE)
    assert read_routes(ROOT / source, dict.fromkeys(secrets, "x" * 32))
    assert all(entry["required"] is False for entry in notifier["env_file"])


def test_grafana_has_a_password_of_its_own(tmp_path: Path) -> None:
    def start() -> dict[str, str]:
        script = ROOT / "deploy" / "grafana" / "first-start.sh"
        subprocess.run(["sh", str(script), str(tmp_path)], check=True, timeout=30)
        return {file.name: file.read_text("ascii") for file in tmp_path.iterdir()}

    made = start()
    environment = SERVICES["grafana"]["environment"]
    files = {PurePosixPath(value).name for name, value in environment.items() if name.endswith("__FILE")}
    assert set(made) == files == {"admin_password", "secret_key"}
    assert {"GF_SECURITY_ADMIN_PASSWORD__FILE", "GF_SECURITY_SECRET_KEY__FILE"} <= set(environment)
    assert all(re.fullmatch(r"[\w+/]{32}", secret) for secret in made.values())
    assert len(set(made.values())) == 2
    assert {file.stat().st_mode & 0o077 for file in tmp_path.iterdir()} == {0}
    assert start() == made, "a second start keeps them"


@pytest.mark.services
def test_promtool_accepts_the_configuration() -> None:
    promtool = shutil.which("promtool")
    require(promtool, "promtool is absent (Debian: apt-get install prometheus)")
    checked = subprocess.run([str(promtool), "check", "config", str(PROMETHEUS_FILE)], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr
