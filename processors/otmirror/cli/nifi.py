"""`otmirror nifi`: the embedded NiFi, one or a cluster."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Annotated

import typer
from rich.console import Console

from otmirror.embedded.bundle import PROCESSORS, bundle_dependencies
from otmirror.embedded.cluster import COORDINATOR, PRIMARY, Cluster, NodeStatus, layout
from otmirror.embedded.https import Https
from otmirror.embedded.install import install as install_nifi
from otmirror.embedded.oidc import Oidc
from otmirror.embedded.server import EmbeddedNifi, NifiStatus
from otmirror.errors import ConfigError
from otmirror.pki import development
from otmirror.workspace import work

PORT = 8643
"""Of the canvas; chosen to clash with none of the neighbours in the platform (8080, 8443, 9000 ...)."""

app = typer.Typer(help="A NiFi of one's own, on this machine only.", no_args_is_help=True)

Home = Annotated[Path | None, typer.Option(help="Folder with its flow, queues and logs. [default: .work/nifi/pilot]")]
Port = Annotated[int, typer.Option(help="Port of the canvas on 127.0.0.1; 0: any free one. Nodes have the next ones.")]
Nar = Annotated[list[Path] | None, typer.Option(help="Load this NAR instead of the processors' folder; may repeat.")]
Nodes = Annotated[int | None, typer.Option(min=1, help="Start a cluster of so many nodes; the ones missing, later.")]
Node = Annotated[int, typer.Option(min=1, help="Which node of a cluster.")]


def home_of(named: Path | None) -> Path:
    """Return the folder of the NiFi meant."""
    return named or work() / "nifi" / "pilot"


@app.command()
def install() -> None:
    """Install NiFi and the packages of the processors, unless they are there."""
    where = install_nifi(_say)
    bundle_dependencies(_say)
    _say(f"NiFi is installed in {where.lib}")


@app.command()
def start(
    home: Home = None,
    port: Port = PORT,
    nar: Nar = None,
    nodes: Nodes = None,
    https: Annotated[bool, typer.Option("--https", help="Over HTTPS only, for clients with a certificate.")] = False,
    pki: Annotated[Path | None, typer.Option(help="With --https: the folder of `otmirror pki`. [.work/pki]")] = None,
    oidc: Annotated[
        Path | None, typer.Option(help="With --https: people log in at the provider in this file (docs/sso.md).")
    ] = None,
) -> None:
    """Start NiFi with the processors and wait until it answers; with --nodes a cluster, until all are connected.

    In a cluster that runs, the nodes that do not run are started and those that are disconnected asked to connect.
    """
    secure = _secure(https, pki, oidc)
    if not nar:
        bundle_dependencies(_say)
    install_nifi(_say)
    extensions = None if nar else PROCESSORS
    if layout(home_of(home)) or (nodes or 1) > 1:
        if secure:
            raise ConfigError("a cluster speaks plain HTTP on this machine only: --https is for a single NiFi")
        cluster = Cluster(home_of(home), nodes or 0, port, extensions, nar or [])
        with Console(stderr=True).status(f"{len(cluster.nodes)} NiFi nodes start ..."):
            cluster.start(say=_say)
        for node in cluster.status():
            typer.echo(_told(node))
        return
    server = EmbeddedNifi(home_of(home), port, extensions, nar or [], https=secure)
    with Console(stderr=True).status("NiFi starts ..."):
        server.start()
    version = server.status().version
    typer.echo(f"NiFi {version or ''} runs: {server.canvas}")
    if secure:
        _tell_login(server, secure, known=version is not None)


@app.command()
def stop(
    home: Home = None,
    node: Annotated[int | None, typer.Option(min=1, help="Stop this node of a cluster only.")] = None,
) -> None:
    """Stop NiFi; what waits in its queues is kept."""
    if node is not None:
        _node(home_of(home), node).stop()
        typer.echo(f"Node {node} is stopped; `otmirror nifi start` starts it again.")
    elif layout(home_of(home)):
        Cluster(home_of(home)).stop()
        typer.echo("The cluster is stopped.")
    else:
        server = EmbeddedNifi(home_of(home))
        was = server.status().running
        server.stop()
        typer.echo("NiFi is stopped." if was else "NiFi was not running.")


@app.command()
def status(home: Home = None) -> None:
    """Say whether NiFi runs and where; exit status 1 when it does not, or when not all nodes are connected."""
    if layout(home_of(home)):
        nodes = Cluster(home_of(home)).status()
        for node in nodes:
            typer.echo(_told(node))
        connected = sum(node.connected for node in nodes)
        typer.echo(f"{connected} of {len(nodes)} nodes are connected.")
        if connected < len(nodes):
            raise typer.Exit(1)
        return
    told = EmbeddedNifi(home_of(home)).status()
    typer.echo(_told_alone(told))
    if not told.running:
        raise typer.Exit(1)


@app.command()
def logs(
    home: Home = None,
    lines: Annotated[int, typer.Option("--lines", "-n", help="How many of the last lines.")] = 50,
    node: Node = 1,
) -> None:
    """Print the last lines of NiFi's log, what the Python processors say included."""
    of_cluster = layout(home_of(home)) is not None or node > 1
    server = _node(home_of(home), node) if of_cluster else EmbeddedNifi(home_of(home))
    for line in server.logs(lines):
        typer.echo(line)
    typer.echo(f"({server.app_log})", err=True)


