"""Answers decoded as columns by their learned shape: against the decoder value by value and asyncua's, with changed
values, other shapes of the same length, cut and flipped; and batches of columns against batches of rows."""

from __future__ import annotations

import random
import struct
from collections.abc import Sequence
from typing import Any

import pytest
from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import struct_from_binary
from opcua_server import Server
from test_opcua_readings import NUMBERS, SEED, TICKS_1970, array, data_value, number, told_apart

from otmirror.loopthread import LoopThread
from otmirror.opcua import readings, wire
from otmirror.opcua.address import value_of
from otmirror.opcua.blocks import TagBlock
from otmirror.opcua.columns import Readings, items
from otmirror.opcua.config import OpcUaConfig
from otmirror.opcua.decode import Batch, Forms
from otmirror.opcua.faults import UndecodableError
from otmirror.opcua.guard import GuardedClient
from otmirror.opcua.readings import Reading
from otmirror.opcua.shapes import Shapes
from otmirror.taglist import Tag

Keys = Sequence[tuple[int, int]]
TEXT, NOTHING, ARRAY = 12, 0, 0x86
NO_END = struct.pack("<i", -1)


def some_keys(chance: random.Random, count: int = 40, masks: Sequence[int] = range(64)) -> Keys:
    kinds = chance.sample([*NUMBERS, TEXT, NOTHING, ARRAY], 4)
    return [(chance.choice(masks), chance.choice(kinds)) for _ in range(count)]


def some_value(chance: random.Random, mask: int, kind: int) -> bytes:
    if kind == TEXT:
        text = chance.choice(["Ventil", "Pump\u00fc", "      "]).encode()[:6].ljust(6)
        variant = b"\x0c" + struct.pack("<i", 6) + text
    elif kind == NOTHING:
        variant = b"\x00"
    elif kind == ARRAY:
        variant = bytes([ARRAY]) + struct.pack("<iii", 2, chance.randrange(9), chance.randrange(9))
    else:
        variant = bytes([kind]) + struct.pack("<" + NUMBERS[kind], number(chance, kind))
    times = [chance.choice([0, TICKS_1970 + chance.randrange(10**17), 2**63 - 1]) for _ in range(2)]
    return data_value(mask, variant, chance.choice([0, 0, 0x80310000, 0x40900000]), *times)


def body_of(chance: random.Random, keys: Keys) -> bytes:
    return array(*(some_value(chance, *key) for key in keys)) + NO_END


def taught(*bodies: bytes) -> Shapes:
    shapes = Shapes()
    for body in bodies:
        for _ in range(2):
            shapes.decode(body)
    return shapes


def plain(found: Sequence[Reading]) -> list[Any]:
    return [(type(reading[0]), *told_apart(reading)) for reading in found]


def test_a_known_shape_with_other_values_is_what_one_by_one_gives() -> None:
    chance, as_columns = random.Random(SEED), 0
    for _ in range(60):
        keys = some_keys(chance)
        shapes, body = taught(body_of(chance, keys)), body_of(chance, keys)
        found = shapes.decode(body)
        as_columns += isinstance(found, Readings)
        expected = readings.decode(body, 0)
        assert plain(found) == plain(expected)
        assert len(found) == len(keys)
        assert isinstance(found, list) or plain([found.one(place) for place in range(len(keys))]) == plain(expected)
    assert as_columns > 45  # but for texts of another length


def test_a_known_shape_gives_what_asyncua_decodes() -> None:
    """Without picoseconds, whose place asyncua expects elsewhere."""
    chance = random.Random(SEED)
    for _ in range(30):
        keys = [(mask, kind) for mask, kind in some_keys(chance, masks=(1, 3, 5, 9, 13, 15)) if kind != NOTHING]
        body = body_of(chance, keys * 2)
        found = taught(body).decode(body)
        rest = Buffer(body, 4)
        expected = [readings.of(struct_from_binary(ua.DataValue, rest)) for _ in keys * 2]
        assert isinstance(found, Readings)
        for mine, theirs in zip(found, expected, strict=True):
            assert told_apart(mine)[:3] == told_apart(theirs)[:3]


