"""WriteIceberg with a REST catalog: a real one where there is one, and what answers of a sick one become."""

from __future__ import annotations

import json
import os
import socket
import uuid
from pathlib import Path

import lakehouse
import pytest
from batches import batch, line
from pyiceberg.catalog import load_catalog

from otmirror.clock import SystemClock
from otmirror.iceberg import catalog
from otmirror.iceberg.config import Config
from otmirror.iceberg.ledger import KEY, Ledger
from otmirror.iceberg.sink import IcebergSink

T0 = 1_700_000_000_000_000
SECRET = "correct-horse"


def sink(uri, **settings):
    return IcebergSink(Config(catalog_type="rest", uri=uri, **settings), SystemClock())


def test_batches_go_once_into_a_real_rest_catalog():
    uri = os.environ.get("OTMIRROR_TEST_ICEBERG_REST")
    if not uri:
        pytest.skip("needs an Iceberg REST catalog: set OTMIRROR_TEST_ICEBERG_REST to its URL")
    namespace = f"ot_{uuid.uuid4().hex[:8]}"
    ours, other = sink(uri, namespace=namespace), sink(uri, namespace=namespace)
    content = batch(line("t", T0, 1), line("u", T0 + 86_400_000_000, 2), "broken")
    assert ours.write(content, {}).relationship == "success"
    assert other.write(content, {}).attributes["otmirror.iceberg.duplicate"] == "true"
    late = batch(line("late", T0, 3))
    real, waiting = ours._catalog.commit_table, [late]

    def commit(*arguments):
        if waiting:
            assert "otmirror.iceberg.duplicate" not in other.write(waiting.pop(), {}).attributes
        return real(*arguments)

    ours._catalog.commit_table = commit
    assert ours.write(late, {}).attributes["otmirror.iceberg.duplicate"] == "true"
    for n in range(3):
        assert other.write(batch(line("other", T0, n)), {}).relationship == "success"
        assert ours.write(batch(line("ours", T0, n)), {}).relationship == "success"
    reader = load_catalog("any", type="rest", uri=uri)
    found = reader.load_table(f"{namespace}.samples").scan().to_arrow().to_pylist()
    assert sorted((row["tag"], row["value"]) for row in found) == [
        ("late", 3), *(("other", n) for n in range(3)), *(("ours", n) for n in range(3)), ("t", 1), ("u", 2),
    ]  # fmt: skip
    kept = reader.load_table(f"{namespace}.rejects").scan().to_arrow().to_pylist()
    assert [row["line"] for row in kept] == ["broken"]


def error(status, kind, message):
    return status, json.dumps({"error": {"message": message, "type": kind, "code": status}})


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (error(401, "NotAuthorizedException", f"token {SECRET}"), "refuses the login; check Catalog Token"),
        (error(403, "ForbiddenException", "no"), "refuses the login; check Catalog Token"),
        (error(404, "NotFound", "no such place"), "no such place"),
        (error(429, "TooManyRequests", "slow down"), "slow down"),
        (error(500, "Internal", f"boom {SECRET}"), "boom ***"),
        (error(503, "Unavailable", "later"), "later"),
        ((502, "<html>bad gateway</html>"), "502"),
        ((200, "<html>Log in</html>"), "cannot be opened"),
        (None, "closed the connection"),
    ],
)
def test_a_sick_catalog_loses_nothing(scripted, answer, told):
    server = scripted(lambda _: answer)
    writer = sink(server.url, token=SECRET)
    output = writer.write(batch(line("t", T0, 1)), {})
    assert (output.relationship, output.contents) == ("retry", None)
    message = output.attributes["otmirror.error"]
    assert server.url in message
    assert told in message
    assert SECRET not in message


def test_secrets_among_the_further_properties_are_hidden(scripted):
    server = scripted(lambda _: error(500, "Internal", f"boom {SECRET} of X-Id-9 and Sesame-1"))
    more = {"header.Authorization": f"Bearer {SECRET}", "gcs.CREDENTIALS": "X-Id-9", "header.X-Api-Key": "Sesame-1"}
    writer = sink(server.url, more=more)
    output = writer.write(batch(line("t", T0, 1)), {})
    assert "boom *** of *** and ***" in output.attributes["otmirror.error"]
    assert writer.hide(f"login with Bearer {SECRET}") == "login with ***"


def test_a_catalog_that_is_not_there():
    output = sink("http://127.0.0.1:9").write(batch(line("t", T0, 1)), {})
    assert output.relationship == "retry"
    assert "the catalog at http://127.0.0.1:9: connection refused" in output.attributes["otmirror.error"]


@pytest.mark.parametrize("settings", [{}, {"credential": f"ot:{SECRET}"}])
def test_a_catalog_that_never_answers(monkeypatch, settings):
    monkeypatch.setattr(catalog, "TIMEOUT", (0.3, 0.3))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}"
        output = sink(uri, **settings).write(batch(line("t", T0, 1)), {})
    assert output.relationship == "retry"
    assert "no answer within the timeout" in output.attributes["otmirror.error"]


@pytest.mark.parametrize("named", ["pyiceberg.io.fsspec.FsspecFileIO", "nowhere.Files"])
def test_a_catalog_that_names_another_library_for_files_is_read_with_our_own(scripted, tmp_path, named):
    """As Nessie answers: `py-io-impl` in its configuration and with each table."""
    lakehouse.write(tmp_path, line("t", T0, 1.5))
    table = lakehouse.open_table(tmp_path)
    metadata = json.loads(Path(table.metadata_location.removeprefix("file://")).read_text())
    told = {"py-io-impl": named}
    loaded = {"metadata-location": table.metadata_location, "metadata": metadata, "config": told}

    def answer(request):
        config = {"defaults": told, "overrides": told}
        return 200, json.dumps(config if request.path.startswith("/v1/config") else loaded)

    server = scripted(answer)
    opened = catalog.open_catalog(Config(catalog_type="rest", uri=server.url, warehouse="warehouse"))
    rows = opened.load_table("ot.samples").scan().to_arrow().to_pylist()
    assert [(row["tag"], row["value"]) for row in rows] == [("t", 1.5)]


def test_a_catalog_that_tells_the_newest_snapshot_only_knows_the_newest_batch_only(tmp_path):
    """As Nessie answers: a table's metadata without its history."""
    for n in range(2):
        lakehouse.write(tmp_path, line("t", T0 + n, n))
    metadata = lakehouse.open_table(tmp_path).metadata
    older, newest = (snapshot.summary[KEY] for snapshot in metadata.snapshots)
    told = metadata.model_copy(update={"snapshots": metadata.snapshots[-1:]})
    assert [Ledger().find(metadata, batch) is not None for batch in (older, newest)] == [True, True]
    assert [Ledger().find(told, batch) is not None for batch in (older, newest)] == [False, True]
