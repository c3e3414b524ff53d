"""`otmirror secrets`: from a Vault into a running NiFi."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import Annotated

import typer

from otmirror.cli.versioned import DEFAULT_URL, Url
from otmirror.flow.client import NifiApi
from otmirror.vault.client import Access, Vault
from otmirror.vault.setup import Setup
from otmirror.vault.sync import Sync
from otmirror.workspace import work

app = typer.Typer(help="Secrets from HashiCorp Vault or OpenBao into a running NiFi.", no_args_is_help=True)

Address = Annotated[str, typer.Option("--vault", envvar=["VAULT_ADDR", "BAO_ADDR"], help="Its https:// address.")]
Ca = Annotated[
    Path | None,
    typer.Option("--vault-ca", envvar="VAULT_CACERT", help="PEM file of its authority. [default: the system's]"),
]
Cert = Annotated[
    Path | None, typer.Option("--vault-cert", envvar="VAULT_CLIENT_CERT", help="PEM file of our own certificate.")
]
Key = Annotated[Path | None, typer.Option("--vault-key", envvar="VAULT_CLIENT_KEY", help="PEM file of its key.")]
Namespace = Annotated[str | None, typer.Option(envvar="VAULT_NAMESPACE", help="Namespace of the Vault.")]
Flow = Annotated[str, typer.Argument(help="The flow's name on the canvas.")]
TokenFile = Annotated[Path | None, typer.Option(help="File with a token, such as Vault Agent keeps.")]


@app.command()
def setup(
    vault: Address,
    token_file: TokenFile,
    vault_ca: Ca = None,
    vault_cert: Cert = None,
    vault_key: Key = None,
    namespace: Namespace = None,
    hand_out: Annotated[
        str | None, typer.Option(metavar="FLOW", help="Also write role id and a new secret id for this flow.")
    ] = None,
    to: Annotated[Path, typer.Option(help="Folder for them.")] = Path("vault-login"),
) -> None:
    """Put the mount, the policies and the AppRoles of security/vault into a Vault."""
    access = Access(vault, vault_ca, vault_cert, vault_key, namespace, token_file=token_file)
    made = Setup(access)
    for line in made.apply():
        typer.echo(line)
    if hand_out:
        for file in made.hand_out(hand_out, to):
            typer.echo(f"written: {file}")


@app.command()
def sync(
    flow: Flow,
    vault: Address,
    url: Url = DEFAULT_URL,
    vault_ca: Ca = None,
    vault_cert: Cert = None,
    vault_key: Key = None,
    namespace: Namespace = None,
    role_id_file: Annotated[Path | None, typer.Option(help="File with the AppRole's role id.")] = None,
    secret_id_file: Annotated[Path | None, typer.Option(help="File with its secret id; read at every login.")] = None,
    token_file: TokenFile = None,
    path: Annotated[str | None, typer.Option(help="The secret below otmirror/. [default: FLOW]")] = None,
    state: Annotated[
        Path | None, typer.Option(help="File that remembers the version set. [default: .work/secrets/FLOW.json]")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Go on: rotated secrets are set while the flow runs.")] = False,
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks with --watch.")] = 30.0,
) -> None:
    """Set a flow's sensitive parameters from its secret otmirror/FLOW, when that changed; its keys are their names."""
    access = Access(vault, vault_ca, vault_cert, vault_key, namespace, role_id_file, secret_id_file, token_file)
    login = Vault(access)
    job = Sync(login, NifiApi(url), flow, state or work() / "secrets" / f"{flow}.json", path)
    if watch:
        job.watch(every, _until_stopped(), lambda line: typer.echo(line, err=True))
        return
    try:
        outcome = job.once()
    finally:
        login.close()
    done = ", ".join(outcome.set)
    typer.echo(f"version {outcome.version}: {f'set {done}' if done else 'nothing to do'}")


def _until_stopped() -> threading.Event:
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    return stop
