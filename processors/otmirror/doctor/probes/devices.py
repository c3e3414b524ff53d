"""The devices: tag list, reachability, the OPC UA endpoints and certificate, one read of each Modbus unit."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from otmirror import taglist
from otmirror.doctor import reach
from otmirror.doctor.findings import Finding
from otmirror.doctor.flowview import OPCUA, Processor
from otmirror.doctor.site import Site
from otmirror.errors import ConfigError, MirrorError
from otmirror.modbus import config as modbus
from otmirror.modbus import guard as modbus_guard
from otmirror.modbus.address import Address, checker, resolve
from otmirror.opcua import address, endpoints, trust
from otmirror.opcua import config as opcua
from otmirror.opcua.config import OpcUaConfig
from otmirror.opcua.guard import GuardedClient
from otmirror.pki.expiry import judged
from otmirror.taglist import Tag

SECONDS = 3.0
"""How long a device has for its answer."""
_PROBE = Tag("-", "i=2259")


def look(site: Site, source: Processor, fresh: bool = False) -> list[Finding]:
    """Return what is wrong between a source processor and its devices. No session, no write, one request a unit.

    From what is `fresh`, good values came a moment ago: a Modbus device is left alone then, as some take one connection
    only, and of an OPC UA server its certificate counts.
    """
    if source.kind == OPCUA:
        found = list(_opcua(site, source))
        if fresh:
            found = [one for one in found if one.code.startswith("certificate")]
        return [*_taglist(site, source, address.check), *found]
    try:
        devices = modbus.parse_devices(source.get("Devices"))
    except MirrorError as error:
        return [Finding("source-refuses", source.name, str(error), scope=frozenset({source.name}))]
    check = checker(devices, modbus.MAX_REGISTERS)
    return [*_taglist(site, source, check), *(() if fresh else _modbus(site, source, devices))]


def _taglist(site: Site, source: Processor, check: taglist.AddressCheck) -> Iterator[Finding]:
    named = source.get("Tag List File")
    file = site.file(named)
    if file is None:
        return
    try:
        taglist.load(file, check)
    except MirrorError as error:
        since = file.stat().st_mtime if file.exists() else None
        yield Finding("taglist-unusable", str(file), str(error)[:500], since, frozenset({source.name}))


def _tags(site: Site, source: Processor) -> list[Tag]:
    file = site.file(source.get("Tag List File"))
    with contextlib.suppress(MirrorError):
        return list(taglist.load(file)) if file else list(taglist.parse(source.get("Tag List")))
    return []


# OPC UA


def _opcua(site: Site, source: Processor) -> Iterator[Finding]:
    scope = frozenset({source.name})
    urls = [source.get("Endpoint URL"), *source.get("Backup Endpoint URLs").replace("\n", ",").split(",")]
    found = [list(_server(site, source, url.strip(), scope)) for url in urls if url.strip()]
    if found and all(found):
        yield from found[0]
    for one in found[1:]:
        # As long as one server answers, another one's absence is no outage.
        yield from (finding for finding in one if finding.code.startswith("certificate"))


def _server(site: Site, source: Processor, url: str, scope: frozenset[str]) -> Iterator[Finding]:
    try:
        config = OpcUaConfig(
            url, (_PROBE,), policy=source.get("Security Policy", "None"), mode=source.get("Security Mode") or None,
            trust=source.get("Server Certificate Trust", opcua.FIRST_USE), request_timeout=SECONDS,
            allow_deprecated=True,
        )  # fmt: skip
    except MirrorError as error:
        yield Finding("source-refuses", url, str(error), scope=scope)
        return
    why = reach.refused(*config.host_port)
    if why:
        yield Finding("source-unreachable", url, why, scope=scope)
        return
    try:
        offered = asyncio.run(GuardedClient(config).look())
    except MirrorError as error:
        yield Finding("source-silent", url, f"listens, but gives no OPC UA answer: {error}", scope=scope)
        return
    try:
        chosen = endpoints.choose(offered, config)
    except ConfigError as error:
        yield Finding("source-refuses", url, str(error), scope=scope)
        return
    if config.secure:
        yield from _certificate(site, source, config, (chosen.ServerCertificate or b"", chosen.Server.ApplicationUri))


def _certificate(
    site: Site, source: Processor, config: OpcUaConfig, told: tuple[bytes, str | None]
) -> Iterator[Finding]:
    """Judge a server's certificate as the processor would, on a copy of what it trusts: nothing is pinned."""
    scope, now = frozenset({source.name}), datetime.datetime.now(datetime.timezone.utc)
    try:
        shown = trust.Shown.of(told[0], *config.host_port, told[1] or "")
    except ConfigError as error:
        yield Finding("source-certificate", config.endpoint, str(error), scope=scope)
        return
    state = judged(config.endpoint, shown.certificate, now)
    if state.problem:
        yield Finding("certificate-expired", config.endpoint, f"the server's certificate {state.problem}", scope=scope)
        return
    if state.warning:
        yield Finding("certificate-expiring", config.endpoint, f"the server's certificate {state.warning}", scope=scope)
    folder = site.file(source.get("PKI Directory", "./otmirror-pki"))
    if folder is None or not folder.is_dir():
        return
    with tempfile.TemporaryDirectory() as copy:
        for part in ("trusted", "issuers", "crl"):
            if (folder / part).is_dir():
                shutil.copytree(folder / part, Path(copy) / part)
        try:
            trust.ServerTrust(Path(copy), config.trust).check(shown, now)
        except ConfigError as error:
            text = str(error).replace(copy, str(folder))
            yield Finding("source-certificate", config.endpoint, text, scope=scope)


# Modbus


def _modbus(site: Site, source: Processor, devices: dict[str, tuple[str, int]]) -> Iterator[Finding]:
    scope = frozenset({source.name})
    asked = _first_addresses(_tags(site, source), devices)
    for name, (host, port) in devices.items():
        where = f"{host}:{port}"
        why = reach.refused(host, port)
        if why:
            yield Finding("source-unreachable", where, why, scope=scope)
            continue
        units = asked.get(name, {})
        silent = asyncio.run(_ask(host, port, units)) if units else {}
        if silent and len(silent) == len(units):
            text = f"listens, but no unit answers: {next(iter(silent.values()))}"
            yield Finding("source-silent", where, text, scope=scope)
        elif silent:
            text = f"{len(silent)} of {len(units)} units do not answer: {', '.join(map(str, sorted(silent)))}"
            yield Finding("source-silent", where, text, scope=scope)


def _first_addresses(tags: Iterable[Tag], devices: dict[str, tuple[str, int]]) -> dict[str, dict[int, Address]]:
    """Return one declared address a unit, by device and unit."""
    found: dict[str, dict[int, Address]] = {}
    for tag in tags:
        with contextlib.suppress(ValueError):
            place = resolve(tag, devices)
            found.setdefault(place.device, {}).setdefault(place.unit, place)
    return found


async def _ask(host: str, port: int, units: dict[int, Address]) -> dict[int, str]:
    """Read one declared address of each unit; return why those that do not answer do not. An exception is an answer."""
    client = modbus_guard.GuardedClient(host, port, units, SECONDS / 2)
    silent: dict[int, str] = {}
    try:
        await client.connect()
        for unit, place in list(units.items())[:4]:
            try:
                await client.read(unit, place.table, place.offset, place.count)
            except modbus_guard.DeviceExceptionError:
                continue
            except MirrorError as error:
                silent[unit] = str(error)
    except MirrorError as error:
        return dict.fromkeys(units, str(error))
    finally:
        client.close()
        await asyncio.sleep(0)
    return silent
