"""The plant's OPC UA server reports rows to subscriptions: to the reader, and to a bare client of asyncua."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import sys
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from asyncua import Client, Server, ua
from asyncua.server.monitored_item_service import MonitoredItemService
from asyncua.server.subscription_service import SubscriptionService

from otmirror.errors import ConfigError
from otmirror.loopthread import LoopThread
from otmirror.opcua import reports
from otmirror.opcua.config import OpcUaConfig
from otmirror.opcua.reader import OpcUaReader
from otmirror.plant import Plant, PlantConfig
from otmirror.plant.opcua import NAMESPACE
from otmirror.taglist import Tag

sys.path.append(str(Path(__file__).parents[1] / "protocol/opcua"))
from opcua_server import messages

pytestmark = pytest.mark.timeout(60)
BAD_SENSOR_FAILURE, BAD_DATA_LOST, OVERFLOW = 0x808C0000, 0x809D0000, 0x480
# 2018-02-06 00:00:00 UTC is 17,568 days after 1970.
FIRST = 17_568 * 86_400 * 1_000_000
ROWS, SPEED = 5000, 15
MOST_ROWS = 0.6
"""Share of the rows that has to come: a machine that stands still for a moment leaves some out."""

NODES = [f"ns=2;s=Well1.{name}" for name in ("Count", "Twice")]


@pytest.fixture(scope="module")
def counts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording, a row a second: Count is the number of the row, Twice two times that."""
    file = tmp_path_factory.mktemp("recording") / "counts.csv"
    minutes = (f"2018-02-06 {row // 3600:02}:{row // 60 % 60:02}:{row % 60:02},{row},{2 * row}" for row in range(ROWS))
    file.write_text("\n".join(["timestamp,Count,Twice", *minutes]) + "\n")
    return file


@dataclass(frozen=True)
class Shared:
    """The plant that most tests share, its faults file, and the tasks that sample for it."""

    plant: Plant
    faults: Path
    loop: LoopThread

    @property
    def url(self) -> str:
        assert self.plant.opcua_url
        return self.plant.opcua_url

    def sampling(self) -> int:
        async def count() -> int:
            return sum("Sampler" in task.get_coro().__qualname__ for task in asyncio.all_tasks())

        return int(self.loop.run(count(), 10))


@pytest.fixture(scope="module")
def shared(counts: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    loop, faults = LoopThread("plant"), tmp_path_factory.mktemp("faults") / "faults.json"
    plant = Plant(
        PlantConfig((counts,), speed=SPEED, recorded_times=True, opcua_port=0, modbus_port=None, faults=faults)
    )
    loop.run(plant.start(), 60)
    shared = Shared(plant, faults, loop)
    assert shared.sampling() == 1
    yield shared
    loop.run(plant.stop(), 10)
    assert shared.sampling() == 0
    loop.close()


def row_of(ts: int) -> int:
    row, rest = divmod(ts - FIRST, 1_000_000)
    assert rest == 0
    assert 0 <= row < ROWS
    return row


def rising(rows: list[int]) -> bool:
    return rows == sorted(set(rows))


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Callable[..., OpcUaReader]]:
    made: list[OpcUaReader] = []

    def make(url: str, **settings: Any) -> OpcUaReader:
        tags = tuple(Tag(name, f"nsu={NAMESPACE};s=Well1.{name}", mode="subscribe") for name in ("Count", "Twice"))
        defaults: dict[str, Any] = {"interval_ms": 100, "sampling_ms": 0, "refresh": 3600.0}
        made.append(OpcUaReader(OpcUaConfig(url, tags, pki=tmp_path / "pki", **defaults | settings)))
        return made[-1]

    yield make
    for one in made:
        one.close()


