"""`otmirror lakehouse`, as a person calls it."""

from __future__ import annotations

import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import pytest

from otmirror.cli.app import main
from otmirror.clock import SystemClock
from otmirror.iceberg import views
from otmirror.iceberg.config import Config
from otmirror.iceberg.sink import IcebergSink

T0 = 1_700_000_000_000_000
SECRET = "correct-horse"


@pytest.fixture
def run(monkeypatch, capsys):
    """Call the command in this process; starting one of its own takes two seconds."""

    def call(*arguments, **variables):
        with monkeypatch.context() as patch:
            for name in [name for name in os.environ if name.startswith(("OTMIRROR_ICEBERG", "OTMIRROR_S3"))]:
                patch.delenv(name)
            for name, value in {"COLUMNS": "200", **variables}.items():
                patch.setenv(name, value)
            patch.setattr(sys, "argv", ["otmirror", "lakehouse", *map(str, arguments)])
            with pytest.raises(SystemExit) as ended:
                main()
        output = capsys.readouterr()
        return SimpleNamespace(returncode=ended.value.code or 0, stdout=output.out, stderr=output.err)

    return call


def sample(tag, seq):
    return {"tag": tag, "ts": T0, "value": 1, "type": "double", "quality": "good", "source": "s", "seq": seq}


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lake") / "w"
    sink = IcebergSink(Config(warehouse=str(folder)), SystemClock())
    for n in range(3):
        content = "".join(json.dumps(sample(tag, n)) + "\n" for tag in ("t", f"u{n}"))
        assert sink.write(content.encode(), {}).relationship == "success"
    return folder


def test_status_then_a_dry_run_then_maintenance_then_nothing_to_do(run, warehouse):
    def status():
        done = run("status", "--json", OTMIRROR_ICEBERG_WAREHOUSE=str(warehouse))
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)["ot.samples"]

    before = status()
    assert {name: before[name] for name in ("rows", "files", "snapshots", "days", "small", "duplicates")} == {
        "rows": 6, "files": 3, "snapshots": 3, "days": 1, "small": 3, "duplicates": 2,
    }  # fmt: skip
    dry = run("maintain", "--dry-run", "--warehouse", warehouse)
    assert dry.returncode == 0
    assert "days would be rewritten: 1; duplicates would be removed: 2" in dry.stdout
    assert status() == before
    done = run("maintain", "--warehouse", warehouse)
    assert done.returncode == 0
    assert "duplicates removed: 2" in done.stdout
    assert "  files: 3 -> 1" in done.stdout
    assert (status()["rows"], status()["duplicates"]) == (4, 0)
    again = run("maintain", "--warehouse", warehouse, "--json")
    assert json.loads(again.stdout)[0]["rewritten"] == []
    shown = run("status", "--warehouse", warehouse).stdout
    assert "ot.samples" in shown


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["status", "--warehouse", "/nowhere/at/all"], "--warehouse: there is no catalog.db in /nowhere/at/all"),
        (["status"], "Warehouse: with Catalog Type sqlite give the absolute path of a folder"),
        (["maintain", "--older-than", "5 min"], "removed at an age of less than 1 hour"),
        (["maintain", "--older-than", "soon"], "--older-than: 'soon' is not a time period"),
        (["maintain", "--keep-snapshots", "1 min"], "kept for less than 1 hour"),
        (["status", "--uri", "http://127.0.0.1:9"], "the catalog at http://127.0.0.1:9: connection refused"),
        (["status", "--property", "x"], "--property: write NAME=VALUE"),
        (["status", "--secret", "x=NOT_SET"], "--secret x: the environment variable NOT_SET is not set"),
        (["view", "--dialect", "oracle"], "--dialect: 'oracle' is none of"),
    ],
)
def test_a_mistake_is_one_line(run, arguments, told):
    done = run(*arguments)
    assert done.returncode == 1
    assert told in done.stderr
    assert done.stderr.startswith("otmirror: ")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_nothing_is_made_where_no_catalog_is(run, tmp_path):
    assert run("maintain", "--warehouse", tmp_path / "typo").returncode == 1
    assert not (tmp_path / "typo").exists()