def test_an_answer_of_the_same_length_and_another_shape() -> None:
    chance = random.Random(SEED)
    keys = [(13, 11)] * 10 + [(13, 8)] * 10 + [(13, 6)] * 10
    others = [keys[::-1], [*keys[10:20], *keys[:10], *keys[20:]], [(13, 9)] * 20 + keys[20:], [(15, 10), *keys[1:-1]]]
    bodies = [body_of(chance, some) for some in (keys, *others)]
    shapes = taught(*bodies[:2])
    for body in [*bodies, *bodies, *bodies]:
        assert plain(shapes.decode(body)) == plain(readings.decode(body, 0))
    for body in bodies[:3]:
        assert isinstance(shapes.decode(body), Readings)


@pytest.mark.parametrize("kinds", [[11], [11, 6, 1], [11, TEXT, NOTHING, ARRAY]])
def test_a_known_shape_cut_or_flipped(kinds: list[int]) -> None:
    chance = random.Random(SEED)
    body = body_of(chance, [(13, chance.choice(kinds)) for _ in range(20)])
    shapes, refused = taught(body), 0
    for end in range(4, len(body) - len(NO_END)):
        with pytest.raises(UndecodableError):
            shapes.decode(body[:end])
    for _ in range(2000):
        broken = bytearray(body)
        for _ in range(chance.randrange(1, 4)):
            broken[chance.randrange(4, len(body))] = chance.randrange(256)
        try:
            expected = plain(readings.decode(bytes(broken), 0))
        except UndecodableError:
            refused += 1
            with pytest.raises(UndecodableError):
                shapes.decode(bytes(broken))
        else:
            assert plain(shapes.decode(bytes(broken))) == expected
    assert 0 < refused < 2000


def test_integers_stay_exact() -> None:
    values = [2**53 + 1, -(2**53) - 1, 2**53, 7, 2**63 - 1, -(2**63)] * 4
    body = array(*(data_value(13, b"\x08" + struct.pack("<q", value)) for value in values))
    found = taught(body).decode(body)
    assert isinstance(found, Readings)
    assert [reading[0] for reading in found] == values
    assert all(type(reading[0]) is int for reading in found)


def test_shapes_that_never_come_again_are_forgotten() -> None:
    shapes = Shapes()
    for size in range(1200):
        text = data_value(1, b"\x0c" + struct.pack("<i", size) + bytes(size))
        shapes.decode(array(text, *[data_value(1, b"\x01\x01")] * 399))
    assert len(shapes._known) < 1100


def some_tags(chance: random.Random, count: int) -> list[Tag]:
    scales = chance.choice([[(1.0, 0.0)], [(1.0, 0.0), (0.1, 0.0), (1.0, -3.0), (1e308, 1e308)]])
    return [
        Tag(f"t{n}", f"i={n + 1}", unit=chance.choice([None, "bar"]), scale=scale, offset=offset)
        for n, (scale, offset) in enumerate(chance.choice(scales) for _ in range(count))
    ]


def test_a_batch_of_columns_is_the_batch_of_the_same_rows() -> None:
    chance = random.Random(SEED)
    for _ in range(60):
        columns, rows = Batch("s"), Batch("s")
        for part in range(chance.randrange(1, 4)):
            keys = some_keys(chance, chance.randrange(16, 40), chance.choice([[13], range(64)]))
            body = body_of(chance, keys)
            found = taught(body).decode(body)
            tags = some_tags(chance, len(keys))
            told = columns.extend(TagBlock(tags), found, 1000 + part)
            one_by_one = [rows.add(tag, reading, 1000 + part) for tag, reading in zip(tags, found, strict=True)]
            assert told == {place: status for place, status in enumerate(one_by_one) if status}
            assert len(columns) == len(rows)
            for batch in (columns, rows) if chance.random() < 0.5 else ():
                batch.add_bad(tags[0], 0x80310000, 5)
        assert columns.table().to_pylist() == rows.table().to_pylist()
        assert columns.table().schema == rows.table().schema


