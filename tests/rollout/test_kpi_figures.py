"""The key figures against values worked out by hand."""

from __future__ import annotations

import datetime
import http.server
import json
import threading
from pathlib import Path

import pytest
from typer.testing import CliRunner

from otmirror.cli.app import app
from otmirror.clock import SystemClock
from otmirror.errors import MistakesError
from otmirror.iceberg.config import Config
from otmirror.iceberg.sink import IcebergSink
from otmirror.kpi import money, report, security, service, volumes
from otmirror.kpi.figure import Figure, Metric, Window
from otmirror.kpi.inputs import Cost, Inputs, Places, load
from otmirror.workspace import PROJECT

UTC = datetime.timezone.utc
COSTS = (Cost("servers", 6000.0), Cost("operation", 18000.0))


def window(hour: int) -> Window:
    """Six hours of a day of yesterday's week, so that tests do not see each other's samples."""
    end = datetime.datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - datetime.timedelta(days=hour)
    return Window(end - datetime.timedelta(hours=6), end)


def every(span: Window, seconds: float, count: int, start: float = 600.0):
    return [span.start.timestamp() + start + n * seconds for n in range(count)]


def test_licence_cost_removed_is_what_is_not_paid_any_more_today() -> None:
    day = datetime.date(2027, 7, 1)
    licences = (Cost("server", 62000, day), Cost("interfaces", 12800, datetime.date(2027, 7, 2)), Cost("seats", 21000))
    inputs = Inputs("EUR", 3600, licences, ())
    assert money.licences(inputs, day).value == 62000
    assert money.licences(inputs, datetime.date(2027, 6, 30)).value == 0
    assert money.licences(inputs, datetime.date(2027, 7, 2)).value == 74800
    assert money.licences(Inputs("EUR", 3600, (), ()), day).value is None


def test_cost_an_endpoint_counts_devices_that_were_connected(store, put) -> None:
    span = window(2)
    times = every(span, 60, 10)
    put({f'otmirror_source_connected{{source="{name}",id="{n}"}}': [(at, state) for at in times]
         for n, (name, state) in enumerate((("a", 1), ("b", 1), ("c", 1), ("c", 0), ("never", 0)))})  # fmt: skip
    figure = money.endpoint(Inputs("EUR", span.seconds, (), COSTS), span, store)
    assert figure.value == 8000  # 24,000 by a, b and c
    assert money.endpoint(Inputs("EUR", span.seconds, (), COSTS), window(3), store).value is None


@pytest.fixture
def hot():
    """A /metrics as VictoriaMetrics writes it: 1.5 GB."""
    text = b'vm_data_size_bytes{type="storage/big"} 1.4e+09\nvm_data_size_bytes{type="indexdb/file"} 100000000\nx 1\n'

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(text if self.path == "/metrics" else b"")

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join(5)


def test_cost_a_gb_is_of_what_both_stores_hold(hot, tmp_path, store) -> None:
    common = {"ts": 1_767_225_600_000_000, "type": "double", "quality": "good", "source": "s"}
    written = [{**common, "tag": f"t{n}", "value": n} for n in range(50)]
    sink = IcebergSink(Config(warehouse=str(tmp_path)), SystemClock())
    assert sink.write("".join(json.dumps(one) + "\n" for one in written).encode(), {}).relationship == "success"
    sink.close()
    bytes_ = sum(file.stat().st_size for file in tmp_path.rglob("*.parquet"))
    assert bytes_ > 500
    assert volumes.cold(str(tmp_path)) == bytes_
    inputs = Inputs("EUR", 3600, (), COSTS, Places(hot=hot, lakehouse=str(tmp_path)))
    assert money.gigabyte(inputs, window(0)).value == pytest.approx(24000 / (1.5 + bytes_ / 1e9))
    assert volumes.hot(store.url) > 0
    nowhere = money.gigabyte(Inputs("EUR", 3600, (), COSTS, Places(hot=hot)), window(0))
    assert (nowhere.value, nowhere.todo) == (None, "give --lakehouse: what both stores hold is measured")


def test_freshness_is_the_histograms_quantiles(store, put) -> None:
    span = window(4)
    times = every(span, 60, 11)
    ages = {"1": 50, "2": 95, "5": 100, "+Inf": 100}
    put({
        f'otmirror_store_lag_seconds_bucket{{processor="ToVictoriaMetrics",le="{le}"}}':
            [(at, n * count / 10) for n, at in enumerate(times)]
        for le, count in ages.items()
    })  # fmt: skip
    figure = service.freshness(store, span, "hot")
    # p99: 4 of the 5 samples between 2 s and 5 s lie below it.
    assert [metric.value for metric in figure.metrics] == [pytest.approx(x) for x in (1.0, 2.0, 4.4)]
    assert [metric.labels["quantile"] for metric in figure.metrics] == ["0.5", "0.95", "0.99"]
    assert figure.value == pytest.approx(2.0)
    assert service.freshness(store, span, "cold").value is None


