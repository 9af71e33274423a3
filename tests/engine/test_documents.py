"""Reference documents: what their JSON may say, which names they use, and what the engine answers to each."""

from decimal import Decimal
from random import Random
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import definitions
from engine.codes import EXPLANATION, Code
from engine.core import MarginEngine
from engine.documents import DOCUMENTS, NOT_TRADABLE, Rule, document_key, names_used, parse_action, parse_document
from engine.events import Kind
from engine.frames import Entry, Frame, FrameKind
from engine.scenarios.sets import ScenarioSet, encode
from tests import strategies_portfolios as portfolios
from tests.engine.small_log import START_NS, SmallLog, codes
from tests.strategies import LOG_ID, ROOMY, Genesis
from tests.strategies_documents import ASSETS, CRYPTO, HUGE, PLAIN, RULES, instrument, version

SAMPLES: list[dict[str, Any]] = [
    {"kind": "customer", "id": "c", "name": "A"},
    {"kind": "pool", "id": "p", "regime": "cftc", "currency": "USD", "calendar": "week"},
    {"kind": "calendar", "id": "week", "sessions": [["Sun 23:00", "Fri 22:00"]]},
    {"kind": "account", "id": "a", "customer": "c", "pool": "p", "currency": "USD"},
    *({"kind": "asset", "id": name} | document for name, (document, _) in ASSETS.items()),
    *(version(name, model, 5, **parameters[0]) for name, (model, parameters) in RULES.items()),
    *(document for document, _, _ in (*PLAIN, *CRYPTO, *HUGE, *portfolios.instruments(START_NS))),
    *(portfolios.scenarios(Random(1), name) for name in portfolios.SETS),
    *(version(name, model, 5, **versions[0]) for name, (model, versions) in portfolios.RULES.items()),
    version("XM", "cross_margin", 5, **portfolios.CROSS["XM"][0]),
    version("TAKEN", "collateral", 5, **portfolios.TAKEN["TAKEN"][1]),
    portfolios.agreement(Random(1), "ag", "c", "a", "b"),
]
IDS = [f"{sample['kind']}-{sample['id']}" for sample in SAMPLES]


@pytest.mark.parametrize("sample", SAMPLES, ids=IDS)
def test_every_kind_is_read(sample: dict[str, Any]) -> None:
    document = parse_document(msgspec.json.encode(sample))
    assert isinstance(document, DOCUMENTS[sample["kind"]])
    assert document.kind == sample["kind"]
    key = document_key(document)
    assert key == f"{sample['kind']}:{sample['id']}" + (":5" if isinstance(document, Rule) else "")


@pytest.mark.parametrize("sample", SAMPLES, ids=IDS)
def test_unknown_fields_wrong_types_and_long_ids_are_refused(sample: dict[str, Any]) -> None:
    bad = [{"extra": 1}, {"id": 5}, {"id": ""}, {"id": "x" * 65}, {"id": "\u00e9"}, {"kind": "secret"}, {"id": "a\n"}]
    for change in bad:
        with pytest.raises(msgspec.ValidationError):
            parse_document(msgspec.json.encode(sample | change))


def test_names_of_what_is_margined_together_come_first() -> None:
    samples = {(sample["kind"], sample["id"]): names_used(parse_document(msgspec.json.encode(sample))) for sample in SAMPLES}
    assert samples["rule", "SCAN"] == [
        ("scenarios", "span"), ("asset", "USD"), ("instrument", "BTC-USD"), ("instrument", "ETH-BTC"),
        ("instrument", "ETH-BTC"), ("instrument", "BTC-USD"),
    ]  # fmt: skip
    assert samples["rule", "XM"] == [("rule", "CME"), ("rule", "FICC")]
    assert samples["agreement", "ag"] == [("customer", "c"), ("rule", "XM"), ("account", "a"), ("account", "b")]
    assert samples["instrument", "UB"] == [("asset", "USD"), ("rule", "CME"), ("instrument", "N-36"), ("instrument", "N-27")]
    pool = {"kind": "pool", "id": "p", "regime": "x", "currency": "USD", "collateral": "TAKEN", "shocks": "GRID"}
    named = [("asset", "USD"), ("rule", "TAKEN"), ("rule", "GRID")]
    assert names_used(parse_document(msgspec.json.encode(pool))) == named
    assert names_used(parse_document(msgspec.json.encode(pool | {"shocks": ["GRID", "CME"]}))) == [*named, ("rule", "CME")]


