"""Queries put to a real store, and what is drawn of the answers. Values are known: the test stored them."""

from __future__ import annotations

import itertools
import re
import threading
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from typer.testing import CliRunner

from otmirror.cli.app import app
from otmirror.dashboards import ask, catalogue, draw, page, serve
from otmirror.dashboards.ask import Access, Asker
from otmirror.dashboards.units import shown
from otmirror.embedded.pki import Authority
from otmirror.embedded.processes import free_port
from otmirror.embedded.victoriametrics import Guard, VictoriaMetrics
from otmirror.errors import ConfigError, UnavailableError

NOW = float(int(time.time()) // 60 * 60)
"""The end of the time shown: a whole minute, so that points of a line are those stored."""
SOURCES = {"opcua:a": 3.0, "modbus:<script>alert(1)</script>": 0.5}
"""Samples a second of each."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A store with ten minutes of two sources, one of which fell silent for two minutes and came back."""
    server = VictoriaMetrics(tmp_path_factory.mktemp("store"))
    try:
        server.start()
    except UnavailableError as error:
        pytest.skip(f"no VictoriaMetrics here: {error}")
    lines = []
    for source, rate in SOURCES.items():
        for ago in range(600, -1, -5):
            ms = int((NOW - ago) * 1000)
            lines.append(f'otmirror_source_connected{{source="{source}"}} {int(rate > 1)} {ms}')
            lines.append(f'otmirror_samples_read_total{{source="{source}"}} {(600 - ago) * rate} {ms}')
            if not (rate > 1 and 180 < ago < 420):
                lines.append(f'age{{source="{source}"}} {ago} {ms}')
            if ago > 590:
                lines.append(f"ended 1 {ms}")
    try:
        requests.post(f"{server.url}/api/v1/import/prometheus", data="\n".join(lines), timeout=10).raise_for_status()
        requests.get(f"{server.url}/internal/force_flush", timeout=10).raise_for_status()
        yield server.url
    finally:
        server.stop()


@pytest.fixture
def asker(store: str) -> Asker:
    return Asker({"monitoring": Access(store), "hot": Access(store)}, 600.0, 5.0, now=NOW)


def board(*targets: dict, kind: str = "stat", **defaults: object) -> dict:
    """A dashboard with one panel."""
    asked = [{"refId": letter, "datasource": {"uid": "${monitoring}"}, "instant": kind != "timeseries", **target}
             for letter, target in zip("ABC", targets, strict=False)]  # fmt: skip
    panel = {
        "type": kind, "title": "Is it?", "description": "", "links": [], "targets": asked,
        "gridPos": {"x": 0, "y": 0, "w": 12, "h": 8}, "options": {"textMode": "auto"},
        "fieldConfig": {"defaults": {"unit": "none", "custom": {}, **defaults}, "overrides": []},
    }  # fmt: skip
    variables = [
        {"name": "monitoring", "type": "datasource", "current": {"value": "otmirror-monitoring"}},
        {
            "name": "source",
            "type": "query",
            "datasource": {"uid": "${monitoring}"},
            "allValue": ".*",
            "query": {"query": "label_values(otmirror_source_connected, source)"},
        },
        {"name": "runbooks", "type": "constant", "query": "/public/runbooks"},
    ]
    return {"uid": "x", "title": "x", "description": "", "panels": [panel], "templating": {"list": variables}}


def drawn(made: dict, asker: Asker) -> str:
    (panel,) = made["panels"]
    return draw.panel(panel, asker.panel(panel, made), 600, 300, (NOW - asker.span, NOW))


def text(html: str) -> list[str]:
    return [found.strip() for found in re.findall(r">([^<>]+)<", html)]


def test_a_figure_is_that_of_now_with_its_unit_and_colour(asker: Asker) -> None:
    steps = [{"value": None, "color": "green"}, {"value": 3, "color": "red"}]
    made = board({"expr": "sum(rate(otmirror_samples_read_total[$__rate_interval]))"}, unit="cps", decimals=1,
                 thresholds={"steps": steps})  # fmt: skip
    html = drawn(made, asker)
    assert text(html) == ["3.5/s"]
    assert draw.COLOURS["red"] in html


def test_what_ended_is_no_figure_of_now(asker: Asker) -> None:
    assert text(drawn(board({"expr": "ended"}), asker)) == ["No data"]


def test_words_stand_for_values(asker: Asker) -> None:
    words = [
        {"type": "value", "options": {"1": {"text": "yes", "color": "green"}, "0": {"text": "no", "color": "red"}}}
    ]
    made = board({"expr": "otmirror_source_connected", "legendFormat": "{{source}}"}, mappings=words)
    made["panels"][0]["options"]["textMode"] = "value_and_name"
    html = drawn(made, asker)
    assert sorted(text(html)) == ["modbus:&lt;script&gt;alert(1)&lt;/script&gt;", "no", "opcua:a", "yes"]
    assert "<script" not in html


def test_where_there_is_no_value_there_is_no_line(asker: Asker) -> None:
    made = board({"expr": "age", "legendFormat": "{{source}}"}, kind="timeseries", unit="s", min=0)
    # Without it the store would fill up to five minutes with the value before.
    made["panels"][0]["targets"][0]["expr"] = "last_over_time(age[5s])"
    svg = ET.fromstring(drawn(made, asker))
    lines = {path.get("stroke"): path.get("d") for path in svg.iter("path") if path.get("fill") == "none"}
    assert sorted(path.count("M") for path in lines.values()) == [1, 2]
    # The age falls by as much as time goes on, so each line is straight, and it ends at 0 on the right.
    for path in lines.values():
        points = [tuple(map(float, point.split())) for point in re.findall(r"[ML]([\d.]+ [\d.]+)", path)]
        slopes = {round((b[1] - a[1]) / (b[0] - a[0]), 1) for a, b in itertools.pairwise(points)}
        assert len(slopes) == 1, slopes
        assert points[-1][0] == pytest.approx(590, abs=0.1)


def test_bars_are_as_long_as_their_values(asker: Asker) -> None:
    made = board({"expr": "sum by (source) (rate(otmirror_samples_read_total[1m]))", "legendFormat": "{{source}}"},
                 kind="bargauge", min=0, max=3, decimals=1)  # fmt: skip
    svg = ET.fromstring(drawn(made, asker))
    widths = [float(bar.get("width", "0")) for bar in svg.iter("rect") if bar.get("fill") != "#eef1f4"]
    assert widths[0] / widths[1] == pytest.approx(0.5 / 3.0, abs=0.01)


def test_a_tables_rows_are_joined_by_their_labels(asker: Asker) -> None:
    connected, age = "max by (source) (otmirror_source_connected)", 'sum by (source) (age{source="opcua:a"})'
    made = board({"expr": connected}, {"expr": age}, kind="table")
    named = {"source": "Source", "Value #B": "Age", "Value #A": "Connected"}
    made["panels"][0]["transformations"] = [
        {"id": "organize", "options": {"renameByName": named, "indexByName": {n: i for i, n in enumerate(named)}}}
    ]
    rows = re.findall("<tr>(.*?)</tr>", drawn(made, asker))
    cells = [re.findall("<t[dh][^>]*>(.*?)</t[dh]>", row) for row in rows]
    assert cells == [["Source", "Age", "Connected"], ["modbus:&lt;script&gt;alert(1)&lt;/script&gt;", "", "0"],
                     ["opcua:a", "0", "1"]]  # fmt: skip


def test_choices_are_those_of_the_store_and_hold(asker: Asker) -> None:
    made = board({"expr": 'count(otmirror_source_connected{source=~"$source"})'})
    variable = made["templating"]["list"][1]
    assert asker.choices(variable, made) == sorted(SOURCES)
    assert text(drawn(made, asker)) == ["2"]
    assert text(drawn(made, Asker(asker.stores, 600.0, 5.0, {"source": "opcua:a"}, NOW))) == ["1"]


@pytest.mark.parametrize(
    ("span", "scrape", "interval"),
    # Grafana: the greater of the step and a scrape, and of four scrapes. 240 points fit into a panel.
    [(3600, 15, "60s"), (600, 5, "20s"), (7 * 86400, 15, "2535s")],
)
def test_rates_are_taken_over_grafanas_interval(span: float, scrape: float, interval: str) -> None:
    filled = Asker({}, span, scrape).filled("rate(x[$__rate_interval]) / ${__range_s}", board())
    assert filled == f"rate(x[{interval}]) / {span:.0f}"


def test_mistakes_are_told(asker: Asker) -> None:
    with pytest.raises(ConfigError, match=r"\$zone"):
        drawn(board({"expr": 'up{zone="$zone"}'}), asker)
    with pytest.raises(ConfigError, match=r"refuses the query 'sum\('.*parse"):
        drawn(board({"expr": "sum("}), asker)
    with pytest.raises(ConfigError, match="'otmirror-other' is none of"):
        drawn(board({"expr": "up", "datasource": {"uid": "otmirror-other"}}), asker)
    with pytest.raises(ConfigError, match="'x' cannot be drawn"):
        drawn(board({"expr": "vector(1)"}, unit="x"), asker)
    nowhere = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(UnavailableError, match=re.escape(nowhere)):
        drawn(board({"expr": "up"}), Asker({"monitoring": Access(nowhere)}))


def test_a_store_with_a_login_and_an_authority_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tls = Authority(tmp_path / "pki").issue("store")
    (tmp_path / "password").write_text("correct-horse")
    server = VictoriaMetrics(tmp_path / "vm", guard=Guard(tls, "viewer", tmp_path / "password"))
    try:
        server.start()
        made = board({"expr": "vector(7)"})
        ca = str(tls.authority)
        assert text(drawn(made, Asker({"monitoring": Access(server.url, "viewer", "correct-horse", ca)}))) == ["7"]
        with pytest.raises(UnavailableError, match="answers 401"):
            drawn(made, Asker({"monitoring": Access(server.url, "viewer", "wrong", ca)}))
        with pytest.raises(UnavailableError, match="SSLError"):
            drawn(made, Asker({"monitoring": Access(server.url, "viewer", "correct-horse")}))
        # The command takes them from the environment.
        for name in ("MONITORING", "HOT"):
            monkeypatch.setenv(f"OTMIRROR_{name}_USER", "viewer")
            monkeypatch.setenv(f"OTMIRROR_{name}_PASSWORD", "correct-horse")
        argv = ["dashboards", "render", "--monitoring", server.url, "--hot", server.url, "--ca", ca, "--no-png"]
        done = CliRunner().invoke(app, [*argv, "--out", str(tmp_path / "out")])
        assert done.exit_code == 0, done.exception
        assert len(list((tmp_path / "out").glob("*.html"))) == 8
        assert "correct-horse" not in done.output
    finally:
        server.stop()


@pytest.mark.parametrize(
    ("command", "option", "value", "told"),
    [
        ("serve", "--listen", "8430", "is not ADDRESS:PORT"),
        ("serve", "--listen", "127.0.0.1:x", "is not ADDRESS:PORT"),
        ("render", "--scrape", "0", "between 1 and 3600 s"),
        ("render", "--span", "1y", "is no time"),
        ("render", "--ca", "/nowhere/ca.pem", "does not exist"),
        ("render", "--hot", "vm:8428", "http:// or https://"),
        ("render", "--hot", "http://me:secret@vm:8428", "OTMIRROR_HOT_USER"),
        ("render", "--dashboards", "/nowhere", "there is no dashboard"),
    ],
)
def test_mistakes_of_the_command_are_told(command: str, option: str, value: str, told: str) -> None:
    done = CliRunner().invoke(app, ["dashboards", command, option, value])
    assert isinstance(done.exception, ConfigError)
    assert told in str(done.exception)
    assert "secret" not in str(done.exception)


@pytest.mark.parametrize("made", catalogue.load(), ids=lambda made: made["uid"])
def test_every_query_is_understood_by_an_empty_store_and_nothing_is_made_up(made: dict, asker: Asker) -> None:
    # An hour before anything was stored: what shows 0 does so only while the mirror is scraped.
    html = page.page(made, Asker(asker.stores, 600.0, 5.0, now=NOW - 7200))
    assert html.count("No data") == len(made["panels"])


@pytest.mark.parametrize(
    ("value", "unit", "decimals", "told"),
    [
        (0, "none", None, "0"), (1234567, "short", None, "1.23 M"), (999, "short", None, "999"),
        (0.99949, "percentunit", 1, "99.9 %"), (0.0005, "s", None, "500 µs"), (0.25, "s", None, "250 ms"),
        (90, "s", None, "1.5 min"), (-3, "s", None, "-3 s"), (0, "s", None, "0 s"), (200000, "s", None, "2.31 days"),
        (12.345, "wps", None, "12.3/s"), (float("inf"), "s", None, "∞"), (float("nan"), "s", None, "no number"),
    ],
)  # fmt: skip
def test_values_are_shown_as_people_read_them(value: float, unit: str, decimals: int | None, told: str) -> None:
    assert shown(value, unit, decimals) == told


@pytest.mark.parametrize(("written", "meant"), [("90s", 90), ("15m", 900), ("6h", 21600), ("7d", 604800)])
def test_times_are_read(written: str, meant: float) -> None:
    assert ask.seconds(written) == meant


@pytest.mark.parametrize("written", ["", "5", "1.5h", "0m", "-1h", "1y", "now-1h"])
def test_other_times_are_refused(written: str) -> None:
    with pytest.raises(ConfigError, match="is no time"):
        ask.seconds(written)


@pytest.fixture
def site(asker: Asker, tmp_path: Path) -> Iterator[str]:
    (tmp_path / "source-stale.md").write_text("# SourceStale\n")
    server = serve.server(catalogue.load(), asker, "127.0.0.1", 0, tmp_path)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join(10)


def test_pages_are_served_with_links_to_each_other_and_to_runbooks(site: str) -> None:
    first = requests.get(f"{site}/", timeout=30)
    assert first.status_code == 200
    assert "OT mirror: overview" in first.text
    for name in re.findall(r"<nav>(.*?)</nav>", first.text)[0].split("href=")[1:]:
        address = name.split('"')[1]
        assert requests.get(f"{site}{address}", timeout=30).status_code == 200, address
    sources = requests.get(f"{site}/sources", timeout=30).text
    assert "&lt;script&gt;alert(1)" in sources
    assert "<script" not in sources
    assert "/public/runbooks/source-stale.md" in requests.get(f"{site}/freshness", timeout=30).text
    assert requests.get(f"{site}/public/runbooks/source-stale.md", timeout=30).text == "# SourceStale\n"


@pytest.mark.parametrize(
    "path",
    [
        "/public/runbooks/absent.md",
        "/public/runbooks/../../README.md",
        "/public/runbooks/..%2f..%2fREADME.md",
        "/grafana",
    ],
)
def test_nothing_else_is_served(site: str, path: str) -> None:
    # The path as it is: clients tidy it up.
    asked = requests.Request("GET", site).prepare()
    asked.url = f"{site}{path}"
    assert requests.Session().send(asked, timeout=30).status_code == 404


def test_it_only_shows(site: str) -> None:
    assert requests.post(f"{site}/", data="x", timeout=30).status_code == 501


def test_a_store_that_is_away_is_told_in_its_panels_and_the_others_are_drawn(asker: Asker) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}"
    made = next(made for made in catalogue.load() if made["uid"] == "otmirror-freshness")
    half = Asker({**asker.stores, "hot": Access(nowhere)}, 600.0, 5.0, now=NOW)
    html = page.page(made, half, live=15)
    assert html.count(f"the store at {nowhere} does not answer") == 2
    assert html.count("No data") == len(made["panels"]) - 2
    with pytest.raises(UnavailableError, match="does not answer"):
        page.page(made, half)


