"""Generated accounts and markets: the same bytes from the same seed, all of it good input, and a shock that works."""

import json
from collections import Counter
from collections.abc import Iterable
from itertools import chain, islice, pairwise

import numpy as np
import pytest

from engine.events import NS
from engine.limits import Limits
from engine.numbers import scaled
from streams.files import EXAMPLE, open_sources
from streams.generate import USUAL_START_NS, Generator
from streams.load import in_order
from streams.market import RECORDED, Shock, TreasuryPath, daily_yields, excerpt_ticks, shocked
from streams.population import date_of, example
from streams.replay import Replay
from streams.settings import UserError
from streams.sources import Item

START_NS = 1_800_000_000 * NS
LIMITS = Limits(accounts=4096, positions=1 << 14, ids=1 << 16)


def generated(seed: int = 1, accounts: int = 40, seconds: float = 5, shock_after: int | None = None) -> Generator:
    shock = None if shock_after is None else lambda start_ns: Shock(start_ns + shock_after * NS)
    return Generator(seed, accounts, excerpt_ticks(START_NS, seconds), shock)


def documents() -> list[Item]:
    return in_order([item for source in open_sources(EXAMPLE) for item in source])


def statuses(replay: Replay, items: Iterable[Item]) -> dict[str, int]:
    replay.run(items)
    return replay.shards.by_status()


def test_a_seed_gives_the_same_bytes() -> None:
    first, second, other = generated(), generated(), generated(seed=2)
    items = [*first.opening(), *first.live()]
    assert items == [*second.opening(), *second.live()]
    assert (first.sha256, first.messages) == (second.sha256, second.messages)
    assert list(other.opening()) != list(generated().opening())
    assert len(items) == first.messages + sum(1 for _ in excerpt_ticks(START_NS, 5))


def test_everything_generated_is_accepted_and_in_order_of_time() -> None:
    generator, replay = generated(accounts=300, seconds=20, shock_after=5), Replay(2, 1024, LIMITS)
    items = [*documents(), *generator.opening(), *generator.live()]
    assert all(a[0] <= b[0] for a, b in pairwise(items))
    replay.run(items)
    assert replay.rejects == replay.shards.rejects == {}
    assert replay.shards.superseded == 0
    assert replay.shards.applied == Counter(topic for _, topic, _, _ in items)
    assert set(replay.shards.applied) == {"reference", "volatility", "prices", "positions", "collateral", "trades"}
    assert sum(replay.shards.by_status().values()) == 300


def test_trades_are_on_tick_and_lot_at_the_price_that_passed() -> None:
    generator, terms = generated(accounts=100, seconds=10), example()
    prices: dict[str, dict[str, str]] = {}
    trades = 0
    for _, topic, key, body in chain(generator.opening(), generator.live()):
        event = json.loads(body)
        if topic == "prices":
            prices[key] = event
        elif topic == "trades":
            trades += 1
            name, price = event["instrument"], scaled(event["price"], 10**9)
            assert scaled(event["qty"], 10**8) % terms.lots[name] == 0
            assert price % terms.ticks[name] == 0
            sides = [scaled(prices[name][side], 10**9) for side in ("bid", "ask", "price") if side in prices[name]]
            assert min(sides) - terms.ticks[name] <= price <= max(sides) + terms.ticks[name]
    assert trades > 100


def test_a_shock_makes_accounts_fall_and_some_come_back() -> None:
    generator, replay = generated(accounts=400, seconds=75, shock_after=10), Replay(1, 1024, LIMITS)
    live = generator.live()
    assert statuses(replay, [*documents(), *generator.opening()])["OK"] == 400
    quiet = statuses(replay, _until(live, 9))
    assert quiet["OK"] > 390
    worst = statuses(replay, _until(live, 30))
    assert worst["CALL"] > 40
    assert worst["DEBIT"] > 0
    assert worst["WATCH"] > 0
    after = statuses(replay, live)
    assert after["CALL"] + after["DEBIT"] < worst["CALL"] / 2
    assert {row[6] for row in replay.shards.changes if row[5] == "status"} >= {"OK", "WATCH", "CALL", "DEBIT"}


