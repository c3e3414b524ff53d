"""The short form of `make restore-drill`: a running pilot backed up, destroyed and restored."""

import gzip
import json
import shutil

import msgspec
import pytest

from otmirror.errors import ConfigError
from otmirror.flow.canonical import load
from otmirror.flow.diff import diff
from otmirror.plant.tags import MODBUS_FILE, OPCUA_FILE
from otmirror.recovery import manifest
from otmirror.recovery.drill import drill
from otmirror.recovery.place import backups
from otmirror.recovery.restore import Targets, restore

from .pilots import folder, pilot

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def drilled():
    """A pilot that was destroyed and restored, and what was measured."""
    parameters = {"iceberg.commit.interval": "2 sec"}
    with pilot(folder("restore-drill"), ["--tags", "8"], start=False, parameters=parameters) as stack:
        yield stack, drill(stack, 3.0, lambda _: None, on=3.0)


def test_everything_up_to_the_consistency_point_is_back_once_and_the_flow_goes_on(drilled):
    _, told = drilled
    assert told.samples > 50
    assert told.new_samples > 20
    assert told.passed, told
    assert 0 < told.rpo < 120
    assert told.rpo < told.rto + 120
    assert set(told.steps) >= {"backup", "verify", "restore VictoriaMetrics", "restore Iceberg", "start NiFi"}


def test_the_backup_holds_the_flow_the_tag_lists_and_no_secret(drilled):
    stack, _ = drilled
    (backup,) = backups(stack.folder / "backups")
    told = manifest.read(backup)
    (flow,) = told.flows
    assert (flow.name, flow.running) == ("pilot", True)
    # What runs now came from that file.
    assert diff(load(backup / flow.path), stack.api.export_flow(stack.group)) == []
    omitted = {one.what for one in told.not_included}
    assert "flow pilot: parameter opcua.password" in omitted
    names = {one.source.rpartition("/")[2] for one in told.configuration}
    assert {OPCUA_FILE, MODBUS_FILE, "flow.json.gz"} <= names
    (stored,) = (one for one in told.configuration if one.source.endswith("flow.json.gz"))
    assert "rootGroup" in json.loads(gzip.decompress((backup / stored.path).read_bytes()))
    assert not any("sensitive.key" in file.path for file in told.files)
    assert told.versions["nifi"] == stack.api.about()


def test_a_flow_that_is_there_and_an_older_nifi_are_refused(drilled, tmp_path):
    stack, _ = drilled
    (backup,) = backups(stack.folder / "backups")
    targets = Targets(nifi=stack.nifi.url)
    with pytest.raises(
        ConfigError, match="pilot: in this NiFi already; use an empty NiFi, or replace them with --force"
    ):
        restore(backup, targets)
    copy = shutil.copytree(backup, tmp_path / backup.name)
    told = manifest.read(backup)
    manifest.write(copy, msgspec.structs.replace(told, versions={**told.versions, "nifi": "99.0.0"}), None)
    with pytest.raises(ConfigError, match=r"the flows are of NiFi 99\.0\.0, this is NiFi .*, which is older"):
        restore(copy, targets)
    assert stack.api.status(stack.group).name == "pilot"
