"""The PEM files of the sinks: mistakes are told before anything connects, ends 30 days ahead."""

from __future__ import annotations

import datetime
import subprocess
from pathlib import Path

import pytest

from otmirror.clock import SystemClock
from otmirror.embedded.pki import Authority
from otmirror.errors import ConfigError
from otmirror.iceberg.config import Config as Iceberg
from otmirror.iceberg.sink import IcebergSink
from otmirror.pki.authority import Validity
from otmirror.victoriametrics.config import Config as VictoriaMetrics
from otmirror.victoriametrics.sink import VictoriaMetricsSink

NOTHING = "127.0.0.1:9"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def files(authority: Authority) -> dict[str, str]:
    """Good files, and some that cannot be used; the key with a password is OpenSSL's work."""
    one, other = authority.issue("one"), authority.issue("other")
    locked = one.key.with_name("locked.key")
    argv = ["openssl", "pkcs8", "-topk8", "-in", str(one.key), "-out", str(locked), "-passout", "pass:s3cret"]
    subprocess.run(argv, check=True, capture_output=True, timeout=60)
    return {
        "ca": str(authority.certificate), "certificate": str(one.certificate), "key": str(one.key),
        "other": str(other.key), "locked": str(locked), "missing": "/no/such.pem", "": "",
    }  # fmt: skip


def victoriametrics(scheme: str = "https", **files: str | None) -> VictoriaMetrics:
    return VictoriaMetrics(url=f"{scheme}://{NOTHING}", timeout=1, **files)


def catalog(scheme: str = "https", **files: str | None) -> Iceberg:
    return Iceberg(catalog_type="rest", uri=f"{scheme}://{NOTHING}", **files)


@pytest.mark.parametrize("make", [victoriametrics, catalog])
@pytest.mark.parametrize(
    ("ca", "certificate", "key", "told"),
    [
        ("", "certificate", "", "Client Certificate File and Client Key File: set both or none"),
        ("", "", "key", "Client Certificate File and Client Key File: set both or none"),
        ("", "missing", "key", "Client Certificate File: /no/such.pem: No such file"),
        ("", "certificate", "missing", "Client Key File: /no/such.pem: No such file"),
        ("", "certificate", "other", "are no PEM certificate and its key"),
        ("", "key", "certificate", "are no PEM certificate and its key"),
        ("", "certificate", "locked", "locked.key: is protected by a password"),
        ("missing", "", "", "CA Certificate File: /no/such.pem: No such file"),
        ("key", "", "", "holds no PEM certificate"),
    ],
)
def test_mistakes(make, files, ca, certificate, key, told):
    given = {"ca_file": files[ca], "client_certificate": files[certificate], "client_key": files[key]}
    with pytest.raises(ConfigError) as mistake:
        make(**{name: value or None for name, value in given.items()})
    assert told in str(mistake.value)
    assert mistake.value.problems[1:] == []


@pytest.mark.parametrize("make", [victoriametrics, catalog])
def test_files_for_a_plaintext_address_are_a_mistake(make, files):
    with pytest.raises(ConfigError, match="Client Key File: has no use with an http:// URL"):
        make("http", ca_file=files["ca"], client_certificate=files["certificate"], client_key=files["key"])
    make(ca_file=files["ca"], client_certificate=files["certificate"], client_key=files["key"])


def test_files_for_a_storage_in_plaintext_beside_a_secured_catalog_are_none(files):
    Iceberg(catalog_type="rest", uri=f"https://{NOTHING}", s3_endpoint=f"http://{NOTHING}", ca_file=files["ca"])
    with pytest.raises(ConfigError, match="has no use"):
        Iceberg(catalog_type="sql", uri="sqlite://", warehouse="s3://b", s3_endpoint="http://s3", ca_file=files["ca"])


class At(SystemClock):
    """A clock so many days ahead."""

    def __init__(self, days: float):
        self.days, self.hours = days, 0.0

    def now_us(self) -> int:
        return super().now_us() + int(self.days * 86400e6)

    def monotonic(self) -> float:
        return super().monotonic() + self.hours * 3600


@pytest.mark.parametrize(
    ("make", "sink"), [(victoriametrics, VictoriaMetricsSink), (catalog, IcebergSink)], ids=["hot", "cold"]
)
def test_a_certificate_is_told_of_30_days_before_its_end(make, sink, tmp_path: Path):
    now = datetime.datetime.now(datetime.timezone.utc)
    issued = Authority(tmp_path).issue("soon", Validity(now, now + datetime.timedelta(hours=23)))
    config = make(client_certificate=str(issued.certificate), client_key=str(issued.key))

    def said(clock: At, writer=None) -> list[str]:
        writer = writer or sink(config, clock)
        writer.write(b"", {})
        return [n.message for n in writer.notices() if "Client Certificate File: " in n.message]

    assert said(At(-30)) == []
    [warning] = said(At(-28))
    end = f"{now + datetime.timedelta(hours=23):%Y-%m-%d}"
    assert f"{issued.certificate}, thumbprint " in warning
    assert f"expires on {end}: replace it" in warning
    clock = At(-28)
    writer = sink(config, clock)
    assert len(said(clock, writer)) == 1
    assert said(clock, writer) == []
    clock.hours = 1.1
    assert len(said(clock, writer)) == 1
    assert "expired on" in said(At(3))[0]
