"""The pilot with each part in its own zone, the ways between them cut for a while.

Every read of a tag gets the plant's next row, and a row's value is its number: what is stored tells by itself what was
read, and whether anything of it is missing or there twice.
"""

import csv
import os
import socket
import sys
import time
from itertools import pairwise
from types import SimpleNamespace

import pytest

from nifi.pilots import await_that, folder, queued, stored
from otmirror.demo import run, stores
from otmirror.demo.audit import audit
from otmirror.demo.stack import Stack
from otmirror.embedded import victoriametrics as vm
from otmirror.embedded.bundle import bundle_dependencies
from otmirror.embedded.install import install
from otmirror.embedded.processes import Server
from otmirror.errors import UnavailableError
from otmirror.workspace import PROJECT

from .conftest import ADDRESSES, without, zone_of, zones

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(1200)]

STORE_AWAY, PLANT_AWAY = 20.0, 12.0
"""Seconds; the second longer than any request's time limit."""
OPCUA, MODBUS, HOT = 4840, 502, 8428
TAGS = ("number", "other")


class InZone(vm.VictoriaMetrics):
    """VictoriaMetrics in a zone of its own."""

    def __init__(self, fabric, *args):
        super().__init__(*args)
        self._fabric = fabric

    def start(self, timeout=90.0):
        with self._fabric.inside(zone_of("victoriametrics")):
            super().start(timeout)


class ZonedStack(Stack):
    """The pilot across the zones; to be used inside the edge, where its NiFi is."""

    def __init__(self, fabric, place, plant):
        parameters = {
            "opcua.endpoint": f"opc.tcp://{ADDRESSES['plc']}:{OPCUA}/otmirror/plant",
            "modbus.devices": f"{ADDRESSES['plc']}:{MODBUS}",
            "victoriametrics.url": f"http://{ADDRESSES['victoriametrics']}:{HOT}",
            "iceberg.commit.interval": "3 sec",
            "poll.interval": "500 ms",
        }
        ports = [f"--opcua-port={OPCUA}", f"--modbus-port={MODBUS}"]
        super().__init__(place, [*plant, *ports], parameters=parameters)
        self.fabric = fabric
        self.victoriametrics = InZone(fabric, self.folder / "victoriametrics", HOT)
        self.passages = {
            "plc": Server("passage-plant", self.folder / "passages"),
            "victoriametrics": Server("passage-store", self.folder / "passages"),
        }

    def start_plant(self):
        with self.fabric.inside("ot"):
            super().start_plant()
        self._pass_on("plc", OPCUA, MODBUS)
        self._pass_on("victoriametrics", HOT)

    def _pass_on(self, member, *ports):
        argv = [sys.executable, str(PROJECT / "tests" / "zones" / "passage.py"), ADDRESSES[member], *map(str, ports)]
        with self.fabric.inside(zone_of(member)):
            self.passages[member].start(argv, lambda: reached(member, ports[0]), 60.0)

    def stop(self):
        super().stop()
        for passage in self.passages.values():
            passage.stop()

    def hot(self):
        with self.fabric.inside(zone_of("victoriametrics")):
            return stores.victoriametrics(self.victoriametrics.url)


def reached(member, port, timeout=1.0):
    """Whether a connection from the thread's zone to a member comes about."""
    with socket.socket() as trying:
        trying.settimeout(timeout)
        return trying.connect_ex((ADDRESSES[member], port)) == 0


@pytest.fixture(scope="module")
def installed():
    """What runs in the zones, fetched before: no zone reaches a registry."""
    try:
        install()
        vm.install()
    except UnavailableError as error:
        pytest.skip(f"no pilot here: {error}")
    bundle_dependencies()


@pytest.fixture(scope="module")
def stack(installed, fabric, hosts_file, tmp_path_factory):
    """The running pilot, its rules loaded, something mirrored already; this thread is in the edge's zone."""
    rows = tmp_path_factory.mktemp("plant") / "rows.csv"
    with rows.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["timestamp", *TAGS])
        writer.writerows(
            [f"2026-01-01 {n // 3600:02}:{n // 60 % 60:02}:{n % 60:02}", n, n + 0.5] for n in range(20_000)
        )
    made = zones("nftables", "--router", "--profile", "pilot", "--hosts", hosts_file)
    assert made.exit_code == 0, made.output
    fabric.rules(made.stdout)
    with pytest.MonkeyPatch.context() as patch, fabric.inside("edge"):
        # A proxy of this machine's is not to be had from a zone.
        for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
            patch.delenv(name)
        with ZonedStack(fabric, folder("zones"), [f"--csv={rows}", "--advance=on-read"]) as started:
            started.start()
            started.run()
            await_that(lambda: stored(started) > 20, 120, "nothing was mirrored")
            yield started


