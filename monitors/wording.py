"""Money, times and margin calls in the words that notices and the terminal share; amounts stay exact."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from engine.events import NS

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def money(text: str) -> str:
    """A decimal string with its thousands apart."""
    whole, point, rest = text.partition(".")
    sign, digits = ("-", whole[1:]) if whole.startswith("-") else ("", whole)
    return f"{sign}{int(digits):,}{point}{rest}" if digits.isdigit() else text


def outstanding(amount: str, received: str) -> str:
    """What a call still asks for, of decimal strings with the same decimals."""
    return f"{Decimal(amount) - Decimal(received):f}"


def moment(ts_ns: int, zone: ZoneInfo | None = None) -> str:
    """A time to the minute with its weekday, in UTC, and after it in a time zone."""
    at = _EPOCH + timedelta(seconds=ts_ns // NS)
    text = f"{at:%A} {at.day} {at:%B %Y, %H:%M} UTC"
    if zone is None:
        return text
    there = at.astimezone(zone)
    day = "" if there.date() == at.date() else f"{there:%A} "
    return f"{text} ({day}{there:%H:%M %Z})"


def duration(seconds: int) -> str:
    """A span of time by its two largest units."""
    days, hours, minutes = seconds // 86_400, seconds // 3600 % 24, seconds // 60 % 60
    if days:
        return f"{days:,} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds % 60} s"


def time_left(due_ns: int, now_ns: int) -> str:
    """How long until a time, or since it."""
    text = duration(abs(due_ns - now_ns) // NS)
    return f"in {text}" if due_ns > now_ns else f"{text} ago"
