"""Repos: cash lent, interest, value and the collateral's remaining maturity."""

from datetime import date

import pytest

from engine.pricing.repo import (
    Repo,
    collateral_longer_than,
    collateral_years,
    repo_cash,
    repo_interest,
    repo_value,
    repurchase_amount,
)
from engine.pricing.treasury import Bond

NOTE = Bond(0.04, date(2025, 8, 15), date(2022, 8, 15))
START, END = date(2024, 8, 16), date(2024, 9, 15)
REPO = Repo(10_000_000.0, 0.0533, START, END, NOTE)


def test_cash_is_the_value_with_accrued_interest_less_the_haircut() -> None:
    accrued = 2.0 * 1 / 184
    assert repo_cash(10_000_000, 99.5, NOTE, START) == pytest.approx(100_000 * (99.5 + accrued), abs=1e-6)
    assert repo_cash(10_000_000, 99.5, NOTE, START, 0.02) == pytest.approx(98_000 * (99.5 + accrued), abs=1e-6)


def test_interest_is_simple_over_360() -> None:
    assert repo_interest(REPO, date(2024, 8, 1)) == 0
    assert repo_interest(REPO, date(2024, 8, 17)) == pytest.approx(10_000_000 * 0.0533 / 360, abs=1e-9)
    assert repo_interest(REPO, date(2025, 1, 1)) == pytest.approx(10_000_000 * 0.0533 * 30 / 360, abs=1e-9)
    assert repurchase_amount(REPO) == pytest.approx(10_044_416.666667, abs=1e-6)
    assert repurchase_amount(Repo(1e6, -0.01, START, END, NOTE)) < 1e6


def test_value_at_its_own_rate_is_what_was_lent_and_falls_with_the_rate() -> None:
    assert repo_value(REPO, START, 0.0533) == pytest.approx(10_000_000, abs=1e-6)
    assert repo_value(REPO, START, 0.06) < 10_000_000 < repo_value(REPO, START, -0.01)
    assert repo_value(REPO, END, 0.2) == repurchase_amount(REPO)


def test_eligibility_looks_at_the_collateral_and_not_at_the_term() -> None:
    assert not collateral_longer_than(REPO, START, 12)  # a month of repo, 364 days of collateral
    assert not collateral_longer_than(REPO, date(2024, 8, 15), 12)  # exactly a year is not more than one
    assert collateral_longer_than(REPO, date(2024, 8, 14), 12)
    assert collateral_years(REPO, START) == 364 / 365.25


def test_impossible_repos_are_refused() -> None:
    with pytest.raises(ValueError, match="repo cash 0 must be above 0"):
        Repo(0.0, 0.05, START, END, NOTE)
    with pytest.raises(ValueError, match="repo rate nan"):
        Repo(1.0, float("nan"), START, END, NOTE)
    with pytest.raises(ValueError, match="must end after it starts"):
        Repo(1.0, 0.05, END, START, NOTE)
    with pytest.raises(ValueError, match="and by 2025-08-15"):
        Repo(1.0, 0.05, START, date(2025, 8, 16), NOTE)
    with pytest.raises(ValueError, match=r"haircut 1 must be"):
        repo_cash(1.0, 99.0, NOTE, START, 1.0)
    with pytest.raises(ValueError, match="outside the repo's term"):
        repo_value(REPO, date(2024, 9, 16), 0.05)
    with pytest.raises(ValueError, match="days to maturity"):
        collateral_years(REPO, date(2026, 1, 1))
