"""Deadbands in percent of what the server says is the range of a variable, against node-opcua's AnalogDataItem."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from opcua_server import PLANT, Server
from typer.testing import CliRunner

from otmirror import taglist
from otmirror.cli.app import app
from otmirror.opcua.reader import OpcUaReader
from otmirror.taglist import Tag

ANALOG = f"nsu={PLANT};s=Analog"  # EURange -100..300 in server.js


def values(reader: OpcUaReader, enough: Callable[[list[Any]], bool]) -> list[Any]:
    """(tag, value) of what is emitted until it is enough, for at most 20 s."""
    found: list[Any] = []
    until = time.monotonic() + 20
    while not enough(found):
        assert time.monotonic() < until, found
        table = reader.read()
        if table is not None:
            found += [(row["tag"], row["value"]) for row in table.to_pylist()]
    return found


def polled_again(plant: Server, reader: OpcUaReader) -> list[Any]:
    """What two more polls give."""
    before = plant.do("requests")["Read"]
    return values(reader, lambda _: plant.do("requests")["Read"] >= before + 2)


def test_a_deadband_in_percent_is_one_of_the_range_the_server_tells(plant: Server, connect: Any) -> None:
    """1 % of 400 is 4; doubled by the tag list it is 8, which a raw value passes at the same moment."""
    tags = [
        Tag("a", ANALOG, deadband_percent=1.0),
        Tag("b", ANALOG, deadband_percent=1.0, scale=-2.0, offset=5.0),
        Tag("c", ANALOG, deadband_percent=1.0, low=0.0, high=100.0),  # the list's range: 1
    ]
    plant.do("measure", value=10)
    reader = connect(plant, tags, refresh=0.0, interval_ms=20)
    assert values(reader, lambda found: len(found) == 3) == [("a", 10), ("b", -15), ("c", 10)]
    plant.do("measure", value=13.9)
    assert polled_again(plant, reader) == [("c", 13.9)]
    plant.do("measure", value=14.1)
    assert values(reader, lambda found: len(found) >= 4) == [("a", 13.9), ("a", 14.1), ("b", -22.8), ("b", -23.2)]
    assert not any("EURange" in notice.message for notice in reader.notices())


def test_a_tag_without_a_range_is_named_and_emitted_whole(plant: Server, connect: Any) -> None:
    tags = [Tag("a", ANALOG, deadband_percent=1.0), Tag("b", f"nsu={PLANT};s=Setpoint", deadband_percent=5.0)]
    reader = connect(plant, tags, refresh=0.0)
    values(reader, lambda found: len(found) == 2)
    (told,) = [notice for notice in reader.notices() if "EURange" in notice.message]
    assert told.level == "warn"
    assert told.message.endswith("fill in the column range of the tag list: b")


def test_browse_writes_the_range_down(plant: Server, tmp_path: Path) -> None:
    file = tmp_path / "tags.csv"
    done = CliRunner().invoke(app, ["opcua", "browse", plant.url, "-o", str(file), "--include", "Plant/[AS]*"])
    assert done.exit_code == 0, done.output
    tags = {tag.address: tag for tag in taglist.load(file)}
    analog, setpoint = tags[ANALOG], tags[f"nsu={PLANT};s=Setpoint"]
    assert (analog.low, analog.high, analog.unit) == (-100.0, 300.0, "\u00b0C")
    assert (setpoint.low, setpoint.high) == (None, None)
