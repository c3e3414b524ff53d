"""The configuration folder of an embedded NiFi, rendered from the templates in nifi-conf/embedded."""

from __future__ import annotations

import secrets
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from string import Template

from otmirror.embedded.https import Https
from otmirror.embedded.install import CONF, Installation
from otmirror.embedded.properties import parse
from otmirror.errors import ConfigError
from otmirror.pki.stores import write_private

TEMPLATES = CONF / "embedded"
CLUSTER_TEMPLATES = CONF / "cluster"
# What a distribution's own file sets up for HTTPS and logins, which a NiFi for this machine only does without.
_BLANK = (
    "nifi.web.https.host",
    "nifi.web.https.port",
    "nifi.security.keystore",
    "nifi.security.keystoreType",
    "nifi.security.keystorePasswd",
    "nifi.security.keyPasswd",
    "nifi.security.truststore",
    "nifi.security.truststoreType",
    "nifi.security.truststorePasswd",
    "nifi.security.user.authorizer",
    "nifi.security.user.login.identity.provider",
    "nifi.python.extensions.source.directory.default",
)


@dataclass(frozen=True)
class Member:
    """What makes a NiFi a node of a cluster: its two further ports, how many nodes there are, ZooKeeper's address."""

    protocol_port: int
    load_balance_port: int
    nodes: int
    zookeeper: str


def render(
    home: Path, installation: Installation, port: int, extensions: Path | None, member: Member | None = None,
    https: Https | None = None,
) -> Path:  # fmt: skip
    """Write `home`/conf for a NiFi on 127.0.0.1:`port` and return nifi.properties.

    `extensions` is the folder of the Python processors; without one they come from NARs only. A `member` is a node of
    a cluster. With `https` there is no plaintext port. What NiFi keeps in conf (the flow, users, policies) stays. The
    key for sensitive values is made once per home and readable by the owner only.

    Raises:
        ConfigError: the home has users, and would be open to everybody without `https`.
    """
    conf = home / "conf"
    if https is None and (conf / "users.xml").exists():
        raise ConfigError(f"{home} is a NiFi over HTTPS: start it with --https, or remove {conf / 'users.xml'}")
    nothing = home / "no-extensions"
    for folder in (conf, home / "nars", nothing):
        folder.mkdir(parents=True, exist_ok=True)
    for name in ("logback.xml", "state-management.xml"):
        shutil.copyfile(TEMPLATES / name, conf / name)
    values = {
        "lib": str(installation.lib),
        "framework": str(installation.python / "framework"),
        "python": base_python(),
        "extensions": str((extensions or nothing).resolve()),
        "sensitive_key": sensitive_key(home),
    }
    text = Template((TEMPLATES / "nifi.properties").read_text()).substitute(values)
    text += "\n" + (https.render(conf, port) if https else plain(port))
    if member is not None:
        text += "\n" + _joined("nifi.properties", member)
        (conf / "state-management.xml").write_text(_joined("state-management.xml", member))
    if installation.properties is not None:
        text = _over(installation.properties, text)
        _copy_others(installation.properties.parent, conf)
    target = conf / "nifi.properties"
    write_private(target, text)
    return target


def plain(port: int) -> str:
    """Return the properties of a NiFi that speaks plain HTTP on 127.0.0.1."""
    return Template((TEMPLATES / "http.properties").read_text()).substitute(port=port)


def base_python() -> str:
    """Return the interpreter NiFi starts Python processors with: the one this virtual environment was made from."""
    return str(Path(getattr(sys, "_base_executable", None) or sys.executable).resolve())


def share_sensitive_key(home: Path, node: Path) -> None:
    """Give a node's home the key of the cluster's home: nodes exchange the flow with its values encrypted."""
    node.mkdir(parents=True, exist_ok=True)
    write_private(node / "sensitive.key", sensitive_key(home))


def sensitive_key(home: Path) -> str:
    """Return the key that encrypts sensitive property values in this home's flow, made on first use."""
    file = home / "sensitive.key"
    if not file.exists():
        write_private(file, secrets.token_urlsafe(32))
    return file.read_text().strip()


def _joined(template: str, member: Member) -> str:
    return Template((CLUSTER_TEMPLATES / template).read_text()).substitute(
        address="127.0.0.1",
        protocol_port=member.protocol_port,
        load_balance_port=member.load_balance_port,
        nodes=member.nodes,
        zookeeper=member.zookeeper,
    )


def _over(theirs: Path, ours: str) -> str:
    merged = {**parse(theirs.read_text()), **dict.fromkeys(_BLANK, ""), **parse(ours)}
    return "".join(f"{key}={value}\n" for key, value in merged.items())


def _copy_others(theirs: Path, conf: Path) -> None:
    for file in theirs.glob("*.xml"):
        if not (conf / file.name).exists():
            shutil.copyfile(file, conf / file.name)
