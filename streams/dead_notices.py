"""Topic `notices.dead`: posts of the notifier that were given up, and which of them still wait to be sent again.

A letter's key is ROUTE:ID. An empty message under the same key says that it is settled: sent again, or dropped. So the topic
alone tells what waits, whoever looks, and a letter that is written twice is one.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Final

import msgspec
from confluent_kafka import Message

from streams import kafka
from streams.settings import Settings
from streams.topics import DEAD_NOTICES

_encode: Final = msgspec.json.Encoder().encode


class DeadNotice(msgspec.Struct, frozen=True, kw_only=True):
    """A message of `notices.dead`: a post that was given up, whole but for its signature.

    ts_ns: wall time. is_post: false where the alert could not be read, so that the body is no post.
    """

    route: str
    id: str
    reason: str
    ts_ns: int
    body: str
    is_post: bool = True


_decode: Final = msgspec.json.Decoder(DeadNotice).decode


def keep(delivery: kafka.Delivery, notice: DeadNotice) -> None:
    """Write a letter; the caller waits for its delivery."""
    delivery.send(DEAD_NOTICES, 0, _encode(notice), f"{notice.route}:{notice.id}".encode())


def settle(delivery: kafka.Delivery, key: bytes) -> None:
    """Write that the letter of this key waits no more; the caller waits for the delivery."""
    delivery.send(DEAD_NOTICES, 0, None, key)


class Waiting:
    """The letters that wait, by key, the first written first: read() follows the topic.

    Only keys and places are kept, about 200 bytes a letter.
    """

    def __init__(self) -> None:
        self.offsets: dict[bytes, int] = {}
        self._first = self._next = 0

    def read(self, settings: Settings) -> None:
        """Read what has come to the topic; UserError where Kafka does not answer."""
        first, end = kafka.log_range(settings, DEAD_NOTICES).get(0, (0, 0))
        if first > self._first:  # someone cut the topic
            self._first = first
            self.offsets = {key: offset for key, offset in self.offsets.items() if offset >= first}
        for message in kafka.read_partition(settings, DEAD_NOTICES, 0, max(first, self._next), end):
            key = message.key() or b""
            self.offsets.pop(key, None)
            if message.value() is not None:
                self.offsets[key] = message.offset() or 0
        self._next = end

    def by_route(self) -> Counter[str]:
        """How many wait of each route."""
        return Counter(key.partition(b":")[0].decode("utf-8", "replace") for key in self.offsets)

    def letters(self, settings: Settings) -> Iterator[tuple[bytes, DeadNotice]]:
        """Key and letter of all that wait now, the first written first."""
        wanted = {offset: key for key, offset in self.offsets.items()}
        if wanted:
            for message in kafka.read_partition(settings, DEAD_NOTICES, 0, min(wanted), max(wanted) + 1):
                if message.offset() in wanted:
                    yield message.key() or b"", _letter(message)


def _letter(message: Message) -> DeadNotice:
    """The letter in a message; what is none is a letter that cannot be sent."""
    raw = message.value() or b""
    try:
        return _decode(raw)
    except msgspec.DecodeError as error:
        route, _, notice_id = (message.key() or b"").decode("utf-8", "replace").partition(":")
        reason, ts_ns = f"not a dead letter of crossmargin: {error}", message.timestamp()[1] * 1_000_000
        return DeadNotice(
            route=route, id=notice_id, reason=reason, ts_ns=ts_ns, body=raw.decode("utf-8", "replace"), is_post=False
        )
