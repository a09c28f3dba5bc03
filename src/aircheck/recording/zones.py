"""Time zones as settings and templates write them: `UTC`, `local`, `+05:30`, `Europe/Paris`."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import TypeAlias
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

Zone: TypeAlias = tzinfo | None
"""None is the zone of this machine."""

_LOCAL = "local"
_FIXED = re.compile(r"(?P<sign>[+-])(?P<hours>[01][0-9]|2[0-3]):(?P<minutes>[0-5][0-9])")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def parse_zone(text: str) -> Zone:
    """Raises ValueError for what is no zone, or none that is known here."""
    if text == "UTC":
        return UTC
    if text == _LOCAL:
        return None
    fixed = _FIXED.fullmatch(text)
    if fixed is not None:
        offset = timedelta(hours=int(fixed["hours"]), minutes=int(fixed["minutes"]))
        return timezone(-offset if fixed["sign"] == "-" else offset)
    try:
        return ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(
            f'"{text}" is no time zone; write "Europe/Paris", "+05:30", "UTC" or "local"'
        ) from error


def format_zone(zone: Zone) -> str:
    """The text that `parse_zone` reads."""
    if zone is None:
        return _LOCAL
    return str(zone).removeprefix("UTC") or "UTC"


def time_in(zone: Zone, at_ns: int) -> datetime:
    """A time since the epoch, as clocks show it there."""
    return (_EPOCH + timedelta(microseconds=at_ns // 1000)).astimezone(zone)


def utc_offset_ns(zone: Zone, at_ns: int) -> int:
    """How much later clocks show there than UTC, at that time: summer time changes it."""
    offset = time_in(zone, at_ns).utcoffset() or timedelta()
    return round(offset.total_seconds()) * 1_000_000_000
