"""VictoriaMetrics as a child server."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

import pytest
import requests

from otmirror.demo import stores
from otmirror.embedded import victoriametrics as vm
from otmirror.embedded.loopback import session
from otmirror.embedded.processes import free_port
from otmirror.errors import UnavailableError


def write_and_read(server: vm.VictoriaMetrics) -> None:
    """Write one sample twice and read it back."""
    now = int(time.time() * 1000)
    line = (
        f'{{"metric":{{"__name__":"ot_value","tag":"a","source":"s"}},"values":[1.5,1.5],"timestamps":[{now},{now}]}}'
    )
    session(server.url).post(f"{server.url}/api/v1/import", data=line, timeout=10).raise_for_status()
    assert stores.victoriametrics(server.url).to_pylist() == [{"tag": "a", "source": "s", "ts_ms": now, "value": 1.5}]


def test_a_proxy_in_the_environment_is_not_asked_for_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        binary = vm.install()
    except UnavailableError as error:
        pytest.skip(f"no VictoriaMetrics here: {error}")
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    server = vm.VictoriaMetrics(tmp_path / "vm", binary=binary)
    try:
        server.start(15.0)
        with pytest.raises(requests.exceptions.ProxyError):
            requests.get(f"{server.url}/health", timeout=5)
        write_and_read(server)
    finally:
        server.stop()
    with pytest.raises(UnavailableError, match=f"VictoriaMetrics at {server.url} could not be read"):
        stores.victoriametrics(server.url)


@pytest.mark.parametrize(
    ("url", "asks"),
    [
        ("http://127.0.0.1:8643/nifi-api", False), ("http://LOCALHOST/x", False), ("https://[::1]:8443/", False),
        ("http://127.0.0.1.example.org/", True), ("http://10.1.2.3/", True), ("plant", True), ("http://[bad", True),
    ],
)  # fmt: skip
def test_only_this_machine_is_asked_without_a_proxy(url: str, asks: bool) -> None:
    assert session(url).trust_env is asks


@pytest.mark.heavy
def test_debians_package_is_unpacked_not_installed_and_takes_our_flags(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    which = shutil.which
    if not which("apt-get") or which("victoria-metrics"):
        pytest.skip("needs Debian without its package victoria-metrics")
    monkeypatch.setenv("OTMIRROR_WORK", str(tmp_path))
    monkeypatch.delenv("VICTORIAMETRICS_BINARY", raising=False)
    monkeypatch.setattr(shutil, "which", lambda name: None if name == "go" else which(name))
    try:
        binary = vm.install()
    except UnavailableError as error:
        pytest.skip(f"Debian's packages cannot be had: {error}")
    assert binary == tmp_path / "bin" / "victoria-metrics"
    assert sorted(path.name for path in binary.parent.iterdir()) == ["victoria-metrics", "victoria-metrics.lock"]
    installed = subprocess.run(["dpkg", "-s", "victoria-metrics"], capture_output=True, timeout=30, check=False)
    assert installed.returncode != 0
    server = vm.VictoriaMetrics(tmp_path / "vm", binary=binary)
    try:
        server.start()
        write_and_read(server)
    finally:
        server.stop()