class Seen:
    """Samples in the order a reader gave them."""

    def __init__(self, reader: OpcUaReader):
        self._reader, self.rows = reader, list[dict[str, Any]]()

    def until(self, enough: Callable[[], bool], seconds: float = 20) -> None:
        end = time.monotonic() + seconds
        while not enough():
            assert time.monotonic() < end, messages(self._reader)
            table = self._reader.read()
            self.rows += table.to_pylist() if table is not None else []
            if table is None:
                time.sleep(0.005)  # nothing was due: the reader leaves the waiting to its caller

    def of(self, tag: str) -> list[dict[str, Any]]:
        return [row for row in self.rows if row["tag"] == tag]


def test_the_reader_gets_each_row_once_with_the_rows_own_time(shared, reader):
    seen = Seen(reader(shared.url))
    seen.until(lambda: len(seen.of("Count")) >= 15 and len(seen.of("Twice")) >= 15)
    for tag, factor in (("Count", 1), ("Twice", 2)):
        rows = [row_of(sample["ts"]) for sample in seen.of(tag)]
        assert rising(rows)
        assert len(rows) > (rows[-1] - rows[0]) * MOST_ROWS
        assert [sample["value"] for sample in seen.of(tag)] == [factor * row for row in rows]
        assert {sample["status"] for sample in seen.of(tag)} == {0}


def test_a_fault_makes_a_subscribed_tag_bad_and_its_end_good_again(shared, reader):
    seen = Seen(reader(shared.url))

    def statuses() -> list[int]:
        return [status for status, _ in itertools.groupby(sample["status"] for sample in seen.of("Count"))]

    seen.until(lambda: statuses() == [0])
    shared.faults.write_text(json.dumps({"bad": ["Count"], "clock_s": 3600}))
    seen.until(lambda: statuses() == [0, BAD_SENSOR_FAILURE])
    shared.faults.unlink()
    seen.until(lambda: statuses() == [0, BAD_SENSOR_FAILURE, 0])
    rows = [row_of(sample["ts"]) for sample in seen.of("Count")]
    bad = [sample["status"] for sample in seen.of("Count")].index(BAD_SENSOR_FAILURE)
    assert rows[bad - 1] < rows[bad] - 3600 < rows[-1]
    assert {sample["status"] for sample in seen.of("Twice")} == {0}


def test_a_reader_that_was_held_up_tells_of_the_rows_that_the_queue_dropped(shared, reader):
    held = reader(shared.url, queue_size=3)
    seen = Seen(held)
    seen.until(lambda: len(seen.of("Count")) >= 3)
    before = row_of(seen.of("Count")[-1]["ts"])
    held._loop.soon(lambda: time.sleep(1))
    seen.until(lambda: seen.rows[-1]["quality"] == "good" and row_of(seen.rows[-1]["ts"]) > before + SPEED + 5)
    for tag in ("Count", "Twice"):
        samples = sorted(seen.of(tag), key=lambda sample: sample["ts"])
        good = [row_of(sample["ts"]) for sample in samples if sample["quality"] == "good"]
        lost = [sample["ts"] + 1 for sample in samples if sample["status"] == BAD_DATA_LOST]
        jumps = {row: row - earlier for earlier, row in itertools.pairwise(good) if row != earlier + 1}
        assert max(jumps.values()) > SPEED / 3
        assert max(jumps, key=lambda row: jumps[row]) in map(row_of, lost)
        assert {row_of(ts) for ts in lost} <= set(jumps)
        assert len(good) + len(lost) == len(samples)


def test_a_value_that_stays_is_not_missed_when_only_its_time_moves_on(shared, reader, monkeypatch):
    """A server need not report it: the reader looks by itself after the refresh time, and the times it sees are new."""
    monkeypatch.setattr(reports, "_DEAF", 0.5)
    it = reader(shared.url, refresh=0.5)
    seen = Seen(it)
    seen.until(lambda: len(seen.of("Count")) >= 3)
    shared.faults.write_text(json.dumps({"bad": ["Count", "Twice"]}))

    def bad() -> list[dict[str, Any]]:
        return [sample for sample in seen.of("Count") if sample["status"] == BAD_SENSOR_FAILURE]

    seen.until(lambda: len(bad()) > 5)
    shared.faults.unlink()
    assert bad()[-1]["ts"] - bad()[0]["ts"] > 2 * SPEED * 1_000_000
    assert it.subscriptions.counts["recreated"] == 0, messages(it)
    assert not [sample for sample in seen.rows if sample["status"] == BAD_DATA_LOST]