def test_names_used_come_first() -> None:
    def used(sample: dict[str, Any]) -> list[tuple[str, str]]:
        return names_used(parse_document(msgspec.json.encode(sample)))

    assert used(SAMPLES[0]) == used(SAMPLES[2]) == []
    assert used(SAMPLES[1]) == [("asset", "USD"), ("calendar", "week")]
    assert used(SAMPLES[3]) == [("customer", "c"), ("pool", "p"), ("asset", "USD")]
    assert used({"kind": "asset", "id": "USD", "type": "currency", "currency": "USD"}) == []
    assert used({"kind": "asset", "id": "X", "type": "crypto", "currency": "USD", "instrument": "I"}) == [
        ("asset", "USD"), ("instrument", "I"),
    ]  # fmt: skip
    spot = {"kind": "instrument", "id": "I", "type": "spot", "currency": "USD", "tick": "1", "band": ["0", "1"]}
    assert used(spot | {"underlying": "I"}) == [("asset", "USD")]
    assert used(spot | {"underlying": "J", "rule": "r", "calendar": "week"}) == [
        ("asset", "USD"), ("calendar", "week"), ("rule", "r"), ("instrument", "J"),
    ]  # fmt: skip


def test_numbers_are_decimals_as_written() -> None:
    raw = b'{"kind":"instrument","id":"I","type":"fx","currency":"USD","tick":0.1,"band":["0.30",1e2]}'
    document = parse_document(raw)
    assert (document.tick, document.band) == (Decimal("0.1"), (Decimal("0.30"), Decimal(100)))
    assert not document.tradable
    assert {"fx", "index", "yield", "funding_rate"} == NOT_TRADABLE


def test_an_action_is_read() -> None:
    action = {"id": "1", "ts": "2026-11-02T14:30:00Z", "user": "ann", "kind": "ack", "account": "a", "call": "a:1"}
    assert parse_action(msgspec.json.encode(action)).text == ""
    for change in ({"kind": "shout"}, {"text": "x" * 1025}, {"extra": 1}):
        with pytest.raises(msgspec.ValidationError):
            parse_action(msgspec.json.encode(action | change))


def test_every_code_is_explained() -> None:
    assert set(EXPLANATION) == set(Code) - {Code.OK}
    assert len({code.reason for code in Code}) == len(Code)
    assert not Code.DUPLICATE.is_form
    assert Code.NOT_JSON.is_form


# --- what the engine answers (its twin was found to answer the same) -------------------------------------------------


def small() -> SmallLog:
    """A log with money, an account, two instruments and a rule."""
    log = SmallLog()
    log.money()
    log.account("a")
    log.rule("r", "flat", initial="2", maintenance="1")
    log.instrument("F", rule="r", expiry=10**18)
    log.instrument("X-USD", type="fx")
    log.document("asset", "X", type="crypto", currency="USD", instrument="X-USD", haircut="0.1")
    return log


FUND = {"type": "fund", "currency": "USD", "tick": "0.01", "band": ["0", "100000"], "rule": "r", "expiry": 10**18}
X = {"type": "crypto", "currency": "USD", "instrument": "X-USD", "haircut": "0.1"}


