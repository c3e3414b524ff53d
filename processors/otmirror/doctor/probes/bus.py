"""The brokers that a flow names: whether they listen, and the certificate they show."""

from __future__ import annotations

import datetime
from urllib.parse import urlsplit

from otmirror.doctor import reach
from otmirror.doctor.findings import Finding
from otmirror.errors import MirrorError
from otmirror.pki.expiry import judged, shown_by

_MQTT, _MQTTS, _KAFKA = 1883, 8883, 9092
_SECURED = ("ssl", "mqtts", "tls", "wss")


def look(brokers: tuple[str, ...]) -> list[Finding]:
    """Return which brokers cannot be reached; of those named together one is enough."""
    told = {broker: _look(broker) for broker in brokers}
    down = {broker: found for broker, found in told.items() if any(one.code == "bus-down" for one in found)}
    found = [one for broker, several in told.items() if broker not in down for one in several]
    return found + [one for several in down.values() for one in several]


def _look(broker: str) -> list[Finding]:
    host, port, secured = _place(broker)
    why = reach.refused(host, port)
    if why:
        return [Finding("bus-down", broker, why)]
    if not secured:
        return []
    try:
        certificate = shown_by(host, port)
    except MirrorError as error:
        return [Finding("bus-down", broker, f"listens, but {error}")]
    state = judged(broker, certificate, datetime.datetime.now(datetime.timezone.utc))
    if state.problem:
        return [Finding("certificate-expired", broker, f"the broker's certificate {state.problem}")]
    if state.warning:
        return [Finding("certificate-expiring", broker, f"the broker's certificate {state.warning}")]
    return []


def _place(broker: str) -> tuple[str, int, bool]:
    if "://" in broker:
        parts = urlsplit(broker)
        secured = parts.scheme in _SECURED
        return parts.hostname or "", parts.port or (_MQTTS if secured else _MQTT), secured
    host, port = reach.resolved(broker, _KAFKA)
    return host, port, False
