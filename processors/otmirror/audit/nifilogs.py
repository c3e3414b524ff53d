"""NiFi's logs: who asked what over REST, who was turned away, and what the guards of the processors refused."""

from __future__ import annotations

import datetime
import json
import re
from urllib.parse import urlsplit

from otmirror import refusals
from otmirror.audit.event import ANONYMOUS, FAILED, REFUSED, SUCCESS, AuditEvent, Thing
from otmirror.audit.sources import moment

# nifi.web.request.log.format, as NiFi has it by default: %{client}a - %u %t "%r" %s %O "%{Referer}i" "%{User-Agent}i"
_REQUEST = re.compile(r'(\S+) - (.+?) \[(\d\d/\w{3}/\d{4}:[^\]]+)\] "([A-Z]+) (\S+)[^"]*" (\d{3}) ')
# logback's %date %level [%thread] %logger{..} %msg, the date with or without a zone.
_LOGGED = re.compile(r"(\d{4}-\d\d-\d\d[ T]\S+) ([A-Z]+) \[[^\]]*\] (\S+) (.*)", re.DOTALL)
_USER = (
    (re.compile(r"Authentication Failed (?P<address>\S+) (?P<method>\S+) (?P<url>\S+) \[(?P<reason>.*)\]"), "login"),
    (
        re.compile(r"identity\[(?P<actor>.*?)\], groups\[.*?\] does not have permission to access the requested"
                   r" resource\.\s*(?P<reason>.*?)\s*Returning"),
        "authorize",
    ),
    (re.compile(r"Logout Request \[.*?\] Identity \[(?P<actor>.*?)\] started"), "logout"),
)  # fmt: skip
_LOOKS = {"GET", "HEAD", "OPTIONS"}


def request(line: str) -> AuditEvent | None:
    """Return a request that changes something, or that was refused; who only looks is not told.

    Of the address only the path is kept: a query may hold tokens.
    """
    match = _REQUEST.match(line)
    if not match:
        return None
    address, user, when, method, url, status = match.groups()
    code, path = int(status), urlsplit(url).path
    refused = code in (401, 403)
    if method in _LOOKS and not refused:
        return None
    return AuditEvent(
        "", datetime.datetime.strptime(when, "%d/%b/%Y:%H:%M:%S %z"), ANONYMOUS if user == "-" else user, "request",
        Thing("rest", path), REFUSED if refused else SUCCESS if code < 400 else FAILED, "nifi-request",
        {"method": method, "status": status, "address": address},
    )  # fmt: skip


def user(line: str) -> AuditEvent | None:
    """Return a failed login, a denied access or a logout from nifi-user.log."""
    logged = _LOGGED.match(line)
    if not logged:
        return None
    for pattern, action in _USER:
        match = pattern.search(logged[4])
        if match:
            told = match.groupdict()
            url = told.get("url") or ""
            return AuditEvent(
                "", moment(logged[1]), told.get("actor") or ANONYMOUS, action,
                Thing("nifi", urlsplit(url).path or "nifi"), SUCCESS if action == "logout" else REFUSED, "nifi-user",
                {key: told.get(key) or "" for key in ("address", "method", "reason")},
            )  # fmt: skip
    return None


def refusal(line: str) -> AuditEvent | None:
    """Return what a guard refused to send to a device, from nifi-app.log (see `otmirror.refusals`)."""
    if refusals.LOGGER not in line:
        return None
    logged = _LOGGED.match(line)
    if not logged or logged[3] != refusals.LOGGER:
        return None
    told = json.loads(logged[4])
    return AuditEvent(
        "", moment(logged[1]), "otmirror", "write", Thing("device", told["device"]), REFUSED, "guard",
        {"protocol": told["protocol"], "device": told["device"], "service": told["service"], "count": told["count"]},
    )  # fmt: skip