def test_tags_whose_values_are_more_than_a_number_go_one_by_one() -> None:
    body = array(*(data_value(13, b"\x06" + struct.pack("<i", n)) for n in range(20)))
    tags = [Tag(f"t{n}", "i=1") for n in range(20)]
    found = taught(body).decode(body)
    assert isinstance(found, Readings)
    batch, rows = (Batch("s", Forms({"t3": {3: "open"}, "t7": {0: "shut"}})) for _ in range(2))
    batch.extend(TagBlock(tags), found, 0)
    for tag, reading in zip(tags, found, strict=True):
        rows.add(tag, reading, 0)
    assert batch.table().to_pylist() == rows.table().to_pylist()
    assert [row["text"] for row in batch.table().to_pylist() if row["type"] == "enum"] == ["open", None]


def test_a_server_is_read_as_columns_once_its_shape_is_known(plant: Server) -> None:
    client, loop = GuardedClient(OpcUaConfig(plant.url, (Tag("a", "i=2259"),))), LoopThread("shapes test")
    try:
        loop.run(client.connect(), 10)
        nodes = [wire.node(value_of(ua.NodeId(number))) for number in (2259, 2267, 2994)] * 10
        found = [loop.run(client.read_values(nodes), 10) for _ in range(9)]
    finally:
        loop.run(client.close(), 10)
        loop.close()
    assert not isinstance(found[0], Readings)
    # A time of another precision now and then is another shape.
    columns = [one for one in found if isinstance(one, Readings)]
    assert columns
    for one in columns:
        assert [reading[:3] for reading in one] == [reading[:3] for reading in found[0]]
        assert one[0][0] == 0  # ServerState.Running


def test_notifications_of_one_type_and_of_many_are_what_one_by_one_gives() -> None:
    chance = random.Random(SEED)
    for _ in range(150):
        count = chance.randrange(1, 40)
        keys = chance.choice([[(13, 11)] * count, [(13, 8)] * count, some_keys(chance, count)])
        values = [some_value(chance, *key) for key in keys]
        handles = [chance.choice([0, 7, 2**32 - 1]) for _ in keys]
        body = b"before" + b"".join(struct.pack("<I", h) + v for h, v in zip(handles, values, strict=True))
        found_handles, found, end = items(body + NO_END, 6, count)
        assert found_handles == handles
        assert plain(found) == plain(readings.decode(array(*values), 0))
        assert end == len(body)
        for cut in range(max(6, len(body) - 40), len(body)):
            with pytest.raises((IndexError, struct.error, UndecodableError)):
                items(body[:cut], 6, count)


def test_tags_in_another_order_and_named_twice() -> None:
    chance = random.Random(SEED)
    for _ in range(50):
        tags = some_tags(chance, 30)
        states = {"t3": {3: "open"}, "t7": {0: "shut"}}
        every = TagBlock(tags)
        every.mark(states)
        columns, rows = (Batch("s", Forms(states)) for _ in range(2))
        places = [chance.randrange(30) for _ in range(chance.randrange(1, 60))]
        keys = some_keys(chance, len(places), chance.choice([[13], range(64)]))
        body = b"".join(
            struct.pack("<I", place) + some_value(chance, *key) for place, key in zip(places, keys, strict=True)
        )
        handles, found, _ = items(body, 0, len(places))
        assert handles == places
        columns.extend(every.chosen(places), found, 9)
        for place, reading in zip(places, found, strict=True):
            rows.add(tags[place], reading, 9)
        assert columns.table().to_pylist() == rows.table().to_pylist()
