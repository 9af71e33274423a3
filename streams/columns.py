"""Events of one topic as columns of log records: exact numbers, keys, shards, and the rows that are refused.

A column of numbers goes through float64 where that is proven exact, and number by number where it is not.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import xxhash
from msgspec import UNSET
from numpy.typing import NDArray

from engine.codes import Code
from engine.events import RECORD, TOPIC_OF, Flag, Kind, key64
from engine.numbers import INT64_MAX, MAX_TIME_NS, scaled, time_ns
from streams.directory import ALL_SHARDS, Directory, Names, Refused
from streams.schema import (
    MAX_TENOR_DAYS,
    PRICE_DECIMALS,
    QUANTITY_DECIMALS,
    Collateral,
    Event,
    Position,
    Price,
    Statement,
    Trade,
    Volatility,
)

UNKNOWN_NAMES: Final = frozenset({Code.UNKNOWN_ACCOUNT, Code.UNKNOWN_INSTRUMENT, Code.UNKNOWN_ASSET})
MAX_DETAIL: Final = 400
_PROVEN: Final = 1e15  # a decimal of up to 15 digits and its double determine each other
_SHORT: Final = 16  # characters that hold at most 15 digits, or a number too large to be proven
_DECIMAL: Final = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?")
_DECIMALS: Final = re.compile(rf"(?:{_DECIMAL.pattern},)*+")
_hash: Final = xxhash.xxh3_64_intdigest


def clip(text: str) -> str:
    """The text, cut where it would fill a reject with what the raw bytes say anyway."""
    return text if len(text) <= MAX_DETAIL else f"{text[:MAX_DETAIL]}..."


# Numbers and times, one at a time


def exact(name: str, value: int | float | str, decimals: int) -> int:
    """value x 10^decimals as the exact int64; Refused with the field's name when it is no decimal, too fine or too large."""
    try:
        return _scaled_text(name, value, decimals) if isinstance(value, str) else scaled(value, 10**decimals)
    except Refused:
        raise
    except ValueError as error:
        raise Refused(Code.OUT_OF_RANGE, clip(f"{name}: {error}; allowed: up to {decimals} decimals")) from error


def _scaled_text(name: str, text: str, decimals: int) -> int:
    if len(text) > 40 or not _DECIMAL.fullmatch(text):
        raise Refused(Code.BAD_FIELD, f"{name}: found {text[:48]!r}; allowed: a number, or a decimal string such as '-12.5'")
    whole, _, fraction = text.partition(".")
    if len(fraction) > decimals:
        fraction = fraction.rstrip("0")
        if len(fraction) > decimals:
            raise ValueError(f"{text!r} has more than {decimals} decimals")
    result = int(whole + fraction.ljust(decimals, "0"))
    if not -INT64_MAX <= result <= INT64_MAX:
        raise ValueError(f"{text!r} is outside the range of +-{INT64_MAX / 10**decimals:.10g}")
    return result


def exact_time(name: str, value: int | str) -> int:
    """Nanoseconds since 1970; Refused with the field's name when the value is no time, or outside 1970 to 2100."""
    try:
        return time_ns(value)
    except ValueError as error:
        code = Code.OUT_OF_RANGE if isinstance(value, int) or "outside" in str(error) else Code.BAD_FIELD
        found = f"{name}: found {str(value)[:48]!r}: {error}"
        allowed = "nanoseconds since 1970 or an RFC 3339 time, 1970 to 2100"
        raise Refused(code, clip(f"{found}; allowed: {allowed}")) from error


# Events to columns


