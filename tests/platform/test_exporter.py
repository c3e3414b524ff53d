"""The exporter with the arguments that the compose override and the chart give it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import requests
import yaml

from otmirror.embedded.processes import free_port, wait_until
from otmirror.metrics.meter import Meter
from otmirror.workspace import PROJECT


def compose() -> list[str]:
    stack = yaml.safe_load((PROJECT / "compose/platform/observability.yaml").read_text())
    return [str(word) for word in stack["services"]["exporter"]["command"]]


def chart() -> list[str]:
    template = (PROJECT / "helm/otmirror/templates/statefulset.yaml").read_text()
    (line,) = re.findall(r"args: (\[metrics.*\])", template)
    return [str(word) for word in yaml.safe_load(line)]


def test_compose_and_chart_name_the_same_options() -> None:
    told = [{word for word in arguments if not word.startswith("/")} for arguments in (compose(), chart())]
    assert told[0] == told[1] == {"metrics", "serve", "--folder", "--disk", "--listen", "0.0.0.0:9478"}


def test_it_answers_with_what_is_in_its_folders_and_ends_when_asked(tmp_path: Path) -> None:
    arguments = compose()
    port = free_port()
    here = [
        word.replace("0.0.0.0:9478", f"127.0.0.1:{port}").replace("/metrics", f"{tmp_path}/metrics")
        for word in arguments
    ]
    assert here != arguments
    folders = [Path(here[at + 1]) for at, word in enumerate(here) if word == "--folder"]
    for number, folder in enumerate(folders):
        folder.mkdir(parents=True, exist_ok=True)
        meter = Meter(folder, "WriteIceberg", f"id-{number}")
        meter.fault()
        meter.write()
    child = subprocess.Popen([sys.executable, "-m", "otmirror", *here], stdout=subprocess.DEVNULL)
    try:

        def answers() -> bool:
            try:
                return requests.get(f"http://127.0.0.1:{port}/health", timeout=2).ok
            except requests.ConnectionError:
                return False

        assert wait_until(answers, 30)
        told = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=5).text
        for number in range(len(folders)):
            assert re.search(rf'^otmirror_faults_total{{.*id="id-{number}".*}} 1$', told, re.MULTILINE)
        assert re.search(r"^otmirror_disk_free_bytes{.*} \d", told, re.MULTILINE)
        child.terminate()
        child.wait(10)
    finally:
        child.kill()
        child.wait(10)