def test_a_server_that_stops_to_report_what_changes_is_found_out(shared, reader, monkeypatch):
    monkeypatch.setattr(reports, "_DEAF", 0.5)
    it = reader(shared.url, refresh=0.5)
    seen = Seen(it)
    seen.until(lambda: len(seen.of("Count")) >= 3 and len(seen.of("Twice")) >= 3)
    sampler = shared.plant._opcua._sampler
    shared.loop.run(sampler.stop(), 10)
    try:
        seen.until(lambda: it.subscriptions.counts["recreated"] > 0)
    finally:
        shared.loop.soon(sampler.start)
    assert "changed without a report" in messages(it)
    assert {sample["tag"] for sample in seen.rows if sample["status"] == BAD_DATA_LOST} == {"Count", "Twice"}


class Raw:
    """A session of asyncua that publishes only when told to."""

    def __init__(self, client: Client):
        self._session = client.uaclient.session

    async def _ask(self, request: Any, answer: Any) -> Any:
        data = await self._session._send_request(request)
        response = ua.ua_binary.struct_from_binary(answer, data)
        response.ResponseHeader.ServiceResult.check()
        return response

    async def subscribe(self, *items: dict[str, Any], **options: Any) -> tuple[int, list[Any]]:
        """Create a subscription with an item each, whose client handle is its place; return its id and the answers."""
        request = ua.CreateSubscriptionRequest()
        settings = {"RequestedPublishingInterval": 50.0, "RequestedLifetimeCount": 10_000,
                    "RequestedMaxKeepAliveCount": 1000, "PublishingEnabled": True, **options}  # fmt: skip
        request.Parameters = ua.CreateSubscriptionParameters(**settings)
        number = (await self._ask(request, ua.CreateSubscriptionResponse)).Parameters.SubscriptionId
        wanted = ua.CreateMonitoredItemsRequest()
        wanted.Parameters.SubscriptionId = number
        wanted.Parameters.TimestampsToReturn = ua.TimestampsToReturn.Both
        for handle, item in enumerate(items):
            one = ua.MonitoredItemCreateRequest()
            one.ItemToMonitor.NodeId = ua.NodeId.from_string(item.pop("node", NODES[0]))
            one.ItemToMonitor.AttributeId = ua.AttributeIds.Value
            one.MonitoringMode = ua.MonitoringMode.Reporting
            one.RequestedParameters = ua.MonitoringParameters(
                **{"ClientHandle": handle, "SamplingInterval": 0.0, "DiscardOldest": True, **item}
            )
            wanted.Parameters.ItemsToCreate.append(one)
        results = (await self._ask(wanted, ua.CreateMonitoredItemsResponse)).Results
        assert all(result.StatusCode.is_good() for result in results)
        return number, results

    async def publish(self) -> dict[int, list[Any]]:
        """Return the values of the next notification by the item's place."""
        return by_place((await asyncio.wait_for(self._session.publish([]), 10)).Parameters.NotificationMessage)

    async def until(self, enough: Callable[[list[Any]], bool]) -> list[Any]:
        """Publish until the first item's values are what is waited for."""
        values: list[Any] = []
        while not enough(values):
            values += (await self.publish()).get(0, [])
        return values


def by_place(message: Any) -> dict[int, list[Any]]:
    found = defaultdict(list)
    for data in message.NotificationData or []:
        for item in data.MonitoredItems:
            found[item.ClientHandle].append(item.Value)
    return dict(found)


def raw(url: str, work: Callable[[Raw], Awaitable[None]]) -> None:
    async def run() -> None:
        async with Client(url) as client:
            await asyncio.wait_for(work(Raw(client)), 30)

    asyncio.run(run())


