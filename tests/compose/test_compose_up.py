"""The pilot's stack in a real container engine: up, samples in VictoriaMetrics, down."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import requests

from otmirror.embedded.processes import free_port, wait_until
from otmirror.workspace import PROJECT

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(1800)]


@pytest.fixture
def ports() -> dict[str, str]:
    docker = pytest.importorskip("docker", reason="asks for an engine with the docker package")
    try:
        docker.from_env().ping()
    except docker.errors.DockerException as error:
        pytest.skip(f"there is no container engine: {error}")
    if subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("the docker command has no compose")
    # A project of its own, so that a stack that runs here is left alone.
    return {
        "COMPOSE_PROJECT_NAME": f"otmirror-test-{os.getpid()}",
        "NIFI_PORT": str(free_port()),
        "VICTORIAMETRICS_PORT": str(free_port()),
    }


def test_the_pilot_comes_up_and_its_samples_arrive(ports: dict[str, str]) -> None:
    environment = {**os.environ, **ports}
    try:
        subprocess.run([PROJECT / "compose/up", "pilot"], env=environment, check=True, timeout=1500)
        password = Path(PROJECT / "compose/secrets/victoriametrics-password").read_text().strip()
        url = f"http://127.0.0.1:{ports['VICTORIAMETRICS_PORT']}/api/v1/query"

        def arrived() -> bool:
            query = {"query": "count by (source) (last_over_time(ot_value[1m]))"}
            told = requests.get(url, params=query, auth=("otmirror", password), timeout=10).json()
            return {r["metric"]["source"] for r in told["data"]["result"]} == {"opcua:plant", "modbus:plant"}

        assert wait_until(arrived, 120)
    finally:
        down = ["docker", "compose", "--profile", "pilot", "--profile", "setup", "down", "--volumes"]
        subprocess.run(down, cwd=PROJECT, env=environment, check=False, timeout=180)
