"""Every query of every dashboard, run against the stores of a running pilot: each must return data."""

from __future__ import annotations

import csv
import datetime
import math
import re
import time
from collections.abc import Iterator
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
from otmirror.errors import UnavailableError

from .pilots import SLOWNESS, folder, pilot

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(600)]
WITHIN = 90.0
"""Seconds until a pilot that just began has a figure for everything: commits, batches, two evaluations of the rules."""
BOARDS = catalogue.load()


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with pilot(folder("dashboards"), []) as running:
        running.start_monitoring()
        yield running


@pytest.fixture(scope="module")
def asker(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Asker:
    """Puts queries to the pilot's stores, which also hold what the two commands write that run once a day."""
    monitoring = stack.monitoring.url
    assert stack.monitoring
    compared(monitoring, tmp_path_factory.mktemp("compared"))
    return Asker({"monitoring": Access(monitoring), "hot": Access(stack.victoriametrics.url)}, 300.0, 5.0)


def compared(store: str, into: Path) -> None:
    """Compare two exports and import the result, as docs/parallel-run.md says."""
    day = datetime.datetime.now(datetime.timezone.utc).date() - datetime.timedelta(days=1)
    for side, shift in (("left", 0.0), ("right", 0.5)):
        with (into / f"{side}.csv").open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["tag", "time", "value", "quality", "read"])
            for tag in ("acme/a/P", "acme/a/T"):
                for minute in range(0, 1440, 5):
                    moment = datetime.datetime(day.year, day.month, day.day) + datetime.timedelta(minutes=minute)
                    value = math.sin(minute / 40) * 10 + (shift if tag.endswith("T") and minute > 700 else 0)
                    read = moment + datetime.timedelta(seconds=2)
                    rows.writerow([tag, f"{moment.isoformat()}Z", f"{value:.6f}", "good", f"{read.isoformat()}Z"])
    sides = ["--left", str(into / "left.csv"), "--right", str(into / "right.csv")]
    argv = ["compare", *sides, "--window", day.isoformat(), "--out", str(into / "out"), "--days", str(into / "days")]
    done = CliRunner().invoke(app, argv)
    assert done.exit_code in (0, 3), (done.output, done.exception)
    metrics = (into / "out" / "metrics.prom").read_bytes()
    requests.post(f"{store}/api/v1/import/prometheus", data=metrics, timeout=30).raise_for_status()


def empty(made: dict, asker: Asker) -> list[str]:
    """Queries of a dashboard that give no finite value."""
    missing = []
    for panel in made["panels"]:
        for letter, found in asker.panel(panel, made).items():
            if not any(math.isfinite(value) for series in found for _, value in series.points):
                missing.append(f"{made['uid']}: {panel['title']} ({letter})")
    return missing


@pytest.mark.parametrize("made", BOARDS, ids=lambda made: made["uid"])
def test_every_query_returns_data(made: dict, asker: Asker) -> None:
    end = time.monotonic() + WITHIN * SLOWNESS
    while missing := empty(made, asker):
        assert time.monotonic() < end, missing
        time.sleep(1)


def last(made: dict, title: str, asker: Asker) -> dict[str, list[Series]]:
    return asker.panel(next(panel for panel in made["panels"] if panel["title"] == title), made)


def board(uid: str) -> dict:
    return next(made for made in BOARDS if made["uid"] == uid)


@pytest.mark.parametrize(("uid", "name"), [("otmirror-freshness", "area"), ("otmirror-sources", "source")])
def test_every_choice_returns_data(uid: str, name: str, asker: Asker) -> None:
    made = board(uid)
    variable = next(one for one in made["templating"]["list"] if one["name"] == name)
    choices = asker.choices(variable, made)
    assert len(choices) >= 2
    for choice in choices:
        assert empty(made, replace(asker, chosen={name: re.escape(choice)})) == [], choice


def test_figures_are_those_of_the_pilot(stack: Stack, asker: Asker) -> None:
    declared = run.declared(stack)
    (series,) = last(board("otmirror-freshness"), "How many tags are there?", asker)["A"]
    assert series.last == sum(declared.values())
    table = last(board("otmirror-sources"), "How is each source?", asker)
    assert {series.labels["source"]: series.last for series in table["B"]} == declared
    assert {series.last for series in table["A"]} == {1.0}
    (away,) = last(board("otmirror-overview"), "How many parts do not answer?", asker)["A"]
    assert away.last == 0


def test_the_pages_and_a_picture_are_drawn(asker: Asker, tmp_path: Path) -> None:
    written = pictures.pages(BOARDS, asker, tmp_path)
    assert len(written) == 8
    for file in written:
        text = file.read_text()
        assert "No data" not in text, file.name
    try:
        (picture,) = pictures.take([board("otmirror-overview")], tmp_path)
    except UnavailableError as error:
        pytest.skip(str(error))
    assert picture.stat().st_size < 150_000
    with Image.open(picture) as image:
        assert image.size == (page.WIDTH, page.height(board("otmirror-overview")))
        # Text, lines and bars: an empty page has a handful of colours.
        assert len(image.convert("RGB").getcolors(1 << 20)) > 60