def rows_of(values: list[Any]) -> list[int]:
    """The rows by the values' own source timestamps; each value is that of its row."""
    since = [value.SourceTimestamp.replace(tzinfo=None) - ua.datetime(1970, 1, 1) for value in values]
    rows = [row_of(round(one.total_seconds() * 1_000_000)) for one in since]
    assert [value.Value.Value for value in values] == rows
    return rows


def codes(values: list[Any]) -> list[int]:
    return [value.StatusCode.value for value in values]


def test_a_client_that_does_not_publish_finds_the_newest_values_and_the_overflow_at_the_first(shared):
    async def work(client: Raw) -> None:
        _, granted = await client.subscribe(
            {"QueueSize": 5},
            {"QueueSize": 1},
            {"QueueSize": 0},
            {"QueueSize": 3, "DiscardOldest": False},
            {"QueueSize": 1000},
            {"QueueSize": 100, "SamplingInterval": 400.0},
            {"QueueSize": 100, "SamplingInterval": -1.0},
        )
        assert [one.RevisedQueueSize for one in granted] == [5, 1, 1, 3, 1000, 100, 100]
        assert [one.RevisedSamplingInterval for one in granted] == [50, 50, 50, 50, 50, 400, 50]
        await asyncio.sleep(18 / SPEED)
        found = await client.publish()
        # An item with room enough lost nothing, whatever happened to others of the same node.
        rows = rows_of(found[4])
        assert rising(rows)
        assert len(rows) >= 9
        assert set(codes(found[4])) == {0}
        # The first value of an item may be of another row: the items were created one after the other.
        assert rows_of(found[6])[-8:] == rows[-8:]
        assert rows_of(found[1]) == rows_of(found[2]) == rows[-1:]
        assert codes(found[1]) == codes(found[2]) == [0]
        # The newest of the queue, and exactly the first says that others were dropped before it.
        assert rows_of(found[0]) == rows[-5:]
        assert codes(found[0]) == [OVERFLOW, 0, 0, 0, 0]
        # Where the oldest stay, the one that replaced others says so.
        *oldest, last = rows_of(found[3])
        assert rising(oldest)
        assert (len(oldest), last) == (2, rows[-1])
        assert oldest[-1] <= rows[1]
        assert codes(found[3]) == [0, 0, OVERFLOW]
        slow = rows_of(found[5])
        assert set(slow[1:]) < set(rows)
        assert 2 <= len(slow) <= (rows[-1] - rows[0]) / (0.4 * SPEED) + 2
        # It goes on behind what was published, and nothing was dropped in between.
        more = (await client.publish())[0]
        assert rising([rows[-1], *rows_of(more)])
        assert set(codes(more)) == {0}

    raw(shared.url, work)


def test_a_deadband_counts_from_the_value_reported_last_and_hides_no_fault(shared):
    chosen = ua.DataChangeFilter(ua.DataChangeTrigger.StatusValue, ua.DeadbandType.Absolute, 4.5)

    async def work(client: Raw) -> None:
        await client.subscribe({"QueueSize": 100, "Filter": chosen})
        rows = rows_of(await client.until(lambda values: len(values) >= 4))
        assert all(after - before >= 5 for before, after in itertools.pairwise(rows))
        shared.faults.write_text(json.dumps({"bad": ["Count"]}))
        bad = await client.until(lambda values: BAD_SENSOR_FAILURE in codes(values))
        assert codes(bad).count(BAD_SENSOR_FAILURE) == 1
        shared.faults.unlink()
        (good,) = await client.until(lambda values: 0 in codes(values))
        assert good.StatusCode.value == 0

    raw(shared.url, work)