@pytest.mark.parametrize(
    ("kind", "name", "fields", "code"),
    [
        ("customer", "c", {"name": "new"}, None),
        ("account", "a", {"customer": "c", "pool": "p", "currency": "USD"}, None),
        ("account", "a", {"customer": "c", "pool": "p", "currency": "X"}, Code.CHANGED_DEFINITION),
        ("account", "b", {"customer": "nobody", "pool": "p", "currency": "USD"}, Code.UNKNOWN_NAME),
        ("account", "b", {"customer": "c", "pool": "none", "currency": "USD"}, Code.UNKNOWN_NAME),
        ("account", "b", {"customer": "c", "pool": "p", "currency": "X"}, None),
        ("pool", "p", {"regime": "other", "currency": "USD"}, None),
        ("pool", "p", {"regime": "cftc", "currency": "X"}, Code.CHANGED_DEFINITION),
        ("asset", "X", X | {"haircut": "0.5"}, None),
        ("asset", "X", X | {"haircut": "1.1"}, Code.REFUSED_DEFINITION),
        ("asset", "X", X | {"haircut": "-0.1"}, Code.REFUSED_DEFINITION),
        ("asset", "X", X | {"decimals": 3}, Code.CHANGED_DEFINITION),
        ("asset", "X", X | {"type": "currency"}, Code.CHANGED_DEFINITION),
        ("asset", "Y", {"type": "currency", "currency": "Y"}, Code.REFUSED_DEFINITION),
        ("asset", "Y", {"type": "currency", "currency": "USD", "decimals": 9}, Code.BAD_FIELD),
        ("asset", "Y", {"type": "currency", "currency": "X", "instrument": "X-USD"}, Code.REFUSED_DEFINITION),
        ("instrument", "F", FUND | {"band": ["1", "2"], "name": "narrow", "stale_after": 5}, None),
        ("instrument", "F", FUND | {"tick": "0.02"}, Code.CHANGED_DEFINITION),
        ("instrument", "F", FUND | {"lot": "2"}, Code.CHANGED_DEFINITION),
        ("instrument", "F", FUND | {"multiplier": "2"}, Code.CHANGED_DEFINITION),
        ("instrument", "F", FUND | {"type": "spot"}, Code.CHANGED_DEFINITION),
        ("instrument", "F", FUND | {"currency": "X"}, Code.CHANGED_DEFINITION),
        ("instrument", "F", FUND | {"underlying": "X-USD"}, Code.CHANGED_DEFINITION),
        ("instrument", "F", FUND | {"inverse": True}, Code.CHANGED_DEFINITION),
        ("instrument", "F", FUND | {"expiry": 10**18 + 1}, Code.CHANGED_DEFINITION),
        ("instrument", "F", FUND | {"rule": "none"}, Code.UNKNOWN_NAME),
        ("instrument", "G", FUND | {"tick": "0"}, Code.REFUSED_DEFINITION),
        ("instrument", "G", FUND | {"lot": "-1"}, Code.REFUSED_DEFINITION),
        ("instrument", "G", FUND | {"multiplier": "0"}, Code.REFUSED_DEFINITION),
        ("instrument", "G", FUND | {"tick": "0.0000000001"}, Code.REFUSED_DEFINITION),
        ("instrument", "G", FUND | {"tick": "0.001", "lot": "0.00000001"}, Code.REFUSED_DEFINITION),
        ("instrument", "G", FUND | {"band": ["2", "1"]}, Code.REFUSED_DEFINITION),
        ("instrument", "G", FUND | {"dv01": "1"}, Code.REFUSED_DEFINITION),
        ("instrument", "G", FUND | {"bucket": "10Y"}, Code.REFUSED_DEFINITION),
        ("instrument", "G", FUND | {"band": ["0", "1"], "inverse": True}, Code.REFUSED_DEFINITION),
        ("instrument", "G", FUND | {"expiry": "tomorrow"}, Code.REFUSED_DEFINITION),
        ("instrument", "G", FUND | {"stale_after": 0}, Code.BAD_FIELD),
        ("rule", "r", {"model": "flat", "effective": 0, "parameters": {"initial": "2", "maintenance": "1"}}, None),
        ("rule", "r", {"model": "flat", "effective": 1, "parameters": {"initial": "3", "maintenance": "1"}}, None),
        ("rule", "r", {"model": "flat", "effective": 0, "parameters": {"initial": "3", "maintenance": "1"}},
         Code.CHANGED_DEFINITION),
        ("rule", "s", {"model": "flat", "effective": 0, "parameters": {"initial": "1", "maintenance": "2"}},
         Code.REFUSED_DEFINITION),
        ("rule", "s", {"model": "flat", "effective": 0, "parameters": {"initial": "1"}}, Code.REFUSED_DEFINITION),
        ("rule", "s", {"model": "volatility", "effective": 0, "parameters": {"multiple": "1"}}, Code.REFUSED_DEFINITION),
        ("rule", "s", {"model": "tiered", "effective": 0, "parameters": {"tiers": []}}, Code.BAD_FIELD),
        ("rule", "s", {"model": "flat", "effective": "x", "parameters": {"initial": "2", "maintenance": "1"}},
         Code.REFUSED_DEFINITION),
        ("calendar", "w", {"sessions": [["Sun 23:00", "Fri 25:00"]]}, Code.REFUSED_DEFINITION),
        ("calendar", "w", {"sessions": [["Sun", "Fri 22:00"]]}, Code.REFUSED_DEFINITION),
        ("calendar", "w", {"sessions": []}, Code.BAD_FIELD),
        ("calendar", "w", {"sessions": [["Sun 23:00", "Fri 22:00"]], "time_zone": "New York"}, Code.BAD_FIELD),
    ],
)  # fmt: skip
def test_what_a_document_is_answered(kind: str, name: str, fields: dict[str, Any], code: Code | None) -> None:
    assert codes(small().document(kind, name, **fields)) == ([] if code is None else [code])