def test_the_view_is_printed(run, warehouse):
    done = run("view", "--dialect", "trino", "--relation", "iceberg.ot.samples")
    assert done.stdout == views.statement("trino", "iceberg.ot.samples", "iceberg.ot.samples_once")
    refused = run("view", "--create", "--warehouse", warehouse)
    assert refused.returncode == 1
    assert "a sqlite catalog holds no views" in refused.stderr


class Catalog(BaseHTTPRequestHandler):
    """As much of a REST catalog as has to do with views; the table's metadata is a real one."""

    table: dict[str, object]
    view: dict[str, object] | None
    offers_views = True

    def do_GET(self):
        offered = ["GET /v1/{prefix}/namespaces/{namespace}/tables/{table}"]
        offered += ["GET /v1/{prefix}/namespaces/{namespace}/views/{view}"] if self.offers_views else []
        if self.path.startswith("/v1/config"):
            self.answer(200, {"defaults": {}, "overrides": {}, "endpoints": offered})
        elif self.path.endswith("/tables/samples"):
            self.answer(200, self.table)
        elif type(self).view is None:
            self.answer(404, {"error": {"message": "no such view", "type": "NoSuchViewException", "code": 404}})
        else:
            self.answer(200, type(self).view)

    def do_POST(self):
        assert self.path == "/v1/namespaces/ot/views"
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        version = {**asked["view-version"], "version-id": 1}
        type(self).view = {"metadata-location": "s3://lake/v.json", "metadata": {
            "view-uuid": "5e8d6bd2-7f4c-4d39-9a24-8f2f6a4d2a10", "format-version": 1, "location": "s3://lake/v",
            "schemas": [asked["schema"]], "current-version-id": 1, "versions": [version],
            "version-log": [{"timestamp-ms": 1, "version-id": 1}], "properties": {},
        }}  # fmt: skip
        self.answer(200, type(self).view)

    def answer(self, status, told):
        body = json.dumps(told).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def rest(warehouse):
    newest = max(Path(warehouse).rglob("*.metadata.json"), key=lambda path: path.stat().st_mtime_ns)
    place = {"metadata-location": f"file://{newest}", "metadata": json.loads(newest.read_text()), "config": {}}
    handler = type("Served", (Catalog,), {"table": place, "view": None})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield handler, f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_the_view_is_made_in_a_catalog_once(run, rest):
    handler, uri = rest
    variables = {"OTMIRROR_ICEBERG_URI": uri, "OTMIRROR_ICEBERG_TOKEN": SECRET}
    done = run("view", "--create", **variables)
    assert (done.returncode, done.stdout) == (0, "view ot.samples_once was made\n"), done.stderr
    version = handler.view["metadata"]["versions"][0]
    assert version["default-namespace"] == ["ot"]
    texts = {text["dialect"]: text["sql"] for text in version["representations"]}
    assert set(texts) == {"trino", "spark"}
    assert '"ot"."samples"' in texts["trino"]
    assert "`ot`.`samples`" in texts["spark"]
    assert run("view", "--create", **variables).stdout == "view ot.samples_once was there already\n"
    version["representations"][0]["sql"] = "SELECT 1"
    refused = run("view", "--create", **variables)
    assert refused.returncode == 1
    assert "view ot.samples_once is there with another text" in refused.stderr


def test_a_rest_catalog_without_views_says_so(run, rest):
    handler, uri = rest
    handler.offers_views = False
    done = run("view", "--create", OTMIRROR_ICEBERG_URI=uri, OTMIRROR_ICEBERG_TOKEN=SECRET)
    assert done.returncode == 1
    assert "this REST catalog does not offer views" in done.stderr
    assert SECRET not in done.stderr