@pytest.fixture(scope="module")
def outages(stack, fabric, hosts_file, tmp_path_factory):
    """Both ways cut, one after the other; when (us since 1970), and what was seen meanwhile."""
    seen = SimpleNamespace()
    open_rules = zones("nftables", "--router", "--profile", "pilot", "--hosts", hosts_file).stdout
    table = without("pilot-hot", tmp_path_factory.mktemp("table"))
    shut = zones("nftables", "--router", "--profile", "pilot", "--hosts", hosts_file, "--zones", table)
    assert shut.exit_code == 0, shut.output
    fabric.rules(shut.stdout)
    seen.store_cut, before = now(), stored(stack)
    time.sleep(STORE_AWAY / 2)  # the length of the outage is what is tested
    seen.first = queued(stack, "to VictoriaMetrics")
    time.sleep(STORE_AWAY / 2)
    seen.second, seen.meanwhile = queued(stack, "to VictoriaMetrics"), stored(stack) - before
    seen.store_drops = fabric.counters()["drop_edge_it"]
    fabric.rules(open_rules)
    seen.store_back = now()
    await_that(lambda: queued(stack, "to VictoriaMetrics") < seen.second / 2, 90, "the queue did not drain")
    seen.plant_cut = now()
    fabric.link("ot", up=False)
    time.sleep(PLANT_AWAY)
    fabric.link("ot", up=True)
    seen.plant_back = now()
    await_that(lambda: all(good_since(stack, seen.plant_back).values()), 90, "not both devices are read again")
    seen.read_again = now()
    time.sleep(3)
    seen.counters = fabric.counters()
    stack.stop_sources()
    stack.drain(240)
    seen.emitted, seen.cold, seen.hot = run.emitted(stack), stack.lakehouse.samples(), stack.hot()
    rejects = stack.lakehouse.rejects()
    seen.rejected = rejects.num_rows if rejects is not None else 0
    return seen


def now():
    return int(time.time() * 1e6)


def good_since(stack, moment):
    """By source, the good samples in Iceberg that were read after a moment."""
    found = {"opcua:plant": 0, "modbus:plant": 0}
    for row in stack.lakehouse.samples().to_pylist():
        found[row["source"]] += row["quality"] == "good" and row["ts_read"] > moment
    return found


def test_it_and_dmz_reach_no_plc_while_the_edge_reads_it(stack, fabric):
    for member in ("hub-nifi", "kafka"):
        with fabric.inside(zone_of(member)):
            assert not reached("plc", OPCUA)
            assert not reached("plc", MODBUS)
    assert reached("plc", OPCUA)
    assert reached("plc", MODBUS)
    counters = fabric.counters()
    assert min(counters[name] for name in ("conduit_opcua", "conduit_modbus", "conduit_pilot-hot")) > 10
    assert min(counters[name] for name in ("drop_it_ot", "drop_dmz_ot")) >= 2


def test_without_the_way_to_the_store_the_queue_grows_and_reads_go_on(outages):
    assert 0 < outages.first < outages.second
    assert outages.store_drops > 0
    assert outages.meanwhile > STORE_AWAY / 2 * 2 * len(TAGS), "reads or the other store stopped meanwhile"


def test_everything_that_was_read_is_in_both_stores_once(outages):
    result = audit(outages.cold, outages.hot, outages.rejected, outages.emitted)
    assert result.complete, result
    assert result.rejected == 0
    assert [source.restarts for source in result.sources] == [0, 0]


def of(outages, source):
    """A source's samples in the order of its own numbering."""
    return sorted((row for row in outages.cold.to_pylist() if row["source"] == source), key=lambda row: row["seq"])


SOURCES = pytest.mark.parametrize("source", ["opcua:plant", "modbus:plant"])


@SOURCES
def test_no_answer_of_the_plant_is_missing_without_a_bad_sample_in_its_place(outages, source):
    """An answer that the cable took along is told: between its neighbours there are bad samples."""
    rows = [row for row in of(outages, source) if row["tag"].endswith("/number")]
    good = [index for index, row in enumerate(rows) if row["quality"] == "good"]
    numbers = [int(rows[index]["value"]) for index in good]
    assert len(numbers) > STORE_AWAY
    assert len(set(numbers)) == len(numbers)
    for (one, first), (other, second) in pairwise(zip(good, numbers, strict=True)):
        # A request that waits in the network until the cable is back has an answer of its own.
        assert 0 <= second - first - 1 <= other - one - 1, f"{first} is followed by {second}"


@SOURCES
def test_the_plants_absence_is_told_as_bad_samples(outages, source):
    rows = of(outages, source)
    away = [row for row in rows if outages.plant_cut < row["ts_read"] < outages.read_again]
    assert {row["tag"] for row in away if row["quality"] == "bad"} == {row["tag"] for row in rows}, "a tag is silent"
    good = sorted({row["ts_read"] for row in rows if row["quality"] == "good"})
    longest = max(b - a for a, b in pairwise(good)) / 1e6
    assert longest > PLANT_AWAY - 2, "the cable was not out"
    every = sorted({row["ts_read"] for row in rows})
    silence = max(b - a for a, b in pairwise(every)) / 1e6
    assert silence < longest - 2, f"{silence:.1f} s without any sample"
