"""Every query of every dashboard, run against the stores of a running pilot: each must return data."""

from __future__ import annotations

import csv
import datetime
import json
import math
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import requests
from PIL import Image
from typer.testing import CliRunner

from otmirror.cli.app import app
from otmirror.dashboards import catalogue, page, pictures
from otmirror.dashboards.ask import Access, Asker, Series
from otmirror.demo import run
from otmirror.demo.stack import Stack
from otmirror.embedded.vmalert import VmAlert
from otmirror.errors import UnavailableError
from otmirror.policy import decisions
from otmirror.workspace import PROJECT

from ..pilots import SLOWNESS, await_that

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(600)]
WITHIN = 60.0
"""Seconds until a pilot that just began has a figure for everything, on an idle machine."""
BOARDS = catalogue.load()
UTC = datetime.timezone.utc


@pytest.fixture(scope="module")
def asker(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asker]:
    """Puts queries to the pilot's stores, which also hold what two commands write that run once a day."""
    folder = tmp_path_factory.mktemp("daily")
    asker = Asker({"monitoring": Access(stack.monitoring.url), "hot": Access(stack.victoriametrics.url)}, 300.0, 5.0)
    with budgets_soon(stack, folder):
        compared(stack, folder)
        with measured(stack, folder):
            yield asker


@contextmanager
def budgets_soon(stack: Stack, folder: Path) -> Iterator[None]:
    """Evaluate the rules of the error budgets every 5 s too: they need two rounds, a minute each."""
    soon = folder / "slo.yaml"
    soon.write_text(re.sub(r"interval: \w+", "interval: 5s", (PROJECT / "monitoring/rules/slo.yaml").read_text()))
    second = VmAlert(folder / "vmalert", stack.monitoring.url, [soon])
    try:
        second.start()
        yield
    finally:
        second.stop()


def stored(stack: Stack, file: Path) -> None:
    url = f"{stack.monitoring.url}/api/v1/import/prometheus"
    requests.post(url, data=file.read_bytes(), timeout=30).raise_for_status()


def compared(stack: Stack, folder: Path) -> None:
    """Compare two exports of yesterday, of which one lacks two hours of a tag."""
    day = datetime.datetime.now(UTC).date() - datetime.timedelta(days=1)
    began = datetime.datetime(day.year, day.month, day.day, tzinfo=UTC)
    for side in ("left", "right"):
        with (folder / f"{side}.csv").open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["tag", "time", "value", "quality", "read"])
            for tag in ("acme/a/P", "acme/a/T"):
                for minute in range(0, 1440, 5):
                    if (side, tag) == ("right", "acme/a/T") and 600 < minute < 720:
                        continue
                    moment = began + datetime.timedelta(minutes=minute)
                    read = moment + datetime.timedelta(seconds=2)
                    rows.writerow(
                        [tag, moment.isoformat(), f"{math.sin(minute / 40) * 10:.6f}", "good", read.isoformat()]
                    )
    sides = ["--left", str(folder / "left.csv"), "--right", str(folder / "right.csv"), "--window", day.isoformat()]
    done = CliRunner().invoke(app, ["compare", *sides, "--out", str(folder / "out"), "--days", str(folder / "days")])
    assert done.exit_code == 3, (done.output, done.exception)
    stored(stack, folder / "out" / "metrics.prom")


@contextmanager
def measured(stack: Stack, folder: Path) -> Iterator[None]:
    """Have the key figures measured on the pilot, with evidence of a drill, an audit trail and a log of decisions."""
    now = (datetime.datetime.now(UTC) - datetime.timedelta(minutes=1)).isoformat(timespec="milliseconds")
    fault = {"fault": "plant", "detect_s": 20.0, "recover_s": 60.0, "named": True}
    write(folder / "drill.json", {"time": now, "faults": [fault]})
    write(folder / "provision.json", {"time": now, "tags": 32, "first_sample_s": 12.5, "all_tags_s": 14.0})
    login = {"time": now, "actor": "ada", "source": "keycloak", "action": "login", "outcome": "success"}
    write(folder / "audit" / "audit-1.jsonl", login)
    denied = {
        "time": now,
        "decision_id": "1",
        "decision": "deny",
        "file": "x.json",
        "rule": "x",
        "component": {"id": "1"},
    }
    decisions.append(folder / "decisions.jsonl", [denied])
    with secret(stack, folder / "secrets"):
        given = {
            "monitoring": stack.monitoring.url, "hot": stack.victoriametrics.url, "nifi": stack.nifi.url,
            "lakehouse": stack.lakehouse.warehouse, "drill": folder / "drill.json",
            "provision": folder / "provision.json", "audit": folder / "audit", "secrets": folder / "secrets",
            "decisions": folder / "decisions.jsonl", "metrics": folder / "kpi", "out": folder / "report",
            "inputs": PROJECT / "rollout" / "kpi.example.toml",
        }  # fmt: skip
        argv = [part for name, value in given.items() for part in (f"--{name}", str(value))]
        made = folder / "kpi" / "otmirror-kpi.prom"

        def whole() -> bool:
            done = CliRunner().invoke(app, ["kpi", *argv])
            assert done.exit_code == 0, (done.output, done.exception)
            return wanted <= set(re.findall(r"^otmirror_kpi_\w+", made.read_text(), re.MULTILINE))

        # Both stores have to hold something, and two scrapes to show that.
        large = "otmirror_kpi_cost_per_gb"
        wanted = set(re.findall(r"otmirror_kpi_\w+", json.dumps(board("otmirror-kpis")))) - {large}
        await_that(whole, WITHIN, f"not all of {wanted} are measured")
        # Of the little that a pilot holds no cost a GB is told: here it is what an endpoint costs.
        told = made.read_text()
        assert large not in told
        line = re.search(r"^otmirror_kpi_cost_per_endpoint\{.*$", told, re.MULTILINE)
        assert line is not None
        made.write_text(told + line[0].replace("otmirror_kpi_cost_per_endpoint", large) + "\n")
        stored(stack, made)
        yield