def _secure(wanted: bool, pki: Path | None, provider: Path | None) -> Https | None:
    """Return how NiFi speaks HTTPS; the development PKI is made when no other folder is named."""
    if not wanted:
        if pki or provider:
            raise ConfigError("--pki and --oidc go with --https")
        return None
    if pki is None:
        development.make(work() / "pki")
    return Https.from_folder(pki or work() / "pki", Oidc.from_file(provider) if provider else None)


def _tell_login(server: EmbeddedNifi, secure: Https, known: bool) -> None:
    """Say how the other commands get in, or that the administrator does not."""
    if not known:
        _say(f"It does not know {secure.admin}: {server.home}/conf/users.xml was made for another administrator.")
    files = {"CA": "authority", "CERTIFICATE": "certificate", "KEY": "key"}
    _say(f"The other commands reach it as {secure.admin} with")
    typer.echo(f"export OTMIRROR_NIFI_URL={server.url}")
    for variable, part in files.items():
        typer.echo(f"export OTMIRROR_NIFI_{variable}={quote(str(getattr(secure.client, part)))}")


def _node(home: Path, number: int) -> EmbeddedNifi:
    if layout(home) is None:
        raise ConfigError(f"{home} is no cluster, so it has no node {number}")
    nodes = Cluster(home).nodes
    if number > len(nodes):
        raise ConfigError(f"{home} is a cluster of {len(nodes)} nodes; there is no node {number}")
    return nodes[number - 1]


def _told(node: NodeStatus) -> str:
    """Return the line about a node of a cluster."""
    if node.pid is None:
        return f"node {node.number} does not run: {node.url}"
    roles = [name for role, name in ((COORDINATOR, "coordinator"), (PRIMARY, "primary")) if role in node.roles]
    queued = f"queued {node.queued}" if node.queued else ""
    said = f"the cluster says: {node.said}" if node.said and not node.connected else ""
    parts = [(node.state or "runs, not yet in the cluster").lower(), *roles, f"pid {node.pid}", queued, said]
    return f"node {node.number} {node.url} {', '.join(part for part in parts if part)}"


def _told_alone(told: NifiStatus) -> str:
    if not told.running:
        left = f" ({told.processes} of its processes are left; the next start ends them)" if told.processes else ""
        return f"NiFi does not run{left}."
    version = f"{told.version} runs" if told.version else "runs but does not answer"
    return f"NiFi {version}: {told.url} (pid {told.pid}, {told.processes} processes)"


def _say(line: str) -> None:
    typer.echo(line, err=True)
