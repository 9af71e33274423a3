"""`crossmargin notifier resend`: dead letters to their webhooks once more, each under its own id.

A letter that is taken is settled in `notices.dead`, after the post: a crash between the two sends it again, under that id.
One that fails again stays as it is, so nothing is lost; only letters that waited at the start are sent, so nothing loops.
"""

import asyncio
import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Final, Literal

import aiohttp
import msgspec
from confluent_kafka import Producer

from monitors.notices import Route
from streams import kafka
from streams.dead_notices import DeadNotice, Waiting, settle
from streams.notifier import BATCH, Hook, Notice, read_routes, stop_by_signal
from streams.notifier_figures import Tally
from streams.settings import ConfigError, Settings, UserError

TRIES: Final = 3  # of a letter, or the route's where they are fewer: someone waits for the end
Result = Literal["waiting", "sent", "dropped"]
Keyed = tuple[bytes, DeadNotice]


class Resent(msgspec.Struct, frozen=True):
    """A letter and what became of it. reason: why it fails; of one that was sent, why it once did."""

    route: str
    id: str
    result: Result
    reason: str
    age_seconds: float


def listed(settings: Settings, route: str | None) -> list[Resent]:
    """The letters that wait, of one route or of all, the oldest first; nothing is sent."""
    return [_resent(letter, "waiting", letter.reason) for _, letter in _of(route, settings, _waiting(settings))]


def resend(settings: Settings, route: str | None, drop: bool) -> list[Resent]:
    """Send the letters that wait, of one route or of all; what became of each, the oldest first.

    drop: those that fail again are settled too. SIGTERM or Ctrl-C ends it after the posts under way: what was not come to
    waits, and is not in the answer. ConfigError for a wrong file of routes and a route that neither it nor a letter names,
    UserError where Kafka does not answer.
    """
    routes = read_routes(Path(settings.notices), os.environ)

    async def run() -> list[Resent]:
        return await send_again(settings, routes, route, drop, stop_by_signal())

    return asyncio.run(run())


async def send_again(
    settings: Settings, routes: Mapping[str, Route], route: str | None, drop: bool, stop: asyncio.Event
) -> list[Resent]:
    """As resend does, with these routes, until stop is set."""
    waiting, done = _waiting(settings), list[Resent]()
    known = {*routes, *waiting.by_route()}
    if route is not None and route not in known:
        raise ConfigError(f"--route: found '{route}'; allowed: {', '.join(sorted(known))}")
    letters = _of(route, settings, waiting)
    delivery = kafka.Delivery(Producer(kafka.producer_config(settings)))
    async with aiohttp.ClientSession() as session:
        hooks = {
            name: Hook(name, msgspec.structs.replace(one, tries=min(one.tries, TRIES)), session, stop, Tally())
            for name, one in routes.items()
        }
        while batch := list(islice(letters, BATCH)):
            reasons = await _post(hooks, [letter for _, letter in batch])
            for place, reason in sorted(reasons.items()):
                key, letter = batch[place]
                if drop or not reason:
                    settle(delivery, key)
                result: Result = "sent" if not reason else "dropped" if drop else "waiting"
                done.append(_resent(letter, result, reason or letter.reason))
            if not delivery.wait(kafka.REQUEST_SECONDS):
                raise UserError(
                    f"Kafka at {settings.kafka} did not acknowledge in {kafka.REQUEST_SECONDS:.0f} s what was sent"
                )
            if stop.is_set():
                break
    return done


async def _post(hooks: Mapping[str, Hook], letters: Sequence[DeadNotice]) -> dict[int, str]:
    """Why each fails, "" for what was taken, by place; without those that were not come to before the end."""
    reasons: dict[int, str] = {}
    chains: dict[str, dict[str, list[Notice]]] = {}
    for place, letter in enumerate(letters):
        if not letter.is_post:
            reasons[place] = letter.reason
        elif letter.route not in hooks:
            reasons[place] = f"no route {letter.route} is configured"
        else:
            notice = Notice((0, place), letter.id, letter.ts_ns, letter.body.encode())
            account = letter.id.rpartition(":")[0]
            chains.setdefault(letter.route, {}).setdefault(account, []).append(notice)
    async with asyncio.TaskGroup() as group:
        posts = [group.create_task(hooks[name].deliver_all(of.values(), math.inf)) for name, of in chains.items()]
    return reasons | {notice.place[1]: reason for post in posts for notice, reason in post.result()}


def _waiting(settings: Settings) -> Waiting:
    waiting = Waiting()
    waiting.read(settings)
    return waiting


def _of(route: str | None, settings: Settings, waiting: Waiting) -> Iterator[Keyed]:
    return ((key, letter) for key, letter in waiting.letters(settings) if route in (None, letter.route))


def _resent(letter: DeadNotice, result: Result, reason: str) -> Resent:
    return Resent(letter.route, letter.id, result, reason, round(time.time() - letter.ts_ns / 1e9, 1))
