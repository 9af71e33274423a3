"""Repos on Treasury securities: cash lent, interest, and the maturity of what stands behind it.

Interest is simple, actual/360; rates may be negative. Cross-margin eligibility looks at the collateral's remaining
maturity, never at the repo's term (rates.md 2 [S]).
"""

from dataclasses import dataclass
from datetime import date
from typing import Final

from engine.pricing.checks import above, at_least, finite
from engine.pricing.curve import DAYS_OF_YEAR
from engine.pricing.dates import add_months
from engine.pricing.treasury import FACE, Bond, accrued_interest

REPO_YEAR: Final = 360


@dataclass(frozen=True, slots=True)
class Repo:
    """Cash in dollars lent from start to end at a rate (a fraction) against a security."""

    cash: float
    rate: float
    start: date
    end: date
    collateral: Bond

    def __post_init__(self) -> None:
        above("repo cash", self.cash, 0.0)
        finite("repo rate", self.rate)
        if not self.start < self.end <= self.collateral.maturity:
            raise ValueError(
                f"a repo from {self.start} to {self.end} must end after it starts, and by {self.collateral.maturity}"
            )


def repo_cash(face: float, clean: float, collateral: Bond, start: date, haircut: float = 0.0) -> float:
    """Dollars lent on a face amount: its value with accrued interest at the start, less the haircut (a fraction below 1)."""
    if not 0 <= haircut < 1:
        raise ValueError(f"haircut {haircut:g} must be 0 or more and below 1")
    dirty = above(
        "price with accrued interest", float(finite("clean price", clean)) + accrued_interest(collateral, start), 0.0
    )
    return float(above("face", face, 0.0) / FACE * dirty * (1 - haircut))


def repo_interest(repo: Repo, as_of: date) -> float:
    """Dollars of interest run up from the start to the day, none before it and no more after the end."""
    days = (min(max(as_of, repo.start), repo.end) - repo.start).days
    return repo.cash * repo.rate * days / REPO_YEAR


def repurchase_amount(repo: Repo) -> float:
    """Dollars due at the end: cash and all interest."""
    return repo.cash + repo_interest(repo, repo.end)


def repo_value(repo: Repo, as_of: date, market_rate: float) -> float:
    """Dollars the lender's claim is worth at a market repo rate to its end: the repurchase amount discounted, act/360."""
    if not repo.start <= as_of <= repo.end:
        raise ValueError(f"{as_of} is outside the repo's term {repo.start} to {repo.end}")
    growth = 1 + finite("market repo rate", market_rate) * (repo.end - as_of).days / REPO_YEAR
    return float(repurchase_amount(repo) / above("growth to the end", growth, 0.0))


def collateral_years(repo: Repo, as_of: date) -> float:
    """Years (days / 365.25) the collateral has left."""
    return float(at_least("days to maturity", (repo.collateral.maturity - as_of).days, 0.0)) / DAYS_OF_YEAR


def collateral_longer_than(repo: Repo, as_of: date, months: int) -> bool:
    """Whether the collateral matures more than that many months after the day: 12 for CME-FICC (rates.md 2 [P])."""
    return repo.collateral.maturity > add_months(as_of, months)