def test_success_is_stored_by_stored_and_rejected(store, put) -> None:
    span = window(5)
    times = every(span, 60, 11)
    put({
        'otmirror_samples_stored_total{processor="ToVictoriaMetrics"}': [(at, 50 * n) for n, at in enumerate(times)],
        'otmirror_samples_stored_total{processor="WriteIceberg"}': [(at, 49 * n) for n, at in enumerate(times)],
        'otmirror_samples_rejected_total{reason="nan"}': [(at, n) for n, at in enumerate(times)],
        "up": [(at, 1) for at in times],
    })  # fmt: skip
    figure = service.success(store, span)
    assert figure.value == pytest.approx(0.99)  # 990 of 1,000
    assert "the store holds data from" in figure.window
    assert service.success(store, window(6)).value is None


def test_recovery_is_how_long_something_that_pages_was_firing(store, put) -> None:
    span = window(7)
    one, two, others = every(span, 15, 20), every(span, 15, 40, 7200), every(span, 15, 99)
    put({
        'ALERTS{alertname="NifiDown",alertstate="firing",severity="page"}': [(at, 1) for at in one],
        # Beside the first: the same incident. Later, and in the middle of it another alert takes over.
        'ALERTS{alertname="SourceStale",alertstate="firing",severity="page"}': [(at, 1) for at in one[5:15] + two[:20]],
        'ALERTS{alertname="HotStoreDown",alertstate="firing",severity="page"}': [(at, 1) for at in two[18:]],
        'ALERTS{alertname="DiskFilling",alertstate="firing",severity="ticket"}': [(at, 1) for at in others],
        'ALERTS{alertname="SourceStale",alertstate="pending",severity="page"}': [(at, 1) for at in others],
    })  # fmt: skip
    figure = service.alerts(store, span)
    assert figure.value == pytest.approx((300 + 600) / 2, abs=15)
    assert figure.how.startswith("2 incidents")
    assert service.alerts(store, window(8)).todo.startswith(f"{store.url} holds no ALERTS")


def test_an_incident_that_lasts_is_not_counted_as_recovered(store, put) -> None:
    span = window(9)
    last = [span.end.timestamp() - 15 * n for n in range(10)]
    series = 'ALERTS{alertname="NifiDown",alertstate="firing",severity="page"}'
    put({series: [(at, 1) for at in [*every(span, 15, 8), *last]]})
    figure = service.alerts(store, span)
    assert figure.value == pytest.approx(120, abs=15)
    assert "1 still open, not counted" in figure.how


def test_drill_and_provision_are_read_from_what_was_measured(tmp_path: Path) -> None:
    file = tmp_path / "drill.json"
    when = "2026-11-26T01:00:00+00:00"
    faults = [
        {"fault": "nifi", "recover_s": 60.0},
        {"fault": "store", "recover_s": 30.0},
        {"fault": "x", "recover_s": 90},
    ]
    file.write_text(json.dumps({"time": when, "faults": faults}))
    figure = service.drill(str(file))
    assert (figure.value, figure.window) == (60.0, "drill of 2026-11-26 01:00 UTC")
    faults[1]["recover_s"] = None
    file.write_text(json.dumps({"time": when, "faults": faults}))
    assert service.drill(str(file)).todo.startswith("store never recovered")
    for text in ("[]", "{}", '{"time": "now"}', json.dumps({"time": when, "faults": 3}), "no json"):
        file.write_text(text)
        assert service.drill(str(file)).value is None, text
    file.write_text(json.dumps({"time": when, "first_sample_s": 6.5, "all_tags_s": 8.0, "tags": 38}))
    assert service.provision(str(file)).value == 6.5
    assert service.provision(str(tmp_path / "absent")).value is None


