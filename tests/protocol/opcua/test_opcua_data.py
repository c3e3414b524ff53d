"""Every type, arrays, structures, names of states and metadata, against what data.js says in its own language."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from asyncua import ua
from opcua_server import PLANT, Server, all_bad, all_good, messages, read_until, rows, tags

from otmirror.loopthread import LoopThread
from otmirror.opcua import metadata, wire
from otmirror.opcua.address import node_id, value_of
from otmirror.opcua.config import OpcUaConfig
from otmirror.opcua.decode import Batch
from otmirror.opcua.guard import GuardedClient
from otmirror.opcua.reader import OpcUaReader
from otmirror.opcua.study import Study, forms_of, study
from otmirror.status import STATUS
from otmirror.taglist import Tag

SOURCE_TIME = 1_772_600_767_123_456  # as in server.js
ANALOGS = 10_000
READ_ONLY = {"GetEndpoints", "CreateSession", "ActivateSession", "CloseSession", "Read", "Browse", "BrowseNext"}


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("full"), data=True, analogs=ANALOGS)
    yield server
    server.close()


class Session:
    """A client of the server, with what the reader does after a connect."""

    def __init__(self, server: Server, **settings: Any):
        self.index = server.namespaces.index(PLANT)
        self.types = server.namespaces.index("http://test.example/types")
        self.config = OpcUaConfig(server.url, (Tag("-", "i=1"),), source="opcua:test", request_timeout=60.0, **settings)
        self.client, self._loop = GuardedClient(self.config), LoopThread("data test")
        self.forms = forms_of(self.config)
        self.run(self.client.connect())

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self._loop.run(work, 100)

    def node(self, name: str) -> ua.NodeId:
        return node_id(name, self.index)

    def study(self, asked: Sequence[Tag]) -> Study:
        found: Study = self.run(study(self.client, asked, [self.node(tag.tag) for tag in asked], self.forms))
        self.forms = found.forms
        return found

    def samples(self, asked: Sequence[Tag]) -> list[dict[str, Any]]:
        nodes = [wire.node(value_of(self.node(tag.tag))) for tag in asked]
        batch = Batch("opcua:test", self.forms)
        for tag, reading in zip(asked, self.run(self.client.read_values(nodes)), strict=True):
            batch.add(tag, reading, time.time_ns() // 1000)
        found: list[dict[str, Any]] = batch.table().to_pylist()
        return found

    def close(self) -> None:
        self.run(self.client.close())
        self._loop.close()


Open = Callable[..., Session]


@pytest.fixture
def session(full: Server) -> Iterator[Open]:
    opened: list[Session] = []

    def _session(**settings: Any) -> Session:
        opened.append(Session(full, **settings))
        return opened[-1]

    yield _session
    for one in opened:
        one.close()


TRACK = {
    "X": 1.5, "Y": -2.0, "Name": "T\u00e4", "Count": 9007199254740993, "When": "2024-02-29T12:00:00.250000Z",
    "State": 7, "Level": 0.5, "Raw": "AP8=", "Label": "Druck", "Limits": {"Low": 0.0, "High": 10.0},
    "Points": [{"X": 1.0, "Y": 2.0}, {"X": 3.0, "Y": 4.0}], "Codes": [-1, 32767], "Any": 5,
}  # fmt: skip

SCALARS = {  # name: value, text, type
    "MinDate": (None, "1601-01-01T00:00:00.000000Z", "datetime"),
    "MaxDate": (None, "9999-12-31T23:59:59.000000Z", "datetime"),
    "BeforeMin": (None, "1601-01-01T00:00:00.000000Z", "datetime"),  # the encoding begins there
    "MinInt64": (None, "-9223372036854775808", "int64"),
    "ExpandedNodeId": (None, "ns=1;s=far", "string"),
    "GuidNodeId": (None, "ns=1;g=6b29fc40-ca47-1067-b31d-00dd010662da", "string"),
    "NullString": (None, None, "string"),
    "NullByteString": (None, None, "bytes"),
    "EmptyByteString": (None, "", "bytes"),
    "NullLocalizedText": (None, None, "string"),
    "Enumeration": (7.0, "Fault", "enum"),
    "Nameless": (3.0, None, "enum"),
    "ServerState": (2.0, "NoConfiguration", "enum"),
    "MultiState": (1.0, "Green", "enum"),
    "MultiStateValue": (40.0, "High", "enum"),
    "TwoState": (1.0, "Open", "bool"),
    "Analog": (3.5, None, "double"),
}

IN_JSON: dict[str, Any] = {
    "DataValue": {"Value": 5, "StatusCode": "BadTimeout", "SourceTimestamp": "2024-01-01T00:00:00.000000Z"},
    "DiagnosticInfo": {"SymbolicId": 3, "Locale": 4, "LocalizedText": 5, "AdditionalInfo": "why"},
    "NaNs": [1.0, "NaN", "-Infinity"],
    "Int64s": [9223372036854775807, -1],
    "Booleans": [True, False],
    "Dates": ["2024-02-29T00:00:00.000000Z", "1601-01-01T00:00:00.000000Z"],
    "ByteStrings": ["AQ==", None, "/v8="],
    "Guids": ["6b29fc40-ca47-1067-b31d-00dd010662da"],
    "Texts": ["eins", "two"],
    "Statuses": ["Good", "BadTimeout"],
    "Variants": [-3, "x", [1.0, 2.0]],
    "Structures": [{"Low": 0.0, "High": 1.0}, {"Low": 2.0, "High": 3.0}],
    "Cube": [[[1, 2], [3, 4]], [[5, 6], [7, 8]]],
    "Words": [["a", "b"], ["c", "d"]],
    "Enumerations": [0, 1, 7],
    "Point": {"X": 0.25, "Y": 4.0},
    "Track": TRACK,
    "AnyTrack": TRACK,
    "Bare": {"Always": 1},
    "Full": {"Always": 2, "Maybe": "m", "Perhaps": {"X": 5.0, "Y": 6.0}},
    "Number": {"Number": 2.5},
    "Word": {"Word": "w"},
    "Huge": [n / 4 for n in range(100_000)],
}


def data(*names: str, **options: Any) -> list[Tag]:
    return list(tags(*(f"Data.{name}" for name in names), **options))


def test_scalars_of_every_type_and_the_names_of_states(session: Open) -> None:
    one = session()
    asked = data(*SCALARS)
    one.study(asked)
    found = {row["tag"][5:]: (row["value"], row["text"], row["type"]) for row in one.samples(asked)}
    assert found == SCALARS


def test_arrays_and_structures_are_json(session: Open) -> None:
    one = session()
    asked = data(*IN_JSON)
    one.study(asked)
    found = one.samples(asked)
    assert {row["tag"][5:]: json.loads(row["text"]) for row in found} == IN_JSON
    assert {(row["type"], row["quality"], row["value"], row["ts"]) for row in found} == {
        ("json", "good", None, SOURCE_TIME)
    }
    (unit,) = one.samples(data("Unit"))
    told = json.loads(unit["text"])
    assert (told["DisplayName"], told["UnitId"]) == ("bar", 4342098)


def test_a_null_structure_and_one_without_definition(session: Open) -> None:
    one = session()
    asked = data("NullStructure", "Secret")
    one.study(asked)
    null, secret = one.samples(asked)
    assert (null["text"], null["type"], null["quality"]) == (None, "json", "good")
    assert json.loads(secret["text"]) == {"TypeId": f"ns={one.types};i=5006", "Body": "AQD//w=="}  # Int16 1 and -1
    assert (secret["type"], secret["quality"]) == ("json", "good")
    assert one.forms.structures.unknown == set(), "the server was asked once"
    assert one.run(metadata.learn_unknown(one.client, one.forms.structures)) == 0


def test_structures_met_later_are_learned(session: Open) -> None:
    """Of a variable of an abstract type, which held another structure when it was looked at."""
    one = session()
    (before,) = one.samples(data("AnyTrack"))
    assert json.loads(before["text"])["TypeId"] == f"ns={one.types};i=5003"
    assert one.run(metadata.learn_unknown(one.client, one.forms.structures)) > 0
    (after,) = one.samples(data("AnyTrack"))
    assert json.loads(after["text"]) == TRACK


def test_types_of_two_servers_do_not_meet(session: Open) -> None:
    """asyncua keeps what it knows of structures for the whole process; nothing may get in there."""
    before = dict(ua.extension_objects_by_typeid)
    first, second = session(), session()
    first.study(data("Track"))
    assert first.forms.structures.count > 0
    assert second.forms.structures.count == 0
    assert json.loads(second.samples(data("Point"))[0]["text"]).keys() == {"TypeId", "Body"}
    assert dict(ua.extension_objects_by_typeid) == before


def test_a_megabyte_of_text_arrives(session: Open) -> None:
    (row,) = session().samples(data("Megabyte"))
    assert row["text"] == "\u00e4" * (512 * 1024)


def test_elements_are_samples_of_their_own(session: Open) -> None:
    one = session(arrays="elements")
    asked = data("Cube", "Words", "NaNs", "Int64s", "Variants", "Structures", "Enumerations", "ByteStrings", unit="bar")
    one.study(asked)
    samples = one.samples(asked)
    found = {row["tag"][5:]: (row["value"], row["text"], row["type"]) for row in samples}
    assert found == {
        **{f"Cube[{a}][{b}][{c}]": (1.0 + 4 * a + 2 * b + c, None, "int32")
           for a in (0, 1) for b in (0, 1) for c in (0, 1)},
        "Words[0][0]": (None, "a", "string"), "Words[0][1]": (None, "b", "string"),
        "Words[1][0]": (None, "c", "string"), "Words[1][1]": (None, "d", "string"),
        "NaNs[0]": (1.0, None, "double"), "NaNs[1]": (None, "NaN", "double"), "NaNs[2]": (None, "-Infinity", "double"),
        "Int64s[0]": (None, "9223372036854775807", "int64"), "Int64s[1]": (-1.0, None, "int64"),
        "Variants[0]": (-3.0, None, "int16"), "Variants[1]": (None, "x", "string"),
        "Variants[2]": (None, "[1.0, 2.0]", "json"),
        "Structures[0]": (None, '{"Low": 0.0, "High": 1.0}', "json"),
        "Structures[1]": (None, '{"Low": 2.0, "High": 3.0}', "json"),
        "Enumerations[0]": (0.0, "Off", "enum"), "Enumerations[1]": (1.0, "Running", "enum"),
        "Enumerations[2]": (7.0, "Fault", "enum"),
        "ByteStrings[0]": (None, "AQ==", "bytes"), "ByteStrings[1]": (None, None, "bytes"),
        "ByteStrings[2]": (None, "/v8=", "bytes"),
    }  # fmt: skip
    assert {(row["ts"], row["quality"], row["unit"]) for row in samples} == {(SOURCE_TIME, "good", "bar")}


def test_a_hundred_thousand_elements(session: Open) -> None:
    one = session(arrays="elements")
    found = one.samples(data("Huge"))
    assert [(row["tag"], row["value"]) for row in found] == [(f"Data.Huge[{n}]", n / 4) for n in range(100_000)]


def test_a_tag_declared_as_json_stays_one_sample(session: Open) -> None:
    one = session(arrays="elements")
    (row,) = one.samples(data("Int64s", type="json"))
    assert (row["tag"], row["text"]) == ("Data.Int64s", "[9223372036854775807, -1]")


def test_an_array_that_changes_its_length_or_turns_bad_shows_it_in_each_element(full: Server, session: Open) -> None:
    one = session(arrays="elements")

    def read(values: list[int], status: str = "Good") -> dict[str, tuple[Any, ...]]:
        full.do("array", values=values, status=status)
        found = one.samples(data("Changing", type="int32"))
        return {row["tag"][5:]: (row["value"], row["text"], row["status"]) for row in found}

    assert read([], "BadSensorFailure") == {"Changing": (None, None, STATUS["BadSensorFailure"])}
    assert read([7, 8, 9]) == {"Changing[0]": (7, None, 0), "Changing[1]": (8, None, 0), "Changing[2]": (9, None, 0)}
    assert read([7, 8, 9], "BadSensorFailure") == {
        f"Changing[{n}]": (None, None, STATUS["BadSensorFailure"]) for n in range(3)
    }
    gone = (None, None, STATUS["BadNoData"])
    assert read([1]) == {"Changing[0]": (1, None, 0), "Changing[1]": gone, "Changing[2]": gone}
    assert read([1]) == {"Changing[0]": (1, None, 0)}
    assert read([]) == {"Changing": (None, "[]", 0), "Changing[0]": gone}
    assert read([4]) == {"Changing[0]": (4, None, 0)}


def test_numbers_that_are_none_are_bad_where_that_is_wanted(session: Open) -> None:
    one = session(arrays="elements", nan_policy="bad")
    found = one.samples([*tags("Type.NaN", "Type.Infinity", "Type.Double", "Type.String"), *data("NaNs")])
    assert [(row["tag"], row["value"], row["text"], row["type"], row["status"]) for row in found] == [
        ("Type.NaN", None, None, "double", STATUS["BadSensorFailure"]),
        ("Type.Infinity", None, None, "double", STATUS["BadOutOfRange"]),
        ("Type.Double", 0.1, None, "double", 0),
        ("Type.String", None, "Ventil \u00e4 \u2713 \U0001f600", "string", 0),
        ("Data.NaNs[0]", 1.0, None, "double", 0),
        ("Data.NaNs[1]", None, None, "double", STATUS["BadSensorFailure"]),
        ("Data.NaNs[2]", None, None, "double", STATUS["BadOutOfRange"]),
    ]


def test_a_scale_makes_a_state_a_number_again(session: Open) -> None:
    one = session()
    asked = data("Enumeration", scale=2.0)
    one.study(asked)
    (row,) = one.samples(asked)
    assert (row["value"], row["text"], row["type"]) == (14.0, None, "double")


def test_metadata(session: Open) -> None:
    one = session()
    names = ["Data.Analog", "Data.ReadOnly", "Data.Words", "Is not there", "Data.Enumeration"]
    found = one.run(metadata.describe(one.client, [*map(one.node, names), None]))
    analog, read_only, words, missing, enumeration, unresolved = found
    assert (analog.type, analog.unit, analog.low, analog.high, analog.array) == ("double", "bar", -5.0, 250.5, False)
    assert (analog.data_type, analog.historizing, analog.writable) == (node_id(11), False, True)
    assert (read_only.access_level, read_only.writable, read_only.unit) == (1, False, None)
    assert (words.type, words.array) == ("string", True)
    assert enumeration.enum == {0: "Off", 1: "Running", 7: "Fault"}
    assert missing == unresolved == metadata.Meta()
    assert set(one.client.sent) <= READ_ONLY


def test_the_tag_lists_unit_and_type_win(session: Open) -> None:
    one = session()
    asked = [
        *data("Analog"), *data("Analog", unit="kPa", type="float"), *data("Enumeration", "Words"),
        *data("Analog", scale=10.0, type=None),
    ]  # fmt: skip
    found = one.study(asked)
    assert [(tag.unit, tag.type) for tag in found.tags] == [
        ("bar", "double"), ("kPa", "float"), (None, "enum"), (None, None), ("bar", "double"),
    ]  # fmt: skip


def test_what_may_be_written_is_told(session: Open) -> None:
    one = session()
    asked = data("ReadOnly", "Writable", "Analog")
    found = one.study(asked)
    told = metadata.writable_notice(asked, found.metas)
    assert told is not None
    assert "may write 2 of 3 tags (Data.Writable, Data.Analog)" in told
    assert metadata.writable_notice(asked[:1], found.metas[:1]) is None


def test_ten_thousand_tags_are_described_within_the_servers_limit(full: Server, session: Open) -> None:
    one = session()
    nodes = [one.node(f"Analog{n}") for n in range(ANALOGS)]
    full.do("limit", nodes=700, stated=700)
    try:
        one = session()
        before, started, spent = full.do("requests"), time.monotonic(), time.process_time()
        found = one.run(metadata.describe(one.client, nodes))
        took, used = time.monotonic() - started, time.process_time() - spent
        after = full.do("requests")
    finally:
        full.do("limit", nodes=1000, stated=1000)
    assert [(meta.unit, meta.low, meta.high) for meta in found] == [("bar", 0.0, float(n)) for n in range(ANALOGS)]
    assert after["mostNodes"] <= 700
    requests = sum(count - before.get(name, 0) for name, count in after.items() if name != "mostNodes")
    assert requests < 250
    print(f"10,000 tags described in {took:.1f} s, {used:.1f} s of them CPU here")


def test_a_server_that_takes_few_nodes_at_once_is_browsed_in_parts(full: Server, session: Open) -> None:
    full.do("browseLimit", nodes=40)
    try:
        one = session()
        found = one.run(metadata.describe(one.client, [one.node(f"Analog{n}") for n in range(500)]))
        assert one.client.sent["Browse"] >= 500 / 40
    finally:
        full.do("browseLimit", nodes=0)
    assert [meta.high for meta in found] == [float(n) for n in range(500)]


def test_the_guard_sees_every_request_of_a_study(full: Server, session: Open) -> None:
    one = session()
    before, counted = full.do("requests"), dict(one.client.sent)
    one.study(data(*SCALARS, *IN_JSON))
    after = full.do("requests")
    for service in ("Read", "Browse", "BrowseNext"):
        at_server = after.get(service, 0) - before.get(service, 0)
        assert one.client.sent[service] - counted.get(service, 0) == at_server, service
    assert set(one.client.sent) <= READ_ONLY
    assert not one.client.refused


def test_check_and_browse_know_states_and_units(full: Server, tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from otmirror.cli.app import app

    file = tmp_path / "tags.csv"
    argv = ["opcua", "browse", full.url, "-o", str(file), "--include", "*/Data.*", "--exclude", "*/Data.Changing"]
    assert CliRunner().invoke(app, argv).exit_code == 0
    listed = {line.split(",")[1].rpartition("=")[2]: line.split(",")[2:4] for line in file.read_text().splitlines()}
    assert listed["Data.Enumeration"] == ["enum", ""]
    assert listed["Data.MultiState"] == ["enum", ""]
    assert listed["Data.Analog"] == ["double", "bar"]
    assert listed["Data.Words"] == ["json", ""]
    done = CliRunner().invoke(app, ["opcua", "check", str(file), full.url, "--json"])
    told = {row["tag"]: row for row in map(json.loads, done.stdout.splitlines())}
    named = {name.rpartition("/")[2]: row for name, row in told.items()}
    assert (named["Data.Enumeration"]["value"], named["Data.Enumeration"]["text"]) == (7.0, "Fault")
    assert {name for name, row in named.items() if row["problem"]} == {
        "Data.NullString", "Data.NullByteString", "Data.NullLocalizedText", "Data.NullStructure",
    }  # fmt: skip


def test_the_readers_first_samples_have_it_all(full: Server, connect: Callable[..., OpcUaReader]) -> None:
    asked = data("Enumeration", "TwoState", "Analog", "Cube", "Track", "NaNs")
    reader = connect(full, asked, arrays="elements", nan_policy="bad", metadata=True, request_timeout=20.0)
    found = rows(reader.read())
    assert (found["Data.Enumeration"]["value"], found["Data.Enumeration"]["text"]) == (7.0, "Fault")
    assert (found["Data.TwoState"]["text"], found["Data.Analog"]["unit"]) == ("Open", "bar")
    assert found["Data.Cube[1][0][1]"]["value"] == 6.0
    assert found["Data.NaNs[1]"]["status"] == STATUS["BadSensorFailure"]
    assert json.loads(found["Data.Track"]["text"]) == TRACK
    numbers = [row["seq"] for row in sorted(found.values(), key=lambda row: row["seq"])]
    assert numbers == list(range(numbers[0], numbers[0] + 4 + 8 + 3))
    assert "may write" in messages(reader)


def test_structures_are_looked_up_again_after_a_restart(
    start: Callable[..., Server], connect: Callable[..., OpcUaReader]
) -> None:
    server = start(data=True)
    reader = connect(
        server, data("AnyTrack", "Cube"), arrays="elements", emit_repeats=True, metadata=True, request_timeout=20.0
    )
    first = rows(reader.read())
    assert json.loads(first["Data.AnyTrack"]["text"]) == TRACK
    before = reader._knowledge.forms.structures
    server.kill()
    away = read_until(reader, all_bad)
    assert set(away) == set(first), "an outage shows in every element"
    start(data=True, port=server.port)
    again = read_until(reader, all_good, 30)
    assert json.loads(again["Data.AnyTrack"]["text"]) == TRACK
    assert reader._knowledge.forms.structures is not before


def test_a_connection_that_ends_meanwhile_is_told(full: Server, session: Open) -> None:
    from otmirror.opcua.faults import ConnectionLostError

    one = session()

    async def cut() -> None:
        work = asyncio.ensure_future(metadata.describe(one.client, [one.node(f"Analog{n}") for n in range(5000)]))
        await asyncio.sleep(0)
        await one.client.close()
        await work

    with pytest.raises(ConnectionLostError):
        one.run(cut())
