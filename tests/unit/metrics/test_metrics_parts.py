"""What sources and sinks count of batches, against what is counted by hand."""

import random
import time

import numpy as np
import pytest

from otmirror import samples
from otmirror.metrics.sink import MOST_AREAS, SinkFigures, area_of, fresh_seconds, reason_word
from otmirror.metrics.source import Condition, Filling, SourceFigures
from otmirror.status import STATUS

NOW = 1_790_000_000_000_000
LOST = STATUS["BadDataLost"]


def table(*rows):
    """Rows of tag, quality, and what else is not the usual."""
    columns = {name: [] for name in ("tag", "quality", "ts", "status", "backfill")}
    for tag, quality, *rest in rows:
        more = rest[0] if rest else {}
        columns["tag"].append(tag)
        columns["quality"].append(quality)
        columns["ts"].append(more.get("ts", NOW))
        columns["status"].append(more.get("status", 0))
        columns["backfill"].append(more.get("backfill", False))
    count = len(rows)
    return samples.table_from_columns(**columns, value=[None] * count, type=["double"] * count, source=["s"] * count)


def numbers(figures):
    return {(name.removeprefix("otmirror_"), *labels): v for (name, labels), v in figures.collect().numbers.items()}


def test_a_source_counts_what_leaves_it():
    figures = SourceFigures("s", lambda: 1234.5)
    figures.emitted(table(("a", "good"), ("b", "uncertain"), ("c", "bad", {"status": LOST, "ts": NOW + 10**9})))
    figures.emitted(table(("a", "good", {"ts": NOW - 5}), ("a", "good", {"ts": NOW + 5})))
    found = numbers(figures)
    assert [found[("samples_read_total", "s", quality)] for quality in ("good", "uncertain", "bad")] == [3, 1, 1]
    assert found[("read_batches_total",)] == 2
    assert found[("gaps_total", "s")] == 1
    assert found[("last_gap_timestamp_seconds", "s")] == 1234.5
    assert found[("source_newest_sample_timestamp_seconds", "s")] == (NOW + 5) / 1e6


def test_only_bad_samples_say_nothing_of_the_newest():
    figures = SourceFigures("s")
    figures.emitted(table(("a", "bad"), ("b", "bad")))
    found = numbers(figures)
    assert found[("samples_read_total", "s", "bad")] == 2
    assert ("last_gap_timestamp_seconds", "s") not in found
    assert ("source_newest_sample_timestamp_seconds", "s") not in found


def test_a_gap_makes_no_tag_bad():
    condition = Condition(2)
    assert not condition.see(table(("a", "bad", {"status": LOST}), ("b", "bad")))
    assert condition.bad == 1
    assert condition.see(table(("b", "good"), ("a", "bad", {"status": LOST})))
    assert condition.bad == 0
    assert not condition.see(table(("a", "bad", {"status": LOST})))


def test_bad_tags_are_those_whose_last_value_is_bad():
    """Against the same found one by one, over many batches with repeats in them."""
    chance = random.Random(7)
    condition, last = Condition(40), {}
    for _ in range(300):
        worst = chance.random()
        rows = [(f"t{chance.randrange(40)}", "bad" if chance.random() < worst else chance.choice(("good", "uncertain")))
                for _ in range(chance.randrange(1, 30))]  # fmt: skip
        last.update(rows)
        assert condition.see(table(*rows)) is any(quality == "good" for _, quality in rows)
        assert condition.bad == sum(quality == "bad" for quality in last.values())


def test_the_elements_of_an_array_are_one_bad_tag():
    condition = Condition(2)
    condition.see(table(("x[0]", "bad"), ("x[1]", "bad"), ("y", "bad")))
    assert condition.bad == 2


def test_a_source_is_fresh_by_unchanged_values_too():
    clock = [100.0]
    figures = SourceFigures("s", lambda: clock[0])
    figures.device("s", 2, ())
    figures.received("s", table(("a", "good"), ("b", "good")))
    clock[0] = 200.0
    figures.received("s", table(("a", "bad"), ("b", "bad")))
    figures.unchanged("s", 190.0)
    assert numbers(figures)[("source_last_good_timestamp_seconds", "s")] == 100.0
    figures.received("s", table(("a", "good")))
    figures.unchanged("s", 190.0)
    assert numbers(figures)[("source_last_good_timestamp_seconds", "s")] == 200.0
    figures.unchanged("s", 210.0)
    assert numbers(figures)[("source_last_good_timestamp_seconds", "s")] == 210.0


def test_a_source_nobody_asks_any_more_has_no_state():
    figures = SourceFigures("s")
    figures.device("s", 2, ("Write",))
    figures.connected("s", True)
    assert numbers(figures)[("source_connected", "s")] == 1
    figures.away()
    found = numbers(figures)
    assert not [key for key in found if key[0].startswith(("source_connected", "source_tags", "buffer"))]
    assert found[("guard_refused_total", "s", "Write")] == 0


def test_the_seconds_until_a_buffer_is_full():
    clock = [0.0]
    filling = Filling(1000, lambda: clock[0])
    assert filling.left(0) == float("inf")
    clock[0] = 5.0
    assert filling.left(100) == pytest.approx(45)  # 20 a second, 900 are left
    clock[0] = 10.0
    assert filling.left(100) == float("inf")
    clock[0] = 15.0
    assert filling.left(50) == float("inf")
    assert filling.left(1000) == 0
    assert filling.left(2000) == 0