def test_customers_of_both_houses_have_agreements_and_some_are_not_in_force() -> None:
    generator = generated(accounts=300)
    pools: dict[str, set[str]] = {}
    for p in generator.portfolios:
        pools.setdefault(p.customer, set()).add(p.pool)
    both = {customer for customer, held in pools.items() if held == {"FICC", "FUTURES"}}
    opening = [json.loads(body) for _, topic, _, body in generator.opening() if topic == "reference"]
    agreements = [d for d in opening if d["kind"] == "agreement"]
    assert {d["customer"] for d in agreements} == both
    assert len(agreements) == len(both) > 50
    replay = Replay(2, 1024, LIMITS)
    replay.run([*documents(), *generated(accounts=300).opening()])
    populations = [engine.population() for engine in replay.shards.engines]
    assert sum(one.agreements for one in populations) == len(both)
    plain = [d for d in agreements if d["signed"] and d["designated"] and d["firm"]["ficc_member"]]
    in_force = [d for d in plain if d["treasury_entity"] == d["futures_entity"]]
    assert sum(one.agreements_in_force for one in populations) == len(in_force) < len(plain) < len(agreements)


def test_what_agreements_save_is_what_accounts_require_without_them_less_with_them() -> None:
    maintenance: list[dict[str, int]] = []
    for without in (False, True):
        generator, replay = generated(accounts=300), Replay(1, 1024, LIMITS)
        items = [item for item in generator.opening() if not (without and item[2].startswith("agreement:"))]
        replay.run([*documents(), *items])
        (engine,) = replay.shards.engines
        rows = engine.figures(np.arange(engine.account_count, dtype=np.int32))
        maintenance.append(dict(zip(engine.account_ids, rows["maintenance"].tolist(), strict=True)))
        if not without:
            population = engine.population()
            agreed = [json.loads(body) for *_, key, body in items if key.startswith("agreement:")]
    crossed, alone = maintenance
    changed = {account for account in alone if crossed[account] != alone[account]}
    legs = {document[leg] for document in agreed for leg in ("futures_account", "treasury_account")}
    assert changed <= legs
    saved = sum(alone[account] - crossed[account] for account in changed)
    assert population.cross_saved_usd == saved
    assert saved > 0.5 * population.cross_alone_usd
    assert sum(alone[a] for a in changed) <= population.cross_alone_usd <= sum(alone[a] for a in legs)


def test_after_the_examples_contracts_there_is_no_example() -> None:
    with pytest.raises(UserError, match=r"refused \{'expired': \d+\}.*December 2030"):
        Generator(1, 10, excerpt_ticks(1_925_000_000 * NS, 1))


def test_securities_have_the_maturities_their_prices_are_made_for() -> None:
    opening = [json.loads(body) for _, topic, _, body in generated(accounts=1).opening() if topic == "reference"]
    maturities = {d["id"]: d["maturity"] for d in opening if d["kind"] == "instrument"}
    day = date_of(START_NS - NS)
    assert day.isoformat() == "2027-01-15"
    assert maturities == {
        "UST-BILL": "2027-04-15", "UST-9M": "2027-10-15", "UST-2Y": "2029-01-15", "UST-5Y": "2032-01-15",
        "UST-10Y": "2037-01-15", "UST-30Y": "2057-01-15",
    }  # fmt: skip


def test_strategies_are_hedged_as_they_say() -> None:
    terms = example().instruments
    legs: dict[str, dict[str, int]] = {}
    for p in generated(accounts=300).portfolios:
        legs.setdefault(p.customer, {}).update(p.positions)
    kinds = Counter[str]()
    for held in legs.values():
        rates = {name: quantity for name, quantity in held.items() if terms[name].dv01 is not None}
        if len(rates) > 1:
            dv01 = {name: float(terms[name].dv01 or 0) * float(terms[name].multiplier) * q for name, q in rates.items()}
            assert abs(sum(dv01.values())) < 0.2 * sum(map(abs, dv01.values()))
            kinds["strip" if "SR3-1" in held else "curve" if "UST-5Y" in held and "ZN" in held else "basis"] += 1
        elif len(held) > 1:
            assert sum(quantity * int(terms[name].multiplier) for name, quantity in held.items()) == 0 or "BTCZ30" in held
            kinds["covered" if any(terms[name].strike for name in held) else "carry"] += 1
    assert kinds.keys() == {"strip", "curve", "basis", "covered", "carry"}


