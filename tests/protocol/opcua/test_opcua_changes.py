"""Servers whose nodes, sessions, clock or timestamps change under the reader, and address spaces that never end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opcua_server import PLANT, Server, all_good, messages, read_until, rows, tags
from typer.testing import CliRunner

from otmirror.cli.app import app
from otmirror.opcua.reader import OpcUaReader

Connect = Callable[..., OpcUaReader]
UNKNOWN = 0x80340000
HOUR_US = 3_600_000_000
COUNTERS = tags(*(f"Counter{i}" for i in range(30)))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("changing"), counters=30, moving=True, loop=True, skew=1)
    yield server
    server.close()


def named(*names: str) -> Callable[[dict[str, dict[str, Any]]], bool]:
    """Whether exactly these tags are bad."""
    return lambda samples: {tag for tag, row in samples.items() if row["quality"] == "bad"} == set(names)


@pytest.mark.parametrize("many", [1, 29])
def test_nodes_that_vanish_and_return(server: Server, connect: Connect, many: int) -> None:
    reader = connect(server, COUNTERS, emit_repeats=True)
    assert all_good(rows(reader.read()))
    messages(reader)
    gone = [f"Counter{i}" for i in range(many)]
    server.do("vanish", names=gone)
    try:
        found = read_until(reader, named(*gone))
        assert {found[name]["status"] for name in gone} == {UNKNOWN}
        assert all(int(found[tag.tag]["value"]) == int(tag.tag[7:]) for tag in COUNTERS if tag.tag not in gone)
        told = messages(reader)
        assert f"{many} of 30 tags cannot be read: Counter0 (nsu={PLANT};s=Counter0) BadNodeIdUnknown" in told
        read_until(reader, named(*gone))
        assert messages(reader) == ""
    finally:
        server.do("appear", names=gone)
    read_until(reader, all_good)
    assert "all tags can be read again" in messages(reader)
    assert server.do("sessions") == 1


def test_a_session_the_server_ends_is_replaced(server: Server, connect: Connect) -> None:
    reader = connect(server, COUNTERS, emit_repeats=True)
    assert all_good(rows(reader.read()))
    before = server.do("requests")["CreateSession"]
    assert server.do("killSessions") == 1
    read_until(reader, lambda samples: server.do("requests")["CreateSession"] > before and all_good(samples))
    assert "lost the connection" in messages(reader)
    assert server.do("requests")["CreateSession"] == before + 1
    assert server.do("sessions") == 1


@pytest.mark.parametrize(
    ("status", "quality", "value"),
    [
        (0x000000C0, "good", 1.5),  # the good of OPC DA, sent on as it is
        (0x002F0000, "good", 1.5),  # GoodOverload
        (0x40BC0000, "uncertain", 1.5),
        (0x80000000, "bad", None),
    ],
)
def test_statuses_however_odd(server: Server, connect: Connect, status: int, quality: str, value: float | None) -> None:
    server.do("script", value=1.5, source=1_772_600_767_000, status=status)
    row = rows(connect(server, tags("Scripted")).read())["Scripted"]
    assert (row["status"], row["quality"], row["value"]) == (status, quality, value)


def test_source_times_that_are_missing_old_or_run_backwards(server: Server, connect: Connect) -> None:
    """Each sample keeps the time its source gave it, in the order of reading; without one the server's time counts."""
    reader = connect(server, tags("Scripted"), interval_ms=20)
    given = [
        (1.0, 1_772_600_767_000), (2.0, 1_772_600_766_000), (3.0, 1_772_600_768_000), (4.0, 1_772_600_768_000),
        (5.0, 0), (6.0, -1000), (7.0, 4_102_444_800_000),
    ]  # fmt: skip
    found = []
    for value, source in given:
        server.do("script", value=value, source=source)
        found.append(read_until(reader, lambda samples: samples["Scripted"]["value"] == value)["Scripted"])  # noqa: B023
    assert [(row["value"], row["ts"]) for row in found] == [(value, source * 1000) for value, source in given]
    assert [row["seq"] for row in found] == list(range(found[0]["seq"], found[0]["seq"] + len(given)))
    before = time.time_ns() // 1000
    server.do("script", value=8.0, source=None)
    row = read_until(reader, lambda samples: samples["Scripted"]["value"] == 8.0)["Scripted"]
    assert row["ts"] == row["ts_server"]
    assert before - 1000 <= row["ts"] <= row["ts_read"]


@pytest.mark.parametrize("skew", [3_600_000, -3_600_000])
def test_a_server_whose_clock_is_an_hour_off(server: Server, connect: Connect, skew: int) -> None:
    server.do("clock", ms=skew)
    reader = connect(server, COUNTERS, session_timeout=2.0)

    def off_by(samples: dict[str, dict[str, Any]], hours: float) -> bool:
        return all(
            abs(row["ts"] - row["ts_read"] - hours * HOUR_US) < 2_000_000 and row["ts_server"] >= row["ts"] - 1000
            for row in samples.values()
        )

    try:
        assert off_by(read_until(reader, all_good), skew / 3_600_000)
    finally:
        server.do("clock", ms=0)  # it is set right while we read, which is a jump for its sessions too
    assert all_good(read_until(reader, lambda samples: off_by(samples, 0)))
    end = time.monotonic() + 3
    while time.monotonic() < end:
        found = rows(reader.read())
        assert all_good(found)
        assert off_by(found, 0)
        time.sleep(0.01)
    assert "lost" not in messages(reader)
    assert server.do("sessions") == 1


def browse(*argv: object) -> Any:
    done = CliRunner().invoke(app, ["opcua", "browse", *map(str, argv)])
    assert done.exit_code == 0, f"{done.stderr} {done.exception!r}"
    return done


def test_objects_that_organize_each_other_in_a_circle(server: Server) -> None:
    for root in (f"nsu={PLANT};s=LoopA", "i=85"):
        done = browse(server.url, "--root", root, "--depth", 20)
        assert done.stdout.count(";s=InLoop,") == 1
        assert done.stdout.count(";s=Counter7,") == 1
    assert server.do("sessions") == 0


@pytest.mark.heavy
@pytest.mark.timeout(600)
def test_a_hundred_thousand_nodes(start: Callable[..., Server]) -> None:
    server = start(counters=100_000, patience=300)
    started = time.monotonic()
    done = browse(server.url, "--include", "*/Counter*")
    assert time.monotonic() - started < 240
    assert done.stdout.count(";s=Counter") == 100_000
    assert "100000 variable(s)" in done.stderr
