"""Each probe against a real neighbour, well and not: what it says, and that it leaves nothing behind."""

import datetime
import json
import os
import shutil
import socket
import threading
import time
from types import SimpleNamespace

import pytest
import requests
from cryptography.hazmat.primitives.serialization import Encoding
from typer.testing import CliRunner

from otmirror.cli.app import app
from otmirror.clock import SystemClock
from otmirror.doctor import site as sites
from otmirror.doctor import times
from otmirror.doctor.findings import ERROR
from otmirror.doctor.flowview import FlowView, Processor
from otmirror.doctor.probes import bus, certificates, cold, devices, disks, figures, hot, nifi
from otmirror.embedded import victoriametrics as vm
from otmirror.embedded.processes import free_port
from otmirror.embedded.server import EmbeddedNifi
from otmirror.errors import ConfigError, UnavailableError
from otmirror.flow.status import Component
from otmirror.iceberg.config import Config
from otmirror.iceberg.sink import IcebergSink
from otmirror.loopthread import LoopThread
from otmirror.metrics.figures import Figures
from otmirror.metrics.meter import Meter
from otmirror.pki.authority import Authority, Request, Validity
from otmirror.plant import Plant, PlantConfig, tags
from otmirror.slo import alerts

NIFI = "http://127.0.0.1:1/nifi-api"
SITE = sites.Site(NIFI)


@pytest.fixture(scope="module")
def plant(tmp_path_factory):
    """A plant on both protocols with a certificate, and the folder of its tag lists."""
    folder = tmp_path_factory.mktemp("plant")
    loop = LoopThread("plant")
    made = Plant(PlantConfig(tags=8, opcua_port=0, modbus_port=0, security=folder / "security"))
    tags.write(folder / "tags", made.wells, made.modbus_wells)
    loop.run(made.start(), 60)
    yield made, folder
    loop.run(made.stop(), 10)
    loop.close()


@pytest.fixture
def deaf():
    """The port of a listener that never says anything, as that of a process that is stopped."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def opcua(url, folder, **properties):
    given = {"Endpoint URL": url, "Tag List File": str(folder / "tags" / tags.OPCUA_FILE)}
    return Processor("1", "Read OPC UA", "ReadOpcUaTags", given | properties)


def modbus(address, folder):
    given = {"Devices": address, "Tag List File": str(folder / "tags" / tags.MODBUS_FILE)}
    return Processor("2", "Poll Modbus", "PollModbusReadOnly", given)


def codes(found):
    return [one.code for one in found]


def everything_in(folder):
    return {str(file): file.stat().st_mtime_ns for file in folder.rglob("*")}


def test_devices_that_are_well(plant):
    made, folder = plant
    assert devices.look(SITE, opcua(made.opcua_url, folder)) == []
    assert devices.look(SITE, modbus("{}:{}".format(*made.modbus_address), folder)) == []


def test_devices_that_are_gone_or_deaf(plant, deaf):
    _, folder = plant
    gone = free_port()
    for port, code in ((gone, "source-unreachable"), (deaf, "source-silent")):
        found = devices.look(SITE, opcua(f"opc.tcp://127.0.0.1:{port}", folder))
        found += devices.look(SITE, modbus(f"127.0.0.1:{port}", folder))
        assert codes(found) == [code, code]
        assert [one.scope for one in found] == [{"Read OPC UA"}, {"Poll Modbus"}]


def test_one_server_of_two_is_enough(plant):
    made, folder = plant
    backup = {"Backup Endpoint URLs": f"opc.tcp://127.0.0.1:{free_port()}"}
    assert devices.look(SITE, opcua(made.opcua_url, folder, **backup)) == []


def test_security_that_the_server_does_not_offer(plant):
    made, folder = plant
    found = devices.look(SITE, opcua(made.opcua_url, folder, **{"Security Policy": "Aes256_Sha256_RsaPss"}))
    assert codes(found) == ["source-refuses"]


def test_a_certificate_that_changed_is_told_and_neither_pinned_nor_rejected(plant, tmp_path):
    made, folder = plant
    secured = {"Security Policy": "Basic256Sha256", "PKI Directory": str(tmp_path)}
    # The first one that is shown would be pinned by the processor, not by us.
    assert devices.look(SITE, opcua(made.opcua_url, folder, **secured)) == []
    assert list(tmp_path.iterdir()) == []
    other = Authority(Authority.create("other")).issue(Request("other", hosts=["127.0.0.1"])).certificate
    port = made.opcua_url.rpartition(":")[2].split("/")[0]
    (tmp_path / "trusted").mkdir()
    (tmp_path / "trusted" / f"127.0.0.1_{port}.der").write_bytes(other.public_bytes(Encoding.DER))
    before = everything_in(tmp_path)
    (found,) = devices.look(SITE, opcua(made.opcua_url, folder, **secured))
    assert found.code == "source-certificate"
    assert str(tmp_path) in found.text
    assert everything_in(tmp_path) == before


@pytest.mark.parametrize("content", [None, b"tag,address\na,\xff\n", b"tag,address\na,not an address\n"])
def test_a_tag_list_that_is_gone_or_spoiled(plant, tmp_path, content):
    made, _ = plant
    (tmp_path / "tags").mkdir()
    if content is not None:
        (tmp_path / "tags" / tags.OPCUA_FILE).write_bytes(content)
    found = devices.look(SITE, opcua(made.opcua_url, tmp_path))
    assert codes(found) == ["taglist-unusable"]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A VictoriaMetrics; skips only when it cannot be had."""
    try:
        binary = vm.install()
    except UnavailableError as error:
        pytest.skip(f"no VictoriaMetrics here: {error}")
    server = vm.VictoriaMetrics(tmp_path_factory.mktemp("vm"), binary=binary)
    server.start()
    yield server
    server.stop()


