"""`otmirror setup`: install what the mirror runs on."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from functools import partial
from typing import Annotated

import typer
from rich.console import Console

from otmirror.embedded import (
    brokers,
    bundle,
    compose,
    haproxy,
    install,
    java,
    nftables,
    opa,
    openbao,
    opensearch,
    prometheus,
    rsyslog,
    stunnel,
    victoriametrics,
    vmtools,
)
from otmirror.embedded.maven import apt_install
from otmirror.errors import UnavailableError


class Part(str, Enum):
    """What can be installed by itself."""

    NIFI = "nifi"
    VICTORIAMETRICS = "victoriametrics"
    BUNDLE = "bundle"
    OPA = "opa"
    PEERS = "peers"
    HEAVY = "heavy"


def peers(say: Callable[[str], object]) -> None:
    """Install what only the tests need: Node.js, brokers and others; tests that lack one skip and say so."""
    # The compiler works while the others wait for the network.
    with ThreadPoolExecutor(1) as pool:
        building = pool.submit(_built, say)
        if not (shutil.which("node") and shutil.which("npm")):
            say("Node.js: installing Debian's package for the tests against devices of another make")
            if not apt_install("nodejs", "npm"):
                say("Node.js could not be installed: the tests that need it will skip (apt-get install nodejs npm)")
        for have in (brokers.mosquitto_binary, nftables.nft_binary, stunnel.binary, rsyslog.install, haproxy.binary):
            _peer(have, say)
        for name in prometheus.PACKAGES:
            _peer(partial(prometheus.checker, name, say), say)
        for name in ("vmbackup", "vmrestore"):
            _peer(partial(vmtools.tool, name, say), say)
        for build in (brokers.kafka_jars, openbao.install, opensearch.install):
            _peer(partial(build, say), say)
        building.result()


def heavy(say: Callable[[str], object]) -> None:
    """Install what only the heavy tests need beside the peers."""
    for name in ("vmalert", "vmalert-tool"):
        _peer(partial(vmtools.tool, name, say), say)


def _built(say: Callable[[str], object]) -> None:
    for build in (opa.install, compose.install):
        _peer(partial(build, say), say)


def _peer(have: Callable[[], object], say: Callable[[str], object]) -> None:
    try:
        have()
    except UnavailableError as error:
        say(f"{error}; the tests that need it will skip")


_PARTS: dict[Part, Callable[[Callable[[str], object]], object]] = {
    # The build of VictoriaMetrics is the longest; NiFi waits for the network, and so do the packages.
    Part.VICTORIAMETRICS: victoriametrics.install,
    Part.NIFI: install.install,
    Part.BUNDLE: bundle.bundle_dependencies,
    Part.OPA: opa.install,
    Part.PEERS: peers,
    Part.HEAVY: heavy,
}


def setup(
    only: Annotated[
        Part | None,
        typer.Option(help="Install this alone; peers and heavy are what tests need, opa evaluates the policy."),
    ] = None,
) -> None:
    """Install NiFi, VictoriaMetrics and the processors' packages; what is there already is left alone."""
    console = Console(stderr=True)

    def say(line: str) -> None:
        console.print(line, markup=False, highlight=False)

    wanted = [only] if only else [part for part in _PARTS if part not in (Part.OPA, Part.PEERS, Part.HEAVY)]
    if Part.NIFI in wanted:
        # Before the threads: both NiFi and Maven need it, and its installation uses pip as the packages do.
        java.java_home()
    with ThreadPoolExecutor(2) as pool:
        tasks = [pool.submit(_PARTS[part], say) for part in wanted]
        for task in tasks:
            task.result()
