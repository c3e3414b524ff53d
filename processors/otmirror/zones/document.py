"""The files that are made from the table: the document's tables, its picture, Kubernetes policies, example rules."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

from otmirror.errors import ConfigError
from otmirror.workspace import PROJECT
from otmirror.zones import hosts as places
from otmirror.zones import kubernetes, nftables, picture
from otmirror.zones.hosts import Hosts
from otmirror.zones.model import TABLE, Matrix, load

PAGE = PROJECT / "docs" / "zones.md"
PICTURE = PROJECT / "docs" / "zones.svg"
POLICIES = PROJECT / "security" / "kubernetes"
RULES = PROJECT / "security" / "nftables"
CHART = PROJECT / "helm" / "otmirror" / "files" / "zones.json"
"""The table as the chart's templates read it."""
_BLOCK = "<!-- made from security/zones.toml: {} -->"
_END = "<!-- end -->"


def files() -> dict[Path, str]:
    """Return every file that is made from the table, with the content it should have.

    Raises:
        ConfigError: the table, the example of hosts or the page is not as it should be.
    """
    matrix = load(TABLE)
    example = places.load(places.EXAMPLE, matrix)
    return {
        PAGE: page(PAGE.read_text("utf-8"), matrix),
        PICTURE: picture.svg(matrix),
        **policies(matrix, example, POLICIES),
        RULES / "router.nft": nftables.router(matrix, example),
        RULES / "edge-nifi.nft": nftables.host(matrix, example, "edge-nifi"),
        CHART: chart(matrix),
    }


def policies(matrix: Matrix, hosts: Hosts, folder: Path, profile: str = "full") -> dict[Path, str]:
    """Return the Kubernetes policies, one file a zone in `folder`."""
    made = kubernetes.policies(matrix, hosts, profile)
    return {folder / f"{zone}.yaml": kubernetes.text(found) for zone, found in made.items()}


def chart(matrix: Matrix, profile: str = "full") -> str:
    """Return members and conduits of a profile as JSON."""
    members = {m.name: {"zone": m.zone, "outside": m.outside} for m in matrix.members.values()}
    found = [
        {"name": c.name, "from": c.source, "to": c.to, "ports": list(c.ports), "why": c.why} for c in matrix.of(profile)
    ]
    return json.dumps({"members": members, "conduits": found}, indent=1) + "\n"


def write(made: Mapping[Path, str]) -> list[Path]:
    """Write files, and return those whose content changed.

    Raises:
        ConfigError: one cannot be written.
    """
    changed = []
    for file, content in made.items():
        try:
            if file.is_file() and file.read_text("utf-8") == content:
                continue
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content, "utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{file} cannot be written: {getattr(error, 'strerror', error)}") from None
        changed.append(file)
    return changed


def page(text: str, matrix: Matrix) -> str:
    """Return the page with its tables made anew.

    Raises:
        ConfigError: the page lacks the place of a table.
    """
    for name, table in (
        ("zones", zones(matrix)), ("matrix", firewall(matrix)), ("conduits", conduits(matrix))
    ):  # fmt: skip
        start = _BLOCK.format(name)
        pattern = re.compile(f"{re.escape(start)}\n.*?{re.escape(_END)}", re.DOTALL)
        if not pattern.search(text):
            raise ConfigError(f"{PAGE} has no place for the table: {start} ... {_END}")
        block = f"{start}\n\n{table}\n{_END}"
        text = pattern.sub(lambda _, block=block: block, text)  # type: ignore[misc]
    return text


def zones(matrix: Matrix) -> str:
    """Return the zones with level and members as a Markdown table."""
    lines = ["| zone | SL-T | why this level | members |", "|---|---|---|---|"]
    for zone in matrix.zones.values():
        inside = ", ".join(f"`{m.name}` ({m.title})" for m in matrix.members.values() if m.zone == zone.name)
        lines.append(f"| `{zone.name}` {zone.title} | {zone.target} | {zone.why} | {inside} |")
    return "\n".join(lines) + "\n"


def firewall(matrix: Matrix, profile: str = "full") -> str:
    """Return which zone may open connections to which, as a Markdown table: rows from, columns to."""
    lines = ["| from \\ to | " + " | ".join(f"`{zone}`" for zone in matrix.zones) + " |"]
    lines.append("|---" * (len(matrix.zones) + 1) + "|")
    for one in matrix.zones:
        cells = []
        for other in matrix.zones:
            ports = {port for c in matrix.of(profile) if matrix.pair(c) == (one, other) for port in c.ports}
            listed = ", ".join(map(str, sorted(ports)))
            cells.append(f"within: {listed or 'nothing'}" if one == other else listed or "**drop**")
        lines.append(f"| `{one}` | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def conduits(matrix: Matrix) -> str:
    """Return the conduits as a Markdown table; the connection is opened from left to right."""
    lines = ["| conduit | from | to | protocol | TCP ports | profile | why |", "|---|---|---|---|---|---|---|"]
    for c in matrix.conduits:
        one, other = matrix.pair(c)
        ports, profiles = ", ".join(map(str, c.ports)), ", ".join(c.profiles)
        ends = f"{one} / `{c.source}` | {other} / `{c.to}`"
        lines.append(f"| {c.name} | {ends} | {c.protocol} | {ports} | {profiles} | {c.why} |")
    return "\n".join(lines) + "\n"
