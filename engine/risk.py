"""Building risk rows: what one lot of an instrument wins and loses in every scenario of the sets it is margined in."""

from fractions import Fraction
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.arithmetic import LIMIT
from engine.definitions import Definitions
from engine.documents import Asset, Instrument, Rule
from engine.events import DAY_NS, NS, PRICE_ONE
from engine.models import grid
from engine.models.rows import FINEST, quantize
from engine.numbers import divide_up, time_ns
from engine.parameters import AddOns
from engine.portfolio import COIN
from engine.scenarios.profits import FUTURE_TYPES, OPTION_TYPES, ScanRange, Subject, Unpriceable, delta, profits
from engine.scenarios.sets import ScenarioSet
from engine.state import PORTFOLIO

YEAR_NS: Final = 365 * DAY_NS
MOST_KEPT: Final = 2048  # rows


class Builder:
    """Builds the rows that wait at a clock; `reasons` says, by instrument id, why some could not be built."""

    def __init__(self, definitions: Definitions) -> None:
        self._definitions = definitions
        self._state = definitions.state
        self.reasons: dict[str, str] = {}

    def build(self) -> None:
        """Build the rows of every instrument that waits, each set's apart; what cannot be is marked, with the reason."""
        ids, instruments = self._definitions.instrument_ids, self._state.instruments
        for slot in np.flatnonzero(instruments["waits"][: len(ids)]).tolist():
            row, whys = instruments[slot], list[str]()
            row["missing"] = self._rows(slot, row, whys)
            self.reasons.pop(ids[slot], None)
            if whys:
                self.reasons[ids[slot]] = "; ".join(dict.fromkeys(whys))

    def subject(self, slot: int, deliverables: bool = True) -> Subject:
        """An instrument as valuation sees it: at its mark, its underlying at its own. Unpriceable: not marked."""
        definitions, row = self._definitions, self._state.instruments[slot]
        document = self._document(slot)
        if not row["priced"]:
            raise Unpriceable(f"{document.id}: it has no mark")
        forward = None
        if row["option"] and row["underlying"] >= 0 and self._state.instruments[row["underlying"]]["priced"]:
            forward = self._price(int(row["underlying"]))
        basket = tuple(
            (self.subject(definitions.instrument_slot(one.instrument), False), float(one.factor))
            for one in (document.deliverables or () if deliverables else ())
        )
        return Subject(document, self._price(slot), int(self._state.now[0]["clock_ns"]), forward, basket)

    def _document(self, slot: int) -> Instrument:
        document = self._definitions.documents["instrument", self._definitions.instrument_ids[slot]]
        assert isinstance(document, Instrument)
        return document

    def _price(self, slot: int) -> float:
        row = self._state.instruments[slot]
        return int(row["mark"]) * int(row["tick"]) / (1000 * PRICE_ONE)

    def _rows(self, slot: int, row: Any, whys: list[str]) -> int:
        """Build an instrument's rows; bits of the sets in which it has none, with reasons added to whys.

        One that cannot be priced under its own rule has none at all.
        """
        sets, missing = int(row["sets"]), 0
        try:
            subject = self.subject(slot)
            if subject.document.inverse and subject.document.underlying is None:
                name = subject.document.id
                raise Unpriceable(f"{name}: an inverse contract needs an underlying, in whose currency it is valued")
        except (ValueError, ArithmeticError) as error:
            whys.append(str(error))
            return sets
        for at in range(len(self._definitions.portfolios.row_sets)):
            if sets >> at & 1:
                try:
                    self._row(at, slot, subject)
                except (ValueError, ArithmeticError) as error:
                    whys.append(str(error))
                    missing |= 1 << at
        rule = self._definitions.rule_now(subject.document.rule)
        if row["model"] != PORTFOLIO or rule is None:
            return missing
        if missing >> int(self._state.portfolios[int(row["portfolio"])]["set"]) & 1:
            return sets
        try:
            self._beside(slot, subject, rule)
        except (ValueError, ArithmeticError) as error:
            whys.append(str(error))
            return sets
        return missing

    def _row(self, at: int, slot: int, subject: Subject) -> None:
        """Build an instrument's row in the set in a slot."""
        definitions, risk = self._definitions, self._definitions.margin.risk
        row_set = definitions.portfolios.row_sets[at]
        made, ranges = definitions.portfolios.sets[row_set.scenarios], _ranges(definitions.rule_now(row_set.ranges_of))
        minor = self._minor(self._quote(slot), row_set.currency) * float(subject.document.lot)
        row_of = _shared_row(int(risk.set_hash[at]), made, subject, ranges, minor)
        risk.values[at, slot, : len(row_of.values)] = row_of.values
        risk.scale[at, slot], risk.bound[at, slot] = row_of.scale, row_of.bound

    def _quote(self, slot: int) -> str:
        """The currency of an instrument's profits."""
        return self._definitions.asset_ids[int(self._state.instruments[slot]["quote"])]

    def _beside(self, slot: int, subject: Subject, rule: Rule) -> None:
        """What portfolio models need beside rows, per lot, in the rule's money."""
        document, p, row = subject.document, rule.parameters, self._state.instruments[slot]
        minor = self._minor(self._quote(slot), p.currency or "")
        each = delta(subject) * float(document.lot)
        spot = subject.price if subject.underlying_price is None else subject.underlying_price
        row["risk_delta"], row["spot"] = _bounded(each * COIN), _bounded(abs(spot) * minor)
        row["gross"] = self._gross(row, document.currency, p.currency or "")
        row["roll"] = 0
        if rule.model == "grid":
            years = 0.0 if document.expiry is None else (time_ns(document.expiry) - subject.now_ns) / YEAR_NS
            rate = float(grid.roll_rates([years], float(p.roll_rate or 0), float(p.roll_minimum or 0))[0]) / NS
            row["roll"] = _bounded(each * spot * minor * rate * 10**FINEST)
        minimum = _minimum(document, rule) * 10 ** (self._asset(p.currency or "").decimals + 6)
        row["minimum"] = min(divide_up(minimum.numerator, minimum.denominator), LIMIT)
        self._charged(row, document, p.addons or AddOns())

    def _charged(self, row: Any, document: Instrument, addons: AddOns) -> None:
        """What add-ons need: lots traded a day, the worst scenario of a lot either way, and the funding rate now."""
        row["volume"] = row["unit_risk"] = row["funding_rate"] = 0
        if addons.liquidity is not None:
            if document.daily_volume is None:
                raise Unpriceable(f"{document.id}: its rule charges liquidity, and it has no daily_volume")
            row["volume"] = _bounded(float(document.daily_volume / document.lot))
            portfolio = self._state.portfolios[int(row["portfolio"])]
            slot = self._definitions.instrument_slot(document.id)
            bound = int(self._definitions.margin.risk.bound[int(portfolio["set"]), slot])
            row["unit_risk"] = min(divide_up(bound * 10**6, 10**FINEST), LIMIT)
        if addons.funding is not None and document.funding is not None:
            rate = self._definitions.instrument_slot(document.funding)
            if not self._state.instruments[rate]["priced"]:
                raise Unpriceable(f"{document.id}: its funding rate {document.funding} has no mark")
            row["funding_rate"] = _bounded(self._price(rate) / 100 * NS)

    def _gross(self, row: Any, currency: str, into: str) -> int:
        """The market value of a lot, micros of `into`'s minor unit, taken positive and rounded up."""
        rate, other = (int(self._state.assets[self._definitions.asset_slot(name)]["rate"]) for name in (currency, into))
        return min(divide_up(abs(int(row["lot_value"])) * rate, other), LIMIT)

    def _minor(self, currency: str, into: str) -> float:
        """Minor units of one currency in a unit of another, at their rates now. Unpriceable: one has no rate."""
        rates = [int(self._state.assets[self._definitions.asset_slot(name)]["rate"]) for name in (currency, into)]
        if min(rates) <= 0:
            raise Unpriceable(f"{currency if rates[0] <= 0 else into} has no rate")
        return float(rates[0] * 10 ** self._asset(currency).decimals / rates[1])

    def _asset(self, asset_id: str) -> Asset:
        asset = self._definitions.documents["asset", asset_id]
        assert isinstance(asset, Asset)
        return asset


