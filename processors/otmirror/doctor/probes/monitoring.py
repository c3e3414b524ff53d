"""The monitoring itself: whether the exporter and the store of the monitoring answer."""

from __future__ import annotations

from collections.abc import Iterator

import requests

from otmirror import netfault
from otmirror.doctor.findings import Finding
from otmirror.doctor.site import Site
from otmirror.embedded.loopback import session

_SECONDS = 3.0


def look(site: Site) -> Iterator[Finding]:
    """Yield what of the monitoring does not answer; nothing where its address is not known."""
    if not site.exporter:
        return
    try:
        with session(site.exporter) as asking:
            answer = asking.get(f"{site.exporter.rstrip('/').removesuffix('/metrics')}/metrics", timeout=_SECONDS)
    except (requests.RequestException, OSError) as error:
        yield Finding("exporter-down", site.exporter, netfault.words(error))
        return
    if answer.status_code != 200:
        yield Finding("exporter-down", site.exporter, f"answers {answer.status_code}")
