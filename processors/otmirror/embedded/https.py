"""HTTPS for an embedded NiFi: its stores, and its first administrator."""

from __future__ import annotations

import gzip
import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from xml.sax.saxutils import escape

from otmirror.embedded.brokers import Tls
from otmirror.embedded.oidc import TEMPLATES, Oidc
from otmirror.embedded.properties import escaped
from otmirror.errors import ConfigError
from otmirror.pki import stores
from otmirror.pki.development import Files

HOSTS = ("localhost", "127.0.0.1")
ADMIN = "admin"


@dataclass(frozen=True)
class Https:
    """What NiFi shows, whom it trusts, and the client certificate of its first administrator."""

    keystore: Path
    keystore_password: str = field(repr=False)
    truststore: Path
    truststore_password: str = field(repr=False)
    client: Tls
    """The administrator's files; `authority` is also what this command believes NiFi's certificate by."""
    hosts: Sequence[str] = HOSTS
    """Names under which a browser may ask for it, without the port."""
    oidc: Oidc | None = None

    @classmethod
    def from_folder(cls, folder: Path, oidc: Oidc | None = None, hosts: Sequence[str] = HOSTS) -> Https:
        """Take the stores from a folder that has the names of `otmirror pki make`.

        Raises:
            ConfigError: one of its files is missing.
        """
        folder = folder.resolve()
        nifi, admin = Files.of(folder, "nifi"), Files.of(folder, ADMIN)
        client = Tls(folder / "ca.pem", admin.certificate, admin.key)
        truststore, trust_password = folder / "truststore.p12", folder / "truststore.password"
        needed = (
            nifi.keystore,
            nifi.password,
            truststore,
            trust_password,
            client.authority,
            admin.certificate,
            admin.key,
        )
        missing = [str(file) for file in needed if not file.is_file()]
        if missing:
            raise ConfigError(f"NiFi over HTTPS needs {', '.join(missing)} (otmirror pki make {folder})")
        password, trusted = stores.password(nifi.password), stores.password(trust_password)
        return cls(nifi.keystore, password, truststore, trusted, client, hosts, oidc)

    @property
    def admin(self) -> str:
        """The administrator's identity in NiFi: the subject of its certificate as Java writes it."""
        subject = stores.read_pair(self.client.certificate, self.client.key).certificate.subject
        # RFC 2253 order, as Java has it, with a blank after each comma.
        return ", ".join(rdn.rfc4514_string() for rdn in reversed(list(subject.rdns)))

    def render(self, conf: Path, port: int) -> str:
        """Write authorizers.xml and, unless there is one, an empty flow into `conf`; return NiFi's properties."""
        admin = escape(self.admin)
        (conf / "authorizers.xml").write_text(
            Template((TEMPLATES / "authorizers.xml").read_text()).substitute(admin=admin), "utf-8"
        )
        _seed(conf / "flow.json.gz")
        text = Template((TEMPLATES / "nifi.properties").read_text()).substitute(
            port=port,
            hosts=",".join(f"{host}:{port}" for host in self.hosts),
            keystore=escaped(str(self.keystore)),
            keystore_password=escaped(self.keystore_password),
            truststore=escaped(str(self.truststore)),
            truststore_password=escaped(self.truststore_password),
        )
        return text + ("\n" + self.oidc.render(conf, self.client.authority) if self.oidc else "")


def _seed(flow: Path) -> None:
    """Make an empty flow: the first administrator only gets policies for a canvas that has an id already."""
    if flow.exists():
        return
    root = str(uuid.uuid4())
    empty = {
        "encodingVersion": {"majorVersion": 2, "minorVersion": 0},
        "maxTimerDrivenThreadCount": 10,
        "registries": [],
        "parameterContexts": [],
        "parameterProviders": [],
        "controllerServices": [],
        "reportingTasks": [],
        "flowAnalysisRules": [],
        "rootGroup": {
            "identifier": str(uuid.uuid4()),
            "instanceIdentifier": root,
            "name": "NiFi Flow",
            "comments": "",
            "position": {"x": 0.0, "y": 0.0},
            **{
                key: []
                for key in ("processGroups", "remoteProcessGroups", "processors", "inputPorts", "outputPorts",
                            "connections", "labels", "funnels", "controllerServices")
            },
            "componentType": "PROCESS_GROUP",
        },
    }  # fmt: skip
    flow.write_bytes(gzip.compress(json.dumps(empty).encode()))
