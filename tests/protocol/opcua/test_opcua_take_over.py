"""What is a gap, and what is not, in a subscription that another process left: numbers as a server may keep them."""

from __future__ import annotations

import asyncio

import pytest

from otmirror.clock import SystemClock
from otmirror.opcua import services
from otmirror.opcua.inbox import Inbox
from otmirror.opcua.items import Subscription, Terms
from otmirror.opcua.notifications import Message
from otmirror.opcua.subscription import Subscriptions

BAD_DATA_LOST = 0x809D0000
UNKNOWN = 0


def value(number: int) -> Message:
    return Message(number, [0], [(float(number), 11, 0, number, None)], None)


@pytest.mark.parametrize(
    ("expected", "available", "gone", "live", "values", "gaps"),
    [
        # Of another process: 2 and 3, and 5, were acknowledged, so committed.
        (UNKNOWN, [1, 4], [], 6, [1, 4, 6], 0),
        # The server named 4 and has not got it: that is lost.
        (UNKNOWN, [1, 4], [4], 5, [1, 5], 1),
        (UNKNOWN, [], [], 9, [9], 0),
        # Of this process, which had 1 and 2: 3 is gone.
        (3, [2, 4], [3], 5, [4, 5], 1),
        (3, [3, 4], [], 5, [3, 4, 5], 0),
    ],
)
def test_holes_in_what_the_server_kept(monkeypatch, expected, available, gone, live, values, gaps):
    said: list[str] = []
    inbox = Inbox(1000, lambda: None)
    one = Subscription(1, 200, 0.2, 5.0, 0.0, 0, expected=expected, live={0})

    async def republish(_client, _subscription, number):
        return None if number in gone else value(number)

    monkeypatch.setattr(services, "republish", republish)

    async def run() -> None:
        subscriptions = Subscriptions(Terms(), inbox, SystemClock(), lambda _level, _key, text: said.append(text))
        await subscriptions._send_again(None, one, available)  # type: ignore[arg-type]
        await subscriptions._arrived(None, one, value(live))  # type: ignore[arg-type]

    asyncio.run(run())
    readings = [reading for delivery in inbox.take(100) for reading in delivery.readings]
    assert [reading[0] for reading in readings if reading[2] == 0] == values
    assert sum(reading[2] == BAD_DATA_LOST for reading in readings) == gaps
    assert len(said) == gaps