class Columns:
    """Events of one topic as records (origins not filled in), the shard of each, and the rows that are refused."""

    def __init__(self, kind: Kind, events: Sequence[Any], directory: Directory) -> None:
        self.records = np.zeros(len(events), RECORD)
        self.records["kind"] = kind
        self.shards = np.full(len(events), ALL_SHARDS, np.int32)
        self.refused: dict[int, Refused] = {}
        self._directory = directory
        if len(events):
            self.records["ts_ns"] = self._times([event.ts for event in events])
            _FILL[kind](self, events)

    def refuse(self, row: int, code: Code, detail: str) -> None:
        """Refuse a row; the first reason found stays."""
        self.refused.setdefault(row, Refused(code, clip(detail)))

    def trades(self, events: Sequence[Trade]) -> None:
        """TRADE: signed quantity, price."""
        quantity = self._numbers("qty", [event.qty for event in events], QUANTITY_DECIMALS)
        for row in np.flatnonzero(quantity == 0).tolist():
            self.refuse(row, Code.BAD_FIELD, "qty: found 0; allowed: a quantity other than 0")
        self.records["quantity"] = quantity
        self.records["price"] = self._numbers("price", [event.price for event in events], PRICE_DECIMALS)
        self._remember(Kind.TRADE, events, [event.source for event in events])
        self._instruments("instrument", [event.instrument for event in events])

    def prices(self, events: Sequence[Price]) -> None:
        """PRICE: the price, or the mid of bid and ask rounded half to even."""
        self.records["price"] = self._marks(events)
        settlement = np.fromiter((event.settlement for event in events), np.bool_, len(events))
        self.records["flags"] = np.where(settlement, Flag.SETTLEMENT.value, 0)
        self._printable("source", [event.source for event in events])
        self._instruments("instrument", [event.instrument for event in events])

    def volatilities(self, events: Sequence[Volatility]) -> None:
        """VOLATILITY: tenor in days as quantity, volatility as price."""
        tenor = self._numbers("tenor_days", [event.tenor_days for event in events], QUANTITY_DECIMALS)
        for row in np.flatnonzero((tenor <= 0) | (tenor > MAX_TENOR_DAYS * 10**QUANTITY_DECIMALS)).tolist():
            found = f"tenor_days: found {events[row].tenor_days}"
            self.refuse(row, Code.OUT_OF_RANGE, f"{found}; allowed: over 0, up to {MAX_TENOR_DAYS}")
        self.records["quantity"] = tenor
        basis_points = np.fromiter((event.vol_bp is not UNSET for event in events), np.bool_, len(events))
        values = [event.vol if event.vol_bp is UNSET else event.vol_bp for event in events]
        for row, event in enumerate(events):
            if (event.vol is UNSET) == (event.vol_bp is UNSET):
                self.refuse(row, Code.BAD_FIELD, f"found {_found(event, 'vol', 'vol_bp')}; allowed: either vol or vol_bp")
        volatility = self._numbers("vol", [0 if value is UNSET else value for value in values], PRICE_DECIMALS)
        for row in np.flatnonzero(volatility <= 0).tolist():
            self.refuse(row, Code.OUT_OF_RANGE, f"vol: found {values[row]}; allowed: over 0")
        self.records["price"] = volatility
        self.records["flags"] = np.where(basis_points, Flag.BASIS_POINTS.value, 0)
        self._instruments("underlying", [event.underlying for event in events])

    def collateral(self, events: Sequence[Collateral]) -> None:
        """COLLATERAL: the change, or with REPLACE the new total."""
        self.records["quantity"] = self._numbers("qty", [event.qty for event in events], QUANTITY_DECIMALS)
        replace = np.fromiter((event.replace for event in events), np.bool_, len(events))
        self.records["flags"] = np.where(replace, Flag.REPLACE.value, 0)
        self._remember(Kind.COLLATERAL, events, [event.source for event in events])
        self.records["instrument"] = self._keys("asset", [event.asset for event in events], self._directory.assets)

    def positions(self, events: Sequence[Position]) -> None:
        """POSITION: signed quantity, and the price it is carried at."""
        self.records["quantity"] = self._numbers("qty", [event.qty for event in events], QUANTITY_DECIMALS)
        self.records["price"] = self._numbers("price", [event.price for event in events], PRICE_DECIMALS)
        self._remember(Kind.POSITION, events, [""] * len(events))
        self._instruments("instrument", [event.instrument for event in events])

    def statements(self, events: Sequence[Statement]) -> None:
        """STATEMENT: a quantity of an instrument, or with ASSET of an asset; its source is the holder."""
        self.records["quantity"] = self._numbers("qty", [event.qty for event in events], QUANTITY_DECIMALS)
        for row, event in enumerate(events):
            if (event.instrument is UNSET) == (event.asset is UNSET):
                found = _found(event, "instrument", "asset")
                self.refuse(row, Code.BAD_FIELD, f"found {found}; allowed: either instrument or asset")
        holders = [event.holder for event in events]
        self._remember(Kind.STATEMENT, events, holders)
        self.records["price"] = np.fromiter(map(key64, holders), np.uint64, len(holders)).view(np.int64)
        of_asset = np.fromiter((event.instrument is UNSET for event in events), np.bool_, len(events))
        self.records["flags"] = np.where(of_asset, Flag.ASSET.value, 0)
        for name, names, mask in (
            ("instrument", self._directory.instruments, ~of_asset),
            ("asset", self._directory.assets, of_asset),
        ):
            rows = np.flatnonzero(mask).tolist()
            ids = ["" if (value := getattr(events[row], name)) is UNSET else value for row in rows]
            self.records["instrument"][rows] = self._keys(name, ids, names, rows)

    def actions(self, events: Sequence[Any]) -> None:
        """ACTION: travels as a document; the row only has its time and its account's shard."""
        self._accounts([event.account for event in events])

    def _remember(self, kind: Kind, events: Sequence[Any], sources: list[str]) -> None:
        """Account and shard of each event, and the key under which its id is remembered (events.id_key)."""
        ids, accounts = [event.id for event in events], [event.account for event in events]
        self._printable("id", ids)
        self._printable("source", sources)
        self._accounts(accounts)
        topic = TOPIC_OF[kind]
        names = zip(accounts, sources, ids, strict=True)
        keys = [_hash(f"{topic}\0{account}\0{source}\0{one}".encode()) for account, source, one in names]
        self.records["id"] = np.maximum(np.fromiter(keys, np.uint64, len(keys)), np.uint64(1))

    def _accounts(self, accounts: list[str]) -> None:
        slots = self._slots("account", accounts, self._directory.accounts)
        self.records["account"] = self._directory.accounts.keys[slots]
        self.shards = self._directory.account_shards[slots]

    def _instruments(self, name: str, ids: list[str]) -> None:
        self.records["instrument"] = self._keys(name, ids, self._directory.instruments)

    def _keys(self, name: str, ids: list[str], names: Names, rows: Sequence[int] | None = None) -> NDArray[np.uint64]:
        return names.keys[self._slots(name, ids, names, rows)]

    def _slots(self, name: str, ids: list[str], names: Names, rows: Sequence[int] | None = None) -> NDArray[np.int32]:
        """The slot of each id; rows whose id is unknown are refused (their slot is -1)."""
        slots = names.find(ids)
        for i in np.flatnonzero(slots < 0).tolist():
            row = i if rows is None else rows[i]
            self._printable(name, [ids[i]], row)
            self.refuse(row, _UNKNOWN_CODE[name], f"{name}: found '{ids[i]}'; allowed: what topic reference defines")
        return slots

    def _printable(self, name: str, ids: list[str], first_row: int = 0) -> None:
        text = "".join(ids)
        if not (text.isascii() and text.isprintable()):
            for row, one in enumerate(ids, first_row):
                if not (one.isascii() and one.isprintable()):
                    self.refuse(row, Code.BAD_FIELD, f"{name}: found {one!a}; allowed: printable ASCII, up to 64 characters")

    def _times(self, values: list[int | str]) -> NDArray[np.int64]:
        if set(map(type, values)) == {int}:
            try:
                times = np.array(values, np.int64)
            except OverflowError:
                pass  # one is beyond int64: one by one then
            else:
                if times.min() >= 0 and times.max() <= MAX_TIME_NS:
                    return times
        times = np.zeros(len(values), np.int64)
        for row, value in enumerate(values):
            try:
                times[row] = exact_time("ts", value)
            except Refused as refused:
                self.refused.setdefault(row, refused)
        return times

    def _numbers(
        self, name: str, values: Sequence[int | float | str], decimals: int, rows: Sequence[int] | None = None
    ) -> NDArray[np.int64]:
        """values x 10^decimals, exactly; rows in which that is no int64 are refused and 0.

        |scaled| < 1e15 and scaled / 10^decimals == value prove that the decimal of up to 15 digits is the shortest one.
        """
        result = np.zeros(len(values), np.int64)
        doubtful: Sequence[int] = range(len(values))
        floats = _as_floats(values)
        if floats is not None:
            one = float(10**decimals)
            with np.errstate(over="ignore"):
                whole = np.rint(floats * one)
            proven = (np.abs(whole) < _PROVEN) & (whole / one == floats)
            result[proven] = whole[proven]
            doubtful = np.flatnonzero(~proven).tolist()
        for i in doubtful:
            try:
                result[i] = exact(name, values[i], decimals)
            except Refused as refused:
                self.refused.setdefault(i if rows is None else rows[i], refused)
        return result

    def _marks(self, events: Sequence[Price]) -> NDArray[np.int64]:
        """The mark of each price event in 1e-9 units."""
        prices, bids, asks = ([getattr(event, name) for event in events] for name in ("price", "bid", "ask"))
        has_price, has_bid, has_ask = (_given(values) for values in (prices, bids, asks))
        for row in np.flatnonzero((has_bid != has_ask) | (has_price == has_bid)).tolist():
            found = _found(events[row], "price", "bid", "ask")
            self.refuse(row, Code.BAD_FIELD, f"found {found}; allowed: either price, or bid and ask")
        marks = np.zeros(len(events), np.int64)
        priced, quoted = np.flatnonzero(has_price).tolist(), np.flatnonzero(has_bid & has_ask).tolist()
        marks[priced] = self._numbers("price", [prices[row] for row in priced], PRICE_DECIMALS, priced)
        bid = self._numbers("bid", [bids[row] for row in quoted], PRICE_DECIMALS, quoted)
        ask = self._numbers("ask", [asks[row] for row in quoted], PRICE_DECIMALS, quoted)
        for i in np.flatnonzero(bid > ask).tolist():
            found = f"bid {events[quoted[i]].bid} over ask {events[quoted[i]].ask}"
            self.refuse(quoted[i], Code.BAD_FIELD, f"found {found}; allowed: bid up to ask")
        marks[quoted] = middle(bid, ask)
        return marks