def hot_sink(url, **more):
    return Processor("3", "To VictoriaMetrics", "ToVictoriaMetrics", {"VictoriaMetrics URL": url, **more})


def series(name, source, moment, value, **labels):
    metric = {"__name__": name, "source": source, **labels}
    return json.dumps({"metric": metric, "values": [value], "timestamps": [round(moment * 1000)]}) + "\n"


def test_a_hot_store_that_is_well_and_how_new_it_is(store):
    sink, now = hot_sink(store.url), time.time()
    lines = series("ot_value", "late", now - 600, 1.0, tag="a") + series("ot_value", "ahead", now + 60, 1.0, tag="b")
    lines += series("ot_value", "well", now - 5, 1.0, tag="c") + series("ot_quality", "well", now - 5, 0, tag="d")
    assert requests.post(f"{store.url}/api/v1/import", data=lines, timeout=5).status_code == 204
    requests.get(f"{store.url}/internal/force_flush", timeout=5)
    inserted = _inserted(store.url)
    asked = hot.Store(sink)
    # A disk of the machine that happens to be nearly full is told, and no fault of the store's.
    assert set(codes(asked.look())) <= {"hot-disk-low"}
    sources = [Processor(name, f"of {name}", "ReadOpcUaTags", {"Source Name": name}) for name in
               ("late", "ahead", "well", "never")]  # fmt: skip
    newest = asked.newest(now)
    found = {one.subject: one for one in hot.freshness(FlowView("f", (*sources, sink)), sink, newest, now)}
    assert {name: one.code for name, one in found.items()} == {
        "late": "hot-stale", "ahead": "clock-ahead", "well": "tags-bad", "never": "hot-stale"
    }  # fmt: skip
    assert found["late"].since == pytest.approx(now - 600, abs=1)
    assert "d" in found["well"].text
    assert _inserted(store.url) == inserted, "the doctor wrote samples"


def _inserted(url):
    text = requests.get(f"{url}/metrics", timeout=5).text
    return [line for line in text.splitlines() if line.startswith("vm_rows_inserted_total")]


def test_a_hot_store_that_keeps_less_than_the_sink_believes(store):
    sink = hot_sink(store.url, Retention="200 years")
    assert "hot-retention" in codes(hot.Store(sink).look())


def test_a_hot_store_that_is_read_only_or_gone(tmp_path, store):
    full = vm.VictoriaMetrics(tmp_path, more=["-storage.minFreeDiskSpaceBytes=100TB"])
    full.start()
    try:
        found = hot.Store(hot_sink(full.url)).look()
        assert codes(found)[0] == "hot-read-only"
    finally:
        full.stop()
    assert codes(hot.Store(hot_sink(full.url)).look()) == ["hot-down"]
    assert codes(hot.Store(hot_sink(store.url.replace("http:", "https:"))).look()) == ["hot-refuses"]


