"""The configuration of an embedded NiFi."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from xml.etree import ElementTree

import pytest

from otmirror.embedded.conf import TEMPLATES, render
from otmirror.embedded.install import CONF, Installation, distribution
from otmirror.embedded.properties import parse
from otmirror.embedded.server import last_logged, reason
from otmirror.errors import ConfigError

# The keys without which NiFi 2.3.0 does not start.
_NEEDED = """
nifi.flow.configuration.file nifi.nar.library.directory nifi.nar.library.autoload.directory
nifi.nar.working.directory nifi.state.management.configuration.file nifi.state.management.provider.local
nifi.database.directory nifi.flowfile.repository.directory nifi.content.repository.directory.default
nifi.provenance.repository.directory.default nifi.provenance.repository.implementation
nifi.provenance.repository.max.storage.time nifi.provenance.repository.max.storage.size
nifi.provenance.repository.rollover.time nifi.provenance.repository.rollover.size
nifi.provenance.repository.indexed.fields nifi.provenance.repository.indexed.attributes
nifi.provenance.repository.index.shard.size nifi.web.http.host nifi.web.http.port
nifi.web.jetty.working.directory nifi.sensitive.props.key nifi.sensitive.props.algorithm
nifi.flowservice.writedelay.interval nifi.flowcontroller.graceful.shutdown.period
nifi.administrative.yield.duration nifi.bored.yield.duration nifi.python.command
nifi.python.framework.source.directory nifi.python.extensions.source.directory.otmirror
nifi.python.working.directory
"""
NEEDED = _NEEDED.split()


@pytest.fixture
def parts(tmp_path: Path) -> Installation:
    return Installation(tmp_path / "lib", tmp_path / "python")


def test_all_that_nifi_needs_is_rendered(tmp_path: Path, parts: Installation) -> None:
    file = render(tmp_path / "home", parts, 18643, tmp_path / "processors")
    values = parse(file.read_text())
    assert len(NEEDED) == 31
    assert set(NEEDED) <= set(values)
    assert all(values[key] for key in NEEDED)
    assert "$" not in file.read_text()
    assert values["nifi.web.http.host"] == "127.0.0.1"
    assert values["nifi.web.http.port"] == "18643"
    assert values["nifi.nar.library.directory"] == str(tmp_path / "lib")
    assert values["nifi.python.extensions.source.directory.otmirror"] == str(tmp_path / "processors")
    assert values["nifi.provenance.repository.indexed.attributes"] == "otmirror.batch, otmirror.source"
    assert os.access(values["nifi.python.command"], os.X_OK)
    for name in ("logback.xml", "state-management.xml"):
        ElementTree.parse(file.parent / name)


def test_no_key_is_twice_in_the_template() -> None:
    lines = [line for line in (TEMPLATES / "nifi.properties").read_text().splitlines() if line and line[0] != "#"]
    keys = [line.partition("=")[0] for line in lines]
    assert len(keys) == len(set(keys))


def test_the_key_of_sensitive_values_is_kept_private_and_per_home(tmp_path: Path, parts: Installation) -> None:
    one, two = (parse(render(tmp_path / n, parts, 1, None).read_text())["nifi.sensitive.props.key"] for n in "ab")
    again = parse(render(tmp_path / "a", parts, 2, None).read_text())["nifi.sensitive.props.key"]
    assert one == again != two
    assert len(one) >= 12
    for name in ("sensitive.key", "conf/nifi.properties"):
        assert stat.S_IMODE((tmp_path / "a" / name).stat().st_mode) == 0o600


def test_the_flow_in_conf_survives(tmp_path: Path, parts: Installation) -> None:
    conf = render(tmp_path, parts, 1, None).parent
    (conf / "flow.json.gz").write_bytes(b"flow")
    render(tmp_path, parts, 2, None)
    assert (conf / "flow.json.gz").read_bytes() == b"flow"


def test_a_distribution_keeps_its_settings_but_not_its_https_and_logins(tmp_path: Path) -> None:
    home = tmp_path / "nifi"
    for folder in ("lib", "python/framework", "conf"):
        (home / folder).mkdir(parents=True)
    (home / "lib" / "nifi-runtime-2.9.0.jar").touch()
    (home / "conf" / "nifi.properties").write_text(
        "# theirs\nnifi.queue.swap.threshold=20000\nnifi.web.https.port=8443\nnifi.web.https.host=127.0.0.1\n"
        "nifi.security.keystore=./conf/keystore.p12\nnifi.security.user.authorizer=single-user-authorizer\n"
        "nifi.web.http.port=\nnifi.python.extensions.source.directory.default=./python/extensions\n"
    )
    (home / "conf" / "authorizers.xml").write_text("<authorizers/>")
    conf = render(tmp_path / "home", distribution(home), 18643, None)
    values = parse(conf.read_text())
    assert values["nifi.queue.swap.threshold"] == "20000"
    assert values["nifi.web.http.port"] == "18643"
    assert values["nifi.web.https.port"] == values["nifi.security.keystore"] == ""
    assert values["nifi.nar.library.directory"] == str(home / "lib")
    assert (conf.parent / "authorizers.xml").exists()


@pytest.mark.parametrize(
    ("has", "message"),
    [
        ([], "is not a NiFi: it has no lib/nifi-runtime"),
        (["lib"], "is not a NiFi: it has no lib/nifi-runtime"),
        (["lib", "lib/nifi-runtime-2.3.0.jar"], "is a NiFi without Python"),
    ],
)
def test_what_is_no_distribution_is_said(tmp_path: Path, has: list[str], message: str) -> None:
    for name in has:
        (tmp_path / name).mkdir()
    with pytest.raises(ConfigError, match=f"NIFI_HOME={tmp_path} {message}"):
        distribution(tmp_path)


def test_nothing_names_a_registry_host() -> None:
    for file in CONF.rglob("*"):
        if file.is_file():
            hosts = [word for word in file.read_text().split() if "://" in word and "maven.apache.org/POM" not in word]
            assert hosts == [], f"{file}: {hosts}"


def test_the_reason_is_the_innermost_cause_of_this_start(tmp_path: Path) -> None:
    log = tmp_path / "nifi-app.log"
    old = "Caused by: java.io.IOException: an old story\n"
    log.write_text(
        old + "2026-11-23 18:48:45,481 ERROR [main] org.apache.nifi.NiFi Failure\n"
        "Caused by: org.springframework.beans.BeanException: cannot\n\tat x.y\n"
        "Caused by: java.io.IOException: disk full\n"
    )
    assert reason(log, len(old)) == f"BeanException: cannot; IOException: disk full (log: {log})"
    assert reason(log, log.stat().st_size) is None
    assert reason(tmp_path / "none.log", 0) is None


def test_a_start_that_takes_too_long_tells_how_far_it_came(tmp_path: Path) -> None:
    log = tmp_path / "nifi-app.log"
    assert last_logged(log, 0) is None
    old = "2026-11-25 19:46:21,882 INFO [main] o.a.n.Old from the run before\n"
    new = "2026-11-25 19:52:30,469 INFO [main] o.a.nifi.controller.StandardFlowService Connecting Node: 127.0.0.1:50969"
    log.write_text(old)
    assert last_logged(log, len(old)) is None
    log.write_text(f"{old}{new}\n\tat java.lang.Thread.run(Thread.java:1)\n")
    assert last_logged(log, len(old)) == f"the last it logged: {new} (log: {log})"
