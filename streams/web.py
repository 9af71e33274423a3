"""The web server: the page's files, the JSON API and the live WebSocket, behind tokens. It reads Redis, writes actions."""

import asyncio
import logging
import mimetypes
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
from aiohttp import web
from confluent_kafka import Producer
from prometheus_client import CollectorRegistry
from redis.exceptions import RedisError

from engine.documents import Action
from engine.events import TOPIC_OF, Kind
from streams import kafka
from streams.health import HealthServer, cannot_listen
from streams.settings import Settings
from streams.web_access import COOKIE, SESSION_SECONDS, Access, TokenFile, Who
from streams.web_api import ROUTES, Api, Ask, Refusal, Route
from streams.web_desk import Desk
from streams.web_figures import Figures
from streams.web_live import Live
from streams.web_openapi import document
from streams.web_schema import Problem, Session

PAGE: Final = Path(__file__).parents[1] / "monitors" / "web"
MAX_BODY_BYTES: Final = 1 << 20
ACTION_SECONDS: Final = 10.0
# perspective, which holds the page's table, is WebAssembly, and loads a module and its worker from blobs of its own bundle.
POLICY: Final = (
    "default-src 'none'; script-src 'self' blob: 'wasm-unsafe-eval'; style-src 'self'; img-src 'self'; connect-src 'self';"
    " worker-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# Files of the page that stand in the wheel of a library.
BUNDLED: Final = {"vendor/perspective.js": ("perspective-python", "perspective/widget/static/perspective-anywidget.js")}
HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}
TYPES: Final = {".wasm": "application/wasm", ".js": "text/javascript", ".mjs": "text/javascript", ".woff2": "font/woff2"}
logger: Final = logging.getLogger("crossmargin.web")
_encode: Final = msgspec.json.Encoder().encode
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def run(settings: Settings) -> None:
    """Serve until SIGTERM or Ctrl-C. UserError where the address cannot be bound or the token file not read."""
    asyncio.run(_run(settings))


async def _run(settings: Settings) -> None:
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    server, registry = Server(settings), CollectorRegistry()
    registry.register(server.figures)
    health = HealthServer(
        settings.metrics_host, settings.web_metrics_port, registry, server.figures.not_ready, "web_metrics_port"
    )
    with health:
        async with serving(server) as url:
            logger.info("listening on %s", url)
            if not Path(settings.web_tokens).is_file():
                logger.warning("nobody can log in: %s holds no token (crossmargin web-token add USER)", settings.web_tokens)
            await ended.wait()


@asynccontextmanager
async def serving(server: "Server") -> AsyncIterator[str]:
    """The server's URL, while it serves; port 0 takes a free one."""
    settings = server.settings
    runner = web.AppRunner(server.application(), access_log=None, shutdown_timeout=2)
    await runner.setup()
    site = web.TCPSite(runner, settings.web_host, settings.web_port)
    try:
        await site.start()
    except OSError as error:
        await runner.cleanup()
        raise cannot_listen(error, "web_host", settings.web_host, "web_port", settings.web_port) from error
    try:
        host, port = runner.addresses[0][:2]
        yield f"http://{f'[{host}]' if ':' in host else host}:{port}"
    finally:
        await runner.cleanup()


