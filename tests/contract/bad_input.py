"""What the tests of bad input share: processors that are listened to, and neighbours that misbehave."""

from __future__ import annotations

import base64
import datetime
import json
import socket
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from harness import Runner
from otmirror.loopthread import LoopThread
from otmirror.plant import Plant, PlantConfig

OPCUA, MODBUS, VM, ICEBERG = "ReadOpcUaTags", "PollModbusReadOnly", "ToVictoriaMetrics", "WriteIceberg"
USER = "operator"
SECRET = "S3cret-hunter2"
SECRETS = (SECRET, base64.b64encode(f"{USER}:{SECRET}".encode()).decode())
"""The password, and what an HTTP header makes of it."""

T0 = 1_700_000_000_000_000  # 2023-11-14T22:13:20Z

OPCUA_LIST = "tag,address\na/P,nsu=urn:otmirror:plant;s=Well1.P-PDG\na/T,nsu=urn:otmirror:plant;s=Well1.T-TPT\n"
ROWS = 1000
VALUES = {
    "a/P": {1000.0 + row for row in range(ROWS)},
    "a/T": {20 + row / 8 for row in range(ROWS)},
    "a/row": set(range(ROWS)),
    "b/row": set(range(ROWS)),
    "a/set": {0.0},
}
"""What the plant's sensors read; no cell is empty, and all fit a float32."""

MODBUS_LIST = "tag,address,type\na/P,1:holding:0,float\na/row,1:holding:16,uint32\n"
BASE: dict[str, dict[str, str | None]] = {
    OPCUA: {
        "endpoint_url": "opc.tcp://127.0.0.1:1", "tag_list": OPCUA_LIST, "poll_interval": "200 ms",
        "security_policy": "Basic256Sha256", "pki_directory": "{folder}/pki", "username": USER, "password": SECRET,
        "reconnect_delay": "200 ms", "longest_reconnect_delay": "1 sec", "request_timeout": "20 sec",
    },
    MODBUS: {
        "devices": "127.0.0.1:1", "tag_list": MODBUS_LIST, "poll_interval": "100 ms",
        "reconnect_delay": "200 ms", "longest_reconnect_delay": "1 sec",
    },
    VM: {
        "victoriametrics_url": "http://127.0.0.1:1", "username": USER, "password": SECRET, "retention": "100 years",
    },
    ICEBERG: {"warehouse": "{folder}/warehouse", "s3_access_key": USER, "s3_secret_key": SECRET},
}  # fmt: skip
"""Properties without a mistake, one set a processor."""
OPEN = {"security_policy": "None", "username": None, "password": None}
"""What a ReadOpcUaTags needs to read from a server without security."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def line(tag: str, second: int, value: object, **fields: object) -> bytes:
    """Return one good sample of the given second after T0, written without the library."""
    sample = {"tag": tag, "ts": T0 + second * 1_000_000, "value": value, "type": "double", "quality": "good"}
    return json.dumps(sample | {"source": "test"} | fields).encode()


def login_files() -> dict[str, bytes]:
    """A user's certificate and key, an expired certificate, the key of somebody else, one of another kind, and one that
    is encrypted."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    secret = serialization.BestAvailableEncryption(SECRET.encode())
    return {
        "user.pem": _certificate(key, 1_000_000_000),
        "old.pem": _certificate(key, -86_400),
        "user.key": _pem(key),
        "other.key": _pem(other),
        "curve.key": _pem(ec.generate_private_key(ec.SECP256R1())),
        "secret.key": _pem(key, secret),
    }


def _pem(key: Any, how: serialization.KeySerializationEncryption | None = None) -> bytes:
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    found: bytes = key.private_bytes(pem, form, how or serialization.NoEncryption())
    return found


