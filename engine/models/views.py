"""One customer three ways, side by side: silo (each regime alone), cross (agreed pairs reduced), unified (one margin).

The forms: crypto.md 5.5 "product view" [D]. Pools never lend to one another: each pool's requirement is met by its own
equity, so a futures loss never takes the cash leg's collateral (DESIGN 4).
All amounts are minor units of one currency.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple


class Legal(StrEnum):
    """Whether a view may be used."""

    IN_FORCE = "in force"
    PENDING = "pending"
    HYPOTHETICAL = "hypothetical"


class Leg(NamedTuple):
    """Positions margined by one regime alone: its pool and its requirement there; None: unpriced."""

    name: str
    pool: str
    requirement_minor: int | None


class Pool(NamedTuple):
    """A pool in a view: equity E (net liquidating value + haircut collateral), what it must cover, what is over or lacking.

    The last three are None where a leg of the pool is unpriced.
    """

    name: str
    equity_minor: int
    requirement_minor: int | None
    excess_minor: int | None
    deficit_minor: int | None


class View(NamedTuple):
    """requirement and saving against silo (may be below 0 in unified); None where a leg is unpriced. blocked: why not had.

    deficit: the sum of all pools' deficits, which no other pool's excess covers; trapped: excess of pools while another is
    short. Both are None where a leg is unpriced, and in the unified view, whose one pool does not exist.
    """

    name: str
    status: Legal
    requirement_minor: int | None
    saving_minor: int | None
    blocked: tuple[str, ...]
    pools: tuple[Pool, ...]
    deficit_minor: int | None
    trapped_minor: int | None


def silo(legs: Sequence[Leg], equity_minor: Mapping[str, int]) -> View:
    """Each regime alone, as it always may be had. equity_minor: of every pool. ValueError: see _checked."""
    return _separate("silo", Legal.IN_FORCE, _checked(legs, equity_minor), legs, equity_minor, ())


def cross(
    legs: Sequence[Leg],
    after_minor: Mapping[str, int | None],
    equity_minor: Mapping[str, int],
    status: Legal,
    blocked: Sequence[str] = (),
) -> View:
    """The legs named in after_minor at their requirements after cross-margin; none of them where something blocks it.

    What is only pending or hypothetical is shown with its saving, but its `blocked` must then say so. ValueError: see
    _checked; a reduced leg that is not a leg, or requires more than alone; a view not in force that nothing blocks.
    """
    alone = _checked(legs, equity_minor)
    if unknown := set(after_minor) - {leg.name for leg in legs}:
        raise ValueError(f"cross-margin of {sorted(unknown)}; allowed are the legs {[leg.name for leg in legs]}")
    if status != Legal.IN_FORCE and not blocked:
        raise ValueError(f"cross-margin is {status} and blocked by nothing; allowed is a reason")
    reduced = [leg._replace(requirement_minor=after_minor.get(leg.name, leg.requirement_minor)) for leg in legs]
    for leg, less in zip(legs, reduced, strict=True):
        after, before = less.requirement_minor, leg.requirement_minor
        if after is not None and (after < 0 or (before is not None and after > before)):
            raise ValueError(
                f"leg {leg.name} requires {after} after cross-margin and {before} alone; allowed is 0 to what it is alone"
            )
    used = legs if blocked and status == Legal.IN_FORCE else reduced
    return _separate("cross", status, alone, used, equity_minor, tuple(blocked))


def unified(
    legs: Sequence[Leg],
    equity_minor: Mapping[str, int],
    requirement_minor: int | None,
    status: Legal,
    blocked: Sequence[str],
) -> View:
    """One portfolio margin over all legs, as a figure: no pool may be asked to cover another's positions, so none is shown.

    ValueError: see _checked; a requirement below 0; not in force and blocked by nothing.
    """
    alone = _checked(legs, equity_minor)
    if requirement_minor is not None and requirement_minor < 0:
        raise ValueError(f"a requirement of {requirement_minor}; allowed is from 0")
    if status != Legal.IN_FORCE and not blocked:
        raise ValueError(f"unified margin is {status} and blocked by nothing; allowed is a reason")
    return View("unified", status, requirement_minor, _less(alone, requirement_minor), tuple(blocked), (), None, None)


def _checked(legs: Sequence[Leg], equity_minor: Mapping[str, int]) -> int | None:
    """The sum of the legs alone, None where one is unpriced.

    ValueError: two legs of one name, a requirement below 0, a pool without an equity.
    """
    names = [leg.name for leg in legs]
    if len(set(names)) < len(names):
        raise ValueError(f"legs {names}; allowed is each name once")
    for leg in legs:
        if leg.pool not in equity_minor:
            raise ValueError(f"leg {leg.name} is in pool {leg.pool}; allowed are the pools {sorted(equity_minor)}")
        if leg.requirement_minor is not None and leg.requirement_minor < 0:
            raise ValueError(f"leg {leg.name} requires {leg.requirement_minor}; allowed is from 0")
    return _total([leg.requirement_minor for leg in legs])


def _total(amounts: Sequence[int | None]) -> int | None:
    """Their sum, None where one is None."""
    known = [amount for amount in amounts if amount is not None]
    return sum(known) if len(known) == len(amounts) else None


def _less(alone: int | None, together: int | None) -> int | None:
    return None if alone is None or together is None else alone - together


def _separate(
    name: str,
    status: Legal,
    alone: int | None,
    legs: Sequence[Leg],
    equity_minor: Mapping[str, int],
    blocked: tuple[str, ...],
) -> View:
    """A view in which each pool covers its own legs by its own equity."""
    pools = tuple(_pool(one, equity, [leg for leg in legs if leg.pool == one]) for one, equity in equity_minor.items())
    total = _total([leg.requirement_minor for leg in legs])
    deficit = _total([pool.deficit_minor for pool in pools])
    excess = _total([pool.excess_minor for pool in pools])
    trapped = excess if deficit else None if deficit is None else 0
    return View(name, status, total, _less(alone, total), blocked, pools, deficit, trapped)


def _pool(name: str, equity: int, legs: Sequence[Leg]) -> Pool:
    required = _total([leg.requirement_minor for leg in legs])
    if required is None:
        return Pool(name, equity, None, None, None)
    return Pool(name, equity, required, max(0, equity - required), max(0, required - equity))