def test_a_sink_counts_lag_of_live_samples_and_what_is_fresh():
    now = [NOW]
    figures = SinkFigures(90, lambda: now[0])
    figures.stored(table(
        ("acme/north/p1/a", "good", {"ts": NOW - 1_500_000}), ("acme/north/p1/b", "bad"),
        ("acme/south/p1/c", "good", {"ts": NOW - 100_000_000}), ("x/d", "good", {"ts": NOW - 10**12, "backfill": True}),
        ("e", "uncertain", {"ts": NOW + 3_000_000}),
    ))  # fmt: skip
    found = numbers(figures)
    assert found[("samples_stored_total",)] == 5
    assert found[("store_newest_sample_timestamp_seconds",)] == (NOW + 3_000_000) / 1e6
    areas = {key[1]: value for key, value in found.items() if key[0] == "store_tags"}
    fresh = {key[1]: value for key, value in found.items() if key[0] == "store_tags_fresh"}
    assert areas == {"acme/north": 2, "acme/south": 1, "x": 1, "other": 1}
    assert fresh == {"acme/north": 1, "acme/south": 0, "x": 0, "other": 0}
    lag = figures.collect().histograms[("otmirror_store_lag_seconds", ())]
    assert (lag.buckets.sum(), lag.total) == (4, pytest.approx(1.5 + 0 + 100 + 0))
    now[0] = NOW + 89_000_000
    assert numbers(figures)[("store_tags_fresh", "acme/north")] == 0
    now[0] = NOW + 86_401_000_000
    assert not [key for key in numbers(figures) if key[0].startswith("store_tags")]


def test_a_late_sample_does_not_make_a_tag_stale():
    figures = SinkFigures(90, lambda: NOW)
    for ts in (NOW, NOW - 10**9):
        figures.stored(table(("a/b/c", "good", {"ts": ts})))
    assert numbers(figures)[("store_tags_fresh", "a/b")] == 1


def test_areas_are_bounded():
    figures = SinkFigures(90, lambda: NOW)
    figures.stored(table(*((f"site{n}/unit/tag", "good") for n in range(3 * MOST_AREAS))))
    found = {key[1]: value for key, value in numbers(figures).items() if key[0] == "store_tags"}
    assert len(found) == MOST_AREAS + 1
    assert found["other"] == 2 * MOST_AREAS
    assert sum(found.values()) == 3 * MOST_AREAS


@pytest.mark.parametrize(
    ("tag", "area"),
    [("acme/north/pad7/well12/P", "acme/north"), ("a/b/c", "a/b"), ("a/b", "a"), ("a", "other"), ("/x", "other")],
)
def test_an_area_is_two_segments_and_never_the_tags_own_name(tag, area):
    assert area_of(tag) == area


@pytest.mark.parametrize(("text", "seconds"), [("30", 30), ("0", 90), ("-5", 90), ("soon", 90), ("", 90), ("nan", 90)])
def test_how_fresh_is_fresh(monkeypatch, text, seconds):
    monkeypatch.setenv("OTMIRROR_FRESH_SECONDS", text)
    assert fresh_seconds("OTMIRROR_FRESH_SECONDS", 90) == seconds


def test_a_batch_of_ten_thousand_is_counted_as_a_whole():
    """Well below what storing it costs: some 100 ms; measured 3 ms on an idle machine."""
    tags = [f"acme/north/pad{n % 10}/well{n % 100}/t{n}" for n in range(10_000)]
    batch = samples.table_from_columns(
        tag=tags, ts=(NOW + np.arange(10_000)).tolist(), value=[1.0] * 10_000, type=["double"] * 10_000,
        quality=["good"] * 10_000, source=["s"] * 10_000,
    )  # fmt: skip
    sink, source = SinkFigures(90), SourceFigures("s")
    source.device("s", 10_000, ())
    spent = []
    for _ in range(5):
        began = time.process_time()
        source.received("s", batch)
        source.emitted(batch)
        sink.stored(batch)
        spent.append(time.process_time() - began)
    assert min(spent) < 0.05
    assert numbers(sink)[("samples_stored_total",)] == 50_000


def test_every_reason_of_a_reject_has_its_word():
    """The reasons themselves come from the sinks in tests/sinks; here their words."""
    assert reason_word("not a sample: Expected `str`") == "unreadable"
    assert reason_word("a bad sample carries a value: its value has to be null") == "unreadable"
    assert reason_word("timestamp 1999-01-01T00:00:00Z is older than the property Retention allows") == "retention"
    assert reason_word("timestamp 2999-01-01T00:00:00Z is more than 2 days in the future") == "future"
    assert reason_word("tag is longer than 16384 bytes") == "label"
    assert reason_word("its text is no number, but its type is double") == "number"
    assert reason_word("its value is NaN, which VictoriaMetrics drops") == "number"
    assert reason_word("VictoriaMetrics answered 400: in the future") == "refused"
    assert reason_word("a time is outside the years 1 to 9999") == "time"
