"""The pilot with every hop encrypted and every secret from a Vault, and what looks at it from outside."""

from __future__ import annotations

import io
import secrets
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.parquet as pq

from otmirror.demo.stack import PROCESSORS, Stack
from otmirror.embedded.https import Https
from otmirror.embedded.openbao import Keys, OpenBao
from otmirror.embedded.pki import Authority
from otmirror.embedded.processes import Server, wait_until
from otmirror.embedded.server import EmbeddedNifi
from otmirror.embedded.victoriametrics import Guard, VictoriaMetrics
from otmirror.opcua.security import own_certificate
from otmirror.pki.development import Wanted, make
from otmirror.pki.stores import write_private
from otmirror.vault.client import Access, connect
from otmirror.vault.setup import Setup
from otmirror.witness.opcua import Witness
from otmirror.witness.relay import Relay
from s3 import BUCKET, REGION, S3

USER = "mirror"


def canary(name: str) -> str:
    """A secret that is found wherever it goes."""
    return f"canary-{name}-{secrets.token_hex(12)}"


class Tap(Witness):
    """Keeps every byte that passes, both ways."""

    def __init__(self) -> None:
        super().__init__()
        self.heard = bytearray()

    def take(self, connection: int, request: bool, data: bytes) -> None:
        self.heard += data