class Server:
    """Lets requests in, checks them, and turns answers and refusals into responses."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._access = Access(TokenFile(Path(settings.web_tokens)), settings.web_requests_per_second)
        self._live = Live(settings)
        self._desk = Desk(self._live)
        self._api = Api(self._live, self._desk, self._publish)
        self.figures = Figures(self._live, self._access)
        self._producer: Producer | None = None
        self._openapi = document(ROUTES)

    def application(self) -> web.Application:
        """The aiohttp application with all routes; it polls Redis while it runs."""
        app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[self._guard])
        for route in ROUTES:
            app.router.add_route(route.method, route.path, self._handler(route))
        app.router.add_get("/{path:.*}", self._file)
        app.cleanup_ctx.append(self._polling)
        app.on_shutdown.append(lambda app: self._live.close_sockets())
        return app

    async def _polling(self, app: web.Application) -> AsyncIterator[None]:
        work = self._live.run(), self._live.follow_slowly(), self._desk.run()
        tasks = [asyncio.create_task(one, name="web") for one in work]
        yield
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        self._desk.close()
        self._live.close()

    # --- every request

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Refusals as JSON, and the headers that every response has."""
        try:
            response = await handler(request)
        except Refusal as refusal:
            response = _json(Problem(error=str(refusal)), refusal.status, refusal.headers)
        except web.HTTPException as error:
            allow = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
            response = _json(Problem(error=error.reason), error.status, allow)
        except RedisError as error:
            response = _json(Problem(error=f"Redis does not answer: {error}"), 503, {"Retry-After": "1"})
        except Exception:
            self.figures.answered(500)  # which aiohttp answers, and logs
            raise
        self.figures.answered(response.status)
        if not response.prepared:
            response.headers.update(HEADERS)
            response.headers.setdefault("Cache-Control", "no-store")
        return response

    def _handler(self, route: Route) -> Handler:
        own = {"openapi": self._send_openapi, "log_in": self._log_in, "log_out": self._log_out, "live": self._send_live}
        special = own.get(route.handler)

        async def handle(request: web.Request) -> web.StreamResponse:
            who = self._let_in(request, route)
            self._check_origin(request, route, who)
            ask = Ask(who, _ids(request, route), _query(request, route), await _body(request, route))
            if special is not None:
                return await special(request, ask)
            return _json(await getattr(self._api, route.handler)(ask))

        return handle

    def _let_in(self, request: web.Request, route: Route) -> Who | None:
        """Who asks, where the route wants to know: 401 for nobody, 429 for too often, 403 for a viewer's act."""
        kind, _, secret = request.headers.get("Authorization", "").partition(" ")
        who = self._access.by_token(secret.strip()) if kind.lower() == "bearer" else None
        if who is None and (cookie := request.cookies.get(COOKIE)):
            who = self._access.by_cookie(cookie)
        wait_seconds = self._access.wait_seconds(who.sha256 if who is not None else f"from {request.remote}")
        if wait_seconds:
            limit = self.settings.web_requests_per_second
            raise Refusal(429, f"more than {limit:g} requests a second", {"Retry-After": str(int(wait_seconds) + 1)})
        if route.role is None:
            return who
        if who is None:
            raise Refusal(401, "no valid token or session", {"WWW-Authenticate": "Bearer"})
        if route.role == "operator" and who.role != "operator":
            raise Refusal(403, f"{who.user} is a {who.role}; this takes an operator")
        return who

    def _check_origin(self, request: web.Request, route: Route, who: Who | None) -> None:
        """A page of another origin may neither change anything nor open the WebSocket with somebody's cookie."""
        if route.method == "GET" and route.handler != "live":
            return
        origin = request.headers.get("Origin")
        if origin is not None and urlsplit(origin).netloc != request.host:
            raise Refusal(403, f"origin {origin[:100]} is not {request.host}")
        if origin is None and who is not None and who.session:
            raise Refusal(403, "a session's request must name its origin")

    # --- what is not plain JSON

    async def _send_openapi(self, request: web.Request, ask: Ask) -> web.StreamResponse:
        return web.Response(body=self._openapi, content_type="application/json")

    async def _log_in(self, request: web.Request, ask: Ask) -> web.StreamResponse:
        found = self._access.log_in(ask.body.token)
        if found is None:
            raise Refusal(401, "this token is not known, or was used already", {"WWW-Authenticate": "Bearer"})
        who, cookie = found
        response = _json(Session(user=who.user, role=who.role))
        secure = request.secure or request.headers.get("X-Forwarded-Proto") == "https"
        response.set_cookie(
            COOKIE, cookie, max_age=SESSION_SECONDS, httponly=True, samesite="Strict", secure=secure, path="/api"
        )
        return response

    async def _log_out(self, request: web.Request, ask: Ask) -> web.StreamResponse:
        assert ask.who is not None
        self._access.log_out(ask.who)
        response = _json(Session(user=ask.who.user, role=ask.who.role))
        response.del_cookie(COOKIE, path="/api")
        return response

    async def _send_live(self, request: web.Request, ask: Ask) -> web.StreamResponse:
        who = ask.who
        assert who is not None
        if not web.WebSocketResponse().can_prepare(request).ok:
            raise Refusal(426, "this is a WebSocket", {"Upgrade": "websocket"})
        if self._live.is_full:
            raise Refusal(429, "too many live pages are open", {"Retry-After": "10"})
        return await self._live.serve(request, lambda: self._access.is_current(who))

    async def _file(self, request: web.Request) -> web.StreamResponse:
        """A file of the page."""
        folder, path = PAGE.resolve(), request.match_info["path"]
        try:
            if path in BUNDLED:
                wheel, inside = BUNDLED[path]
                found = Path(str(distribution(wheel).locate_file(inside)))
            else:
                found = (folder / (path or "index.html")).resolve()
            is_there = found.is_file() and (path in BUNDLED or found.is_relative_to(folder))
        except (OSError, ValueError, PackageNotFoundError):  # a name too long, or with a zero byte; a wheel not installed
            is_there = False
        if not is_there or path.startswith("api/"):
            raise Refusal(404, "found nothing here")
        kind = TYPES.get(found.suffix) or mimetypes.guess_type(found.name)[0] or "application/octet-stream"
        return web.FileResponse(found, headers={"Content-Type": kind, "Cache-Control": "no-cache"})

    # --- actions

    async def _publish(self, action: Action) -> None:
        """Put an action on its topic; 503 where Kafka does not take it in time."""
        if self._producer is None:
            self._producer = Producer(
                kafka.producer_config(self.settings, **{"message.timeout.ms": int(ACTION_SECONDS * 1e3)})
            )
        producer, done = self._producer, list[Any]()
        producer.produce(
            TOPIC_OF[Kind.ACTION], _encode(action), action.account.encode(), on_delivery=lambda error, _: done.append(error)
        )
        while not done:
            await asyncio.to_thread(producer.poll, 0.05)
        self.figures.actions["taken" if done[0] is None else "failed"] += 1
        if done[0] is not None:
            raise Refusal(503, f"Kafka did not take the action: {done[0].str()}", {"Retry-After": "5"})


def _json(answer: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(body=_encode(answer), status=status, headers=headers, content_type="application/json")


def _ids(request: web.Request, route: Route) -> dict[str, str]:
    """What stands in the path, in range."""
    return {name: _checked(request.match_info[name], kind, f"{name} in the path") for name, kind in route.ids}


def _query(request: web.Request, route: Route) -> Any:
    """The query as the route's form; a name that is given twice is refused."""
    found = dict(request.query)
    if len(found) != len(request.query):
        raise Refusal(400, "query: a name is given twice")
    if route.query is None:
        return None
    return _checked(found, route.query, "query", strict=False)


async def _body(request: web.Request, route: Route) -> Any:
    """The body as the route's form."""
    if route.body is None:
        return None
    if request.content_type != "application/json":
        raise Refusal(415, f"content type: found {request.content_type[:100]}; allowed: application/json")
    raw = await request.read()
    try:
        return msgspec.json.decode(raw, type=route.body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Refusal(400, f"body: {error}") from error


def _checked(value: Any, kind: Any, where: str, *, strict: bool = True) -> Any:
    try:
        return msgspec.convert(value, kind, strict=strict)
    except msgspec.ValidationError as error:
        raise Refusal(400, f"{where}: {error}") from error
