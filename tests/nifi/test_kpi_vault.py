"""Which share of a NiFi's secrets came from Vault, counted on a real NiFi by their names."""

from __future__ import annotations

import datetime
import json

import pytest

from otmirror.kpi import security
from otmirror.kpi.inputs import Inputs, Places

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def context(api):
    """A flow without processors: three sensitive parameters with a value, one without, one that is no secret."""
    rest = api.rest
    parameters = [
        {"parameter": {"name": name, "sensitive": sensitive, "value": value}}
        for name, sensitive, value in (
            ("opcua.password", True, "one"), ("victoriametrics.password", True, "two"), ("by.hand", True, "three"),
            ("empty", True, None), ("poll.interval", False, "1 sec"),
        )
    ]  # fmt: skip
    made = rest.post(
        "/parameter-contexts", {"revision": {"version": 0}, "component": {"name": "kpi", "parameters": parameters}}
    )
    reference = {"name": "kpi", "position": {"x": 0, "y": 8000}, "parameterContext": {"id": made["id"]}}
    group = rest.post("/process-groups/root/process-groups", {"revision": {"version": 0}, "component": reference})["id"]
    yield made["id"]
    api.delete_group(group)
    revision = rest.get(f"/parameter-contexts/{made['id']}")["revision"]["version"]
    rest.delete(f"/parameter-contexts/{made['id']}", version=revision)


def asked(nifi, folder):
    return security.vault(Inputs("EUR", 3600.0, (), (), Places(nifi=nifi.url, secrets=str(folder))))


def test_two_of_three_secrets_are_vaults(context, nifi, tmp_path):
    now = datetime.datetime.now(datetime.timezone.utc).isoformat()
    known = {"context": context, "version": 3, "written": now, "names": ["opcua.password", "victoriametrics.password"]}
    (tmp_path / "kpi.json").write_text(json.dumps(known))
    figure = asked(nifi, tmp_path)
    assert figure.value == pytest.approx(2 / 3)
    assert "kpi: by.hand" in figure.how
    assert [(one.name, one.value) for one in figure.metrics] == [("vault_share_ratio", pytest.approx(2 / 3))]


def test_what_was_synced_into_another_context_does_not_count(context, nifi, tmp_path):
    (tmp_path / "kpi.json").write_text(json.dumps({"context": "another", "names": ["opcua.password"]}))
    assert asked(nifi, tmp_path).value == 0.0
    assert asked(nifi, tmp_path / "absent").value == 0.0
