"""Child processes of the demo and of tests: verbs of crossmargin with their own settings, watched, and ended by their id."""

import http.client
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from streams.settings import ENVIRONMENT, Settings, UserError, environment

LAST_LINES: Final = 15
STOP_SECONDS: Final = 15.0


class ChildEnded(UserError):
    """A child ended by itself; last_lines is what it wrote last."""

    def __init__(self, line: str, last_lines: list[str]) -> None:
        super().__init__(line)
        self.last_lines = last_lines


class Child:
    """A verb of crossmargin as a process that reads no terminal and writes to a file; ends when its context does.

    It and its temporary files live in the folder. A Ctrl-C in the terminal does not reach it: whoever started it ends it.
    """

    def __init__(self, verb: str, settings: Settings, folder: Path, more: Mapping[str, str] | None = None) -> None:
        self.verb = verb
        self.log = folder / f"{verb}.log"
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(ENVIRONMENT)}
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "streams", verb],
                cwd=folder,
                env={**inherited, "PYTHONUNBUFFERED": "1", "TMPDIR": str(folder), **environment(settings), **(more or {})},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The process id, also of one that has ended."""
        return self._process.pid

    def check(self) -> None:
        """Raise ChildEnded if it is not running any more."""
        status = self._process.poll()
        if status is not None:
            raise ChildEnded(f"the {self.verb} ended by itself, exit status {status}", self.last_lines())

    def last_lines(self) -> list[str]:
        """What it wrote last."""
        return self.log.read_text("utf-8", "replace").splitlines()[-LAST_LINES:]

    def terminate(self) -> None:
        """Ask it to end (SIGTERM), without waiting."""
        if self._process.poll() is None:
            self._process.terminate()

    def kill(self) -> None:
        """End it at once, as a crash does (SIGKILL)."""
        self._process.kill()
        self._process.wait()

    def stop(self, seconds: float = STOP_SECONDS) -> int:
        """Ask it to end, wait, kill it when it does not; its exit status."""
        self.terminate()
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()


def answers(host: str, port: int, path: str) -> bool:
    """Whether a GET of this path answers 200."""
    connection = http.client.HTTPConnection(host, port, timeout=1)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def ready(host: str, port: int) -> str:
    """Why the process behind /readyz is not ready, "" when it is."""
    connection = http.client.HTTPConnection(host, port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        text = answer.read().decode().strip()
    except (OSError, http.client.HTTPException):
        return "starting"
    finally:
        connection.close()
    return "" if answer.status == 200 else text.removeprefix("not ready: ")
