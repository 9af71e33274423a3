"""Tests of coverage: hand values and published examples, and what a judgement counts."""

import math

import numpy as np
import pytest

from engine.scenarios.coverage import chi_square_tail, christoffersen, judge, kupiec, peak_to_trough


def test_chi_square_tails_at_tabled_points() -> None:
    # Tables: 3.841 and 6.635 (1 degree, 5 % and 1 %), 5.991 and 9.210 (2 degrees).
    for statistic, degrees, expected in ((3.841459, 1, 0.05), (6.634897, 1, 0.01), (5.991465, 2, 0.05), (9.210340, 2, 0.01)):
        assert chi_square_tail(statistic, degrees) == pytest.approx(expected, abs=1e-7)
    with pytest.raises(ValueError, match="degrees: found 3"):
        chi_square_tail(1.0, 3)


@pytest.mark.parametrize(
    # Kupiec (1995), table of non-rejection regions at 5 %: of 255 days at 1 % fewer than 7, of 1000 days
    # 5 to 16 (4 < N < 17), of 1000 days at 5 % 38 to 64 (37 < N < 65).
    ("days", "rate", "kept", "refused"),
    [(255, 0.01, (1, 6), (7,)), (1000, 0.01, (5, 16), (4, 17)), (1000, 0.05, (38, 64), (37, 65))],
)
def test_kupiec_keeps_what_the_published_table_keeps(
    days: int, rate: float, kept: tuple[int, ...], refused: tuple[int, ...]
) -> None:
    assert all(kupiec(days, count, rate)[1] > 0.05 for count in kept)
    assert all(kupiec(days, count, rate)[1] < 0.05 for count in refused)


def test_kupiec_by_hand() -> None:
    by_hand = -2 * (98 * math.log(0.99) + 2 * math.log(0.01)) + 2 * (98 * math.log(0.98) + 2 * math.log(0.02))
    assert kupiec(100, 2, 0.01)[0] == pytest.approx(by_hand, rel=1e-12)
    assert kupiec(100, 0, 0.01)[0] == pytest.approx(-200 * math.log(0.99), rel=1e-12)
    assert kupiec(100, 100, 0.01)[0] == pytest.approx(-200 * math.log(0.01), rel=1e-12)
    assert kupiec(1000, 10, 0.01) == (0.0, 1.0)
    with pytest.raises(ValueError, match="found 3 breaches in 2 days"):
        kupiec(2, 3, 0.01)


def test_christoffersen_by_hand() -> None:
    breached = np.array([0, 0, 1, 1, 0, 0, 0, 1, 0, 0], bool)  # n00 4, n01 2, n10 2, n11 1
    together = 6 * math.log(6 / 9) + 3 * math.log(3 / 9)
    apart = 4 * math.log(4 / 6) + 2 * math.log(2 / 6) + 2 * math.log(2 / 3) + 1 * math.log(1 / 3)
    assert christoffersen(breached)[0] == pytest.approx(2 * (apart - together), abs=1e-12)
    clustered = np.zeros(500, bool)
    clustered[100:110] = True
    assert christoffersen(clustered)[1] < 1e-6
    assert christoffersen(np.zeros(5, bool)) == (0.0, 1.0)


def test_peak_to_trough() -> None:
    margin = np.array([10.0, 20.0, 10.0, 5.0])
    np.testing.assert_allclose(peak_to_trough(margin, 2), [2.0, 2.0, 2.0])
    np.testing.assert_allclose(peak_to_trough(margin, 30), [4.0])
    with pytest.raises(ValueError, match="above 0"):
        peak_to_trough(np.array([1.0, 0.0]))


def test_judgement_counts_either_side_and_a_loss_equal_to_the_margin_is_covered() -> None:
    margin = np.full(5, 100.0)
    judged = judge(margin, np.array([100.0, -100.0, -130.0, 110.0, 0.0]))
    assert (judged.days, judged.breaches, judged.breaches_long, judged.breaches_short) == (5, 2, 1, 1)
    assert (judged.breach_mean, judged.breach_worst, judged.average) == (20.0, 30.0, 100.0)
    assert judged.kupiec_p == kupiec(5, 2, 0.01)[1]
    statistics = kupiec(5, 2, 0.01)[0] + christoffersen(np.array([0, 0, 1, 1, 0], bool))[0]
    assert judged.conditional_p == chi_square_tail(statistics, 2)


def test_nothing_is_judged_from_what_is_no_number() -> None:
    with pytest.raises(ValueError, match="profit"):
        judge(np.ones(3), np.array([1.0, np.nan, 0.0]))
    with pytest.raises(ValueError, match="allowed: one of each a day"):
        judge(np.ones(3), np.ones(2))