def test_single_sign_on_counts_people_not_machines(tmp_path: Path) -> None:
    span = window(0)
    inside = (span.start + datetime.timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    before = (span.start - datetime.timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    events = [
        (inside, "alice", "login", "success", "keycloak"),
        (inside, "bob", "login", "success", "keycloak"),
        (inside, "alice", "request", "success", "nifi-request"),
        (inside, "carol", "request", "success", "nifi-request"),
        (inside, "CN=node1", "request", "success", "nifi-request"),
        (inside, "anonymous", "login", "refused", "nifi-user"),
        (inside, "mallory", "login", "refused", "keycloak"),
        (before, "dave", "configure", "success", "nifi-history"),
    ]
    keys = ("time", "actor", "action", "outcome", "source")
    lines = "".join(json.dumps(dict(zip(keys, one, strict=True))) + "\n" for one in events)
    (tmp_path / "audit-2026-11-25.jsonl").write_text(lines)
    inputs = Inputs("EUR", 3600, (), (), Places(audit=str(tmp_path)), ("CN=node1",))
    figure = security.sso(inputs, span)
    assert figure.value == pytest.approx(2 / 3)
    assert "without: carol" in figure.how
    (tmp_path / "audit-2026-11-26.jsonl").write_text("{}\n")
    assert "audit-2026-11-26.jsonl line 1" in security.sso(inputs, span).todo


def test_violations_blocked_are_the_denials_of_the_window_and_the_metric_those_of_the_log(tmp_path: Path) -> None:
    span, log = window(0), tmp_path / "decisions.jsonl"
    lines = []
    for number, (hours, decision, rule) in enumerate(((-9, "deny", "old"), (1, "deny", "tls"), (1, "deny", "secret"),
                                                      (2, "allow", ""), (2, "deny", "tls"))):  # fmt: skip
        when = span.start + datetime.timedelta(hours=hours)
        lines.append({"time": when.isoformat(timespec="milliseconds"), "file": "pilot.json", "decision": decision,
                      "decision_id": str(number), "rule": rule, "component": {"id": "1"}})  # fmt: skip
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    figure = security.violations(Inputs("EUR", 3600, (), (), Places(decisions=str(log))), span)
    assert figure.value == 3
    assert [metric.value for metric in figure.metrics] == [4]


def test_what_was_not_measured_has_no_number_anywhere() -> None:
    figures = [Figure("a", "A", todo="do it"), Figure("b", "B", 0.5, "share", metrics=(Metric("success_ratio", 0.5),))]
    span = window(0)
    page, text = report.sheet(figures, span), report.to_prometheus(figures, span)
    assert "| A | not measured | do it |" in page.markdown()
    assert "<td>not measured" in page.html()
    assert text.splitlines()[:3] == [
        "# HELP otmirror_kpi_success_ratio Stored samples by stored and rejected ones, over the window.",
        "# TYPE otmirror_kpi_success_ratio gauge",
        "otmirror_kpi_success_ratio 0.5",
    ]
    assert json.loads(report.to_json(figures, span))["figures"][0]["value"] is None


def test_the_command_writes_every_form_and_the_metrics(tmp_path: Path) -> None:
    out, metrics = tmp_path / "out", tmp_path / "metrics"
    inputs = tmp_path / "kpi.toml"
    inputs.write_text(
        'currency = "NOK"\nwindow = "1 hour"\n[[licence]]\nname = "pi"\na_year = 10\nremoved = 2020-01-01\n'
    )
    done = CliRunner().invoke(app, ["kpi", "--inputs", str(inputs), "--out", str(out), "--metrics", str(metrics)])
    assert done.exit_code == 0, done.output
    day = f"kpi-{datetime.datetime.now(UTC):%Y-%m-%d}"
    assert {file.name for file in out.iterdir()} == {f"{day}.md", f"{day}.html", "kpi.json"}
    assert 'otmirror_kpi_licence_cost_removed{currency="NOK"} 10' in (metrics / "otmirror-kpi.prom").read_text()
    told = {one["name"]: one for one in json.loads((out / "kpi.json").read_text())["figures"]}
    assert told["licence_cost_removed"]["value"] == 10
    assert all(one["todo"] for one in told.values() if one["value"] is None)


def test_every_metric_is_documented() -> None:
    text = (PROJECT / "docs" / "kpi.md").read_text()
    assert [name for name in report.HELP if f"`otmirror_kpi_{name}" not in text] == []


def test_the_example_is_accepted_and_every_mistake_is_told_at_once(tmp_path: Path) -> None:
    assert load(PROJECT / "rollout" / "kpi.example.toml").currency == "EUR"
    file = tmp_path / "kpi.toml"
    file.write_text("""window = "soon"
price = 3
[[licence]]
name = ""
a_year = -1
[[cost]]
name = "x"
a_year = "9"
removed = 2020-01-01
[from]
monitor = "x"
hot = 3
""")
    with pytest.raises(MistakesError) as told:
        load(file)
    assert len(told.value.problems) == 9
    assert all(str(file) in problem for problem in told.value.problems)


def test_the_exporter_serves_the_last_report_and_no_damaged_one(tmp_path: Path) -> None:
    from otmirror.exporter.union import Union

    figures = [Figure("b", "B", 0.5, "share", metrics=(Metric("cost_per_gb", 0.5, {"currency": 'E"\\R'}),))]
    report.save(tmp_path / "out", figures, window(0), tmp_path / "metrics")
    file = tmp_path / "metrics" / report.FILE
    served = Union([tmp_path / "absent", tmp_path / "metrics"]).render()
    assert file.read_text() in served
    assert "otmirror_metrics_unreadable_total 0" in served
    good = file.read_text()
    for text in (
        "",
        good[:-1],
        good + good,
        good + "other 1\n",
        good + "otmirror_kpi_x 1\n",
        "otmirror_kpi_success_ratio 1\n",
    ):
        file.write_text(text)
        union = Union([tmp_path / "metrics"])
        served = union.render()
        assert "otmirror_kpi" not in served, text
        assert "otmirror_metrics_unreadable_total 1" in served


def test_a_cost_a_gb_of_a_few_megabytes_is_no_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(volumes, "hot", lambda _: 6e6)
    monkeypatch.setattr(volumes, "cold", lambda _: 9e6)
    figure = money.gigabyte(Inputs("EUR", 3600, (), COSTS, Places(hot="http://h", lakehouse="/l")), window(0))
    assert (figure.value, figure.todo.split(":")[0]) == (None, "the stores hold 15 MB")
