"""`otmirror pki`: certificates for development, and when any certificates end."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Annotated

import typer

from otmirror.errors import ConfigError
from otmirror.pki import development, expiry
from otmirror.pki.authority import DAYS, Validity

app = typer.Typer(help="Certificates: a development PKI, and when certificates end.", no_args_is_help=True)


@app.command()
def make(
    folder: Annotated[Path, typer.Argument(help="Where the files go; what exists is kept.")],
    host: Annotated[
        list[str] | None,
        typer.Option(help="Host name or address of all servers, or NAME=HOST for one; may repeat."),
    ] = None,
    server: Annotated[list[str] | None, typer.Option(help="A further server's name; may repeat.")] = None,
    client: Annotated[list[str] | None, typer.Option(help="A further client's name; may repeat.")] = None,
    days: Annotated[float, typer.Option(min=0.01, max=3650, help="How long new certificates last.")] = DAYS,
    renew: Annotated[list[str] | None, typer.Option(help="Make this certificate anew; may repeat.")] = None,
) -> None:
    """Make an authority, and certificates for all services and users; exit status 1 when a kept one does not fit."""
    wanted = development.Wanted(
        (*development.SERVERS, *(server or ())), (*development.CLIENTS, *(client or ())),
        *_hosts(host or []), Validity.lasting(days), renew or (),
    )  # fmt: skip
    made = development.make(folder, wanted)
    for one in made:
        until = f"{one.certificate.not_valid_after_utc:%Y-%m-%d}"
        typer.echo(f"{one.name:<16} {'made' if one.new else 'kept'}, valid until {until}")
    typer.echo(f"They are in {folder}; whoever shall trust them needs {folder / 'ca.pem'}. Not for a plant.", err=True)
    doubtful = [one for one in made if one.doubt]
    for one in doubtful:
        typer.echo(f"{one.name}: was kept, but {one.doubt}: --renew {one.name} makes it anew", err=True)
    if doubtful:
        raise typer.Exit(1)


@app.command()
def check(
    targets: Annotated[list[str], typer.Argument(help="Folders, files (PEM, DER, PKCS #12) or servers as host:port.")],
    days: Annotated[
        float, typer.Option(min=0, max=3650, help="Warn so many days before the end.")
    ] = expiry.NOTICE_DAYS,
) -> None:
    """Say when certificates end, soonest first; exit status 1 when one has expired or cannot be read."""
    now = datetime.datetime.now(datetime.timezone.utc)
    findings = [finding for target in targets for finding in _checked(target, now, days)]
    for finding in findings:
        typer.echo(_line(finding))
    if any(finding.problem for finding in findings):
        raise typer.Exit(1)


def _checked(target: str, now: datetime.datetime, days: float) -> list[expiry.Finding]:
    """Return the findings of a target; a mistake in one does not keep the others from being looked at."""
    try:
        return expiry.check(target, now, days)
    except ConfigError as error:
        return [expiry.Finding(target, None, str(error).removeprefix(f"{target} "))]


def _line(finding: expiry.Finding) -> str:
    if finding.certificate is None:
        return f"PROBLEM  {finding.where}: {finding.problem}"
    end = finding.certificate.not_valid_after_utc
    subject = finding.certificate.subject.rfc4514_string() or "(no subject)"
    kind, told = ("PROBLEM", finding.problem) if finding.problem else ("WARNING", finding.warning)
    said = f": {told}" if told else ""
    return f"{kind if told else 'ok':<7}  {finding.where}  {subject}  until {end:%Y-%m-%d}, {finding.days} days{said}"


def _hosts(given: list[str]) -> tuple[list[str], dict[str, list[str]]]:
    """Return the hosts of all servers, and those of single ones by name."""
    everywhere: list[str] = []
    single: dict[str, list[str]] = {}
    for one in given:
        name, sign, host = one.rpartition("=")
        if not host or (sign and not name):
            raise ConfigError(f"--host {one}: give HOST or NAME=HOST")
        (single.setdefault(name, []) if sign else everywhere).append(host)
    return everywhere, single
