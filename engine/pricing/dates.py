"""Calendar arithmetic of securities: months, month ends, third Wednesdays; no holidays."""

from datetime import date, timedelta

WEDNESDAY = 2


def add_months(day: date, months: int, end_of_month: bool = False) -> date:
    """The same day of the month that many months later (earlier where negative), cut to the month's length.

    With end_of_month it is always the month's last day.
    """
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    last = _days_of_month(year, month + 1)
    return date(year, month + 1, last if end_of_month else min(day.day, last))


def is_month_end(day: date) -> bool:
    """Whether the day is the last of its month."""
    return day.day == _days_of_month(day.year, day.month)


def month_end(day: date) -> date:
    """The last day of the day's month."""
    return add_months(day, 0, end_of_month=True)


def whole_months(start: date, end: date) -> int:
    """How many whole months lie from start to end, which is not before it."""
    if end < start:
        raise ValueError(f"{end} is before {start}")
    months = (end.year - start.year) * 12 + end.month - start.month
    return months if add_months(start, months) <= end else months - 1


def third_wednesday(year: int, month: int) -> date:
    """The third Wednesday of a month (the IMM date)."""
    first = date(year, month, 1)
    return first + timedelta(days=(WEDNESDAY - first.weekday()) % 7 + 14)


def _days_of_month(year: int, month: int) -> int:
    following = date(year + month // 12, month % 12 + 1, 1)
    return (following - date(year, month, 1)).days
