"""ToVictoriaMetrics against a real VictoriaMetrics: what is stored, and what is refused."""

from __future__ import annotations

import json
import time
from collections import Counter

import pytest
import requests
from batches import batch, line, well

from otmirror.clock import SystemClock
from otmirror.victoriametrics.config import Config
from otmirror.victoriametrics.sink import VictoriaMetricsSink

YEARS = 36500 * 86400.0
T0 = 1_700_000_000_000_000  # 2023-11-14T22:13:20Z
BAD_SENSOR = 0x808C0000


class Time(SystemClock):
    """A clock whose monotonic time the test moves."""

    def __init__(self):
        self.shift = 0.0

    def monotonic(self):
        return super().monotonic() + self.shift


def sink(server, prefix, clock=None, **settings):
    config = Config(**{"url": server.url, "prefix": prefix, "retention": YEARS, **settings})
    return VictoriaMetricsSink(config, clock or Time())


def stored(server, prefix):
    return server.export(f'{{__name__=~"{prefix}_.+"}}')


def rejects(output):
    assert output.relationship == "rejected"
    assert output.attributes["otmirror.content"] == "rejects"
    found = [json.loads(text) for text in output.contents.splitlines()]
    assert output.attributes["otmirror.rejects"] == str(len(found))
    return found


