"""Messages of subscriptions: decoded as asyncua encodes them, cut short and flipped; what is acknowledged, and when."""

from __future__ import annotations

import random
import struct
from typing import Any

import pytest
from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import struct_from_binary, struct_to_binary
from test_opcua_readings import some_variant, told_apart

from otmirror.memory import places, ranges
from otmirror.opcua import notifications, readings, wire
from otmirror.opcua.address import value_of
from otmirror.opcua.faults import UndecodableError
from otmirror.opcua.inbox import Delivery, Inbox
from otmirror.opcua.items import following, missed

SEED = 20261125


def values(chance: random.Random, count: int) -> list[ua.MonitoredItemNotification]:
    return [
        ua.MonitoredItemNotification(
            ua.UInt32(chance.randrange(2**32)),
            ua.DataValue(
                some_variant(chance),
                StatusCode=ua.StatusCode(ua.UInt32(chance.choice([0, 0x480, 0x80310000]))),
                SourceTimestamp=chance.choice([None, ua.win_epoch_to_datetime(chance.randrange(10**18))]),
                ServerTimestamp=chance.choice([None, ua.win_epoch_to_datetime(chance.randrange(10**18))]),
            ),
        )
        for _ in range(count)
    ]


def publish_result(chance: random.Random, *data: Any) -> ua.PublishResult:
    return ua.PublishResult(
        SubscriptionId=ua.UInt32(7),
        AvailableSequenceNumbers=[ua.UInt32(n) for n in range(chance.randrange(4))],
        MoreNotifications=chance.random() < 0.5,
        NotificationMessage=ua.NotificationMessage(SequenceNumber=ua.UInt32(41), NotificationData=list(data)),
        Results=[ua.StatusCode(), ua.StatusCode(ua.UInt32(0x807A0000))][: chance.randrange(3)],
    )


def test_a_notification_is_what_was_encoded() -> None:
    chance = random.Random(SEED)
    for _ in range(200):
        items = values(chance, chance.randrange(30))
        result = publish_result(chance, ua.DataChangeNotification(items))
        found = notifications.published(struct_to_binary(result))
        assert found[:3] == (7, result.AvailableSequenceNumbers, result.MoreNotifications)
        assert found.results == [status.value for status in result.Results]
        assert (found.message.sequence, found.message.ended) == (41, None)
        assert found.message.handles == [item.ClientHandle for item in items]
        expected = [
            readings.of(struct_from_binary(ua.DataValue, Buffer(struct_to_binary(item.Value)))) for item in items
        ]
        assert [told_apart(one) for one in found.message.readings] == [told_apart(one) for one in expected]


def test_a_keep_alive_and_the_end_of_a_subscription() -> None:
    chance = random.Random(SEED)
    alive = notifications.published(struct_to_binary(publish_result(chance))).message
    assert alive.keep_alive
    ended = ua.StatusChangeNotification(ua.StatusCode(ua.UInt32(0x800A0000)))
    message = notifications.published(struct_to_binary(publish_result(chance, ended))).message
    assert (message.ended, message.keep_alive, message.handles) == (0x800A0000, False, [])


def test_a_message_cut_short_or_flipped_is_refused_or_read_within_its_bytes() -> None:
    chance = random.Random(SEED)
    whole = struct_to_binary(publish_result(chance, ua.DataChangeNotification(values(chance, 12))))
    for length in range(len(whole) - 4):  # the last thing in it is an array of diagnostics, which nobody looks at
        with pytest.raises(UndecodableError):
            notifications.published(whole[:length])
    for _ in range(5000):
        body = bytearray(whole)
        for _ in range(chance.randrange(1, 4)):
            body[chance.randrange(len(body))] = chance.randrange(256)
        try:
            found = notifications.published(bytes(body))
        except UndecodableError:
            continue
        assert len(found.message.handles) == len(found.message.readings) <= len(body)


def test_an_announced_size_beyond_the_bytes_is_refused_at_once() -> None:
    with pytest.raises(UndecodableError, match="announced"):
        notifications.item_results(struct.pack("<i", 2**31 - 1) + bytes(100))
    with pytest.raises(UndecodableError, match="announced"):
        notifications.published(struct.pack("<IiBIqi", 7, -1, 0, 1, 0, 2**30) + bytes(100))


