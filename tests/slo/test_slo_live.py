"""vmalert, running in the monitoring of a pilot, tells outages in time, with the runbook, and their end."""

import time

import pytest

from otmirror.demo.monitoring import Monitoring
from otmirror.embedded.loopback import session
from otmirror.embedded.processes import free_port, wait_until
from otmirror.embedded.vmtools import tool
from otmirror.errors import UnavailableError
from otmirror.metrics.meter import Meter
from otmirror.workspace import PROJECT

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(300)]
INTERVAL = 2.0
IN_TIME = 120.0
"""Seconds within which an outage has to be told."""


@pytest.fixture(scope="module")
def meter(tmp_path_factory):
    """A processor's metrics, as it writes them itself."""
    meter = Meter(tmp_path_factory.mktemp("metrics"), "ToVictoriaMetrics", "hot-1", every=1.0)
    meter.start()
    yield meter
    meter.stop()


@pytest.fixture(scope="module")
def monitoring(tmp_path_factory, store, meter):
    try:
        tool("vmalert")
    except UnavailableError as error:
        pytest.skip(str(error))
    found = Monitoring(
        tmp_path_factory.mktemp("monitoring"), f"http://127.0.0.1:{free_port()}/nifi-api", store.url,
        [meter.file.parent], lambda _: None, interval=INTERVAL,
    )  # fmt: skip
    found.start()
    yield found
    found.stop()


def fires(monitoring, name):
    return next((alert for alert in monitoring.firing() if alert.name == name), None)


def told(monitoring, name, since):
    """Wait for an alert and check what it says."""
    assert wait_until(lambda: fires(monitoring, name) is not None, IN_TIME, 0.5), f"{name} was not told"
    alert = fires(monitoring, name)
    assert alert.labels["severity"] == "page"
    assert (PROJECT / alert.annotations["runbook_url"]).read_text().startswith(f"# {name}\n")
    assert since - 2 <= alert.since <= time.time()
    return alert


def test_outages_are_told_in_time_with_their_runbooks(monitoring, store, meter):
    stopped = Meter(meter.file.parent, "WriteIceberg", "cold-1", every=1.0)
    stopped.start()
    assert wait_until(stopped.file.is_file, 10)
    stopped.stop()
    assert wait_until(lambda: fires(monitoring, "Watchdog") is not None, 30)
    assert fires(monitoring, "HotStoreDown") is None
    began = time.time()
    store.kill()
    # Nobody writes this processor's metrics any more, and nothing says that it was meant to end.
    meter._stopped.set()
    assert told(monitoring, "HotStoreDown", began).labels["component"] == "hot"
    store.start()
    # NiFi was never there.
    assert told(monitoring, "NifiDown", began - 60).labels["job"] == "nifi"
    assert told(monitoring, "ProcessorSilent", began).labels["id"] == "hot-1"
    assert [alert.labels["id"] for alert in monitoring.firing() if alert.name == "ProcessorSilent"] == ["hot-1"]
    assert wait_until(lambda: fires(monitoring, "HotStoreDown") is None, IN_TIME, 0.5)


def test_what_was_found_is_in_the_store(monitoring):
    def recorded():
        with session(monitoring.url) as asking:
            found = asking.get(
                f"{monitoring.url}/api/v1/query", params={"query": 'slo:sli_error:ratio_rate5m{slo="availability"}'}
            ).json()["data"]["result"]
        return [float(series["value"][1]) for series in found]

    # NiFi was never there: no moment was good.
    assert wait_until(lambda: recorded() == [1.0], 60, 0.5), recorded()


def test_a_vmalert_that_is_away_is_told(tmp_path):
    from otmirror.embedded.vmalert import VmAlert

    with pytest.raises(UnavailableError, match="does not answer"):
        VmAlert(tmp_path, "", (), port=free_port()).firing()


def test_a_wrong_rule_is_named(tmp_path, store):
    from otmirror.embedded.vmalert import VmAlert

    try:
        tool("vmalert")
    except UnavailableError as error:
        pytest.skip(str(error))
    rule = tmp_path / "wrong.yaml"
    rule.write_text("groups: [{name: g, rules: [{alert: A, expr: 'sum(up'}]}]")
    with pytest.raises(UnavailableError, match="ended while it started"):
        VmAlert(tmp_path / "vmalert", store.url, [rule]).start()
