"""Sizing: hand-computed cases, and the document against the command."""

from __future__ import annotations

import json
import re

import pytest
from typer.testing import CliRunner

from otmirror import sizing
from otmirror.cli.app import app
from otmirror.errors import MistakesError
from otmirror.workspace import PROJECT

DOCUMENT = (PROJECT / "docs" / "sizing.md").read_text()


def needs(**plant: float) -> dict[str, sizing.Need]:
    return {need.name: need for need in sizing.needs(sizing.Plant(**plant))}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("samples", 10_000),
        ("samples a day", 864),
        ("NDJSON", 2.37),
        ("MQTT messages, batch", 5),
        ("content repository", 10_000 * 237 * 86_400 / 1e9),
        ("back-pressure, bytes", 245.7216),
        ("back-pressure, objects", 518_400),
        ("Kafka a day", 40.608),
        ("Kafka", 852.768),
        ("VictoriaMetrics a day, noisy", 5.0976),
        ("VictoriaMetrics, noisy", 158.0256),
        ("Iceberg a day", 12.96),
        ("source processors", 1),
        ("NiFi nodes", 1),
    ],
)
def test_ten_thousand_tags_once_a_second(name: str, value: float) -> None:
    assert needs(tags=10_000)[name].value == pytest.approx(value)


def test_a_million_tags() -> None:
    """One sink process: 237 B at 64 MB/s is 3.703 µs, 1/340,000 s is 2.941 µs: 150,500 /s, half of it 75,250."""
    found = needs(tags=1_000_000)
    assert found["source processors"].value == 100
    assert found["cores for sources"].value == pytest.approx(22)
    assert found["memory for sources"].value == pytest.approx(18.5)
    assert found["ToVictoriaMetrics processes"].value == 14
    assert found["NiFi nodes"].value == 14
    assert found["PublishKafka tasks"].value == 5


def test_slow_tags_and_longer_outages() -> None:
    found = needs(tags=50_000, rate=0.1, outage_hours=72, retention_days=365, kafka_days=1, replicas=1)
    assert found["samples"].value == pytest.approx(5_000)
    assert found["content repository"].value == pytest.approx(5_000 * 237 * 259_200 / 1e9)
    assert found["Kafka"].value == pytest.approx(found["Kafka a day"].value)
    assert found["VictoriaMetrics, noisy"].value == pytest.approx(5_000 * 86_400 * 5.9 * 365 / 1e9)


def test_every_line_shows_its_arithmetic() -> None:
    assert all(need.how for need in sizing.needs(sizing.Plant(10)))


def test_numbers_that_mean_nothing_are_all_named_at_once() -> None:
    with pytest.raises(MistakesError) as caught:
        sizing.Plant(0, rate=float("nan"), outage_hours=-1)
    assert [problem.split(":")[0] for problem in caught.value.problems] == ["--tags", "--rate", "--outage-hours"]


@pytest.mark.parametrize(
    ("value", "shown"),
    [(10_000, "10,000"), (2.37, "2.37"), (204.768, "205"), (20476.8, "20,500"), (0.06912, "0.0691"), (0.22, "0.22")],
)
def test_numbers_have_three_digits(value: float, shown: str) -> None:
    assert sizing.number(value) == shown


def test_the_table_of_the_document_is_what_the_command_prints() -> None:
    printed = CliRunner().invoke(app, ["sizing", "--table"])
    assert printed.exit_code == 0
    (table,) = re.findall(r"<!-- table -->\n(.*?)<!-- end -->", DOCUMENT, re.DOTALL)
    assert table == printed.stdout


def test_the_constants_of_the_document_are_those_of_the_code() -> None:
    rows = re.findall(r"^\| `([A-Z_]+)` \| ([\d., ]+) \|", DOCUMENT, re.MULTILINE)
    assert len(rows) == 11
    for name, told in rows:
        value = getattr(sizing, name)
        values = value if isinstance(value, tuple) else (value,)
        assert [float(part.replace(",", "")) for part in told.split(", ")] == list(values), name


def test_the_command_answers_a_line_a_need() -> None:
    printed = CliRunner().invoke(app, ["sizing", "--tags", "2000", "--rate", "0.5"])
    assert printed.exit_code == 0
    assert "2,000 tags x 0.5 /s" in printed.stdout
    assert len(printed.stdout.splitlines()) == len(sizing.needs(sizing.Plant(1)))


def test_a_queue_holds_what_its_thresholds_say() -> None:
    """10 x 2^30 bytes : 237 bytes are 45.3 million samples: 2,000 /s fill that in 22,652 s, 6.3 hours."""
    flow = json.loads((PROJECT / "flows" / "pilot.json").read_text())
    to_store = [c for c in flow["flowContents"]["connections"] if c["name"] == "to VictoriaMetrics"]
    assert [(c["backPressureDataSizeThreshold"], c["backPressureObjectThreshold"]) for c in to_store] == [
        ("10 GB", sizing.QUEUE_FLOWFILES)
    ]
    assert sizing.QUEUE_B == 10 * 1024**3
    assert sizing.buffer_s(2_000) == pytest.approx(22_652, abs=1)
    # Below 44 samples a second the FlowFiles are the limit: one a second, 1,000,000 of them.
    assert sizing.buffer_s(10) == 1_000_000
    assert sizing.catch_up_s(75_250, 3600) == pytest.approx(3600, rel=0.01)
    assert sizing.catch_up_s(200_000, 1) == float("inf")


def test_the_buffers_of_the_document_are_what_the_command_prints() -> None:
    printed = CliRunner().invoke(app, ["sizing", "--buffer"])
    assert printed.exit_code == 0
    text = (PROJECT / "docs" / "capacity.md").read_text()
    (table,) = re.findall(r"<!-- buffer -->\n(.*?)<!-- end -->", text, re.DOTALL)
    assert table == printed.stdout