def test_requests_for_items_are_what_asyncua_would_encode() -> None:
    node = value_of(ua.NodeId("Pump", 3))
    chosen = ua.DataChangeFilter(ua.DataChangeTrigger.StatusValue, ua.UInt32(1), 0.25)
    asked = ua.CreateMonitoredItemsParameters(
        SubscriptionId=ua.UInt32(9),
        TimestampsToReturn=ua.TimestampsToReturn.Both,
        ItemsToCreate=[
            ua.MonitoredItemCreateRequest(
                node,
                ua.MonitoringMode.Reporting,
                ua.MonitoringParameters(ua.UInt32(handle), sampling, told, ua.UInt32(queue), True),
            )
            for handle, sampling, queue, told in ((5, -1.0, 10, None), (6, 250.0, 99, chosen))
        ],
    )
    items = [
        wire.item(wire.node(node), 5, -1.0, 10),
        wire.item(wire.node(node), 6, 250.0, 99, wire.deadband_filter(wire.ABSOLUTE, 0.25)),
    ]
    made = b"".join(wire.items_body(9, items))
    again = struct_from_binary(ua.CreateMonitoredItemsParameters, Buffer(made))
    without, with_one = (one.RequestedParameters.Filter for one in again.ItemsToCreate)
    assert (without.TypeId, without.Body) == (ua.NodeId(0), None)
    assert (with_one.Trigger, with_one.DeadbandType, with_one.DeadbandValue) == (1, 1, 0.25)
    for one in (*again.ItemsToCreate, *asked.ItemsToCreate):
        one.RequestedParameters.Filter = None
    assert again == asked


def test_sequence_numbers_wrap_without_zero() -> None:
    assert following(1) == 2
    assert following(2**32 - 1) == 1
    assert missed(5, 5) == 0
    assert missed(5, 8) == 3
    assert missed(5, 4) < 0
    assert missed(2**32 - 1, 1) == 1
    assert missed(1, 2**32 - 1) < 0


def delivery(sequence: int, count: int) -> Delivery:
    return Delivery(1, sequence, 0, range(count), [readings.bad(0)] * count)


def test_only_what_was_taken_before_the_last_call_is_acknowledged() -> None:
    inbox = Inbox(100, lambda: None)
    inbox.put(delivery(1, 3))
    inbox.put(delivery(2, 3))
    assert inbox.acknowledgements() == []
    assert [one.sequence for one in inbox.take(3)] == [1]
    assert inbox.acknowledgements() == []
    inbox.commit()
    assert inbox.acknowledgements() == [(1, 1)]
    assert inbox.acknowledgements() == []
    inbox.not_acknowledged([(1, 1)])
    inbox.take(3)
    inbox.commit()
    assert inbox.acknowledgements() == [(1, 1), (1, 2)]


def test_a_full_inbox_says_when_there_is_room_again() -> None:
    told: list[int] = []
    inbox = Inbox(4, lambda: told.append(inbox.held))
    for sequence in (1, 2, 3):
        inbox.put(delivery(sequence, 2))
    assert inbox.full
    inbox.take(1)
    assert (inbox.full, told) == (True, [])
    inbox.take(1)
    assert (inbox.full, told) == (False, [2])


def test_nothing_of_a_subscription_that_is_gone_is_acknowledged_but_its_values_stay() -> None:
    inbox = Inbox(100, lambda: None)
    inbox.put(delivery(1, 2))
    inbox.put(delivery(2, 2))
    inbox.take(2)
    inbox.forget(1)
    assert len(inbox.take(10)) == 1
    inbox.commit()
    assert inbox.acknowledgements() == []


@pytest.mark.parametrize(("given", "written"), [([], ""), ([3], "3"), ([2, 1, 0, 7, 9, 8], "0-2,7-9")])
def test_places_as_ranges(given: list[int], written: str) -> None:
    assert ranges(given) == written
    assert places(written) == set(given)
