"""The audit trail's indices in OpenSearch: one a day, deleted when they are old."""

from __future__ import annotations

import datetime
import re

import requests

from otmirror.embedded.loopback import session
from otmirror.errors import UnavailableError

PREFIX = "otmirror-audit-"
_DAY = re.compile(re.escape(PREFIX) + r"(\d{4}-\d\d-\d\d)")


def expire(url: str, days: int, today: datetime.date) -> list[str]:
    """Delete the indices of days more than `days` days before `today`; return their names.

    Raises:
        UnavailableError: the OpenSearch does not answer, or refuses.
    """
    oldest = (today - datetime.timedelta(days=days)).isoformat()
    try:
        with session(url) as asking:
            answer = asking.get(f"{url}/_cat/indices/{PREFIX}*", params={"h": "index"}, timeout=30)
            answer.raise_for_status()
            gone = [name for name in answer.text.split() if (m := _DAY.fullmatch(name)) and m[1] < oldest]
            for name in gone:
                asking.delete(f"{url}/{name}", timeout=60).raise_for_status()
    except requests.RequestException as error:
        raise UnavailableError(f"OpenSearch: {type(error).__name__}: does not answer or refuses") from None
    return sorted(gone)