class Secured(Stack):
    """The pilot; `seeds` holds what has to be secret, `folder` everything the run leaves behind.

    Each hop goes through a relay that hears it: `taps` by its name.
    """

    def __init__(self, folder: Path, seeds: Path):
        self.seeds = seeds
        self.authority = Authority(seeds / "pki")
        self.canaries: dict[str, str] = {}
        for name in ("opcua.password", "victoriametrics.password"):
            self.seed(name, canary(name))
        self.security, self.trusted = seeds / "plant", seeds / "trusted"
        self.trusted.mkdir(parents=True)
        super().__init__(
            folder,
            ["--tags", "16", "--security", str(self.security), "--trusted", str(self.trusted), "--user", USER,
             "--password-file", str(self.seeds / "opcua.password")],
        )  # fmt: skip
        make(seeds / "nifi", Wanted(("nifi",), ("admin",), kind="ec"))
        self.https = Https.from_folder(seeds / "nifi")
        self.nifi = EmbeddedNifi(self.folder / "nifi", 0, PROCESSORS, https=self.https)
        guard = Guard(self.authority.issue("victoriametrics"), USER, seeds / "victoriametrics.password")
        self.victoriametrics = VictoriaMetrics(self.folder / "victoriametrics", guard=guard)
        self.s3 = S3(self.folder / "s3", self.authority.issue("s3"))
        self.vault = OpenBao(self.folder / "openbao", self.authority.issue("openbao"))
        self.sync = Server("sync", self.folder / "sync")
        self.tls = self.authority.issue("otmirror-edge")
        self.relays: dict[str, Relay] = {}
        self.taps: dict[str, Tap] = {}
        self.keys: Keys

    def seed(self, name: str, value: str) -> str:
        """Make `value` a secret: the server's file of it, and one more thing nobody may find."""
        self.canaries[f"{name} {len(self.canaries)}"] = value
        write_private(self.seeds / name, value)
        return value

    def start_plant(self) -> None:
        # The reader's own certificate, which the plant's trust list has to hold before it starts.
        own = own_certificate(self.folder / "pki").certificate.read_bytes()
        (self.trusted / "otmirror.der").write_bytes(own)
        super().start_plant()
        trusted = self.folder / "pki" / "trusted"
        trusted.mkdir(parents=True, exist_ok=True)
        (trusted / "plant.der").write_bytes((self.security / "plant-cert.der").read_bytes())
        self.s3.start()
        self.seed_s3()
        self.vault.start()
        self.keys = self.vault.initialise()
        self.seed("root-token", self.keys.root)
        self.canaries["unseal key"] = self.keys.unseal
        Setup(self.access).apply()
        self.log_in()
        self.put()

    def seed_s3(self) -> None:
        """Take over the storage's keys that count now."""
        self.seed("iceberg.s3.secret.key", self.s3.secret)
        # No secret: the storage names it in its answers.
        write_private(self.seeds / "iceberg.s3.access.key", self.s3.access)

    def log_in(self) -> None:
        """Give the flow's role a new secret id."""
        self.role, self.secret_id = Setup(self.access).hand_out("pilot", self.seeds / "login")
        self.canaries[f"secret id {len(self.canaries)}"] = self.secret_id.read_text()

    def environment(self) -> dict[str, str]:
        """What commands and this process need to reach NiFi."""
        client = self.https.client
        return {
            "OTMIRROR_NIFI_CA": str(client.authority),
            "OTMIRROR_NIFI_CERTIFICATE": str(client.certificate),
            "OTMIRROR_NIFI_KEY": str(client.key),
            "PYTHONPATH": str(PROCESSORS),
        }

    def import_flow(self) -> None:
        """Import it, and let the administrator see what the first one of a NiFi may not: provenance."""
        rest = self.api.rest
        root = rest.get("/flow/process-groups/root")["processGroupFlow"]["id"]
        [user] = [
            u["id"] for u in rest.get("/tenants/users")["users"] if u["component"]["identity"] == self.https.admin
        ]
        for resource in ("/provenance", f"/provenance-data/process-groups/{root}"):
            policy = {"action": "read", "resource": resource, "users": [{"id": user}], "userGroups": []}
            rest.post("/policies", {"revision": {"version": 0}, "component": policy})
        super().import_flow()

    @property
    def access(self) -> Access:
        tls = {"authority": self.tls.authority, "certificate": self.tls.certificate, "key": self.tls.key}
        return Access(self.vault.url, token_file=self.seeds / "root-token", **tls)

    @property
    def root(self) -> Any:
        """hvac's client as the Vault's owner."""
        return connect(self.access, self.keys.root)

    def put(self) -> None:
        """Write what is in the seeds' files as the newest version of the flow's secret."""
        names = ("opcua.password", "victoriametrics.password", "iceberg.s3.access.key", "iceberg.s3.secret.key")
        values = {name: (self.seeds / name).read_text() for name in names}
        self.root.secrets.kv.v2.create_or_update_secret("pilot", values, mount_point="otmirror")

    def sync_arguments(self, *more: str) -> list[str]:
        """The command that takes the secrets from the Vault into NiFi."""
        return [
            sys.executable, "-m", "otmirror", "secrets", "sync", "pilot", "--vault", self.vault.url,
            "--vault-ca", str(self.tls.authority), "--vault-cert", str(self.tls.certificate),
            "--vault-key", str(self.tls.key), "--role-id-file", str(self.role), "--secret-id-file",
            str(self.secret_id), "--url", self.nifi.url, "--state", str(self.folder / "sync" / "state.json"), *more,
        ]  # fmt: skip

    def start_sync(self) -> None:
        ready = lambda: "looking at" in self.sync.log.read_text()  # noqa: E731
        self.sync.start(self.sync_arguments("--watch", "--every", "0.5"), ready, 120.0)

    def relay(self, name: str, address: str) -> str:
        """The address of a relay to `host:port`, which keeps what it hears."""
        host, _, port = address.rpartition(":")
        self.taps[name] = Tap()
        self.relays[name] = Relay((host, int(port)), self.taps[name])
        return "{}:{}".format(*self.relays[name].address)

    def flow_parameters(self) -> dict[str, str]:
        status = self.plant_status()
        opcua = urlsplit(status["opcua"])
        heard = {
            "opcua": self.relay("opcua", opcua.netloc),
            "modbus": self.relay("modbus", status["modbus"]),
            "victoriametrics": self.relay("victoriametrics", urlsplit(self.victoriametrics.url).netloc),
            "s3": self.relay("s3", urlsplit(self.s3.url).netloc),
        }
        authority = str(self.tls.authority)
        return {
            **super().flow_parameters(),
            "opcua.endpoint": f"opc.tcp://{heard['opcua']}{opcua.path}",
            "opcua.security.policy": "Basic256Sha256",
            "opcua.security.mode": "SignAndEncrypt",
            "opcua.username": USER,
            "modbus.devices": heard["modbus"],
            "victoriametrics.url": f"https://{heard['victoriametrics']}",
            "victoriametrics.username": USER,
            "victoriametrics.ca": authority,
            "iceberg.catalog.type": "sql",
            "iceberg.catalog.uri": f"sqlite:///{self.folder}/catalog.db",
            "iceberg.warehouse": f"s3://{BUCKET}/warehouse",
            "iceberg.commit.interval": "2 sec",
            "iceberg.s3.endpoint": f"https://{heard['s3']}",
            "iceberg.s3.region": REGION,
            "iceberg.ca": authority,
        }

    def rows(self) -> list[dict[str, Any]]:
        """Every row in the storage, read with boto3 and pyarrow: no file is ever rewritten in a run."""
        tables = [pq.read_table(io.BytesIO(content)) for content in self.s3.objects(".parquet")]
        every = pa.concat_tables([t for t in tables if "value" in t.column_names]) if tables else None
        return every.to_pylist() if every is not None else []

    def stop(self) -> None:
        self.sync.stop()
        super().stop()
        self.s3.stop()
        self.vault.stop()
        for relay in self.relays.values():
            relay.close()
        self.relays.clear()


def soon(done: Callable[[], object], seconds: float = 60.0) -> bool:
    """Whether `done` gets true in time; a busy machine has three times as much."""
    return wait_until(lambda: bool(done()), 3 * seconds, 0.25)
