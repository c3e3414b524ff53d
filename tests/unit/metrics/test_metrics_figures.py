"""Counting: only what is defined, from many threads, in buckets as Prometheus means them."""

import threading

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from otmirror.metrics import text
from otmirror.metrics.definitions import METRICS
from otmirror.metrics.figures import Figures

STORED, LAG, REJECTED = "otmirror_samples_stored_total", "otmirror_store_lag_seconds", "otmirror_samples_rejected_total"
SUCCESS = "otmirror_store_last_success_timestamp_seconds"


def families(figures, own=()):
    """What Prometheus' own client reads of them."""
    return {one.name: one for one in text_string_to_metric_families(text.render(figures.collect(), own))}


def samples(family):
    return {(one.name, *one.labels.values()): one.value for one in family.samples}


@pytest.mark.parametrize(
    ("count", "wrong"),
    [
        (lambda f: f.add("otmirror_made_up_total"), "not in the table"),
        (lambda f: f.add(SUCCESS), "is a gauge"),
        (lambda f: f.put(STORED, 1), "is a counter"),
        (lambda f: f.add(REJECTED), "labels"),
        (lambda f: f.add(REJECTED, reason="future", tag="x"), "labels"),
        (lambda f: f.observe(STORED, 1.0), "is a counter"),
    ],
)
def test_only_what_is_defined_can_be_counted(count, wrong):
    with pytest.raises(ValueError, match=wrong):
        count(Figures())


def test_names_follow_the_conventions():
    for metric in METRICS:
        assert metric.name.startswith("otmirror_")
        assert metric.name.endswith("_total") == (metric.kind == "counter"), metric.name
        assert not {"processor", "id", "le", "job", "instance"} & set(metric.labels), metric.name
        assert metric.help.endswith("."), metric.name
        if metric.unit in ("seconds", "bytes"):
            assert metric.name.endswith(f"_{metric.unit}"), metric.name
        if metric.unit == "seconds since 1970":
            assert metric.name.endswith(("_timestamp_seconds", "_time_seconds")), metric.name
    assert len({metric.name for metric in METRICS}) == len(METRICS)


def test_a_value_belongs_to_the_first_bucket_that_is_not_below_it():
    figures = Figures()
    figures.observe_all(LAG, np.array([0.0, 0.25, 0.2500001, 1.0, 4000.0]))
    figures.observe(LAG, 0.25)
    figures.observe(LAG, 3600.0)
    found = samples(families(figures)[LAG])
    at = {key[1]: value for key, value in found.items() if key[0].endswith("_bucket")}
    assert (at["0.25"], at["0.5"], at["1"], at["1800"], at["3600"], at["+Inf"]) == (3, 4, 5, 5, 6, 7)
    assert found[(f"{LAG}_count",)] == 7
    assert found[(f"{LAG}_sum",)] == pytest.approx(0.25 + 0.2500001 + 1 + 4000 + 0.25 + 3600)


def test_nothing_is_lost_between_threads():
    figures = Figures()

    def count():
        for _ in range(2000):
            figures.add(STORED, 3)
            figures.observe("otmirror_store_seconds", 0.01)

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        figures.collect()
    found = families(figures)
    assert samples(found["otmirror_samples_stored"]) == {(STORED,): 48_000}
    assert samples(found["otmirror_store_seconds"])[("otmirror_store_seconds_count",)] == 16_000


def test_a_look_that_fails_costs_nothing_else():
    figures = Figures()
    figures.before(lambda: 1 / 0)
    figures.before(lambda: figures.put(SUCCESS, 7))
    figures.add(STORED, 5)
    found = families(figures)
    assert samples(found["otmirror_samples_stored"]) == {(STORED,): 5}
    assert samples(found[SUCCESS]) == {(SUCCESS,): 7}


@pytest.mark.parametrize("name", ['a"b', "a\\b", "a\nb", "a{b}", "a,b", "", "Ölfeld/北", "\\n", 'x="y"} 1', "a\\"])
def test_any_text_is_a_label(name):
    figures = Figures()
    figures.put("otmirror_source_connected", 1, source=name)
    found = families(figures, [("processor", "p"), ("id", name)])["otmirror_source_connected"]
    assert [one.labels for one in found.samples] == [{"processor": "p", "id": name, "source": name}]
    again = text.parse(text.render(figures.collect(), [("id", name)]))
    assert again.numbers == {("otmirror_source_connected", (name,)): 1}


def test_a_lone_surrogate_does_not_stop_the_rest():
    figures = Figures()
    figures.put("otmirror_source_connected", 1, source="a\udc80b")
    assert [one.labels["source"] for one in families(figures)["otmirror_source_connected"].samples] == ["a?b"]


@pytest.mark.parametrize("value", [0, 1, 0.1, 1795658314.094263, 2**53 - 1, 1e300, 5e-324, float("inf"), -1.5])
def test_numbers_come_back_as_they_were(value):
    figures = Figures()
    figures.put(SUCCESS, value)
    assert samples(families(figures)[SUCCESS]) == {(SUCCESS,): value}
    assert text.parse(text.render(figures.collect())).numbers == {(SUCCESS, ()): value}


def test_a_file_has_each_family_once_with_help_and_type():
    figures = Figures()
    for reason in ("future", "label"):
        figures.add(REJECTED, reason=reason)
    figures.observe(LAG, 1)
    written = text.render(figures.collect())
    for name in (REJECTED, LAG):
        assert written.count(f"# HELP {name} ") == written.count(f"# TYPE {name} ") == 1
    assert written.endswith("\n# EOF\n")