def test_every_sample_of_a_recorded_well_is_stored_exactly(history):
    cells = well("WELL-00003_20180206182917.csv", 600)
    lines, values, quality = [], {}, {}
    for tag, at, value in cells:
        lines.append(line(tag, at, value, **({} if value is not None else {"quality": "bad", "status": BAD_SENSOR})))
        if value is not None:
            values.setdefault(("well_value", tag, "", "test"), {})[at // 1000] = value
        quality.setdefault(tag, Counter())["good" if value is not None else "bad"] += 1
    writer = sink(history, "well")
    for first in range(0, len(lines), 999):
        output = writer.write(batch(*lines[first : first + 999]), {})
        assert (output.relationship, output.contents) == ("success", None)
    found = stored(history, "well")
    assert {key: at for key, at in found.items() if key[0] == "well_value"} == values
    for tag, seen in quality.items():
        at = found["well_quality", tag, "", "test"]
        status = found["well_status", tag, "", "test"]
        assert set(at) == set(status)
        assert set(at.values()) == {2 if q == "good" else 0 for q in seen}
        assert set(status.values()) == {0 if q == "good" else BAD_SENSOR for q in seen}


@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
def test_sending_again_changes_nothing(history, compression):
    prefix = f"again_{compression}"
    content = batch(*(line("a/b", T0 + n * 1_000_000, n / 8, unit="Pa") for n in range(50)))
    writer = sink(history, prefix, compression=compression)
    for _ in range(3):
        output = writer.write(content, {})
        assert output.attributes["otmirror.vm.samples"] == "50"
    expected = {T0 // 1000 + n * 1000: n / 8 for n in range(50)}
    found = stored(history, prefix)
    assert found[f"{prefix}_value", "a/b", "Pa", "test"] == expected
    count = history.get("/api/v1/query", query=f"count_over_time({prefix}_value[100s])", time=str(T0 // 10**6 + 60))
    assert json.loads(count)["data"]["result"][0]["value"][1] == "50"


def test_quality_is_written_on_change_and_every_minute(history):
    def at(second, quality="good", status=0, value=1.0):
        return line("t", T0 + second * 1_000_000, value, quality=quality, status=status)

    writer = sink(history, "q")
    assert writer.write(batch(*(at(second) for second in range(100))), {}).relationship == "success"
    writer.write(batch(at(100), at(101, "bad", BAD_SENSOR, None), at(102, "bad", BAD_SENSOR, None)), {})
    writer.write(batch(at(103, "uncertain", 0x40900000), at(104, "uncertain", 0x40910000), at(105)), {})
    writer.write(batch(at(164), at(165), at(166)), {})
    second = T0 // 1_000_000
    expected = {0: (2, 0), 60: (2, 0), 101: (0, BAD_SENSOR), 103: (1, 0x40900000), 104: (1, 0x40910000)}
    expected |= {105: (2, 0), 165: (2, 0)}
    found = stored(history, "q")
    value, quality, status = (found[f"q_{kind}", "t", "", "test"] for kind in ("value", "quality", "status"))
    assert {at // 1000 - second: v for at, v in quality.items()} == {s: q for s, (q, _) in expected.items()}
    assert {at // 1000 - second: v for at, v in status.items()} == {s: code for s, (_, code) in expected.items()}
    values = {at // 1000 - second for at in value}
    assert values == ({*range(106), 164, 165, 166} - {101, 102})


def test_quality_is_remembered_only_after_the_server_took_it(history, start_victoria_metrics):
    writer = sink(history, "mem")
    history_url = writer._client._url
    writer._client._url = "http://127.0.0.1:9"
    assert writer.write(batch(line("t", T0, 1)), {}).relationship == "retry"
    writer._client._url = history_url
    assert writer.write(batch(line("t", T0 + 1_000_000, 1)), {}).relationship == "success"
    assert list(stored(history, "mem")["mem_quality", "t", "", "test"]) == [T0 // 1000 + 1000]


def test_a_batch_that_waited_is_told_apart_from_the_newer_one_before_it(history):
    writer = sink(history, "late")
    writer.write(batch(line("t", T0 + 30_000_000, 1)), {})
    writer.write(batch(line("t", T0, None, quality="bad", status=BAD_SENSOR)), {})
    writer.write(batch(line("t", T0 + 31_000_000, 1)), {})
    found = stored(history, "late")["late_quality", "t", "", "test"]
    assert {(at - T0 // 1000) // 1000: v for at, v in found.items()} == {0: 0, 30: 2, 31: 2}


def test_a_recovery_is_written_though_its_batch_begins_before_the_outage(history):
    """A source gives the first value after an outage twice: at its own time and at the time it was read."""
    writer = sink(history, "back")
    writer.write(batch(line("t", T0 + 1_000_000, 1)), {})
    writer.write(batch(line("t", T0 + 9_000_000, None, quality="bad", status=BAD_SENSOR)), {})
    writer.write(batch(line("t", T0 + 5_000_000, 2), line("t", T0 + 10_000_000, 2)), {})
    writer.write(batch(line("t", T0 + 11_000_000, 2)), {})
    found = stored(history, "back")["back_quality", "t", "", "test"]
    assert {(at - T0 // 1000) // 1000: v for at, v in found.items()} == {1: 2, 5: 2, 9: 0, 10: 2}


def test_labels_unit_source_and_awkward_names(history):
    tag = 'acme/"north"\\pad 7/\u00f6l\ttemp{a="b"}\n\x01'
    content = batch(
        line(tag, T0, 1, unit="\u00b0C", source="opcua:plc-7"),
        line(tag, T0, 2, source="modbus:rtu"),
        line(tag, T0, 3, unit="", source="empty unit"),
    )
    assert sink(history, "lab", extra_labels="site=north, plant=7").write(content, {}).relationship == "success"
    found = stored(history, "lab")
    assert found["lab_value", tag, "\u00b0C", "opcua:plc-7"] == {T0 // 1000: 1}
    assert found["lab_value", tag, "", "modbus:rtu"] == {T0 // 1000: 2}
    assert found["lab_value", tag, "", "empty unit"] == {T0 // 1000: 3}
    labels = json.loads(history.get("/api/v1/export", **{"match[]": '{__name__="lab_value",unit!=""}'}))["metric"]
    assert {labels["site"], labels["plant"]} == {"north", "7"}


def test_types_and_big_integers(history):
    content = batch(
        line("flag", T0, 1, type="bool"),
        line("total", T0, None, type="uint64", text="18446744073709551615"),
        line("inline", T0, 9007199254740995, type="int64"),
        line("word", T0, None, type="string", text="RUNNING"),
        line("word", T0 + 1000, None, type="string", text="NaN"),
        line("doc", T0, None, type="json", text='{"a":1}'),
        line("gone", T0, None, type="string", text="old", quality="bad", status=BAD_SENSOR),
        line("none", T0, None),
    )
    output = sink(history, "typ").write(content, {})
    assert output.relationship == "success"
    assert output.attributes["otmirror.vm.text"] == "3"
    assert output.attributes["otmirror.vm.samples"] == "8"
    found = stored(history, "typ")
    values = {key[1]: next(iter(at.values())) for key, at in found.items() if key[0] == "typ_value"}
    assert values == {"flag": 1, "total": pytest.approx(2**64, rel=1e-12), "inline": pytest.approx(2**53, rel=1e-12)}
    assert {key[1]: set(at.values()) for key, at in found.items() if key[0] == "typ_quality"} == {
        "flag": {2}, "total": {2}, "inline": {2}, "word": {2}, "doc": {2}, "gone": {0}, "none": {2},
    }  # fmt: skip


def test_what_the_server_would_drop_silently_is_rejected_and_its_mates_are_stored(start_victoria_metrics):
    server = start_victoria_metrics("-retentionPeriod=31d")
    now = time.time_ns() // 1000
    day = 86_400_000_000
    fine = [line(f"fine{n}", now - n * day, n) for n in (0, 1, 15, 30)] + [line("ahead", now + 2 * day - 60_000_000, 5)]
    wrong = {
        line("old", now - 32 * day, 1): "Retention",
        line("y1970", 5, 1): "Retention",
        line("minus", -5_000_000, 1): "Retention",
        line("ahead", now + 2 * day + 60_000_000, 1): "2 days in the future",
        line("far", 2**62, 1): "2 days in the future",
        line("nan", now, None, text="NaN"): "NaN",
        line("inf", now, None, text="-Infinity", type="float"): "-Infinity",
        line("word", now, None, text="on", type="int32"): "no number",
        line("x" * 4097, now, 1): "tag is longer than 4096 bytes",
        line("u", now, 1, unit="\u00b0" * 2049): "unit is longer than 4096 bytes",
        '{"tag":"raw","ts":1,"value":NaN,"type":"double","quality":"good","source":"test"}': "not a sample",
        '{"tag":"raw","ts":1,"value":1e999,"type":"double","quality":"good","source":"test"}': "not a sample",
        "no json at all": "not a sample",
        line("lie", now, 4.0, quality="bad"): "bad sample carries a value",
        line("", now, 4.0): "not a sample",
    }
    edge = [line("y" * 4096, now, 7)]
    mixed = [text for pair in zip(wrong, (fine + edge) * 4, strict=False) for text in pair]
    before = dropped(server)
    output = sink(server, "ot", retention=31 * 86400.0).write(batch(*mixed), {"otmirror.error": "x"})
    found = rejects(output)
    assert output.attributes["otmirror.rejected.by"] == "victoriametrics"
    assert len(found) == len(wrong)
    for text, reason in wrong.items():
        matching = [reject["reason"] for reject in found if same(reject["line"], text)]
        assert len(matching) == 1, (text[:80], found)
        assert reason in matching[0]
    assert nothing_was_dropped(server, before)
    tags = {key[1] for key in stored(server, "ot") if key[0] == "ot_value"}
    assert tags == {"fine0", "fine1", "fine15", "fine30", "ahead", "y" * 4096}


def same(left: str, right: str) -> bool:
    """Compare two lines by meaning where they are JSON; fields that are null or say nothing may be missing."""
    try:
        a, b = (json.loads(text, parse_constant=lambda _: 1 / 0) for text in (left, right))
    except (ValueError, ZeroDivisionError):
        return left == right
    return {k: v for k, v in a.items() if v is not None} == {k: v for k, v in b.items() if v is not None}


def dropped(server):
    metrics = server.get("/metrics").splitlines()
    return sum(int(text.split()[-1]) for text in metrics if text.startswith("vm_rows_ignored_total"))


def nothing_was_dropped(server, before):
    """Send one sample that is dropped for sure and wait for the counter, which the server renews now and then."""
    raw = '{"metric":{"__name__":"marker"},"values":[1],"timestamps":[1]}'
    requests.post(f"{server.url}/api/v1/import", data=raw, timeout=5).raise_for_status()
    deadline = time.monotonic() + 10
    while dropped(server) == before and time.monotonic() < deadline:
        time.sleep(0.05)
    return dropped(server) == before + 1


def test_most_labels_still_fit(history):
    extra = ",".join(f"l{n}=x" for n in range(36))
    before = dropped(history)
    sink(history, "many", extra_labels=extra).write(batch(line("t", T0, 1, unit="Pa")), {})
    assert stored(history, "many")["many_value", "t", "Pa", "test"] == {T0 // 1000: 1}
    assert nothing_was_dropped(history, before)


def test_drops_the_client_could_not_foresee_are_told(start_victoria_metrics):
    server = start_victoria_metrics("-retentionPeriod=31d", "-dedup.minScrapeInterval=0s")
    clock = Time()
    writer = sink(server, "ot", clock)
    now = time.time_ns() // 1000
    writer.write(batch(line("t", now, 1)), {})
    told = " ".join(notice.message for notice in writer.notices())
    assert "-retentionPeriod=31d" in told
    assert "36500 days" in told
    assert "-dedup.minScrapeInterval=1ms" in told
    writer.write(batch(line("t", now - 60 * 86_400_000_000, 1), line("t", now, 2)), {})
    assert writer.notices() == []
    for n in range(100):  # the server renews what /metrics says about once a second
        clock.shift += 31
        writer.write(batch(line("t", now + n, 1)), {})
        found = writer.notices()
        if found:
            break
        time.sleep(0.05)
    (notice,) = found
    assert notice.level == "warn"
    # value, quality and status of the one old sample
    assert "dropped 3 samples, reason small_timestamp" in notice.message
    assert "another client" in notice.message


def test_ten_thousand_tags_in_one_batch_and_small_requests(history):
    content = batch(*(line(f"wide/{n}", T0, n) for n in range(10_000)))
    output = sink(history, "wide", max_request=64 * 1024).write(content, {})
    assert output.attributes["otmirror.vm.samples"] == "10000"
    found = stored(history, "wide")
    assert {int(key[1][5:]): at[T0 // 1000] for key, at in found.items() if key[0] == "wide_value"} == {
        n: n for n in range(10_000)
    }


def test_nothing_lost_over_a_kill_and_restart(start_victoria_metrics):
    server = start_victoria_metrics("-retentionPeriod=100y")
    writer = sink(server, "ot")
    assert writer.write(batch(line("t", T0, 1)), {}).relationship == "success"
    server.get("/internal/force_flush")
    server.kill()
    down = writer.write(batch(line("t", T0 + 1000, 2)), {})
    assert (down.relationship, down.contents) == ("retry", None)
    assert f"{server.url}/api/v1/import: connection refused" in down.attributes["otmirror.error"]
    assert [n.level for n in writer.notices()] == ["warn"]
    server.start()
    again = writer.write(batch(line("t", T0 + 1000, 2)), {"otmirror.error": down.attributes["otmirror.error"]})
    assert again.relationship == "success"
    assert again.attributes["otmirror.error"] == ""
    assert [n.level for n in writer.notices()] == ["info"]
    assert stored(server, "ot")["ot_value", "t", "", "test"][T0 // 1000 + 1] == 2


def test_empty_batches(history):
    writer = sink(history, "none")
    for content in (b"", b"\n\n"):
        output = writer.write(content, {})
        assert (output.relationship, output.contents) == ("success", None)
        assert output.attributes["otmirror.vm.samples"] == "0"
