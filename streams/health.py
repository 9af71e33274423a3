"""The small HTTP server of a long-running process: /metrics, /healthz and /readyz, answered in threads of its own."""

import errno
import logging
import socket
import sys
from collections.abc import Callable
from concurrent.futures import CancelledError
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from types import TracebackType
from typing import Any, Final, Self

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from streams.settings import ConfigError, UserError, variable

logger: Final = logging.getLogger("crossmargin.health")
TEXT: Final = "text/plain; charset=utf-8"


def cannot_listen(error: OSError, host_setting: str, host: str, port_setting: str, port: int) -> UserError:
    """What is wrong with an address of two settings: a host that is not this machine's, or the port."""
    why = error.strerror or error
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        where = f"setting {host_setting} ({variable(host_setting)})"
        return ConfigError(f"{where}: found '{host}': {why}; allowed: an address of this machine")
    where = f"setting {port_setting} ({variable(port_setting)}): cannot listen on {host}:{port}"
    return UserError(f"{where}: {why}; take another port")


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away, or a failed collector, is one line, no traceback on the terminal."""
        logger.warning("a request was not answered: %r", sys.exc_info()[1])


class HealthServer:
    """Serves while it is entered.

    registry: what /metrics shows. not_ready: says why the process is not ready, "" when it is; /healthz only says that the
    process answers. Raises UserError when the address cannot be bound.
    """

    def __init__(
        self, host: str, port: int, registry: CollectorRegistry, not_ready: Callable[[], str], setting: str = "metrics_port"
    ) -> None:
        self._registry, self._not_ready = registry, not_ready
        try:
            self._server = _Server((host, port), self._handler())
        except OSError as error:
            raise cannot_listen(error, "metrics_host", host, setting, port) from error
        self._thread = Thread(target=self._server.serve_forever, args=(0.2,), name="health", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def answer(self, path: str, accept: str) -> tuple[int, str, bytes]:
        """Status, content type and body of a GET."""
        if path == "/metrics":
            encode, content_type = choose_encoder(accept)
            try:
                return 200, content_type, encode(self._registry)
            except (TimeoutError, CancelledError):
                return 503, TEXT, b"the process is too busy to tell\n"
        if path == "/healthz":
            return 200, TEXT, b"ok\n"
        if path == "/readyz":
            reason = self._not_ready()
            return (503, TEXT, f"not ready: {reason}\n".encode()) if reason else (200, TEXT, b"ready\n")
        return 404, TEXT, b"there is /metrics, /healthz and /readyz\n"

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            """One request."""

            def do_GET(self) -> None:
                status, content_type, body = server.answer(self.path.partition("?")[0], self.headers.get("Accept", ""))
                self.send_response(status)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                logger.debug(format, *args)

        return Handler
