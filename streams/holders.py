"""Clearing houses and a custodian of the demo: they state what accounts have, as the books do but for a few differences.

Of these one is of each kind and stays, so that its age is seen; a last one is put right after a while.
"""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Final

from engine.events import NS, Kind
from streams.population import Portfolio, document, event, example, quantity_text
from streams.sources import Item

CLEARS: Final = {"FUTURES": "CME", "FICC": "FICC", "SECURITIES": "OCC", "CRYPTO": "VENUE"}
"""Who states the positions of a pool."""
CUSTODIAN: Final = "CUSTODIAN"  # and who all collateral
NAMES: Final = {
    "CME": "CME Clearing", "FICC": "Fixed Income Clearing Corporation", "OCC": "The Options Clearing Corporation",
    "VENUE": "Example venue", CUSTODIAN: "Example Custody Bank",
}  # fmt: skip
STATED: Final = 500  # accounts at most, the first ones; of all that these have, as what a holder leaves out is a difference
RIGHT_SECONDS: Final = 60.0  # after the statements
What = tuple[str, str, str]
"""Holder, account, and instrument or asset."""


class Holders:
    """What is stated of portfolios at their start of day, before anything moves."""

    def __init__(self, portfolios: Sequence[Portfolio]) -> None:
        self._portfolios = portfolios[:STATED]
        self._stated_ns = 0
        self._sent = 0
        self._wrong: tuple[What, int] | None = None  # what is put right, and the quantity it comes to

    @staticmethod
    def documents() -> Iterator[Item]:
        """Their names."""
        return (document({"kind": "holder", "id": holder, "name": name}) for holder, name in NAMES.items())

    def state(self, ts_ns: int) -> Iterator[Item]:
        """All statements: those that differ, and else what accounts have."""
        self._stated_ns = ts_ns
        stated = {
            (holder, p.account, name): quantity
            for p in self._portfolios
            for holder, held in ((CLEARS[p.pool], p.positions), (CUSTODIAN, p.collateral))
            for name, quantity in held.items()
        }
        for item, quantity in (stated | self._differences()).items():
            yield self._statement(item, quantity, ts_ns)

    def put_right(self, now_ns: int) -> Iterator[Item]:
        """The statement that puts the last difference right, once it is time."""
        if self._wrong is not None and now_ns >= self._stated_ns + RIGHT_SECONDS * NS:
            (item, quantity), self._wrong = self._wrong, None
            yield self._statement(item, quantity, now_ns)

    def _statement(self, item: What, quantity: int, ts_ns: int) -> Item:
        holder, account, name = item
        self._sent += 1
        of = "asset" if holder == CUSTODIAN else "instrument"
        row = {"id": f"S{self._sent:06d}", "ts": ts_ns, "holder": holder, "account": account, of: name}
        return event(Kind.STATEMENT, account, **row, qty=quantity_text(quantity))

    def _differences(self) -> dict[What, int]:
        """In an account each: a tenth more, none of it, some of what is not held, and of collateral a hundredth less."""
        found, lots = dict[What, int](), example().lots
        for number, p in enumerate(self._portfolios[:3]):
            name, quantity = next(iter(p.positions.items()))
            more = max(abs(quantity) // 10 // lots[name], 1) * lots[name]
            name, stated = ((name, quantity + more), (name, 0), self._not_held(p))[number]
            found[CLEARS[p.pool], p.account, name] = stated
        for p in self._portfolios[3:]:
            name = next((asset for asset in p.collateral if asset != "USD"), "")  # which customers do not pay calls in
            if name:
                item, quantity = (CUSTODIAN, p.account, name), p.collateral[name]
                unit = 10 ** (8 - example().assets[name].decimals)
                found[item], self._wrong = quantity - max(quantity // 100 // unit, 1) * unit, (item, quantity)
                break
        return found

    def _not_held(self, p: Portfolio) -> tuple[str, int]:
        """An instrument that is not in a portfolio, and how much of it another one of its pool has."""
        traded = ((name, q) for other in self._portfolios if other.pool == p.pool for name, q in other.positions.items())
        every = ((name, example().lots[name]) for name, one in example().instruments.items() if one.tradable)
        return next((name, quantity) for name, quantity in chain(traded, every) if name not in p.positions)
