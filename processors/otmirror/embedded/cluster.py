"""A NiFi cluster on this machine: some nodes, each with a home of its own, and the ZooKeeper they meet at."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from otmirror.embedded.conf import Member, share_sensitive_key
from otmirror.embedded.install import Installation, install
from otmirror.embedded.joining import Joining, Patience, View, last_events, request_connection, view
from otmirror.embedded.processes import free_port
from otmirror.embedded.server import START_TIMEOUT, EmbeddedNifi
from otmirror.embedded.zookeeper import ZooKeeper
from otmirror.errors import ConfigError, UnavailableError

_FILE = "cluster.json"
_POLL = 0.5
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
    said: str = ""
    """The last things the cluster noted about it, newest first."""

    @property
    def word(self) -> str:
        """Its state for a message."""
        return (self.state or "unknown to the cluster") if self.pid else "not running"

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

    def start(
        self, timeout: float = START_TIMEOUT, patience: Patience | None = None, say: Callable[[str], None] | None = None
    ) -> None:
        """Start ZooKeeper and the nodes that do not run, and wait until all are connected.

        A node that runs but is not connected is asked to connect, and restarted once when that does not help. What
        waits in its queues stays.

        Args:
            timeout: seconds until a node has started, and again until all are connected; anew after a restart.
            patience: how long to wait before which of these; None: as `Patience` says.
            say: takes a line about each of these.

        Raises:
            ConfigError: a NAR or the processors' folder is not what it should be.
            UnavailableError: all are connected already, or one does not start or connect; what this call started is
                stopped. The message has what the cluster noted about that node, and its log.
        """
        waiting = [node for node in self.nodes if node.pid is None]
        if not waiting and all(node.connected for node in self.status()):
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
            self._join(timeout, Joining(patience), say or _silently)
            undo.pop_all()

    def reconnect(self, number: int) -> str | None:
        """Ask the cluster to connect a node, by its number from 1; return why it will not, None when it tries."""
        return self._ask(self._view(), number)

    def _join(self, timeout: float, joining: Joining, say: Callable[[str], None]) -> None:
        """Wait until all nodes are connected, and do what helps."""
        end = time.monotonic() + timeout
        while True:
            seen = self._view()
            missing = {node.number: node for node in self._status(seen) if not node.connected}
            if not missing:
                return
            now = time.monotonic()
            if now >= end:
                told = " | ".join(self._about(node, joining) for node in missing.values())
                raise UnavailableError(f"not all nodes are connected after {timeout:.0f} s: {told}")
            due = joining.due({number: node.state for number, node in missing.items()}, seen.url is not None, now)
            for number in due.ask:
                refused = self._ask(seen, number)
                say(f"node {number} is {missing[number].word}, asked to connect" + (f": {refused}" if refused else ""))
            for number in due.restart:
                say(f"node {number} is {missing[number].word}, restarted")
                self.nodes[number - 1].stop()
                self.nodes[number - 1].start(timeout)
                end = time.monotonic() + timeout
            time.sleep(_POLL)

    def _ask(self, seen: View, number: int) -> str | None:
        node_id = seen.nodes.get(self.nodes[number - 1].port, {}).get("nodeId")
        if seen.url is None or node_id is None:
            return "no connected node knows it"
        return request_connection(seen.url, str(node_id))

    def _about(self, node: NodeStatus, joining: Joining) -> str:
        """Return what is known of a node that is not connected, in one line."""
        said = f"the cluster says: {node.said}" if node.said else ""
        log = f"log: {self.nodes[node.number - 1].app_log}"
        return ", ".join(
            part for part in (f"node {node.number} {node.word}", joining.tried(node.number), said, log) if part
        )

    def _view(self) -> View:
        return view(node.url for node in self.nodes if node.pid)

    def stop(self, patience: float = 40.0) -> None:
        """Stop all nodes and ZooKeeper; FlowFiles in the queues of each node stay and go on at the next start."""
        _each(self.nodes, lambda node: node.stop(patience))
        self.zookeeper.stop()

    def status(self) -> tuple[NodeStatus, ...]:
        """Return what every node does, as the first node that answers sees it."""
        return self._status(self._view())

    def _status(self, seen: View) -> tuple[NodeStatus, ...]:
        told = seen.nodes
        return tuple(
            NodeStatus(
                number=number,
                url=node.canvas,
                pid=node.pid,
                state=told.get(node.port, {}).get("status"),
                roles=tuple(told.get(node.port, {}).get("roles") or ()) if node.pid else (),
                queued=str(told.get(node.port, {}).get("queued") or ""),
                said=last_events(told.get(node.port, {})),
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


def _silently(line: str) -> None:
    """Keep it to oneself."""
