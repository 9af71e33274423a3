"""Times of day where money is called, by formulas: with the time zone databases of machines replays would differ."""

from datetime import date
from typing import Final, Literal, NamedTuple

from engine.events import DAY_NS, HOUR_NS

Zone = Literal["UTC", "America/New_York", "America/Chicago", "Europe/London", "Europe/Berlin", "Asia/Tokyo"]
EPOCH_DAY: Final = date(1970, 1, 1).toordinal()


class _Clock(NamedTuple):
    hours: int  # of standard time ahead of UTC
    summer: Literal["", "US", "EU"]


_CLOCKS: Final[dict[Zone, _Clock]] = {
    "UTC": _Clock(0, ""),
    "America/New_York": _Clock(-5, "US"),
    "America/Chicago": _Clock(-6, "US"),
    "Europe/London": _Clock(0, "EU"),
    "Europe/Berlin": _Clock(1, "EU"),
    "Asia/Tokyo": _Clock(9, ""),
}


def moment_ns(zone: Zone, day: int, of_day_ns: int) -> int:
    """The moment, in nanoseconds since 1970, of a time of a day (days since 1970) as clocks of a zone show it.

    From 2007 on. A time that clocks skip is that of the clock before, one that they show twice is the first.
    """
    clock = _CLOCKS[zone]
    standard_ns = day * DAY_NS + of_day_ns - clock.hours * HOUR_NS
    if clock.summer:
        begins_ns, ends_ns = _summer_ns(clock, date.fromordinal(EPOCH_DAY + day).year)
        if begins_ns <= standard_ns - HOUR_NS < ends_ns:
            return standard_ns - HOUR_NS
    return standard_ns


def _summer_ns(clock: _Clock, year: int) -> tuple[int, int]:
    """When summer time begins and ends, an hour ahead of standard time.

    US: at 2:00 of the clock that ends, second Sunday of March and first of November (15 U.S.C. 260a, as amended by the
    Energy Policy Act of 2005, section 110). EU: at 1:00 UTC, last Sundays of March and October (Directive 2000/84/EC,
    articles 2 and 3; the United Kingdom by the Summer Time Order 2002).
    """
    if clock.summer == "US":
        march, november = _sunday(year, 3, 8), _sunday(year, 11, 1)
        return march * DAY_NS + (2 - clock.hours) * HOUR_NS, november * DAY_NS + (1 - clock.hours) * HOUR_NS
    return _sunday(year, 3, 25) * DAY_NS + HOUR_NS, _sunday(year, 10, 25) * DAY_NS + HOUR_NS


def _sunday(year: int, month: int, day: int) -> int:
    """The first Sunday on or after a day of a month, as days since 1970."""
    first = date(year, month, day).toordinal()
    return first + -first % 7 - EPOCH_DAY