def _certificate(key: rsa.RSAPrivateKey, seconds: int) -> bytes:
    """A certificate that is valid for so many seconds from now."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, USER)])
    until = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=seconds)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(7).not_valid_before(until - datetime.timedelta(days=20_000)).not_valid_after(until)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


class Spoken:
    """A processor and all it says: on the canvas, in the log, in attributes and contents."""

    def __init__(self, name: str, folder: Path, **properties: str | None):
        given = {key: value and value.format(folder=folder) for key, value in (BASE[name] | properties).items()}
        self.name = name
        self.runner = Runner(name, **given)
        self.said: list[str] = []

    def validate(self) -> list[str]:
        found = self.runner.validate()
        self.said += found
        return found

    def create(self) -> list[dict[str, Any]]:
        """Call the source once; return the samples it gives."""
        return self._samples(self.runner.create())

    def transform(self, content: bytes, **attributes: str) -> Any:
        """Call the sink with one FlowFile."""
        return self._heard(self.runner.transform(content, **attributes))

    def call(self) -> Any:
        """Call source or sink once, as NiFi would."""
        if self.name in (OPCUA, MODBUS):
            return self._heard(self.runner.create())
        return self.transform(line("a/P", 0, 1.5))

    def read(self, enough: Callable[[list[dict[str, Any]]], bool], within: float = 40.0) -> list[dict[str, Any]]:
        """Call the source until `enough` accepts all samples so far, and return these."""
        found: list[dict[str, Any]] = []
        end = time.monotonic() + within
        while not enough(found):
            assert time.monotonic() < end, (self.runner.log.lines, found[-5:])
            fresh = self.create()
            found += fresh
            if not fresh:
                time.sleep(0.005)  # nothing was due: the source leaves the waiting to its caller
        return found

    def told(self) -> list[str]:
        """What an operator sees of it as bulletins."""
        return list(self.runner.log.said("warn", "error"))

    def stop(self) -> None:
        self.runner.stop()

    def assert_discreet(self) -> None:
        """No secret in anything it said."""
        everything = "\n".join([*self.said, *(message for _, message in self.runner.log.lines)])
        for secret in SECRETS:
            assert secret not in everything

    def _heard(self, result: Any) -> Any:
        if result is not None:
            self.said += [f"{key}={value}" for key, value in result.attributes.items()]
            self.said.append((result.getContents() or b"").decode())
        return result

    def _samples(self, result: Any) -> list[dict[str, Any]]:
        self._heard(result)
        found = [] if result is None else [json.loads(text) for text in result.getContents().splitlines()]
        assert all(sample["value"] in VALUES[sample["tag"]] for sample in found if sample["quality"] == "good")
        assert all(sample["value"] is None for sample in found if sample["quality"] == "bad")
        return found


Speak = Callable[..., Spoken]
"""Makes a processor of a name and the properties that differ from good ones."""


def by_tag(samples: list[dict[str, Any]]) -> dict[str, list[tuple[str, int]]]:
    """Quality and status of each tag's samples, in order."""
    found: dict[str, list[tuple[str, int]]] = {}
    for sample in samples:
        found.setdefault(sample["tag"], []).append((sample["quality"], sample.get("status", 0)))
    return found


def cycles(count: int, *tags: str) -> Callable[[list[dict[str, Any]]], bool]:
    """Enough is: so many samples of each tag."""
    return lambda found: all(len(by_tag(found).get(tag, ())) >= count for tag in tags)


def recovered(samples: list[dict[str, Any]]) -> bool:
    """Enough is: every tag is good in the end."""
    latest = {sample["tag"]: sample["quality"] for sample in samples}
    return bool(latest) and set(latest.values()) == {"good"}


class Site:
    """Plants in this process, of one well with known values; `stop` ends them."""

    def __init__(self, folder: Path) -> None:
        self._recording = folder / "well.csv"
        lines = (f"2018-02-06 18:{row // 60:02}:{row % 60:02},{1000 + row},{20 + row / 8}\n" for row in range(ROWS))
        self._recording.write_text("timestamp,P-PDG,T-TPT\n" + "".join(lines))
        self._loop = LoopThread("site")
        self._running: list[Plant] = []

    def start(self, **config: Any) -> Plant:
        # 20 rows a second: every poll finds a new sample.
        well = {"csv": (self._recording,), "opcua_port": None, "modbus_port": None, "speed": 20.0}
        plant = Plant(PlantConfig(**(well | config)))
        self._loop.run(plant.start(), 60)
        self._running.append(plant)
        return plant

    def end(self, plant: Plant) -> None:
        self._running.remove(plant)
        self._loop.run(plant.stop(), 20)

    def stop(self) -> None:
        for plant in list(self._running):
            self.end(plant)
        self._loop.close()


class Gate:
    """An HTTP server in front of VictoriaMetrics: answers `status`, or passes requests on when that is None.

    Its answers repeat the request's credentials, as a talkative proxy's would.
    """

    def __init__(self, upstream: str, status: int | None):
        gate = self
        self.status = status

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if gate.status is None:
                    headers = {k: v for k, v in self.headers.items() if k in ("Content-Type", "Content-Encoding")}
                    done = requests.request(self.command, upstream + self.path, data=body, headers=headers, timeout=10)
                    status, text = done.status_code, done.content
                else:
                    status, text = gate.status, f"{SECRET} {self.headers.get('Authorization')}".encode()
                self.send_response(status)
                if status != 204:
                    self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                if status != 204:
                    self.wfile.write(text)

            do_GET = do_POST = _any  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