def test_another_session_takes_a_subscription_over_with_what_was_not_acknowledged(shared):
    async def work(client: Raw) -> None:
        number, _ = await client.subscribe({"QueueSize": 100})
        first = (await client.publish())[0]
        waiting = asyncio.ensure_future(client.publish())
        async with Client(shared.url) as second:
            after = Raw(second)
            request = ua.TransferSubscriptionsRequest()
            request.Parameters.SubscriptionIds = [number]
            (moved,) = (await after._ask(request, ua.TransferSubscriptionsResponse)).Parameters.Results
            assert moved.StatusCode.is_good()
            for _ in range(2):
                again = await second.uaclient.session.republish(number, moved.AvailableSequenceNumbers[0])
                assert by_place(again)[0] == first
            with pytest.raises(ua.uaerrors.BadMessageNotAvailable):
                await second.uaclient.session.republish(number, 9999)
            values = await after.until(lambda values: len(values) >= 5)
            missed = (await waiting)[0] if waiting.done() else []
            assert rising(rows_of([*first, *missed, *values]))
            assert set(codes(values)) == {0}
        waiting.cancel()

    raw(shared.url, work)


def test_a_subscription_that_nobody_asks_for_values_ends(shared):
    subscriptions = shared.plant._opcua._server.iserver.subscription_service.subscriptions

    async def work(client: Raw) -> None:
        number, _ = await client.subscribe({"QueueSize": 2}, RequestedLifetimeCount=8)
        one, most, end = subscriptions[number], 0, time.monotonic() + 10
        while number in subscriptions:
            assert time.monotonic() < end
            most = max(most, *map(len, one._triggered_datachanges.values()), 0)
            await asyncio.sleep(0.02)
        assert most == 2
        assert not shared.plant._opcua._server.iserver.aspace._handle_to_attribute_map
        with pytest.raises(ua.uaerrors.BadNoSubscription):
            await client.publish()

    raw(shared.url, work)


def test_a_subscription_is_no_reader_in_lock_step(start, counts):
    plant = start(opcua_port=0, csv=(counts,), on_read=True, recorded_times=True)

    async def work(client: Raw) -> None:
        await client.subscribe({"QueueSize": 10}, RequestedMaxKeepAliveCount=1)
        first = (await client.publish())[0]
        assert rows_of(first) == [0]
        request = ua.ReadRequest()
        request.Parameters.NodesToRead = [ua.ReadValueId(ua.NodeId.from_string(NODES[0]), ua.AttributeIds.Value)] * 3
        answer = await client._ask(request, ua.ReadResponse)
        assert rows_of(answer.Results) == [0, 1, 2]
        assert [await client.publish() for _ in range(3)] == [{}, {}, {}]

    raw(plant.opcua_url, work)


def test_a_variable_that_fails_holds_up_no_other(shared, caplog, monkeypatch):
    def fails() -> Any:
        raise OSError("out of order")

    node = ua.NodeId.from_string(NODES[0])

    async def work(client: Raw) -> None:
        await client.subscribe({"QueueSize": 100, "node": NODES[1]}, {"QueueSize": 100, "node": NODES[0]})
        monkeypatch.setitem(shared.plant._opcua._sensors, node, fails)
        values = await client.until(lambda values: len(values) >= 8)
        assert rising([value.Value.Value for value in values])

    with caplog.at_level(logging.ERROR, "otmirror.plant"):
        raw(shared.url, work)
    told = [record.message for record in caplog.records if record.name.startswith("otmirror.plant")]
    assert told == [f"{node} cannot be reported to a subscription"]
    assert shared.sampling() == 1


def test_another_asyncua_is_refused_at_the_start_and_other_servers_are_left_alone(shared, start, counts, monkeypatch):
    assert type(Server().iserver.subscription_service) is SubscriptionService

    async def changed(self: Any, handle: int, value: Any) -> None:
        raise AssertionError

    with monkeypatch.context() as other:
        other.setattr(MonitoredItemService, "datachange_callback", changed)
        with pytest.raises(ConfigError, match=r"asyncua .*datachange_callback"):
            start(opcua_port=0, csv=(counts,))
