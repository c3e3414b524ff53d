"""The scrape jobs: valid as shipped, and with a pilot's own addresses."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from otmirror.demo.monitoring import SCRAPE, Monitoring
from otmirror.embedded import victoriametrics
from otmirror.embedded.brokers import Tls
from otmirror.errors import UnavailableError


def accepted(file: Path) -> None:
    """Have VictoriaMetrics read a scrape configuration as strictly as it can."""
    try:
        binary = victoriametrics.install()
    except UnavailableError as error:
        pytest.skip(str(error))
    done = subprocess.run(
        [str(binary), f"-promscrape.config={file}", "-promscrape.config.strictParse", "-dryRun"],
        capture_output=True, text=True, timeout=60, cwd=file.parent,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-1000:]


def jobs(config: dict) -> dict[str, dict]:
    return {job["job_name"]: job for job in config["scrape_configs"]}


def test_the_shipped_file_is_valid_and_has_the_four_jobs(tmp_path):
    accepted(SCRAPE)
    config = yaml.safe_load(SCRAPE.read_text())
    assert set(jobs(config)) == {"otmirror", "nifi", "victoriametrics", "monitoring"}
    assert config["global"]["scrape_interval"] == "15s"


@pytest.mark.parametrize("secured", [False, True])
def test_a_pilots_own_addresses_take_the_places(tmp_path, secured):
    files = [tmp_path / name for name in ("ca.pem", "client.pem", "client.key")]
    for file in files:
        file.touch()
    monitoring = Monitoring(
        tmp_path, f"{'https' if secured else 'http'}://localhost:8443/nifi-api", "http://127.0.0.1:18428", [],
        nifi_client=Tls(*files) if secured else None,
    )  # fmt: skip
    config = monitoring._scrape(18429)
    (tmp_path / "scrape.yaml").write_text(yaml.safe_dump(config))
    accepted(tmp_path / "scrape.yaml")
    found = jobs(config)
    assert config["global"]["scrape_interval"] == "5s"
    assert found["nifi"]["static_configs"] == [{"targets": ["localhost:8443"]}]
    assert found["nifi"]["metrics_path"] == "/nifi-api/flow/metrics/prometheus"
    assert found["nifi"]["scheme"] == ("https" if secured else "http")
    assert ("tls_config" in found["nifi"]) is secured
    assert found["victoriametrics"]["static_configs"] == [{"targets": ["127.0.0.1:18428"]}]
    assert found["monitoring"]["static_configs"] == [{"targets": ["127.0.0.1:18429"]}]
