"""Times as people read them, and as NiFi writes them."""

from __future__ import annotations

import datetime
import re

_CLOCK = re.compile(r"(\d{2}):(\d{2}):(\d{2})(?:\.\d+)?\s*(\S*)")
_DAY = 86400.0


def told(seconds: float) -> str:
    """Return a length of time in the two units that matter, such as `3 min 5 s`."""
    whole = max(0, round(seconds))
    parts = [(whole // 86400, "d"), (whole // 3600 % 24, "h"), (whole // 60 % 60, "min"), (whole % 60, "s")]
    shown = [f"{number} {unit}" for number, unit in parts if number][:2]
    return " ".join(shown) or "0 s"


def clock(moment: float) -> str:
    """Return a time (seconds since 1970) as UTC, with its date."""
    return f"{datetime.datetime.fromtimestamp(moment, datetime.timezone.utc):%Y-%m-%d %H:%M:%S}Z"


def iso(moment: float | None) -> str | None:
    """Return a time (seconds since 1970) in ISO 8601, UTC; None for None."""
    if moment is None:
        return None
    return datetime.datetime.fromtimestamp(moment, datetime.timezone.utc).isoformat(timespec="seconds")


def of_bulletin(text: str, now: float) -> float | None:
    """Return the seconds since 1970 of a bulletin's time of day, the last one before `now`; None when it is none.

    NiFi writes `14:03:59 UTC`. A zone that is not UTC is taken for this machine's.
    """
    match = _CLOCK.search(text)
    if not match:
        return None
    zone = datetime.timezone.utc if match[4].upper() in ("UTC", "GMT", "Z") else None
    today = datetime.datetime.fromtimestamp(now, zone).astimezone(zone)
    hour, minute, second = (int(match[n]) for n in (1, 2, 3))
    moment = today.replace(hour=hour, minute=minute, second=min(second, 59), microsecond=0).timestamp()
    return moment - _DAY if moment > now + 60 else moment
