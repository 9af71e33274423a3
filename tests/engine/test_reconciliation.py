"""Statements against what accounts hold: each kind of break, its age, runs, and what a statement never does."""

from engine.codes import Code
from engine.core import MarginEngine
from engine.events import DAY_NS, Kind, key64
from engine.reconciliation import RUN_NS, Break, BreakKind
from tests.engine.small_log import SmallLog, codes

RUN_SECONDS = RUN_NS / 1e9
DAY_SECONDS = DAY_NS / 1e9
ONE = 10**8


def desk(**limits: int) -> SmallLog:
    """An account with 5 F, 3 G and 1,000 dollars; two holders, one of them with a name."""
    log = SmallLog(limits)
    log.money()
    log.document("holder", "cme", name="CME Clearing")
    log.account("a")
    for name in ("F", "G", "H"):
        log.instrument(name)
        log.price(name, 50)
    log.trade("a", "F", 5, 50)
    log.trade("a", "G", 3, 50)
    log.collateral("a", "USD", 1000)
    log.clock()
    return log


def breaks(log: SmallLog) -> list[tuple[str, str, str, int, int]]:
    """Holder, name, kind, held and stated of every break, in whole units."""
    found = log.pair.engine.reconciliation()
    assert found.oldest_ns == min((one.since_ns for one in found.breaks), default=0)
    return [(one.holder, one.name, one.kind.name, one.held // ONE, one.stated // ONE) for one in found.breaks]


def test_statements_match_or_break_and_change_nothing() -> None:
    log = desk()
    before = log.pair.engine.stored()
    log.statement("cme", "a", "F", 5)
    log.statement("cme", "a", "G", 4)
    log.statement("cme", "a", "H", 2)
    log.statement("bank", "a", "USD", 1000, is_asset=True)
    bank = f"{key64('bank'):016x}"  # no document names it
    assert log.pair.engine.reconciliation().counts == {"MATCHED": 2, "QUANTITY": 1, "MISSING_HERE": 1, "MISSING_THERE": 0}
    assert breaks(log) == [("cme", "G", "QUANTITY", 3, 4), ("cme", "H", "MISSING_HERE", 0, 2)]
    log.statement("bank", "a", "USD", 0, is_asset=True)
    assert breaks(log)[2:] == [(bank, "USD", "MISSING_THERE", 1000, 0)]
    assert log.pair.engine.stored() == before


def test_a_break_ages_until_both_are_the_same() -> None:
    log = desk()
    log.statement("cme", "a", "G", 4)
    since = log.now_ns
    log.clock(100)
    log.statement("cme", "a", "G", 6)
    assert log.pair.engine.reconciliation().breaks == (
        Break("a", "cme", "G", False, BreakKind.QUANTITY, 3 * ONE, 6 * ONE, since, log.now_ns),
    )
    log.trade("a", "G", 3, 50)  # the trade that was missing
    assert breaks(log) == []
    log.statement("cme", "a", "G", 6)
    log.trade("a", "G", 1, 50)  # later than the statement: nothing is broken by it
    assert breaks(log) == []
    log.clock(1)
    log.statement("cme", "a", "G", 6)
    assert [one.since_ns for one in log.pair.engine.reconciliation().breaks] == [log.now_ns]


def test_what_a_run_does_not_state_is_missing_there_once_the_run_had_its_time() -> None:
    log = desk()
    log.statement("cme", "a", "F", 5)
    began = log.now_ns
    log.clock(RUN_SECONDS - 1)
    assert breaks(log) == []
    log.clock(1)
    assert breaks(log) == [("", "G", "MISSING_THERE", 3, 0)]  # nobody ever stated it; the dollars nobody states at all
    log.statement("cme", "a", "G", 3)
    assert breaks(log) == []
    log.clock(DAY_SECONDS)
    log.statement("cme", "a", "G", 3)
    second = log.now_ns
    log.clock(RUN_SECONDS)
    assert breaks(log) == [("cme", "F", "MISSING_THERE", 5, 0)]
    log.clock(DAY_SECONDS)
    log.statement("cme", "a", "G", 3)
    log.clock(RUN_SECONDS)
    assert [one.since_ns for one in log.pair.engine.reconciliation().breaks] == [second]
    log.trade("a", "F", -5, 50)
    assert breaks(log) == []
    assert began < second


def test_an_older_statement_is_superseded() -> None:
    log = desk()
    log.statement("cme", "a", "F", 5)
    for name, earlier in (("F", 1), ("G", DAY_NS)):
        report = log.statement("cme", "a", name, 9, ts_ns=log.now_ns - earlier)
        assert report.superseded[Kind.STATEMENT] == 1
    assert log.statement("bank", "a", "F", 5, ts_ns=log.now_ns - DAY_NS).applied[Kind.STATEMENT] == 1
    assert breaks(log) == []


def test_the_limit_of_statements() -> None:
    log = desk(statements=2)
    assert codes(log.statement("cme", "a", "H", 1)) == []  # the other row is that of G, held and not stated
    assert codes(log.statement("cme", "a", "F", 5)) == [Code.FULL_STATEMENTS]
    assert codes(log.statement("cme", "a", "G", 3)) == []
    assert codes(log.statement("cme", "a", "H", 2)) == []
    assert log.pair.engine.usage()["statements"] == (2, 2)


def test_statements_survive_a_snapshot() -> None:
    log = desk()
    log.statement("cme", "a", "G", 4)
    log.clock(RUN_SECONDS)
    engine = log.pair.engine
    again = MarginEngine.from_bytes(engine.to_bytes())
    assert again.reconciliation() == engine.reconciliation()
    assert again.shard_digest() == engine.shard_digest()
    before = engine.digest().accounts
    log.statement("cme", "a", "G", 3)
    assert engine.digest().accounts != before
