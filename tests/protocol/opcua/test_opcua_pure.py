"""Addresses, configuration, decoding and cutting into requests, without a server."""

from __future__ import annotations

import asyncio
import datetime
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from asyncua import ua

from otmirror.errors import ConfigError, MistakesError
from otmirror.opcua import address
from otmirror.opcua.chunks import ChunkReader, first_limit
from otmirror.opcua.config import OpcUaConfig, build
from otmirror.opcua.decode import Batch
from otmirror.opcua.faults import ConnectionLostError, ServiceFaultError, UndecodableError
from otmirror.opcua.readings import of
from otmirror.taglist import Tag

TAG = Tag("a", "i=1")


@pytest.mark.parametrize(
    ("text", "identifier", "index", "uri"),
    [
        ("i=2258", 2258, 0, None),
        ("ns=2;s=Well12.P", "Well12.P", 2, None),
        ("ns=2;s=a;b=c; d ", "a;b=c; d ", 2, None),
        ("ns=65535;i=4294967295", 4294967295, 65535, None),
        ("ns=3;g=6B29FC40-CA47-1067-B31D-00DD010662DA", uuid.UUID("6b29fc40ca471067b31d00dd010662da"), 3, None),
        ("ns=3;b=AP+/", b"\x00\xff\xbf", 3, None),
        ("nsu=http://acme/;s=Well12.P", "Well12.P", 0, "http://acme/"),
        ("nsu=urn:a%3Bb%25;i=5", 5, 0, "urn:a;b%"),
    ],
)
def test_addresses(text: str, identifier: object, index: int, uri: str | None) -> None:
    parsed = address.parse(text)
    assert (parsed.identifier, parsed.index, parsed.uri) == (identifier, index, uri)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("Well12.P", "no OPC UA node address: write ns=<index>;s=<name>"),
        ("ns=2,s=X", "no OPC UA node address"),
        ("ns=x;s=X", "the namespace index 'x' is not a whole number from 0 to 65535"),
        ("ns=65536;s=X", "from 0 to 65535"),
        ("ns=2;i=-1", "'-1' is not a whole number from 0 to 4294967295"),
        ("ns=2;i=4294967296", "from 0 to 4294967295"),
        ("ns=2;s=", "nothing follows s="),
        ("ns=2;g=12", "'12' is not a GUID"),
        ("ns=2;b=a*b", "'a*b' is not base64"),
        ("nsu=;s=X", "namespace URI is empty"),
        ("svr=1;i=5", "no OPC UA node address"),
        ("ns=2;s=" + "x" * 4097, "longer than 4096"),
    ],
)
def test_addresses_that_are_none(text: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        address.parse(text)
    assert hint in str(caught.value)
    assert len(str(caught.value)) < 300


def test_a_namespace_uri_is_looked_up_in_the_servers_array() -> None:
    where = address.parse("nsu=urn:b;s=X")
    assert where.node_id(["urn:ua", "urn:a", "urn:b"]) == ua.NodeId("X", 2)
    assert where.node_id(["urn:ua", "urn:b"]) == ua.NodeId("X", 1)
    assert where.node_id(["urn:ua"]) is None


def test_the_endpoint_is_completed_and_names_the_source() -> None:
    config = OpcUaConfig("opc.tcp://plc-7/path", (TAG,))
    assert (config.endpoint, config.source, config.mode) == ("opc.tcp://plc-7:4840/path", "opcua:plc-7:4840", None)
    config = OpcUaConfig("opc.tcp://[::1]:4841", (TAG,), policy="Basic256Sha256", source="north")
    assert (config.endpoint, config.source, config.mode) == ("opc.tcp://[::1]:4841", "north", "SignAndEncrypt")
    assert config.host_port == ("::1", 4841)


@pytest.mark.parametrize(
    ("settings", "hint"),
    [
        ({"endpoint": "plc-7:4840"}, "Endpoint URL: write opc.tcp://<host>:<port>"),
        ({"endpoint": "http://plc-7:4840"}, "Endpoint URL: write opc.tcp://"),
        ({"endpoint": "opc.tcp://plc-7:99999"}, "Endpoint URL: the port"),
        ({"endpoint": "opc.tcp://plc-7:x"}, "Endpoint URL: the port"),
        ({"endpoint": "opc.tcp://u:hunter2@plc-7"}, "Endpoint URL: leave user name and password out"),
        ({"username": "u", "password": "hunter2"}, "Allow Password Without Encryption"),
        ({"password": "hunter2", "policy": "Basic256Sha256"}, "Password: is set, but Username is not"),
        ({"username": "u"}, "Username: is set, but Password is not"),
        ({"policy": "Aes512"}, "Security Policy: 'Aes512' is none of"),
        ({"mode": "Encrypt"}, "Security Mode: 'Encrypt' is none of"),
        ({"trust": "all"}, "Server Certificate Trust: 'all' is none of"),
        ({"interval_ms": 0}, "Poll Interval: 0 s is not between 0.01 s and one day"),
        ({"request_timeout": 0.0}, "Request Timeout: 0 s"),
        ({"session_timeout": 0.5}, "Session Timeout: 0.5 s"),
        ({"reconnect_first": 5.0, "reconnect_longest": 2.0}, "Longest Reconnect Delay: 2 s is not between 5 s"),
        ({"refresh": -1.0}, "Refresh Interval: -1 s is not between 0 s and one day"),
        ({"max_nodes": -1}, "Max Nodes Per Read: -1 is below 0"),
        ({"tags": ()}, "Tag List: declares no tag"),
    ],
)
def test_mistakes_in_the_configuration_name_the_property_and_no_secret(settings: dict[str, Any], hint: str) -> None:
    with pytest.raises(MistakesError) as caught:
        OpcUaConfig(**{"endpoint": "opc.tcp://plc-7", "tags": (TAG,)} | settings)
    assert hint in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_mistakes_of_settings_and_tag_list_come_at_once(tmp_path: Path) -> None:
    with pytest.raises(MistakesError) as caught:
        build(None, "tag,address\na,ns=2;s=A\na,i=2\n,i=1\nb,Well12\n", endpoint="plc", interval_ms=1, max_nodes=-1)
    problems = caught.value.problems
    assert [problem.split(":")[0] for problem in problems] == [
        "Endpoint URL", "Poll Interval", "Max Nodes Per Read", "Tag List line 3, column tag",
        "Tag List line 4, column tag", "Tag List line 5, column address",
    ]  # fmt: skip
    missing = tmp_path / "tags.csv"
    for arguments, hint in (
        ((None, None), "Tag List File, Tag List: set exactly one of the two"),
        (("x", "y"), "set exactly one"),
        ((str(missing), None), f"{missing} cannot be read: No such file"),
    ):
        with pytest.raises(MistakesError) as caught:
            build(*arguments, endpoint="opc.tcp://plc")
        assert hint in str(caught.value)


def utc(*when: int) -> datetime.datetime:
    return datetime.datetime(*when, tzinfo=datetime.timezone.utc)  # type: ignore[arg-type]


READ_AT = 1_800_000_000_000_000


@pytest.mark.parametrize(
    ("source", "server", "ts", "ts_server"),
    [
        (utc(2024, 1, 1, 0, 0, 0, 1), utc(2024, 1, 1), 1_704_067_200_000_001, 1_704_067_200_000_000),
        (utc(1969, 12, 31, 23, 59, 59, 999999), None, -1, None),
        (None, utc(2024, 1, 1), 1_704_067_200_000_000, 1_704_067_200_000_000),
        (None, None, READ_AT, None),
        (utc(1601, 1, 1), utc(9999, 12, 31, 23, 59, 59), READ_AT, None),
        (utc(1970, 1, 1), None, 0, None),
    ],
)
def test_the_source_time_counts_then_the_servers_then_that_of_reading(
    source: Any, server: Any, ts: int, ts_server: int | None
) -> None:
    batch = Batch("s")
    batch.add(TAG, of(ua.DataValue(ua.Variant(1.0), SourceTimestamp=source, ServerTimestamp=server)), READ_AT)
    (row,) = batch.table().to_pylist()
    assert (row["ts"], row["ts_server"], row["ts_read"]) == (ts, ts_server, READ_AT)


def test_text_that_is_no_utf8_and_values_that_cannot_be_decoded_do_not_spoil_the_batch() -> None:
    batch = Batch("s")
    broken = ua.DataValue(ua.Variant("x", ua.VariantType.DateTime))
    status = batch.add(TAG, of(broken), READ_AT)
    batch.add(TAG, of(ua.DataValue(ua.Variant(b"a\xffb".decode("utf-8", "surrogateescape")))), READ_AT)
    unknown = ua.ExtensionObject(TypeId=ua.NodeId(5, 2), Body=b"\x01\x02")
    batch.add(TAG, of(ua.DataValue(ua.Variant(unknown))), READ_AT)
    first, second, third = batch.table().to_pylist()
    assert (status, first["status"], first["quality"], first["value"]) == (0x80070000, 0x80070000, "bad", None)
    assert second["text"] == "a\ufffdb"
    assert third["type"] == "json"
    assert "AQI=" in third["text"]


def test_an_integer_with_a_scale_beyond_a_doubles_range_of_integers() -> None:
    batch = Batch("s")
    batch.add(Tag("a", "i=1", scale=0.5), of(ua.DataValue(ua.Variant(2**60, ua.VariantType.UInt64))), READ_AT)
    (row,) = batch.table().to_pylist()
    assert (row["value"], row["type"]) == (2.0**59, "double")


@pytest.mark.parametrize(
    ("server", "configured", "limit"),
    [(0, 0, 1000), (100, 0, 100), (0, 50, 50), (100, 500, 100), (5000, 20, 20)],
)
def test_the_smaller_limit_counts(server: int, configured: int, limit: int) -> None:
    assert first_limit(server, configured) == limit


class Wire:
    """Stands for a server: nodes are numbers; some make a request fail as a whole."""

    def __init__(
        self, most: int = 10**6, poison: dict[int, Exception] | None = None,
        answer: int = 10**9, sizes: dict[int, int] | None = None,
    ):  # fmt: skip
        """`answer` is how large an answer may be; nodes have size 1 unless `sizes` says otherwise."""
        self.most, self.poison, self.requests = most, poison or {}, 0
        self.answer, self.sizes = answer, sizes or {}

    async def read(self, nodes: Sequence[Any]) -> list[Any]:
        self.requests += 1
        if len(nodes) > self.most:
            raise ServiceFaultError(0x80100000)  # BadTooManyOperations
        for node in nodes:
            if node in self.poison:
                raise self.poison[node]
        if sum(self.sizes.get(node, 1) for node in nodes) > self.answer:
            raise ServiceFaultError(0x80B90000)  # BadResponseTooLarge
        return [(node, 8, 0, None, None) for node in nodes]


def read_all(wire: Wire, count: int, limit: int) -> tuple[list[Any], int]:
    got: list[Any] = [None] * count
    reader = ChunkReader(wire.read, limit)

    def deliver(start: int, values: list[Any]) -> None:
        got[start : start + len(values)] = values

    asyncio.run(reader.read(list(range(count)), deliver))
    return got, reader.limit


def test_requests_halve_until_they_pass_and_no_node_is_lost() -> None:
    got, limit = read_all(Wire(most=7), 100, 40)
    assert [value[0] for value in got] == list(range(100))
    assert limit == 5


def test_a_node_that_spoils_a_whole_request_stands_alone() -> None:
    wire = Wire(
        poison={13: ServiceFaultError(0x80020000), 77: UndecodableError("x"), 78: ServiceFaultError(0x80B90000)}
    )
    got, limit = read_all(wire, 100, 50)
    codes = {13: 0x80020000, 77: 0x80070000, 78: 0x80B90000}  # the fault's own, BadDecodingError, too large alone
    for node, value in enumerate(got):
        assert value[2] == codes.get(node, 0)
    assert limit == 50
    assert wire.requests < 60


@pytest.mark.parametrize("huge", [[13], [499, 500], [*range(20)], [i * 1000 + 250 for i in range(10)]])
def test_values_too_large_by_themselves_do_not_slow_the_others_down_for_good(huge: list[int]) -> None:
    wire = Wire(answer=5000, sizes=dict.fromkeys(huge, 6000))
    got, limit = read_all(wire, 10_000, 1000)
    for node, value in enumerate(got):
        assert value[2] == (0x80B90000 if node in huge else 0)
    assert limit >= 500
    assert wire.requests < 20 * len(huge) + 40


def test_two_values_too_large_together_are_both_read_and_the_limit_stays() -> None:
    got, limit = read_all(Wire(answer=5000, sizes={12: 3000, 13: 3000}), 2000, 1000)
    assert [value[0] for value in got] == list(range(2000))
    assert limit == 1000


@pytest.mark.parametrize(("answer", "limit"), [(600, 500), (300, 250), (60, 31)])
def test_answers_that_are_too_large_throughout_halve_the_limit(answer: int, limit: int) -> None:
    got, found = read_all(Wire(answer=answer), 10_000, 1000)
    assert [value[0] for value in got] == list(range(10_000))
    assert found == limit


@pytest.mark.parametrize("error", [ServiceFaultError(0x80250000), ConnectionLostError("gone")])  # BadSessionIdInvalid
def test_a_session_that_is_gone_is_not_searched_for_bad_nodes(error: Exception) -> None:
    wire = Wire(poison={60: error})
    with pytest.raises(type(error)):
        read_all(wire, 100, 50)
    assert wire.requests == 2


def test_a_server_that_faults_everything_is_given_up_soon() -> None:
    wire = Wire(poison=dict.fromkeys(range(10_000), ServiceFaultError(0x80020000)))
    with pytest.raises(ServiceFaultError):
        read_all(wire, 10_000, 1000)
    assert wire.requests < 80
