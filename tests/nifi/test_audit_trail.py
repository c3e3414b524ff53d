"""The audit trail from end to end: a real NiFi with people and a tampered processor, collector, rsyslog, OpenSearch.

Keycloak's and OpenBao's lines are recorded ones (tests/audit/samples); theirs are servers of their own.
"""

from __future__ import annotations

import datetime
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from otmirror.audit.indices import expire
from otmirror.embedded import opensearch, rsyslog
from otmirror.embedded.bundle import bundle_dependencies
from otmirror.embedded.https import Https
from otmirror.embedded.install import Installation
from otmirror.embedded.server import EmbeddedNifi
from otmirror.errors import MirrorError, UnavailableError
from otmirror.loopthread import LoopThread
from otmirror.pki.development import Wanted, make
from otmirror.plant import Plant, PlantConfig
from otmirror.workspace import PROJECT

from .auditing import DELIVERED, Person, Store, counted, panels, tampered
from .pilots import await_that

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(600)]

SAMPLES = PROJECT / "tests" / "audit" / "samples"
CANARY = "cAnArY-secret-5e1f"
GENERATE = "org.apache.nifi.processors.standard.GenerateFlowFile"
INVOKE = "org.apache.nifi.processors.standard.InvokeHTTP"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[opensearch.OpenSearch]:
    try:
        opensearch.install()
        rsyslog.install()
    except UnavailableError as error:
        pytest.skip(str(error))
    server = opensearch.OpenSearch(tmp_path_factory.mktemp("opensearch"))
    server.start()
    Store(server.url).put("_index_template/otmirror-audit", DELIVERED / "index-template.json")
    yield server
    server.stop()


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    recording = tmp_path_factory.mktemp("plant") / "well.csv"
    recording.write_text("timestamp,P-PDG\n" + "".join(f"2018-02-06 18:00:{s:02},{s}\n" for s in range(60)))
    loop = LoopThread("plant")
    running = Plant(PlantConfig(csv=(recording,), opcua_port=0, modbus_port=0))
    loop.run(running.start(), 60)
    yield running
    loop.run(running.stop(), 20)
    loop.close()


