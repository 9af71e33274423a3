"""A Prometheus and an Alertmanager of one test's own, with the project's configuration but other targets."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

import yaml

from streams.embedded import LOOPBACK, free_port
from tests.services import ROOT, require, wait_until

DEPLOY: Final = ROOT / "deploy"
INTERVAL: Final = "500ms"
DURATION: Final = re.compile(r"\b(\d+)([smh])\b")
UNITS_MS: Final = {"s": 1000, "m": 60_000, "h": 3_600_000}


def answer(url: str) -> Any:
    """The JSON of a GET; None while nobody answers."""
    try:
        with urlopen(url, timeout=10) as response:
            return json.load(response)
    except URLError:
        return None


class Prometheus:
    """A running one, at a URL."""

    def __init__(self, url: str) -> None:
        self.url = url

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The samples of an instant query, those without a number left out."""
        found = answer(f"{self.url}/api/v1/query?{urlencode({'query': expression})}")
        assert found["status"] == "success", expression
        return [sample for sample in found["data"]["result"] if sample["value"][1] != "NaN"]

    def rules(self) -> list[dict[str, Any]]:
        """Every rule with its health."""
        found = answer(f"{self.url}/api/v1/rules")
        return [rule for group in found["data"]["groups"] for rule in group["rules"]]

    def firing(self) -> set[str]:
        """The alerts that fire."""
        return {sample["metric"]["alertname"] for sample in self.query('ALERTS{alertstate="firing"}')}

    def is_ready(self) -> bool:
        """Whether it has begun to scrape."""
        return answer(f"{self.url}/api/v1/status/runtimeinfo") is not None


@contextmanager
def running(program: str, package: str, folder: Path, *words: str) -> Iterator[None]:
    """A program that ends with the context; what it says goes to a file in the folder."""
    found = shutil.which(program)
    require(found, f"{program} is absent (Debian: apt-get install {package})")
    with (folder / f"{program}.log").open("wb") as output:
        process = subprocess.Popen([str(found), *words], stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


def _hasten(folder: Path, faster: int) -> None:
    """Copy the rules into a folder, every duration in them divided."""

    def divided(found: re.Match[str]) -> str:
        return f"{int(found[1]) * UNITS_MS[found[2]] // faster}ms"

    for file in (DEPLOY / "prometheus" / "rules").glob("*.yml"):
        (folder / file.name).write_text(DURATION.sub(divided, file.read_text("utf-8")), "utf-8")


@contextmanager
def prometheus(
    folder: Path, targets: Mapping[str, Sequence[str]], alertmanager: str, faster: int = 1
) -> Iterator[Prometheus]:
    """With deploy/prometheus as it is, but for intervals, the addresses of jobs and Alertmanager, and jobs without targets.

    faster: rules look back and wait for so small a part of what they say.
    """
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text("utf-8"))
    config["global"] = dict.fromkeys(config["global"], INTERVAL)
    rules = folder / "rules"
    rules.mkdir()
    _hasten(rules, faster)
    config["rule_files"] = [str(folder / pattern) for pattern in config["rule_files"]]
    config["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"] = [alertmanager]
    config["scrape_configs"] = [job for job in config["scrape_configs"] if job["job_name"] in targets]
    for job in config["scrape_configs"]:
        del job["dns_sd_configs"]
        job["static_configs"] = [{"targets": list(targets[job["job_name"]])}]
    file = folder / "prometheus.yml"
    file.write_text(yaml.safe_dump(config), "utf-8")
    address = f"{LOOPBACK}:{free_port()}"
    words = f"--config.file={file}", f"--storage.tsdb.path={folder / 'tsdb'}", f"--web.listen-address={address}"
    again = "--rules.alert.resend-delay=1s"  # the first are sent before it has found Alertmanager
    with running("prometheus", "prometheus", folder, *words, again):
        server = Prometheus(f"http://{address}")
        wait_until(server.is_ready, what="Prometheus")
        yield server


@contextmanager
def alertmanager(folder: Path) -> Iterator[str]:
    """The address of one with deploy/alertmanager as it is."""
    address = f"{LOOPBACK}:{free_port()}"
    file = DEPLOY / "alertmanager" / "alertmanager.yml"
    words = f"--config.file={file}", f"--storage.path={folder / 'alertmanager'}", f"--web.listen-address={address}"
    with running("prometheus-alertmanager", "prometheus-alertmanager", folder, *words, "--cluster.listen-address="):
        wait_until(lambda: answer(f"http://{address}/api/v2/status"), what="Alertmanager")
        yield address
