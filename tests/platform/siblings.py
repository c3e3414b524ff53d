"""What the overrides are held to, written down by hand: who joins which sibling, and what of ours stays off."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

from otmirror.embedded.compose import Stack, merged
from otmirror.workspace import PROJECT

BASE = PROJECT / "docker-compose.yml"
OVERRIDES = PROJECT / "compose" / "platform"
JOINS = {
    "tsdb": {"nifi", "nifi-hub"},
    "core": {"nifi", "nifi-hub"},
    "stream": {"stream-relay"},
    "observability": {"exporter"},
    "security": {"vault-relay"},
    "iot-broker": {"iot-relay"},
}
"""Services in a sibling's network. A bus and a Vault are reached by the edge too: it must not be in an open network."""
OFF = {"tsdb": {"victoriametrics"}, "core": {"catalog", "s3"}, "stream": {"kafka"}, "iot-broker": {"mosquitto"}}
PILOTS = ("tsdb", "core", "observability")
"""Modules the pilot can join: it has neither bus nor Vault."""
PORTS = {"pilot": {8443, 8438}, "full": {8444, 18088, 8438}}
"""Published by docker-compose.yml, all on loopback."""
TAKEN = {8428, 9000, 9001, 9009, 3002, 19120, 8081, 9092, 8080, 8082, 9090, 3000, 3100, 3200, 4317, 4318, 8200, 8089,
         8181, 1883, 8083, 18083}  # fmt: skip
"""Host ports of the siblings, as they publish them."""


def every(names: tuple[str, ...]) -> list[tuple[str, ...]]:
    return [chosen for size in range(len(names) + 1) for chosen in combinations(names, size)]


def stacks(program: Path, profile: str, chosen: list[tuple[str, ...]]) -> list[Stack]:
    """Return the stack of each choice of modules, with all that is started once."""
    profiles = (profile, "setup", *(("secrets",) if profile == "full" else ()))
    files = [[BASE, *(OVERRIDES / f"{module}.yaml" for module in modules)] for modules in chosen]
    return merged(program, [(profiles, some) for some in files])


def published(stack: Stack) -> list[tuple[str, int]]:
    """Return address and port of the host for each published port."""
    return [
        (port.get("host_ip", ""), int(port["published"]))
        for service in stack["services"].values()
        for port in service.get("ports", ())
    ]
