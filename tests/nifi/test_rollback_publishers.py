"""What publishes is disabled and enabled again; a generator stands for it, as this NiFi has nothing that publishes."""

from __future__ import annotations

import re

import pytest
from typer.testing import CliRunner

from otmirror.cli.app import app
from otmirror.rollout import canvas

pytestmark = pytest.mark.timeout(600)

GENERATOR = "org.apache.nifi.processors.standard.GenerateFlowFile"


@pytest.fixture(scope="module")
def group(api):
    """Two generators, one running and one stopped, beside a third that is none of ours."""
    rest = api.rest
    place = {"name": "publishers", "position": {"x": 0, "y": 7000}}
    made = rest.post("/process-groups/root/process-groups", {"revision": {"version": 0}, "component": place})["id"]
    for name in ("runs", "stopped"):
        config = {"schedulingPeriod": "1 hour", "autoTerminatedRelationships": ["success"]}
        component = {"type": GENERATOR, "name": name, "config": config, "position": {"x": 0, "y": 0}}
        rest.post(f"/process-groups/{made}/processors", {"revision": {"version": 0}, "component": component})
    api.await_ready(made)
    api.schedule(api.processor_by_name(made, "runs").id, "RUNNING")
    yield made
    for component in api.components(made):
        if component.state == "DISABLED":
            api.schedule(component.id, "STOPPED")
    api.delete_group(made)


def states(api, group):
    return {component.name: component.state for component in api.components(group)}


def test_publishers_are_disabled_and_come_back_as_they_were(api, nifi, group, tmp_path, monkeypatch):
    line = ["rollback", "--url", nifi.url, "--records", str(tmp_path)]
    untouched = CliRunner().invoke(app, [*line, "--yes"])
    assert untouched.exit_code == 0, untouched.output
    assert states(api, group) == {"runs": "RUNNING", "stopped": "STOPPED"}
    monkeypatch.setattr(canvas, "PUBLISHERS", re.compile("GenerateFlowFile"))
    done = CliRunner().invoke(app, [*line, "--yes"])
    assert done.exit_code == 0, done.output
    assert "disable what publishes: " in done.stdout
    assert states(api, group) == {"runs": "DISABLED", "stopped": "DISABLED"}
    undone = CliRunner().invoke(app, [*line, "--undo", "--yes"])
    assert undone.exit_code == 0, undone.output
    assert states(api, group) == {"runs": "RUNNING", "stopped": "STOPPED"}


def test_a_processor_that_was_removed_is_told_and_the_others_come_back(api, nifi, group, tmp_path, monkeypatch):
    monkeypatch.setattr(canvas, "PUBLISHERS", re.compile("GenerateFlowFile"))
    line = ["rollback", "--url", nifi.url, "--records", str(tmp_path)]
    assert CliRunner().invoke(app, [*line, "--yes"]).exit_code == 0
    gone = api.processor_by_name(group, "stopped")
    revision = api.rest.get(f"/processors/{gone.id}")["revision"]["version"]
    api.rest.delete(f"/processors/{gone.id}", version=revision)
    undone = CliRunner().invoke(app, [*line, "--undo", "--yes"])
    assert undone.exit_code == 1
    assert "stopped is not on the canvas any more" in undone.stderr
    assert states(api, group) == {"runs": "RUNNING"}
    # It never comes back: the record is closed nevertheless.
    assert "nothing to undo" in str(CliRunner().invoke(app, [*line, "--undo", "--yes"]).exception)