def together() -> SmallLog:
    """A log with the sets, rules and instruments of portfolio margin, two accounts and an agreement of them."""
    log = SmallLog({"scenarios": 40, "sets": 6, "portfolios": 6})
    log.money()
    log.document("asset", "JPY", type="currency", currency="USD", decimals=0)
    log.document("calendar", "week", sessions=[("Sun 23:00", "Fri 22:00")])
    for name in ("BTC-USD", "ETH-BTC"):
        log.instrument(name, type="index")
    for name in ("USDT", "USDC"):
        log.document("asset", name, type="stablecoin", currency="USD")
    for name in portfolios.SETS:
        log.raw(msgspec.json.encode(SETS[name]))
    for name, (model, versions) in portfolios.RULES.items():
        assert not log.raw(msgspec.json.encode(version(name, model, 0, **versions[name == "CME"]))).rejects
    log.raw(msgspec.json.encode(version("XM", "cross_margin", 0, **portfolios.CROSS["XM"][0])))
    for account in "abd":
        log.account(account)
    assert not log.raw(msgspec.json.encode(AGREEMENT)).rejects
    log.instrument("N", type="treasury", rule="FICC", maturity="2030-01-01")
    return log


SETS = {name: portfolios.scenarios(Random(7), name) for name in portfolios.SETS}
AGREEMENT = portfolios.agreement(Random(1), "ag", "c", "a", "b")
NOTE = instrument("N", "treasury", "USD", "0.01", ("0", "100000"), rule="FICC", maturity="2030-01-01")


def rule_of(name: str, effective: int = 1, **changes: Any) -> dict[str, Any]:
    """A version of a portfolio rule, with some parameters changed."""
    model, versions = portfolios.RULES[name]
    return version(name, model, effective, **(versions[0] | changes))


def taken(**terms: Any) -> dict[str, Any]:
    """A collateral schedule of one asset."""
    return version("T", "collateral", 0, currency="USD", assets={"BTC": {"haircut": "0.1"} | terms})


def crossed(**changes: Any) -> dict[str, Any]:
    """A version of the cross-margin rule."""
    return version("XM", "cross_margin", 1, **(portfolios.CROSS["XM"][0] | changes))


def resized(count: int, **parameters: Any) -> dict[str, Any]:
    """A set HIST of so many scenarios."""
    made = ScenarioSet("HIST", "2", ("X",), ("log",), tuple(map(str, range(count))), np.zeros((count, 1)), parameters)
    return dict(msgspec.json.decode(encode(made)))