def _minimum(document: Instrument, rule: Rule) -> Fraction:
    """Money per lot that a contract requires at least: of options (scan: short ones), under a points rule of futures too."""
    p, lot = rule.parameters, Fraction(document.lot)
    if rule.model == "points":
        lot *= Fraction(document.multiplier)
    amount = p.minimum if document.type in OPTION_TYPES else p.future_minimum if document.type in FUTURE_TYPES else None
    return Fraction(amount or 0) * lot


class _Row(NamedTuple):
    """A row (engine/models/rows.py): one lot's profits, 1e-4 minor units in one of them, the largest of them in 1e-4."""

    values: NDArray[np.int32]
    scale: int
    bound: int


_rows: dict[Any, _Row] = {}  # by all that a row is made from: the shards of one process share what each would build


def _shared_row(
    set_hash: int, made: ScenarioSet, subject: Subject, ranges: dict[str, ScanRange] | None, minor: float
) -> _Row:
    """The row of a subject; minor: minor units of one lot in one unit of quote money. Unpriceable as profits.

    set_hash: of the set and its ranges, 0: of a set that no rule uses. Time of day matters to options only.
    """
    moment = subject.now_ns if subject.document.expiry is not None else subject.now_ns // DAY_NS
    key = set_hash, made.hash, subject._replace(now_ns=moment), minor
    found = _rows.get(key)
    if found is None:
        values, decimals = quantize(profits(made, subject, ranges)[None, :] * minor)
        scale = 10 ** (FINEST - int(decimals[0]))
        bound = min(int(np.abs(values[0].astype(np.int64)).max()) * scale, LIMIT)
        if len(_rows) >= MOST_KEPT:
            _rows.clear()
        found = _rows[key] = _Row(values[0], scale, bound)
    return found


def _ranges(rule: Rule | None) -> dict[str, ScanRange] | None:
    if rule is None:
        return None
    given = rule.parameters.ranges or {}
    return {name: ScanRange(float(one.price), float(one.volatility), one.fraction) for name, one in given.items()}


def _bounded(value: float) -> int:
    """The nearest integer; Unpriceable from 2^61 on, where sums of it would wrap."""
    if not abs(value) < 2.0**61:
        raise Unpriceable(f"{value:g} is out of range")
    return round(value)
