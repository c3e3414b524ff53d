"""The seam to NiFi, with objects of the shape NiFi gives (its own classes are exercised in tests/contract)."""

import math

import pytest

from otmirror import nifi, samples, taglist
from otmirror.errors import ConfigError, UnavailableError
from otmirror.notices import Notice


class Context:
    def __init__(self, **values):
        self.values, self.yields = values, 0

    def getProperty(self, name):  # noqa: N802
        if name not in self.values:
            return None
        value = self.values[name]
        return type("Value", (), {"getValue": lambda _self: value})()

    def yield_resources(self):
        self.yields += 1


class Log:
    def __init__(self):
        self.lines = []

    def __getattr__(self, level):
        return lambda message: self.lines.append((level, message))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("500 ms", 0.5),
        ("1 sec", 1),
        ("2 mins", 120),
        ("1.5 hours", 5400),
        ("31 days", 2678400),
        ("7d", 604800),
    ],
)
def test_periods_as_nifi_writes_them(text, seconds):
    assert nifi.parse_period(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "5", "sec", "-1 sec", "5 lightyears", "1 sec 2"])
def test_what_is_no_period_is_refused(text):
    with pytest.raises(ValueError, match="not a time period"):
        nifi.parse_period(text)


def test_properties_are_read_as_typed():
    context = Context(a="  x ", b="", c=None, d="TRUE", e="12", f="2 sec", g=" pass word ")
    assert [nifi.text(context, key) for key in "abcz"] == ["x", None, None, None]
    assert nifi.flag(context, "d")
    assert not nifi.flag(context, "z")
    assert (nifi.whole(context, "e", 1), nifi.whole(context, "z", 7)) == (12, 7)
    assert nifi.period(context, "f", 9) == 2
    assert nifi.secret(context, "g") == " pass word "
    with pytest.raises(ConfigError, match="property a: 'x' is not a whole number"):
        nifi.whole(context, "a", 1)


def test_every_mistake_becomes_one_line_on_the_canvas():
    found = nifi.invalid("Tag List", Context(), lambda _: taglist.parse("tag,address\na,\n,b\n", "tags.csv"))
    assert [f["explanation"] for f in found] == [
        "line 2, column address: is empty",
        "line 3, column tag: is empty",
    ]
    assert not any(f["valid"] for f in found)
    assert nifi.invalid("Tag List", Context(), lambda _: None) == []


class Reader:
    def __init__(self, *results):
        self.results, self.closed = list(results), 0

    def read(self):
        result = self.results.pop(0)
        if isinstance(result, Exception):
            raise result
        return result

    def notices(self):
        return [Notice("warn", "slow")]

    def close(self):
        self.closed += 1


def test_a_source_gives_a_batch_then_nothing_then_a_fault_and_never_raises():
    batch = samples.table_from_columns(tag=["a"], ts=[1], value=[1.0], type=["double"], quality=["good"], source=["s"])
    reader = Reader(batch, None, batch.slice(0, 0), UnavailableError("no route"), ZeroDivisionError("odd"))
    holder, context, log = nifi.source_holder(lambda _: reader), Context(), Log()
    outputs = [nifi.produce(holder, context, log) for _ in range(5)]
    assert samples.decode(outputs[0].contents).table.equals(batch)
    assert outputs[0].attributes["otmirror.samples"] == "1"
    assert outputs[1:] == [None] * 4
    assert context.yields == 2
    assert [line for line in log.lines if line[0] == "error"] == [
        ("error", "no route"), ("error", "unexpected ZeroDivisionError while reading: odd"),
    ]  # fmt: skip
    assert log.lines.count(("warn", "slow")) == 5
    holder.reset()
    holder.reset()
    assert reader.closed == 1


def one_sample(value):
    return samples.table_from_columns(
        tag=["a"], ts=[1], value=[value], type=["double"], quality=["good"], source=["s"]
    )  # fmt: skip


def test_what_cannot_be_written_is_told_once_and_read_again_from_a_new_source():
    readers = [Reader(one_sample(math.nan)), Reader(one_sample(math.nan)), Reader(one_sample(2.0))]
    waiting = list(readers)
    holder, context, log = nifi.source_holder(lambda _: waiting.pop(0)), Context(), Log()
    assert [nifi.produce(holder, context, log) for _ in range(2)] == [None, None]
    output = nifi.produce(holder, context, log)
    assert samples.decode(output.contents).table.column("value").to_pylist() == [2.0]
    assert [reader.closed for reader in readers] == [1, 1, 0]
    (error,) = [message for level, message in log.lines if level == "error"]
    assert error.startswith("unexpected ValueError while reading")
    assert context.yields == 2


class DeadLog:
    def __getattr__(self, level):
        raise ConnectionError("NiFi is gone")


def test_a_logger_that_fails_costs_no_batch():
    reader = Reader(one_sample(1.0), UnavailableError("no route"), ZeroDivisionError("odd"))
    holder = nifi.source_holder(lambda _: reader)
    outputs = [nifi.produce(holder, Context(), DeadLog()) for _ in range(3)]
    assert samples.decode(outputs[0].contents).table.num_rows == 1
    assert outputs[1:] == [None, None]


class Store(Reader):
    def write(self, _content, _attributes):
        return self.read()

    def hide(self, text):
        return text.replace("correct-horse", "***")


def test_an_unexpected_error_of_a_sink_hides_its_secrets_and_a_dead_logger_does_not_matter():
    stored = nifi.Output("success", {}, None)
    flowfile = type("FlowFile", (), {"getContentsAsBytes": lambda _: b""})()
    for log in (Log(), DeadLog()):
        store = Store(RuntimeError("login correct-horse"), stored)
        holder = nifi.sink_holder(lambda _, store=store: store)
        first, second = (nifi.consume(holder, Context(), flowfile, log) for _ in range(2))
        assert (first.relationship, second) == ("failure", stored)
        assert first.attributes["otmirror.error"] == "unexpected RuntimeError while storing: login ***"
        if isinstance(log, Log):
            assert ("error", first.attributes["otmirror.error"]) in log.lines


def test_a_source_that_cannot_be_built_reports_and_rests():
    def build(_):
        raise ConfigError("property Endpoint URL: is empty")

    context, log = Context(), Log()
    assert nifi.produce(nifi.source_holder(build), context, log) is None
    assert log.lines == [("error", "property Endpoint URL: is empty")]
    assert context.yields == 1