@dataclass
class Site:
    """What the people did, and where it is told."""

    nifi: EmbeddedNifi
    trail: Path
    decisions: Path
    environment: dict[str, str]
    device: str
    endpoint: str
    wells: str = ""
    """The processor that two people worked on."""

    def collect(self) -> None:
        argv = [
            sys.executable, "-m", "otmirror", "audit", "collect", "--once", "--out", str(self.trail),
            "--nifi", self.nifi.url, "--nifi-logs", str(self.nifi.app_log.parent),
            "--keycloak", str(self.trail.parent / "keycloak.log"), "--vault", str(self.trail.parent / "openbao.jsonl"),
            "--decisions", str(self.decisions),
        ]  # fmt: skip
        done = subprocess.run(argv, env=self.environment, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr

    def lines(self) -> list[dict]:
        return [json.loads(line) for file in self.trail.glob("audit-*.jsonl") for line in file.read_text().splitlines()]


@pytest.fixture(scope="module")
def site(
    installation: Installation, plant: Plant, store: opensearch.OpenSearch, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """A day at the plant."""
    bundle_dependencies()
    folder = tmp_path_factory.mktemp("audit")
    pki = folder / "pki"
    make(pki, Wanted(("nifi",), ("admin", "engineer", "visitor", "auditor"), kind="ec"))
    for name in ("keycloak.log", "openbao.jsonl"):
        shutil.copyfile(SAMPLES / {"keycloak.log": "keycloak.jsonl", "openbao.jsonl": "openbao-audit.jsonl"}[name],
                        folder / name)  # fmt: skip
    nifi = EmbeddedNifi(
        folder / "nifi", 0, tampered(folder / "processors"), installation=installation, https=Https.from_folder(pki)
    )
    environment = {
        **os.environ,
        "PYTHONPATH": str(PROJECT / "processors"),
        "OTMIRROR_NIFI_CA": str(pki / "ca.pem"),
        "OTMIRROR_NIFI_CERTIFICATE": str(pki / "auditor.pem"),
        "OTMIRROR_NIFI_KEY": str(pki / "auditor.key"),
    }
    host, port = plant.modbus_address or ("", 0)
    there = Site(
        nifi, folder / "trail", folder / "decisions.jsonl", environment, f"{host}:{port}", str(plant.opcua_url)
    )
    try:
        nifi.start()
        work_day(there, pki)
        there.collect()
        yield there
    finally:
        nifi.stop()


def work_day(site: Site, pki: Path) -> None:
    """Two people change a flow, a third tries to, a processor tries to write, a flow is denied."""
    admin, engineer, visitor = (Person(site.nifi.url, pki, name) for name in ("admin", "engineer", "visitor"))
    canvas = "/process-groups/ROOT"
    admin.let_in(engineer.identity, "read /flow", f"read {canvas}", f"write {canvas}")
    admin.let_in("CN=auditor", "read /flow", f"read {canvas}", "read /provenance", f"read /provenance-data{canvas}")
    site.wells = admin.add(GENERATE, "Read wells", File_Size="1 KB")
    engineer.configure(site.wells, File_Size="2 KB")
    caller = engineer.add(INVOKE, "Ask the laboratory")
    engineer.configure(caller, Request_Username="mirror", Request_Password=CANARY)
    with pytest.raises(MirrorError, match="403 Unable to view Processor"):
        visitor.configure(site.wells, File_Size="9 GB")
    deny(site, 1)
    bad = admin.add("TamperedSource", "Read pad 7")
    # Before its process is up NiFi knows neither properties nor relationships.
    await_that(lambda: admin.sees(bad, "validationErrors", "Device"), 90, "its process is up")
    admin.configure(bad, ("success",), Device=site.device, Endpoint=site.endpoint)
    await_that(lambda: admin.sees(bad, "validationStatus", "VALID"), 30, "valid")
    revision = admin.rest.get(f"/processors/{bad}")["revision"]
    admin.rest.put(f"/processors/{bad}/run-status", {"revision": revision, "state": "RUN_ONCE"})
    await_that(lambda: site.nifi.app_log.read_text().count("otmirror.refused {") == 3, 60, "three refusals in the log")


def deny(site: Site, number: int, many: int = 1) -> None:
    """The policy denies a flow, as `otmirror policy check` logs it."""
    now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds")
    with site.decisions.open("a") as file:
        for n in range(number, number + many):
            line = {
                "time": now, "decision_id": str(n), "asked_by": "otmirror policy check", "file": f"flow-{n}.json",
                "sha256": "0" * 64, "kind": "flow", "policy": "1", "decision": "deny", "rule": "flow.write_capable",
                "component": {"kind": "processor", "name": "PutModbus", "id": "p"}, "message": "can write",
            }  # fmt: skip
            file.write(json.dumps(line) + "\n")


@pytest.fixture(scope="module")
def shipper(site: Site, store: opensearch.OpenSearch) -> Iterator[rsyslog.Rsyslog]:
    folder = site.trail.parent / "rsyslog"
    running = rsyslog.Rsyslog(folder, {
        "OTMIRROR_AUDIT_FILES": f"{site.trail}/audit-*.jsonl",
        "OTMIRROR_AUDIT_REFUSED": str(folder / "refused.jsonl"),
        "OTMIRROR_OPENSEARCH": store.url,
        "OTMIRROR_OPENSEARCH_USER": "",
        "OTMIRROR_OPENSEARCH_PASSWORD": "",
        "OTMIRROR_OPENSEARCH_RETRY": "1",
    })  # fmt: skip
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def answers(site: Site, shipper: rsyslog.Rsyslog, store: opensearch.OpenSearch) -> Store:
    """The OpenSearch once it has the whole trail."""
    asked = Store(store.url)
    arrived(site, asked)
    return asked


def arrived(site: Site, store: Store) -> None:
    wanted = len(site.lines())
    await_that(lambda: store.count() >= wanted, 30, f"{wanted} events in OpenSearch")
    assert store.count() == wanted == len({event["id"] for event in site.lines()})


def test_who_changed_which_processor_when(site: Site, answers: Store) -> None:
    changes = answers.events(f'source:nifi-history AND object.id:"{site.wells}" AND detail.property:"File Size"')
    told = [(e["actor"], e["action"], e["object"]["name"], e["detail"].get("previous"), e["detail"]["value"])
            for e in changes]  # fmt: skip
    assert told == [
        ("CN=admin", "configure", "Read wells", "0B", "1 KB"),
        ("CN=engineer", "configure", "Read wells", "1 KB", "2 KB"),
    ]
    now = datetime.datetime.now(datetime.timezone.utc)
    for event in changes:
        assert (
            now - datetime.timedelta(minutes=10) < datetime.datetime.fromisoformat(event["time"][:-1] + "+00:00") < now
        )
    added = answers.events(f'source:nifi-history AND action:add AND object.id:"{site.wells}"')
    assert [event["actor"] for event in added] == ["CN=admin"]


def test_which_writes_were_refused(site: Site, answers: Store) -> None:
    assert counted(answers, "Refused writes to devices") == {
        (site.device, "function code 6 to unit 1"): 2,
        (site.endpoint, "Write"): 1,
    }
    last = answers.events(f'source:guard AND detail.device:"{site.device}"')[-1]
    assert last["detail"]["count"] == "2"


def test_who_tried_without_the_rights(site: Site, answers: Store) -> None:
    refused = answers.events('actor:"CN=visitor" AND outcome:refused')
    assert {"nifi-request", "nifi-user"} <= {event["source"] for event in refused}


def test_failed_logins(answers: Store) -> None:
    assert counted(answers, "Failed logins") == {
        ("keycloak", "alice", "127.0.0.1"): 1,
        ("keycloak", "mallory", "127.0.0.1"): 1,
        ("vault", "anonymous", "127.0.0.1"): 1,
    }


def test_what_the_policy_denied(answers: Store) -> None:
    assert counted(answers, "Denied by the policy")[("flow.write_capable", "flow-1.json")] == 1


def test_every_panel_of_the_dashboard_shows_something(answers: Store) -> None:
    for title, query, fields in panels():
        if title != "Logs that were cut":
            assert answers.events(query), title
        if fields:
            assert counted(answers, title), title


def test_no_secret_is_in_the_trail(site: Site, answers: Store) -> None:
    changes = answers.events('source:nifi-history AND detail.property:"Request Password"')
    assert [event["detail"]["value"] for event in changes] == ["(hidden)"]
    for file in site.trail.iterdir():
        assert CANARY not in file.read_text()


def test_a_shipper_that_is_killed_loses_nothing_and_sends_nothing_twice(
    site: Site, answers: Store, shipper: rsyslog.Rsyslog
) -> None:
    before = answers.count()
    deny(site, 100, 60)
    site.collect()
    await_that(lambda: answers.count() > before, 20, "the first of them")
    shipper.kill()
    assert not shipper.running
    deny(site, 200, 20)
    site.collect()
    shipper.start()
    arrived(site, answers)


def test_a_store_that_is_away_gets_it_later(
    site: Site, answers: Store, store: opensearch.OpenSearch, shipper: rsyslog.Rsyslog
) -> None:
    store.stop()
    deny(site, 300, 20)
    site.collect()
    shipper.kill()  # also this: what waits is in the files, not in its memory
    shipper.start()
    assert answers.count() == -1
    store.start()
    arrived(site, answers)


def test_old_days_are_deleted(site: Site, answers: Store) -> None:
    today = datetime.datetime.now(datetime.timezone.utc).date()
    assert expire(answers.url, 365, today) == []
    gone = expire(answers.url, 365, today + datetime.timedelta(days=10_000))
    assert f"otmirror-audit-{today}" in gone
    assert answers.count() == 0
