"""Zones by formula against the time zone database, which the engine does not read."""

from datetime import UTC, date, datetime, timedelta
from typing import get_args
from zoneinfo import ZoneInfo

import pytest

from engine.events import HOUR_NS, NS
from engine.zones import EPOCH_DAY, Zone, moment_ns


@pytest.mark.parametrize("zone", get_args(Zone))
def test_every_hour_from_2007_to_2037_is_that_of_the_time_zone_database(zone: Zone) -> None:
    there, day, offsets = ZoneInfo(zone), date(2007, 1, 1), set[timedelta | None]()
    while day.year < 2038:
        for hour in range(24):
            moment = datetime(day.year, day.month, day.day, hour, tzinfo=there)
            assert moment_ns(zone, day.toordinal() - EPOCH_DAY, hour * HOUR_NS) == int(moment.timestamp()) * NS
        offsets.add(moment.utcoffset())
        day += timedelta(days=1)
    assert len(offsets) == (1 if zone in ("UTC", "Asia/Tokyo") else 2)


@pytest.mark.parametrize(
    ("zone", "text", "utc"),
    [
        ("America/New_York", "2026-03-08T01:59", "2026-03-08T06:59"),
        ("America/New_York", "2026-03-08T02:30", "2026-03-08T07:30"),  # clocks skip it
        ("America/New_York", "2026-03-08T03:00", "2026-03-08T07:00"),
        ("America/New_York", "2026-11-01T01:59", "2026-11-01T05:59"),  # clocks show it twice
        ("America/Chicago", "2026-11-01T02:00", "2026-11-01T08:00"),
        ("Europe/London", "2026-10-25T01:30", "2026-10-25T00:30"),
        ("Europe/Berlin", "2026-10-25T02:59", "2026-10-25T00:59"),
        ("Europe/Berlin", "2026-10-25T03:00", "2026-10-25T02:00"),
    ],
)
def test_the_hours_at_which_clocks_change(zone: Zone, text: str, utc: str) -> None:
    shown, moment = datetime.fromisoformat(text), datetime.fromisoformat(utc).replace(tzinfo=UTC)
    of_day = timedelta(hours=shown.hour, minutes=shown.minute)
    assert moment_ns(zone, shown.toordinal() - EPOCH_DAY, of_day.seconds * NS) == int(moment.timestamp()) * NS