def _until(items: Iterable[Item], seconds: float) -> list[Item]:
    """The items up to so long after the start (the one past it is lost, as a message may be)."""
    taken: list[Item] = []
    for item in items:
        if item[0] > START_NS + seconds * NS:
            break
        taken.append(item)
    return taken


def test_without_ticks_or_with_odd_ones_there_is_still_a_market() -> None:
    assert Generator(1, 10, []).start_ns == USUAL_START_NS
    odd = [
        (START_NS, "prices", "BTC-USDT", b'{"ts":1,"instrument":"BTC-USDT","price":"cheap"}'),
        (START_NS + NS, "prices", "BTC-USDT", b'{"ts":2,"instrument":"BTC-USDT","bid":1,"ask":null}'),
        (START_NS + 2 * NS, "prices", "BTC-USDT", b'{"ts":3,"instrument":"BTC-USDT","price":50000.5}'),
    ]
    generator = Generator(1, 10, odd)
    assert generator.price_e9("BTC-USDT") == 61_700 * 10**9
    assert [item for item in generator.live() if item in odd] == odd
    assert generator.price_e9("BTC-USDT") == 50_000_500_000_000


# The markets


def test_recorded_ticks_are_those_of_the_data_sheet() -> None:
    count, low, high = Counter[str](), dict[str, float](), dict[str, float]()
    for ts_ns, _, key, body in excerpt_ticks(START_NS, 344.9):
        event = json.loads(body)
        assert event["ts"] == ts_ns
        price = float(event["price"] if "price" in event else event["bid"])
        count[key] += 1
        low[key], high[key] = min(low.get(key, price), price), max(high.get(key, price), price)
    assert count.total() > 262_000
    assert set(count) == set(RECORDED)
    for key in RECORDED:
        between = (61_536, 61_861) if key.startswith("BTC") else (2_673, 2_686)
        assert between[0] <= low[key] <= high[key] <= between[1]


def test_recorded_ticks_go_round_without_end_and_forward_in_time() -> None:
    times = [ts_ns for ts_ns, *_ in islice(excerpt_ticks(START_NS), 530_000)]
    assert np.all(np.diff(np.array(times)) >= 0)
    assert times[-1] > START_NS + 2 * 345 * NS


def test_the_shock_is_exact_and_leaves_the_rest_alone() -> None:
    shock = Shock(START_NS, crypto=((0, 0), (10, -120_000), (20, 0)), period_seconds=100)
    at = [shock.at(shock.crypto, START_NS + round(seconds * NS)) for seconds in (-1, 0, 5, 10, 15, 20, 99, 105)]
    assert at == [0, 0, -60_000, -120_000, -60_000, 0, 0, -60_000]
    items = [
        (START_NS + 10 * NS, "prices", "BTC-USDT", b'{"ts":1,"instrument":"BTC-USDT","bid":"61800.20","ask":"61800.31"}'),
        (START_NS + 10 * NS, "prices", "ZN", b'{"ts":1,"instrument":"ZN","price":"110"}'),
        (START_NS - 1, "prices", "ETH-USDT", b'{"ts":1,"instrument":"ETH-USDT","price":"2680"}'),
    ]
    moved = list(shocked(items, shock))
    assert moved[1:] == items[1:]
    assert json.loads(moved[0][3]) == {"ts": 1, "instrument": "BTC-USDT", "bid": "54384.17", "ask": "54384.27"}


def test_treasury_path_starts_and_ends_each_day_at_real_yields() -> None:
    days, yields = daily_yields()
    first = days.index("2024-04-30")
    terms = example()
    path = TreasuryPath(1, terms.ticks, {name: float(i.dv01 or 0) for name, i in terms.instruments.items()})
    assert path.prices()["UST-10Y-YIELD"] == yields[first, 3] == 4.69
    daily = path.daily_bp()
    assert 4 < daily["10Y"] < 9
    highest = 0.0
    for second in range(86_400):
        path.step()
        if second % 60 == 59:
            highest = max(highest, abs(path.prices()["UST-10Y-YIELD"] - 4.69))
    assert path.prices()["UST-10Y-YIELD"] == pytest.approx(yields[first + 1, 3], abs=1e-9)
    assert 0.01 < highest < 0.5
    up, down = path.prices(25), path.prices()
    for name in ("UST-10Y", "ZN"):
        dv01 = float(terms.instruments[name].dv01 or 0)
        assert (down[name] - up[name]) / 25 == pytest.approx(dv01, rel=0.05)
