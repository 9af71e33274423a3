"""What `crossmargin reconciliation` shows of a real Redis, as data and as tables."""

import asyncio

import pytest

from streams.settings import Settings, UserError
from streams.status import DIFFERENCES, show_reconciliation
from tests.monitors.desk import flush, running
from tests.monitors.fake_engine import FakeEngine
from tests.monitors.test_outlook import outlook

pytestmark = pytest.mark.services


def test_reconciliation(redis_url: str) -> None:
    async def work(looks_ahead: bool) -> None:
        async with running(redis_url) as desk:
            engine = FakeEngine(0, 3)
            desk.attach(engine)
            if looks_ahead:
                desk.look_ahead(engine, outlook())
            await desk.settle()

    flush(redis_url)
    settings = Settings(redis_url=redis_url)
    with pytest.raises(UserError, match="no worker has written there yet"):
        show_reconciliation(settings)
    asyncio.run(work(False))
    with pytest.raises(UserError, match="has no reconciliation under cm:1:: a worker writes it every few seconds"):
        show_reconciliation(settings)
    asyncio.run(work(True))
    shown = show_reconciliation(settings)
    assert shown.data["counts"]["QUANTITY"] == len(shown.data["breaks"]) == 1
    _, columns, rows = shown.tables[1]
    assert columns == (*DIFFERENCES, "age")
    assert rows == [("A", "cme", "F", "QUANTITY", "5", "-2.5", "11,574 d 1 h")]
