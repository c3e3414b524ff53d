"""Any service's work in requests that the server accepts."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from otmirror.opcua.chunks import Halving, batched
from otmirror.opcua.faults import ServiceFaultError, UndecodableError

TOO_MANY, TOO_LARGE, DENIED = 0x80100000, 0x80B90000, 0x801F0000  # BadTooManyOperations, BadResponseTooLarge, ...


class Server:
    """Squares numbers, `most` at once."""

    def __init__(self, most: int, fault: int = TOO_MANY):
        self.most, self.fault = most, fault
        self.sizes: list[int] = []

    async def call(self, items: Sequence[int]) -> list[int]:
        self.sizes.append(len(items))
        if len(items) > self.most:
            raise ServiceFaultError(self.fault)
        return [item * item for item in items]


@pytest.mark.parametrize("fault", [TOO_MANY, TOO_LARGE])
def test_requests_halve_until_they_pass_and_stay_so(fault: int) -> None:
    server = Server(30, fault)
    results, limit = asyncio.run(batched(range(250), 200, server.call))
    assert results == [n * n for n in range(250)]
    assert limit == 25  # 200, 100, 50, 25
    assert server.sizes == [200, 100, 50] + [25] * 10


def test_the_limit_is_kept_between_runs() -> None:
    server, halving = Server(4), Halving(16)
    asyncio.run(halving.run(range(18), server.call))
    server.sizes.clear()
    asyncio.run(halving.run(range(18), server.call))
    assert server.sizes == [4, 4, 4, 4, 2]


def test_nothing_to_do_asks_for_nothing() -> None:
    server = Server(4)
    assert asyncio.run(batched([], 10, server.call)) == ([], 10)
    assert server.sizes == []


def test_another_fault_is_not_tried_again() -> None:
    server = Server(4, DENIED)
    with pytest.raises(ServiceFaultError) as caught:
        asyncio.run(batched(range(10), 10, server.call))
    assert caught.value.code == DENIED
    assert server.sizes == [10]


def test_a_single_item_that_is_too_large_is_told() -> None:
    server = Server(0)
    with pytest.raises(ServiceFaultError):
        asyncio.run(batched(range(10), 4, server.call))
    assert server.sizes == [4, 2, 1]


def test_what_else_is_too_large_can_be_said() -> None:
    server = Server(5, DENIED)
    results, limit = asyncio.run(batched(range(10), 10, server.call, {DENIED}))
    assert (len(results), limit) == (10, 5)


def test_an_answer_of_another_length_is_refused() -> None:
    async def call(items: Sequence[int]) -> list[int]:
        return list(items)[1:]

    with pytest.raises(UndecodableError, match="9 results to a request for 10"):
        asyncio.run(batched(range(10), 10, call))
