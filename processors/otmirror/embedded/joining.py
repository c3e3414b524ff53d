"""How a node that is not connected gets into its cluster again: it is asked to first, and restarted once after that.

A node leaves its cluster for good when NiFi cannot load the flow it is sent, or is told that it is disconnected after
it has connected again: it stops its heartbeats then, and only a request of an operator brings it back. A node that the
cluster only missed for a while (no heartbeat, no answer) is asked by the cluster itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import requests

from otmirror.embedded.loopback import session

_ASKED_FOR = ("DISCONNECTED", "OFFLOADED")
_EVENTS, _LENGTH = 3, 200
_TIMEOUT = 15.0


@dataclass(frozen=True)
class View:
    """What a cluster says: the REST API of the node it was heard from, and each node (NodeDTO) by its canvas's port.

    A node that is not connected does not speak for the cluster (409). None and {} when no node does.
    """

    url: str | None
    nodes: Mapping[int, Mapping[str, Any]]


@dataclass(frozen=True)
class Patience:
    """Seconds: of a state that may pass by itself, between two requests to connect, and until a node is restarted."""

    settle: float = 3.0
    again: float = 10.0
    restart: float = 60.0


@dataclass(frozen=True)
class Due:
    """The numbers of the nodes that the cluster is to be asked to connect, and of those to restart."""

    ask: tuple[int, ...] = ()
    restart: tuple[int, ...] = ()


class Joining:
    """What to do about the nodes that are not connected, by how long they have not been."""

    def __init__(self, patience: Patience | None = None):
        """Take how long to wait for what."""
        self._patience = patience or Patience()
        self._since: dict[int, float] = {}
        self._next: dict[int, float] = {}
        self.asked: dict[int, int] = {}
        self.restarted: set[int] = set()

    def due(self, missing: Mapping[int, str | None], answers: bool, now: float) -> Due:
        """Return what is to be done at `now` (s of a clock that never goes back), and take it for done.

        Args:
            missing: the state (NiFi's word) of each node that is not connected, by its number; None: the cluster does
                not know it, or says nothing at all.
            answers: whether the cluster says anything. When it does not, there is nobody to ask and nothing to learn
                from a restart.
            now: the time.
        """
        for number in self._since.keys() - missing.keys():
            del self._since[number], self._next[number]
        if not answers:
            return Due()
        for number in missing:
            self._since.setdefault(number, now)
            self._next.setdefault(number, now + self._patience.settle)
        restart = tuple(
            number
            for number in missing
            if number not in self.restarted and now - self._since[number] >= self._patience.restart
        )
        ask = tuple(
            number
            for number, state in missing.items()
            if number not in restart and state in _ASKED_FOR and now >= self._next[number]
        )
        for number in ask:
            self._next[number] = now + self._patience.again
            self.asked[number] = self.asked.get(number, 0) + 1
        for number in restart:
            self.restarted.add(number)
            self._next[number] = now + self._patience.settle
        return Due(ask, restart)

    def tried(self, number: int) -> str:
        """Return what was done for a node, in words; blank when nothing was."""
        asked = self.asked.get(number, 0)
        return " and ".join(
            word
            for word in (
                asked and f"asked to connect {'once' if asked == 1 else f'{asked} times'}",
                number in self.restarted and "restarted once",
            )
            if word
        )


def view(urls: Iterable[str]) -> View:
    """Return what the first of these NiFis (REST API) says that speaks for its cluster."""
    for url in urls:
        try:
            with session(url) as asking:
                answer = asking.get(f"{url}/controller/cluster", timeout=_TIMEOUT)
            if answer.ok:
                return View(url, {int(node["apiPort"]): node for node in answer.json()["cluster"]["nodes"]})
        except (requests.RequestException, ValueError, KeyError, TypeError):
            continue
    return View(None, {})


def request_connection(url: str, node_id: str) -> str | None:
    """Ask the cluster of the NiFi at `url` to connect a node, as the canvas does; return why it will not, or None."""
    asked = {"node": {"nodeId": node_id, "status": "CONNECTING"}}
    try:
        with session(url) as asking:
            answer = asking.put(f"{url}/controller/cluster/nodes/{node_id}", json=asked, timeout=_TIMEOUT)
    except requests.RequestException as error:
        return f"{url} does not answer ({type(error).__name__})"
    return None if answer.ok else f"{answer.status_code} {_line(answer.text)}"


def last_events(node: Mapping[str, Any]) -> str:
    """Return the last things the cluster noted about a node, newest first, in one line; blank when there are none."""
    events: Sequence[Mapping[str, Any]] = node.get("events") or ()
    return "; ".join(_line(f"{event.get('timestamp', '')} {event.get('message', '')}") for event in events[:_EVENTS])


def _line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LENGTH else line[: _LENGTH - 4] + " ..."