def write(file: Path, content: object) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content) + "\n")


@contextmanager
def secret(stack: Stack, folder: Path) -> Iterator[None]:
    """A group without processors beside the pilot, with one secret that came from Vault and one that did not."""
    rest = stack.api.rest
    parameters = [{"parameter": {"name": name, "sensitive": True, "value": "x"}} for name in ("one", "two")]
    wanted = {"revision": {"version": 0}, "component": {"name": "secrets", "parameters": parameters}}
    context = rest.post("/parameter-contexts", wanted)["id"]
    place = {"name": "secrets", "position": {"x": 0, "y": 8000}, "parameterContext": {"id": context}}
    group = rest.post("/process-groups/root/process-groups", {"revision": {"version": 0}, "component": place})["id"]
    write(folder / "secrets.json", {"context": context, "names": ["one"]})
    try:
        yield
    finally:
        stack.api.delete_group(group)


def empty(made: dict, asker: Asker) -> list[str]:
    """Queries of a dashboard that give no finite value."""
    missing = []
    for panel in made["panels"]:
        for letter, found in asker.panel(panel, made).items():
            if not any(math.isfinite(value) for series in found for _, value in series.points):
                missing.append(f"{made['uid']}: {panel['title']} ({letter})")
    return missing


def board(uid: str) -> dict:
    return next(made for made in BOARDS if made["uid"] == uid)


def asked(uid: str, title: str, asker: Asker) -> dict[str, list[Series]]:
    made = board(uid)
    return asker.panel(next(panel for panel in made["panels"] if panel["title"] == title), made)


@pytest.mark.parametrize("made", BOARDS, ids=lambda made: made["uid"])
def test_every_query_returns_data(made: dict, asker: Asker) -> None:
    end = time.monotonic() + WITHIN * SLOWNESS
    while missing := empty(made, asker):
        assert time.monotonic() < end, missing
        time.sleep(1)


@pytest.mark.parametrize(("uid", "name"), [("otmirror-freshness", "area"), ("otmirror-sources", "source")])
def test_every_choice_returns_data(uid: str, name: str, asker: Asker) -> None:
    made = board(uid)
    variable = next(one for one in made["templating"]["list"] if one["name"] == name)
    choices = asker.choices(variable, made)
    assert choices == {"area": ["acme/north"], "source": ["modbus:plant", "opcua:plant"]}[name]
    for choice in choices:
        missing = empty(made, replace(asker, chosen={name: re.escape(choice)}))
        # Only OPC UA has a buffer.
        assert missing == ["otmirror-sources: What of the sources' own buffers is in use? (A)"] * (
            choice[:6] == "modbus"
        )
    assert len(empty(made, replace(asker, chosen={name: "nobody"}))) > 3


def test_figures_are_those_of_the_pilot(stack: Stack, asker: Asker) -> None:
    declared = run.declared(stack)
    (tags,) = asked("otmirror-freshness", "How many tags are there?", asker)["A"]
    assert tags.last == sum(declared.values())
    table = asked("otmirror-sources", "How is each source?", asker)
    assert {one.labels["source"]: one.last for one in table["B"]} == declared
    assert {one.last for one in table["A"]} == {1.0}
    (away,) = asked("otmirror-overview", "How many parts do not answer?", asker)["A"]
    assert away.last == 0
    alerts = asked("otmirror-overview", "What is wrong now, and what is to be done?", asker)["A"]
    assert ("Watchdog", "firing", "watchdog") in {
        (one.labels["alertname"], one.labels["alertstate"], one.labels["runbook"]) for one in alerts
    }
    differs = asked("otmirror-parallel", "What differs?", asker)["A"]
    assert {one.labels["kind"]: one.last for one in differs if one.last} == {"missing": 1}
    (vault,) = asked("otmirror-kpis", "How much is behind the security that was agreed?", asker)["B"]
    assert vault.last == 0.5


def test_a_pilots_pages_are_in_the_browser_without_grafana(stack: Stack, asker: Asker) -> None:
    stack.start_pages()
    try:
        for made in BOARDS:
            answer = requests.get(f"{stack.pages.url}{pictures.name(made)}", timeout=30)
            assert (answer.status_code, "No data" in answer.text) == (200, False), made["uid"]
        book = requests.get(f"{stack.pages.url}public/runbooks/source-stale.md", timeout=30)
        assert book.text == (PROJECT / "docs" / "runbooks" / "source-stale.md").read_text()
    finally:
        stack.pages.stop()
    assert stack.pages.url == ""


def test_the_pages_and_a_picture_are_drawn(asker: Asker, tmp_path: Path) -> None:
    written = pictures.pages(BOARDS, asker, tmp_path)
    assert len(written) == 8
    for file in written:
        assert "No data" not in file.read_text(), file.name
    try:
        (picture,) = pictures.take([board("otmirror-overview")], tmp_path)
    except UnavailableError as error:
        pytest.skip(str(error))
    assert picture.stat().st_size < 150_000
    with Image.open(picture) as image:
        assert image.size == (page.WIDTH, page.height(board("otmirror-overview")))
        # Text, lines and bars: an empty page has a handful of colours.
        assert len(image.convert("RGB").getcolors(1 << 20)) > 60