OWN = {"uid": "own", "templating": {"list": []}}


@pytest.mark.parametrize(
    ("panels", "told"),
    [
        ([{"type": "text", "gridPos": {"x": 0, "y": 0, "w": 4, "h": 4}, "fieldConfig": {}}], "kind text is shown in"),
        ([{"type": "stat", "gridPos": {"x": 0, "y": 0, "w": 4, "h": 4}, "targets": [{}]}], "cannot be drawn"),
        ([{"type": "stat"}], "own cannot be drawn"),
        (["stat"], "own cannot be drawn"),
        ([], "own has no panels"),
    ],
)
def test_a_dashboard_of_ones_own_spoils_no_other(panels: list, told: str, asker: Asker) -> None:
    server = serve.server([*catalogue.load(), {**OWN, "panels": panels}], asker, "127.0.0.1", 0)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        site = f"http://127.0.0.1:{server.server_address[1]}"
        assert told in requests.get(f"{site}/own", timeout=30).text
        assert requests.get(f"{site}/kpis", timeout=30).status_code == 200
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


def test_a_port_in_use_is_told(site: str) -> None:
    port = int(site.rpartition(":")[2])
    with pytest.raises(UnavailableError, match=f"127.0.0.1:{port} cannot be listened on"):
        serve.server(catalogue.load(), Asker({}), "127.0.0.1", port)
