"""Certificates of the flow's files and of the servers that show one: over, or over soon."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

from otmirror.doctor.findings import Finding
from otmirror.doctor.flowview import FlowView, Processor
from otmirror.doctor.site import Site
from otmirror.errors import MirrorError
from otmirror.pki import expiry

_FILES = ("CA Certificate File", "Client Certificate File", "User Certificate File")
_FOLDERS = ("own", "trusted", "issuers")
_URLS = ("VictoriaMetrics URL", "Catalog URI", "S3 Endpoint")


def files(site: Site, views: Iterable[FlowView]) -> list[Finding]:
    """Return which certificates in files of the flow are over, or soon."""
    now = datetime.datetime.now(datetime.timezone.utc)
    places: dict[Path, set[str]] = {}
    for view in views:
        for one in view.processors:
            for file in _named(site, one):
                places.setdefault(file, set()).add(one.name)
    found: list[Finding] = []
    for file, names in places.items():
        try:
            told = expiry.check(str(file), now)
        except MirrorError:
            continue
        found += [one for state in told for one in _judged(state, frozenset(names))]
    return found


def _named(site: Site, processor: Processor) -> Iterator[Path]:
    for name in _FILES:
        file = site.file(processor.get(name))
        if file is not None and file.is_file():
            yield file
    folder = site.file(processor.get("PKI Directory")) if processor.get("Security Policy", "None") != "None" else None
    for part in _FOLDERS if folder is not None else ():
        if folder is not None and (folder / part).is_dir():
            yield folder / part


def servers(site: Site, views: Iterable[FlowView]) -> list[Finding]:
    """Return which of NiFi's and the stores' servers show a certificate that is over, or soon."""
    urls: dict[str, set[str]] = {site.url: set()}
    for view in views:
        for one in view.processors:
            for name in _URLS:
                if one.get(name):
                    urls.setdefault(one.get(name), set()).add(one.name)
    now, found = datetime.datetime.now(datetime.timezone.utc), []
    for url, names in urls.items():
        parts = urlsplit(url)
        if parts.scheme != "https" or not parts.hostname:
            continue
        try:
            shown = expiry.shown_by(parts.hostname, parts.port or 443)
        except MirrorError:
            continue  # whether it can be reached is asked elsewhere
        found += list(_judged(expiry.judged(f"{parts.hostname}:{parts.port or 443}", shown, now), frozenset(names)))
    return found


def _judged(state: expiry.Finding, scope: frozenset[str]) -> Iterator[Finding]:
    if state.certificate is None:
        return
    if state.problem:
        yield Finding("certificate-expired", state.where, state.problem, _end(state), scope)
    elif state.warning:
        yield Finding("certificate-expiring", state.where, state.warning, None, scope)


def _end(state: expiry.Finding) -> float | None:
    return state.certificate.not_valid_after_utc.timestamp() if state.certificate is not None else None