def cold_sink(warehouse, **more):
    return Processor("4", "Write Iceberg", "WriteIceberg", {"Warehouse": str(warehouse), **more})


def look_cold(warehouse, **more):
    sink = cold_sink(warehouse, **more)
    return cold.look(SITE, FlowView("f", (sink,), names={"4": sink.name}), sink, {})


def test_a_warehouse_where_nothing_can_be_written(tmp_path):
    assert codes(look_cold(tmp_path / "nowhere")) == ["cold-warehouse"]
    (tmp_path / "file").write_text("")
    assert codes(look_cold(tmp_path / "file")) == ["cold-warehouse"]
    if os.path.ismount("/sys"):
        assert cold.unwritable(tmp_path) is None


def test_a_lakehouse_new_old_and_damaged_is_left_as_it_is(tmp_path):
    assert codes(look_cold(tmp_path)) == ["cold-stale"]
    assert list(tmp_path.iterdir()) == []
    sink = IcebergSink(Config(warehouse=str(tmp_path)), SystemClock())
    good = {"tag": "a", "ts": time.time_ns() // 1000, "value": 1.0, "type": "double", "quality": "good", "source": "s"}
    told = sink.write(json.dumps(good).encode() + b"\n", {})
    assert told.relationship == "success", told
    sink.close()
    before = everything_in(tmp_path)
    assert look_cold(tmp_path) == []
    assert everything_in(tmp_path) == before
    database = tmp_path / "catalog.db"
    database.write_bytes(b"no database" * 100)
    assert codes(look_cold(tmp_path)) == ["cold-catalog"]


def test_the_last_rejects_are_told_while_they_are_new(tmp_path):
    sink = IcebergSink(Config(warehouse=str(tmp_path)), SystemClock())
    sink.write(b'{"tag": "a"}\n', {})
    good = {"tag": "a", "ts": time.time_ns() // 1000, "value": 1.0, "type": "double", "quality": "good", "source": "s"}
    sink.write(json.dumps(good).encode() + b"\n", {})
    sink.close()
    assert codes(look_cold(tmp_path)) == ["samples-rejected"]


def written(folder, running=True, **values):
    """A processor's file as its meter writes it, with gauges of the source `s`."""
    meter, own = Meter(folder, "ReadOpcUaTags", "1"), Figures()
    meter.watch(own)
    for name, value in values.items():
        own.put(f"otmirror_{name}", value, source="s")
    own.add("otmirror_guard_refused_total", 0, source="s", service="Write")
    meter.write()
    return own, meter


def reading(folder):
    component = nifi_told("RUNNING")
    source = Processor("1", "Read OPC UA", "ReadOpcUaTags", {"Source Name": "s"}, component)
    return figures.read([folder], [FlowView("f", (source,))])


def nifi_told(state):
    return Component("1", "Read OPC UA", "ReadOpcUaTags", "g", state, "VALID", (), 0, 0, 0, 0, 0, 0, 0)


def test_what_a_processor_wrote_of_itself(tmp_path, monkeypatch):
    monkeypatch.setattr(figures, "_AGAIN", 0.0)
    now = time.time()
    written(
        tmp_path, source_last_good_timestamp_seconds=now - 300, source_newest_sample_timestamp_seconds=now - 5000,
        source_tags=10, source_tags_bad=3, buffer_left_seconds=30.0,
    )  # fmt: skip
    found = {one.code: one for one in figures.judge(reading(tmp_path), now)}
    assert set(found) == {"source-stale", "clock-behind", "tags-bad", "buffer-filling"}
    assert found["source-stale"].since == pytest.approx(now - 300, abs=0.01)
    assert found["tags-bad"].text == "3 of 10 tags are bad"
    later = {one.code: one for one in figures.judge(reading(tmp_path), now + 60)}
    assert later["heartbeat-old"].since == pytest.approx(now, abs=5)


def test_a_source_that_nifi_holds_back_while_the_server_keeps_its_values(tmp_path):
    own, meter = written(tmp_path, server_queue_left_seconds=0.0)
    (found,) = figures.judge(reading(tmp_path), time.time())
    assert (found.code, found.subject, found.scope) == ("buffer-filling", "s", {"Read OPC UA"})
    own.forget("otmirror_server_queue_left_seconds")
    meter.write()
    assert list(figures.judge(reading(tmp_path), time.time())) == []


@pytest.mark.parametrize(("later", "told"), [(0, []), (2, ["2 of 10 tags are bad"])])
def test_tags_are_bad_when_they_are_so_twice(tmp_path, later, told):
    own, meter = written(tmp_path, source_tags=10, source_tags_bad=3)
    read = reading(tmp_path)
    own.put("otmirror_source_tags_bad", later, source="s")
    again = threading.Timer(0.5, meter.write)
    again.start()
    try:
        assert [one.text for one in figures.judge(read, time.time())] == told
    finally:
        again.join()


def test_lost_samples_are_told_for_five_minutes(tmp_path):
    now = time.time()
    own, meter = written(tmp_path, last_gap_timestamp_seconds=now - 20)
    own.add("otmirror_gaps_total", 12, source="s")
    meter.write()
    (found,) = figures.judge(reading(tmp_path), now)
    assert (found.code, found.subject) == ("samples-lost", "s")
    assert found.since == pytest.approx(now - 20, abs=0.01)
    assert "12 gap records in all" in found.text
    own.put("otmirror_last_gap_timestamp_seconds", now - 301, source="s")
    meter.write()
    assert list(figures.judge(reading(tmp_path), now)) == []


@pytest.mark.parametrize(("lost", "ago", "told"), [(5, 10, []), (6, 10, ["cold-conflicts"]), (6, 61, [])])
def test_another_writer_is_told_while_commits_are_lost_to_it(tmp_path, lost, ago, told):
    now, own, meter = time.time(), Figures(), Meter(tmp_path, "WriteIceberg", "4")
    meter.watch(own)
    own.add("otmirror_iceberg_commit_conflicts_total", lost)
    own.put("otmirror_iceberg_last_conflict_timestamp_seconds", now - ago)
    meter.write()
    views = [FlowView("f", (cold_sink(tmp_path),))]
    assert codes(figures.judge(figures.read([tmp_path], views), now)) == told


def test_maintenance_is_due_when_the_alert_says_so():
    (alert,) = [one for one in alerts.load(1) if one.name == "IcebergMaintenanceDue"]
    assert f"otmirror_iceberg_snapshots > {cold.SNAPSHOTS} " in alert.expr
    assert alert.expr.endswith(f"otmirror_iceberg_data_files > {cold.FILES}")
    table = SimpleNamespace(
        location=lambda: "t", metadata=SimpleNamespace(snapshots=[None] * cold.SNAPSHOTS),
        current_snapshot=lambda: SimpleNamespace(summary={"total-data-files": "0"}),
    )  # fmt: skip
    assert list(cold._upkeep(table, frozenset())) == []
    table.metadata.snapshots.append(None)
    assert codes(cold._upkeep(table, frozenset())) == ["maintenance-due"]


def test_a_clock_that_stands_while_samples_are_rejected_for_their_age_is_late(tmp_path):
    now = time.time()
    late = {"source_last_good_timestamp_seconds": now, "source_newest_sample_timestamp_seconds": now - 20}
    own, meter = written(tmp_path, **late)
    assert list(figures.late_clocks(reading(tmp_path))) == []
    sink, rejected = Meter(tmp_path, "ToVictoriaMetrics", "3"), Figures()
    rejected.add("otmirror_samples_rejected_total", 5, reason="retention")
    sink.watch(rejected)
    sink.write()
    views = [FlowView("f", (reading(tmp_path)[0].processor, hot_sink("")))]
    (found,) = figures.late_clocks(figures.read([tmp_path], views))
    assert (found.code, found.subject) == ("clock-behind", "s")
    own.put("otmirror_source_newest_sample_timestamp_seconds", now - 1, source="s")
    meter.write()
    assert list(figures.late_clocks(figures.read([tmp_path], views))) == []


def test_a_refusal_counts_whoever_it_was(tmp_path):
    own, meter = written(tmp_path)
    assert list(figures.judge(reading(tmp_path), time.time())) == []
    own.add("otmirror_guard_refused_total", 2, source="s", service="Write")
    meter.write()
    (tmp_path / "1.prom").rename(tmp_path / "gone.prom")
    (found,) = figures.judge(reading(tmp_path), time.time())
    assert (found.code, found.text) == ("guard-refused", "2 requests were refused: Write")


def test_files_that_are_no_figures_are_left_out(tmp_path):
    (tmp_path / "1.prom").write_text("{{{\n")
    assert reading(tmp_path) == []
    assert figures.read([tmp_path / "nowhere"], []) == []


def test_brokers(deaf):
    assert bus.look((f"tcp://127.0.0.1:{deaf}",)) == []
    assert codes(bus.look((f"tcp://127.0.0.1:{free_port()}", f"127.0.0.1:{deaf}"))) == ["bus-down"]


def test_certificates_in_files(tmp_path):
    authority = Authority(Authority.create("a", Validity.lasting(400)))
    now = datetime.datetime.now(datetime.timezone.utc)
    spans = {"soon": Validity.lasting(10), "over": Validity(now - datetime.timedelta(9), now - datetime.timedelta(2)),
             "long": Validity.lasting(300)}  # fmt: skip
    processors = []
    for name, validity in spans.items():
        issued = authority.issue(Request(name, validity=validity)).certificate
        (tmp_path / f"{name}.pem").write_bytes(issued.public_bytes(Encoding.PEM))
        processors.append(
            Processor(name, name, "ToVictoriaMetrics", {"CA Certificate File": str(tmp_path / f"{name}.pem")})
        )
    found = {next(iter(one.scope)): one.code for one in certificates.files(SITE, [FlowView("f", tuple(processors))])}
    assert found == {"soon": "certificate-expiring", "over": "certificate-expired"}


def test_a_disk_is_told_once(tmp_path):
    usage = shutil.disk_usage(tmp_path)
    (tmp_path / "part").mkdir()
    both = [(tmp_path, frozenset({"x"})), (tmp_path / "part", frozenset()), (tmp_path / "nowhere", frozenset())]
    assert len(list(disks.of_folders(both))) == (1 if usage.free / usage.total < disks.FILLING else 0)
    assert codes(disks._judged("d", 5, 1000, frozenset())) == ["disk-full"]
    assert codes(disks._judged("d", 150, 1000, frozenset())) == ["disk-filling"]
    assert codes(disks._judged("d", 500, 1000, frozenset())) == []


def test_a_nifi_that_crashed_is_found_and_one_that_never_was_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("OTMIRROR_WORK", str(tmp_path))
    with pytest.raises(ConfigError, match="no embedded NiFi was started"):
        sites.find(environ={})
    home = tmp_path / "run" / "nifi"
    (home / "logs").mkdir(parents=True)
    (home / "nifi.pid").write_text(json.dumps({"pid": 2**22 + 1, "started": "never", "port": 8643}))
    log = home / "logs" / "nifi-app.log"
    log.write_text("the last it said\n")
    found = sites.find(environ={})
    assert found.home == home
    (down,) = nifi.process(EmbeddedNifi(home))
    assert (down.code, down.kind.weight) == ("nifi-down", ERROR)
    assert down.since == pytest.approx(log.stat().st_mtime)


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        ([], 2, "no embedded NiFi was started"),
        (["--home", "nowhere"], 2, "there is no such folder"),
        (["--nifi", "nifi1"], 2, "is not the address of a NiFi"),
        (["--nifi", "http://127.0.0.1:9/nifi-api", "--json"], 1, "nifi-silent"),
    ],
)
def test_the_command_says_what_it_could_not_look_at(tmp_path, monkeypatch, arguments, status, said):
    monkeypatch.setenv("OTMIRROR_WORK", str(tmp_path))
    monkeypatch.delenv("OTMIRROR_NIFI_URL", raising=False)
    told = CliRunner().invoke(app, ["doctor", *arguments])
    assert told.exit_code == status, told.output
    assert said in " ".join(told.output.split())


@pytest.mark.parametrize(
    ("text", "now", "moment"),
    [
        ("14:03:59 UTC", "2026-11-26T14:04:30+00:00", "2026-11-26T14:03:59+00:00"),
        ("23:59:58 GMT", "2026-11-26T00:00:10+00:00", "2026-11-25T23:59:58+00:00"),
        ("soon", "2026-11-26T00:00:10+00:00", None),
    ],
)
def test_the_time_of_a_bulletin(text, now, moment):
    found = times.of_bulletin(text, datetime.datetime.fromisoformat(now).timestamp())
    assert found == (moment and datetime.datetime.fromisoformat(moment).timestamp())