@pytest.mark.parametrize(
    ("document", "code"),
    [
        (rule_of("CME"), None),
        (rule_of("CME", tail="0.9999"), None),
        (rule_of("CME", tail="1"), Code.REFUSED_DEFINITION),
        (rule_of("CME", tail="0.00005"), Code.REFUSED_DEFINITION),
        (rule_of("CME", minimum="1"), None),
        (rule_of("CME", minimum="0.001"), Code.REFUSED_DEFINITION),
        (rule_of("CME", offset="1"), Code.REFUSED_DEFINITION),
        (rule_of("CME", bands=[[5, "0.1"], [None, "0"]]), None),
        (rule_of("CME", bands=[[5, "0.1"]]), Code.REFUSED_DEFINITION),
        (rule_of("CME", bands=[[None, "0.1"]], floor="0"), Code.REFUSED_DEFINITION),
        (rule_of("CME", scenarios="span"), Code.REFUSED_DEFINITION),
        (rule_of("CME", scenarios="none"), Code.UNKNOWN_NAME),
        (rule_of("CME", currency="EUR"), Code.UNKNOWN_NAME),
        (rule_of("CME", multiplier="0.99"), Code.REFUSED_DEFINITION),
        (rule_of("GRID", delta_threshold="0.001"), Code.REFUSED_DEFINITION),
        (rule_of("GRID", delta_threshold="0.5", currency="JPY"), Code.REFUSED_DEFINITION),
        (rule_of("GRID", gain_cap="0.0000001"), Code.REFUSED_DEFINITION),
        (rule_of("GRID", offset="1"), Code.REFUSED_DEFINITION),
        (rule_of("SCAN", calendar_charge="0.000000001"), Code.REFUSED_DEFINITION),
        (rule_of("SCAN", spreads=[portfolios.SPREADS[0] | {"credit": "0.000000001"}]), Code.REFUSED_DEFINITION),
        (rule_of("SCAN", spreads=[{"credit": "1", "legs": [
            {"underlying": "NEVER", "ratio": "1", "side": 1}, {"underlying": "BTC-USD", "ratio": "1", "side": -1}]}]),
         Code.UNKNOWN_NAME),
        (rule_of("SCAN", ranges={"X": {"price": "-1"}}), Code.REFUSED_DEFINITION),
        (version("EXTRA", "points", 0, **portfolios.RULES["POINTS"][1][0]), None),
        (crossed(ttl=1e300), Code.REFUSED_DEFINITION),
        (crossed(cap="1.1"), Code.REFUSED_DEFINITION),
        (crossed(houses=["CME", "NONE"]), Code.UNKNOWN_NAME),
        (taken(), None),
        (taken(cap="0"), None),
        (taken(cap="0.001"), Code.REFUSED_DEFINITION),
        (taken(haircut="1.1"), Code.REFUSED_DEFINITION),
        (taken(digital="bitcoin"), Code.REFUSED_DEFINITION),
        (SETS["HIST"], None),
        (SETS["HIST"] | {"hash": "0"}, Code.REFUSED_DEFINITION),
        (SETS["HIST"] | {"format": "x"}, Code.REFUSED_DEFINITION),
        (SETS["span"] | {"id": "HIST"}, Code.REFUSED_DEFINITION),
        (resized(40, look_back=30), None),
        (resized(41, look_back=30), Code.FULL_SCENARIOS),
        (resized(30), Code.REFUSED_DEFINITION),  # CME blends a stress set
        (resized(30, look_back=31), Code.REFUSED_DEFINITION),
        (resized(30, look_back="x"), Code.REFUSED_DEFINITION),
        (AGREEMENT | {"signed": False}, None),
        (AGREEMENT | {"treasury_account": "d"}, Code.CHANGED_DEFINITION),
        (AGREEMENT | {"id": "ag2", "treasury_account": "d"}, Code.REFUSED_DEFINITION),
        (AGREEMENT | {"id": "ag2", "futures_account": "d", "treasury_account": "d"}, Code.REFUSED_DEFINITION),
        (AGREEMENT | {"id": "ag2", "futures_account": "nobody"}, Code.UNKNOWN_NAME),
        (NOTE | {"maturity": "2031-01-01"}, None),
        (NOTE | {"maturity": "soon"}, Code.REFUSED_DEFINITION),
        (NOTE | {"deliverables": [{"instrument": "M", "factor": "1"}]}, Code.UNKNOWN_NAME),
        ({"kind": "pool", "id": "q", "regime": "x", "currency": "USD", "shocks": "GRID"}, None),
        ({"kind": "pool", "id": "q", "regime": "x", "currency": "USD", "shocks": "NONE"}, Code.UNKNOWN_NAME),
    ],
)  # fmt: skip
def test_what_a_document_of_portfolio_margin_is_answered(document: dict[str, Any], code: Code | None) -> None:
    log = together()
    log.clock()
    assert codes(log.raw(msgspec.json.encode(document))) == ([] if code is None else [code])
    log.clock()


