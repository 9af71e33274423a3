"""The points model: golden/securities_portfolio_margin.json to its digits, offsets and minimum, its laws."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.arithmetic import E9, LIMIT
from engine.models.points import add_class, contract_minimum, point_row, points, requirement
from engine.models.rows import make_rows, portfolio_vector, quantize, worst_loss
from engine.pricing.options import black_value
from tests.engine.models import twins
from tests.engine.models.golden import as_printed, golden
from tests.engine.models.laws import LAW

GOLDEN = golden("securities_portfolio_margin")
INPUT = {name: float(value) for name, value in GOLDEN["input"].items()}


def group_loss(classes: Any, offset_ppb: list[int]) -> int:
    """The worst loss of a product group over the points."""
    group = np.zeros(len(classes[0]), np.int64)
    for vector, offset in zip(classes, offset_ppb, strict=True):
        add_class(np.array(vector), offset, group)
    return int(worst_loss(group))


def rows_of_one() -> Any:
    """(share, put contract) x points, USD."""
    moves = points(*map(float, GOLDEN["ranges"]["equity"]))

    def put(spot: Any) -> Any:
        return INPUT["multiplier"] * black_value(spot, INPUT["strike"], INPUT["iv"], INPUT["days"] / INPUT["year"], False)

    return moves, np.array([point_row(lambda spot: spot, INPUT["spot"], moves), point_row(put, INPUT["spot"], moves)])


def test_golden_points_and_requirement() -> None:
    moves, rows = rows_of_one()
    mark = black_value(INPUT["spot"], INPUT["strike"], INPUT["iv"], INPUT["days"] / INPUT["year"], False)
    assert as_printed(float(mark), GOLDEN["put_mark"]) == GOLDEN["put_mark"]
    net = INPUT["shares"] * rows[0] + INPUT["put_contracts"] * rows[1]
    assert moves == pytest.approx([float(move) for move in GOLDEN["net_pnl"]], abs=1e-15)
    for found, printed in zip(net, GOLDEN["net_pnl"].values(), strict=True):
        assert as_printed(found, printed) == printed
    minimum = contract_minimum(np.array([1000, 10]), np.array([0, 3750]) * 10**6, np.array([LIMIT, LIMIT]))
    assert minimum == GOLDEN["minimum"] * 100
    assert as_printed(max(-net.min(), minimum / 100), GOLDEN["requirement"]) == GOLDEN["requirement"]


def test_integer_rows_give_the_golden_requirement_within_half_a_unit_a_lot() -> None:
    _, one = rows_of_one()
    rows, vector = make_rows(*quantize(100 * one)), np.empty(10, np.int64)
    lots = np.array([int(INPUT["shares"]), int(INPUT["put_contracts"])])
    assert portfolio_vector(rows, np.array([0, 1], np.int32), lots, 0, 2, vector)
    exact = 100 * (lots @ one) * rows.divisor
    assert np.abs(vector - exact).max() <= (0.5 * lots * rows.scale).sum() * (1 + 1e-6)
    loss = group_loss([vector], [E9])
    assert requirement(loss, rows.divisor, 37_500) == 248_993  # 2,489.9208 USD rounded up


def test_points_of_each_range() -> None:
    index = points(*map(float, GOLDEN["ranges"]["high_cap_broad_index"]))
    assert np.round(index, 12).tolist() == [-0.08, -0.064, -0.048, -0.032, -0.016, 0.012, 0.024, 0.036, 0.048, 0.06]
    broad = points(*map(float, GOLDEN["ranges"]["broad_index"]))
    assert np.round(broad, 12).tolist() == [-0.1, -0.08, -0.06, -0.04, -0.02, 0.02, 0.04, 0.06, 0.08, 0.1]


def test_gains_of_other_classes_offset_in_part() -> None:
    group = np.zeros(2, np.int64)
    for one in ([-1000, 500], [700, -600]):
        add_class(np.array(one), 9 * E9 // 10, group)
    assert group.tolist() == [-1000 + 630, 450 - 600]
    assert group_loss([[-1, -5], [3, 3]], [0, 0]) == 5  # a loss counts whole


def test_minimum_of_long_positions_is_at_most_their_value() -> None:
    lots, each, cap = np.array([4, -4, 2, 3]), np.array([3750, 3750, 3750, 3750]), np.array([1000, 1000, 9999, -5])
    assert contract_minimum(lots, each * 10**6, cap * 10**6) == 4000 + 15_000 + 7500 + 0
    assert contract_minimum(np.array([2**40]), np.array([2**60]), np.array([LIMIT])) == LIMIT
    assert requirement(0, 100, 375) == 375
    assert requirement(37_501, 100, 375) == 376


VALUE = st.integers(-(10**14), 10**14)
CLASSES = st.lists(st.lists(VALUE, min_size=10, max_size=10), min_size=1, max_size=5)


@LAW
@given(CLASSES, st.data())
def test_group_loss_is_the_twins_and_its_laws(classes: list[list[int]], data: st.DataObject) -> None:
    ppb = [data.draw(st.integers(0, E9)) for _ in classes]
    loss = group_loss(classes, ppb)
    assert loss == twins.points_loss(classes, ppb) >= 0
    assert group_loss([[*one, data.draw(VALUE)] for one in classes], ppb) >= loss
    assert group_loss(classes[::-1], ppb[::-1]) == loss
    full = [E9] * len(ppb)
    assert group_loss([[2 * value for value in one] for one in classes], full) == 2 * group_loss(classes, full) <= 2 * loss
    assert group_loss([[0] * 10] * len(ppb), ppb) == 0


def test_refusals() -> None:
    for down, up, steps in ((0.1, 0.1, 5), (-1.0, 0.1, 5), (-0.1, np.nan, 5), (-0.1, 0.1, 0)):
        with pytest.raises(ValueError, match="range"):
            points(down, up, steps)
    with pytest.raises(ValueError, match="nan at a move"):
        point_row(lambda spot: np.where(spot < 90, np.nan, spot), 100.0, points(-0.15, 0.15))