def _given(values: list[Any]) -> NDArray[np.bool_]:
    """Which of the values are there."""
    return np.fromiter([value is not UNSET for value in values], np.bool_, len(values))


def _as_floats(values: Sequence[int | float | str]) -> NDArray[np.float64] | None:
    """The values as doubles; None where that may lose digits of a decimal that is later found small enough."""
    types = set(map(type, values))
    try:
        if str not in types:
            return np.array(values, np.float64)
        texts = [value for value in values if isinstance(value, str)]
        if len(texts) == len(values) and max(map(len, texts)) <= _SHORT and _DECIMALS.fullmatch(",".join([*texts, ""])):
            return np.array(list(map(float, texts)), np.float64)
    except (OverflowError, ValueError):  # an integer beyond a double; a comma in a text
        pass
    return None


def middle(bids: NDArray[np.int64], asks: NDArray[np.int64]) -> NDArray[np.int64]:
    """(bid + ask) / 2 rounded half to even, without leaving int64 on the way."""
    floor = (bids & asks) + ((bids ^ asks) >> 1)
    middles: NDArray[np.int64] = floor + ((bids ^ asks) & floor & 1)
    return middles


def _found(event: Event, *names: str) -> str:
    """Which of these fields the event has, for a detail text."""
    return " and ".join(name for name in names if getattr(event, name) is not UNSET) or "none of " + ", ".join(names)


_FILL: Final[dict[Kind, Callable[[Columns, Any], None]]] = {
    Kind.TRADE: Columns.trades,
    Kind.PRICE: Columns.prices,
    Kind.VOLATILITY: Columns.volatilities,
    Kind.COLLATERAL: Columns.collateral,
    Kind.POSITION: Columns.positions,
    Kind.STATEMENT: Columns.statements,
    Kind.ACTION: Columns.actions,
}
_UNKNOWN_CODE: Final = {
    "account": Code.UNKNOWN_ACCOUNT,
    "instrument": Code.UNKNOWN_INSTRUMENT,
    "underlying": Code.UNKNOWN_INSTRUMENT,
    "asset": Code.UNKNOWN_ASSET,
}