@pytest.mark.parametrize(("limit", "code"), [("portfolios", Code.FULL_RULES), ("sets", Code.FULL_SCENARIOS)])
def test_rules_and_sets_have_limits(limit: str, code: Code) -> None:
    log = SmallLog({"scenarios": 40, limit: 1})
    log.money()
    for name in ("HIST", "HIST-3D"):
        log.raw(msgspec.json.encode(SETS[name]))
    assert not log.rule("CME", "historical", scenarios="HIST", currency="USD", tail="0", initial_ratio="1").rejects
    more = log.rule("FICC", "historical", scenarios="HIST-3D", currency="USD", tail="0", initial_ratio="1")
    assert codes(more) == [code]


def test_pools_have_a_limit() -> None:
    log = SmallLog({"pools": 1})
    log.money()
    assert codes(log.document("pool", "q", regime="x", currency="USD")) == [Code.FULL_POOLS]


def test_two_ids_with_one_key_collide(monkeypatch: pytest.MonkeyPatch) -> None:
    log = small()
    own = definitions.key64
    monkeypatch.setattr(definitions, "key64", lambda name: own("F" if name == "G" else name))
    entry = Entry(
        int(Kind.REFERENCE), 0, 10**6, 0, msgspec.Raw(msgspec.json.encode({"kind": "instrument", "id": "G"} | FUND))
    )
    report = log.pair.engine.step(
        Frame(FrameKind.DOCUMENTS, 0, 1, LOG_ID, 1, log.number, documents=[entry]), log.pair.engine.offset
    )
    assert codes(report) == [Code.KEY_COLLISION]


WEIRD = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(),
    st.text(max_size=5), st.lists(st.integers(), max_size=3),
    st.sampled_from(("NaN", "sNaN", "Infinity", "-Infinity", "-0", "1e30", "1e-30", "1e400", "1e-400", "0.000000001", "-1")),
)  # fmt: skip


def changed(sample: dict[str, Any], field: str, value: Any) -> dict[str, Any]:
    """A document with one of its values, also within its parameters, replaced."""
    if field in sample.get("parameters", {}):
        return sample | {"parameters": sample["parameters"] | {field: value}}
    return sample | {field: value}


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_document_stops_the_engine(data: st.DataObject) -> None:
    log = together()
    log.document("calendar", "week", sessions=[["Sun 23:00", "Fri 22:00"]])
    log.rule("r", "flat", initial="2", maintenance="1")
    kinds = ("instrument", "rule", "asset", "scenarios", "agreement")
    sample = dict(data.draw(st.sampled_from([s for s in SAMPLES if s["kind"] in kinds])))
    sample |= {"currency": "USD"} if "currency" in sample else {}
    for reference in ("underlying", "rule", "calendar", "instrument"):
        sample.pop(reference, None)
    fields = {*sample, *sample.get("parameters", {}), "dv01", "expiry", "decimals", "haircut"} - {"kind", "parameters"}
    sample = changed(sample, data.draw(st.sampled_from(sorted(fields))), data.draw(WEIRD))
    log.raw(msgspec.json.encode(sample))
    log.instrument("AFTER", rule=sample["id"] if sample["kind"] == "rule" else "r")
    log.clock()


@pytest.mark.parametrize("body", [b"[]", b"5", b'"x"', b"{}", b'{"kind":5}', b'{"kind":"customer"}', b"null"])
@pytest.mark.parametrize("shard", [0, 1])
def test_json_that_is_no_document_is_a_bad_field(body: bytes, shard: int) -> None:
    engine = MarginEngine(shard)
    genesis = Genesis(log_id=LOG_ID.hex(), shards=2, time_mode="wall", start_ns=0, limits=ROOMY)
    header = {"shard": shard, "shards": 2, "log_id": LOG_ID, "writer": 1}
    engine.step(Frame(FrameKind.GENESIS, number=0, genesis=genesis, **header), 0)
    entry = Entry(int(Kind.REFERENCE), 0, 0, 0, msgspec.Raw(body))
    report = engine.step(Frame(FrameKind.DOCUMENTS, number=1, documents=[entry], **header), 1)
    assert set(codes(report)) <= {Code.BAD_FIELD}
    assert shard == 1 or codes(report) == [Code.BAD_FIELD]
    assert not np.any(report.applied)
