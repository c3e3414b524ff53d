"""The four zones as network namespaces, and where their members are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from otmirror.cli.app import app
from otmirror.workspace import PROJECT

from .fabric import Fabric, require

ADDRESSES = {
    "plc": "10.62.1.10",
    "edge-nifi": "10.62.2.10",
    "mosquitto": "10.62.3.10",
    "kafka": "10.62.3.11",
    "vault": "10.62.3.12",
    "jump": "10.62.3.13",
    "hub-nifi": "10.62.4.10",
    "victoriametrics": "10.62.4.11",
    "catalog": "10.62.4.12",
    "s3": "10.62.4.13",
    "registry": "10.62.4.14",
    "keycloak": "10.62.4.15",
    "users": "10.62.4.16",
}
ZONE = {"1": "ot", "2": "edge", "3": "dmz", "4": "it"}


def zone_of(member: str) -> str:
    return ZONE[ADDRESSES[member].split(".")[2]]


def zones(*arguments: object) -> Result:
    """`otmirror zones ...`, in this thread's namespace."""
    return CliRunner().invoke(app, ["zones", *map(str, arguments)])


def without(conduit: str, folder: Path) -> Path:
    """The project's table less one conduit."""
    table = (PROJECT / "security" / "zones.toml").read_text()
    start = table.index(f'[[conduit]]\nname = "{conduit}"')
    end = table.find("[[conduit]]", start + 1)
    file = folder / "zones.toml"
    file.write_text(table[:start] + (table[end:] if end > 0 else ""))
    return file


@pytest.fixture(scope="module")
def fabric() -> Iterator[Fabric]:
    """Zones without any rules yet."""
    require()
    made = Fabric({zone: [a for m, a in ADDRESSES.items() if zone_of(m) == zone] for zone in ZONE.values()})
    yield made
    made.close()


@pytest.fixture(scope="module")
def hosts_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The members' addresses as an operator writes them down."""
    file = tmp_path_factory.mktemp("zones") / "hosts.toml"
    interfaces = "".join(f'{zone} = "{zone}0"\n' for zone in ZONE.values())
    addresses = "".join(f'{member} = "{address}"\n' for member, address in ADDRESSES.items())
    file.write_text(f"[interfaces]\n{interfaces}\n[addresses]\n{addresses}")
    return file
