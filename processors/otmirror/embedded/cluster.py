"""A NiFi cluster on this machine: some nodes, each with a home of its own, and the ZooKeeper they meet at."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import requests

from otmirror.embedded.conf import Member, share_sensitive_key
from otmirror.embedded.install import Installation, install
from otmirror.embedded.loopback import session
from otmirror.embedded.processes import free_port, wait_until
from otmirror.embedded.server import START_TIMEOUT, EmbeddedNifi
from otmirror.embedded.zookeeper import ZooKeeper
from otmirror.errors import ConfigError, UnavailableError

_FILE = "cluster.json"
PRIMARY, COORDINATOR = "Primary Node", "Cluster Coordinator"


@dataclass(frozen=True)
class Ports:
    """The ports of one node, kept for its life: by them the others know it again."""

    canvas: int
    protocol: int
    load_balance: int


@dataclass(frozen=True)
class Layout:
    """Which nodes a cluster has and where they listen on 127.0.0.1."""

    zookeeper: int
    nodes: tuple[Ports, ...]


@dataclass(frozen=True)
class NodeStatus:
    """One node: its number from 1, canvas, pid while it runs, and what the cluster says of it.

    `state` is NiFi's word (CONNECTED, CONNECTING, DISCONNECTED ...) or None when no node that answers knows it.
    """

    number: int
    url: str
    pid: int | None
    state: str | None
    roles: tuple[str, ...]
    queued: str

    @property
    def connected(self) -> bool:
        """Whether it runs and takes part."""
        return self.pid is not None and self.state == "CONNECTED"


class Cluster:
    """NiFi nodes that share one flow. Its whole life is in `home`: `node-1`, `node-2` ... and `zookeeper`."""

    def __init__(
        self, home: Path, nodes: int = 0, port: int = 0, extensions: Path | None = None,
        nars: Sequence[Path] = (), installation: Installation | None = None,
    ):  # fmt: skip
        """Take the home and how to run the nodes; a home that is a cluster already keeps its ports.

        Args:
            home: holds everything.
            nodes: how many; 0: as many as the home has. More than that adds nodes.
            port: of the first node's canvas, the others have the next ones; 0: any free ones.
            extensions: the processors' folder, which all nodes load.
            nars: NARs that all nodes load.
            installation: the NiFi to run; installed when None.

        Raises:
            ConfigError: the home has more nodes, which may hold FlowFiles, or is that of a single NiFi.
        """
        self.home = home.resolve()
        self._installation = installation
        known = layout(self.home)
        self.layout = known if known and nodes in (0, len(known.nodes)) else _planned(self.home, known, nodes, port)
        self.zookeeper = ZooKeeper(self.home / "zookeeper", self.layout.zookeeper)
        self.nodes = tuple(
            EmbeddedNifi(
                self.home / f"node-{number}", ports.canvas, extensions, nars, installation,
                Member(ports.protocol, ports.load_balance, len(self.layout.nodes), self.zookeeper.address),
            )
            for number, ports in enumerate(self.layout.nodes, 1)
        )  # fmt: skip

    @property
    def url(self) -> str:
        """The address of the REST API of the first node that runs; of the first one when none does."""
        return next((node.url for node in self.nodes if node.pid), self.nodes[0].url)

    def processes(self) -> list[int]:
        """Return the pids of all nodes and of their Python processes."""
        return [pid for node in self.nodes for pid in node.processes()]

    def start(self, timeout: float = START_TIMEOUT) -> None:
        """Start ZooKeeper and the nodes that do not run, and wait until all are connected.

        Raises:
            ConfigError: a NAR or the processors' folder is not what it should be.
            UnavailableError: all run already, or one does not start or connect; what this call started is stopped.
        """
        waiting = [node for node in self.nodes if node.pid is None]
        if not waiting:
            raise UnavailableError(f"the cluster runs already: {len(self.nodes)} nodes, {self.nodes[0].canvas}")
        installation = self._installation or install()
        self.home.mkdir(parents=True, exist_ok=True)
        (self.home / _FILE).write_text(json.dumps(asdict(self.layout)))
        with ExitStack() as undo:
            if self.zookeeper.pid is None:
                undo.callback(self.zookeeper.stop)
                self.zookeeper.start(installation)
            for node in waiting:
                share_sensitive_key(self.home, node.home)
                undo.callback(node.stop)
            _each(waiting, lambda node: node.start(timeout))
            if not wait_until(lambda: all(node.connected for node in self.status()), timeout, 0.5):
                left = ", ".join(
                    f"node {node.number} {node.state or 'unknown'}" for node in self.status() if not node.connected
                )
                raise UnavailableError(f"not all nodes are connected after {timeout:.0f} s: {left}")
            undo.pop_all()

    def stop(self, patience: float = 40.0) -> None:
        """Stop all nodes and ZooKeeper; FlowFiles in the queues of each node stay and go on at the next start."""
        _each(self.nodes, lambda node: node.stop(patience))
        self.zookeeper.stop()

    def status(self) -> tuple[NodeStatus, ...]:
        """Return what every node does, as the first node that answers sees it."""
        told: dict[int, dict[str, Any]] = {}
        for node in self.nodes:
            if node.pid and (seen := members(node.url)):
                told = seen
                break
        return tuple(
            NodeStatus(
                number=number,
                url=node.canvas,
                pid=node.pid,
                state=told.get(node.port, {}).get("status"),
                roles=tuple(told.get(node.port, {}).get("roles") or ()) if node.pid else (),
                queued=str(told.get(node.port, {}).get("queued") or ""),
            )
            for number, node in enumerate(self.nodes, 1)
        )

    def primary(self) -> int | None:
        """Return the number of the node the sources run on; None while none is elected."""
        return next((node.number for node in self.status() if PRIMARY in node.roles and node.connected), None)


def layout(home: Path) -> Layout | None:
    """Return the nodes of the cluster in `home`; None when it holds none.

    Raises:
        ConfigError: its cluster.json cannot be read.
    """
    file = home / _FILE
    try:
        told = json.loads(file.read_text())
        return Layout(int(told["zookeeper"]), tuple(Ports(**node) for node in told["nodes"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{file}: this is not the description of a cluster ({error})") from None


def members(url: str) -> dict[int, dict[str, Any]]:
    """Return what the NiFi at `url` says of each node of its cluster, by port; {} when it says nothing."""
    try:
        with session(url) as asking:
            answer = asking.get(f"{url}/controller/cluster", timeout=5)
        return {int(node["apiPort"]): node for node in answer.json()["cluster"]["nodes"]} if answer.ok else {}
    except (requests.RequestException, ValueError, KeyError):
        return {}


def _planned(home: Path, known: Layout | None, nodes: int, port: int) -> Layout:
    """Return the nodes there are and those to add.

    Raises:
        ConfigError: there would be fewer than before, or the home is a single NiFi's.
    """
    have = known.nodes if known else ()
    if nodes < len(have):
        raise ConfigError(
            f"{home} is a cluster of {len(have)} nodes and samples may wait on each: start it with "
            f"--nodes {len(have)}, or choose another home (--home)"
        )
    if nodes < 1:
        raise ConfigError(f"a cluster has one node or more, not {nodes}")
    if not known and (home / "conf").is_dir():
        raise ConfigError(f"{home} is the home of a single NiFi: choose another one for a cluster (--home)")
    taken = {known.zookeeper, *(each for node in have for each in asdict(node).values())} if known else set()

    def fresh() -> int:
        while (found := free_port()) in taken:
            pass
        taken.add(found)
        return found

    taken |= set(range(port, port + nodes)) if port else set()
    added = [Ports(port + at if port else fresh(), fresh(), fresh()) for at in range(len(have), nodes)]
    return Layout(known.zookeeper if known else fresh(), (*have, *added))


def _each(nodes: Sequence[EmbeddedNifi], work: Callable[[EmbeddedNifi], object]) -> None:
    """Do `work` for all nodes at once; the first failure is raised when all are done."""
    with ThreadPoolExecutor(max(1, len(nodes))) as pool:
        for done in [pool.submit(work, node) for node in nodes]:
            done.result()
