"""What the sinks count, against what a real VictoriaMetrics and a real Iceberg table hold."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from batches import batch, line
from cryptography import x509
from pyiceberg.catalog import load_catalog

from otmirror.clock import SystemClock
from otmirror.embedded.pki import Authority
from otmirror.iceberg.config import Config as Iceberg
from otmirror.iceberg.sink import IcebergSink
from otmirror.victoriametrics.config import Config as Hot
from otmirror.victoriametrics.sink import VictoriaMetricsSink

YEAR = 365 * 86400.0
ODD = "plain nonsense"


def numbers(sink):
    found = sink.figures.collect().numbers
    return {(name.removeprefix("otmirror_"), *labels): value for (name, labels), value in found.items()}


def rejected(sink):
    return {key[1]: v for key, v in numbers(sink).items() if key[0] == "samples_rejected_total" and v}


def now(ago=0.0):
    return round((time.time() - ago) * 1e6)


def test_victoriametrics_stored_and_rejected(history):
    sink = VictoriaMetricsSink(Hot(history.url, prefix="metered", retention=YEAR), SystemClock())
    good = [line("acme/north/p", now(5), 1.5), line("acme/north/q", now(2), 2), line("z", now(1), 3)]
    bad = line("acme/north/r", now(), None, quality="bad")
    refused = [
        line("old", now(2 * YEAR), 1), line("ahead", now(-3 * 86400), 1), line("x" * 20_000, now(), 1),
        line("nan", now(), None, text="NaN"), ODD, ODD,
    ]  # fmt: skip
    began = time.time()
    assert sink.write(batch(*good, bad, *refused), {}).relationship == "rejected"
    found = numbers(sink)
    assert found[("samples_stored_total",)] == 4
    assert rejected(sink) == {"retention": 1, "future": 1, "label": 1, "number": 1, "unreadable": 2}
    assert sum(len(series) for series in history.export("metered_value").values()) == 3
    assert began <= found[("store_last_success_timestamp_seconds",)] <= time.time()
    assert abs(found[("store_newest_sample_timestamp_seconds",)] - (began - 1)) < 1
    assert (found[("store_tags", "acme/north")], found[("store_tags_fresh", "acme/north")]) == (3, 2)
    assert (found[("store_tags", "other")], found[("store_tags_fresh", "other")]) == (1, 1)
    lag = sink.figures.collect().histograms[("otmirror_store_lag_seconds", ())]
    assert lag.buckets.sum() == 4
    assert lag.total == pytest.approx(8, abs=2)


def test_victoriametrics_away_is_stored_once_when_it_comes_again(start_victoria_metrics):
    server = start_victoria_metrics("-retentionPeriod=100y")
    sink = VictoriaMetricsSink(Hot(server.url, timeout=2), SystemClock())
    content = batch(*(line(f"t{n}", now(), n) for n in range(10)))
    server.kill()
    assert sink.write(content, {}).relationship == "retry"
    assert numbers(sink)[("samples_stored_total",)] == 0
    assert ("store_last_success_timestamp_seconds",) not in numbers(sink)
    server.start()
    assert sink.write(content, {}).relationship == "success"
    assert numbers(sink)[("samples_stored_total",)] == 10


def table(folder):
    return load_catalog("otmirror", type="sql", uri=f"sqlite:///{folder}/catalog.db").load_table("ot.samples")


def test_iceberg_stored_once_and_the_state_of_the_table(tmp_path):
    sink = IcebergSink(Iceberg(warehouse=str(tmp_path)), SystemClock())
    first = batch(line("a/b/c", now(1), 1), line("a/b/d", now(1), 2), ODD)
    for content in (first, batch(line("a/b/c", now(), 3)), first, first):
        assert sink.write(content, {}).relationship == "success"
    found = numbers(sink)
    assert found[("samples_stored_total",)] == table(tmp_path).scan().to_arrow().num_rows == 3
    assert rejected(sink) == {"unreadable": 1}
    assert found[("iceberg_duplicate_batches_total",)] == 2
    assert found[("iceberg_snapshots", "ot.samples")] == len(table(tmp_path).snapshots()) == 2
    assert found[("iceberg_data_files", "ot.samples")] == len(list(table(tmp_path).scan().plan_files()))
    assert found[("iceberg_snapshots", "ot.rejects")] == 1
    commits = sink.figures.collect().histograms[("otmirror_iceberg_commit_seconds", ())]
    assert commits.buckets.sum() == 3
    assert found[("store_tags_fresh", "a/b")] == 2


def test_what_the_hot_store_refused_is_not_counted_a_second_time(tmp_path):
    sink = IcebergSink(Iceberg(warehouse=str(tmp_path)), SystemClock())
    attributes = {"otmirror.content": "rejects", "otmirror.rejected.by": "victoriametrics"}
    assert sink.write(b'{"reason":"not a sample","line":"x"}\n', attributes).relationship == "success"
    assert rejected(sink) == {}
    assert numbers(sink)[("samples_stored_total",)] == 0


def test_conflicts_of_writers(tmp_path):
    writers = [IcebergSink(Iceberg(warehouse=str(tmp_path)), SystemClock()) for _ in range(4)]
    assert writers[0].write(batch(line("first", now(), 0)), {}).relationship == "success"

    def write(number):
        written = 0
        for n in range(6):
            content = batch(line(f"w{number}", now(), n))
            while writers[number].write(content, {}).relationship != "success":
                pass
            written += 1
        return written

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(write, range(4))) == 24
    total = sum(numbers(one)[("samples_stored_total",)] for one in writers)
    assert total == table(tmp_path).scan().to_arrow().num_rows == 25
    assert sum(numbers(one)[("iceberg_commit_conflicts_total",)] for one in writers) > 0
    for one in writers:
        told = numbers(one)
        last = told.get(("iceberg_last_conflict_timestamp_seconds",))
        assert (last is not None) == (told[("iceberg_commit_conflicts_total",)] > 0)
        assert last is None or last == pytest.approx(time.time(), abs=60)


@pytest.mark.parametrize("make", [
    lambda files: VictoriaMetricsSink(Hot("https://127.0.0.1:9", timeout=1, **files), SystemClock()),
    lambda files: IcebergSink(Iceberg(catalog_type="rest", uri="https://127.0.0.1:9", **files), SystemClock()),
])  # fmt: skip
def test_the_ends_of_the_tls_files(tmp_path, make):
    authority = Authority(tmp_path / "pki")
    one = authority.issue("one")
    sink = make({"ca_file": str(authority.certificate), "client_certificate": str(one.certificate),
                 "client_key": str(one.key)})  # fmt: skip
    assert sink.write(batch(line("t", now(), 1)), {}).relationship == "retry"
    for file in (authority.certificate, one.certificate):
        end = x509.load_pem_x509_certificate(file.read_bytes()).not_valid_after_utc.timestamp()
        assert numbers(sink)[("certificate_expiry_timestamp_seconds", file.name)] == end
