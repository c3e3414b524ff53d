"""`otmirror audit`: the trail of who did what."""

from __future__ import annotations

import datetime
import signal
import threading
from pathlib import Path
from typing import Annotated

import typer

from otmirror.audit import nifilogs, otherlogs
from otmirror.audit.collect import Trail, collect
from otmirror.audit.indices import expire as expire_indices
from otmirror.audit.nifirest import History, Provenance
from otmirror.audit.sources import LogFile, Source
from otmirror.errors import ConfigError, UnavailableError
from otmirror.flow.api import Rest

app = typer.Typer(help="Who did what: gathered as JSON lines, for OpenSearch or Loki.", no_args_is_help=True)


def now() -> datetime.datetime:
    """Return the time in UTC."""
    return datetime.datetime.now(datetime.timezone.utc)


@app.command("collect")
def collect_(
    out: Annotated[Path, typer.Option(help="Folder of the trail: audit-<day>.jsonl.")],
    nifi_logs: Annotated[Path | None, typer.Option(help="NiFi's folder logs.")] = None,
    nifi: Annotated[str | None, typer.Option(help="NiFi's REST API, such as https://host:8443/nifi-api.")] = None,
    keycloak: Annotated[Path | None, typer.Option(help="Keycloak's log in JSON; rotated ones match NAME*.")] = None,
    vault: Annotated[Path | None, typer.Option(help="File of Vault's or OpenBao's audit device.")] = None,
    decisions: Annotated[Path | None, typer.Option(help="File of the policy's decisions.")] = None,
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks.")] = 10.0,
    once: Annotated[bool, typer.Option("--once", help="Look once and end; exit status 1 if a source failed.")] = False,
    keep: Annotated[int, typer.Option(min=1, help="Days that files of the trail are kept.")] = 90,
) -> None:
    """Gather what is new since the last time, each event once, also after a crash; until Ctrl-C or SIGTERM.

    Logs are followed across rotation: files with the same beginning of the name are older parts of it. The login to
    NiFi comes from OTMIRROR_NIFI_USER, OTMIRROR_NIFI_PASSWORD_FILE and OTMIRROR_NIFI_CA.
    """
    sources = _sources(nifi_logs, nifi, {"keycloak": keycloak, "vault": vault, "opa": decisions})
    if not sources:
        raise ConfigError("nothing to collect from: give --nifi-logs, --nifi, --keycloak, --vault or --decisions")
    over = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: over.set())
    trail = Trail(out, now)
    told: set[str] = set()
    try:
        while not over.is_set():
            found, problems = collect(sources, trail)
            trail.expire(keep)
            for problem in problems:
                if problem not in told:
                    typer.echo(problem, err=True)
            told = set(problems)
            if once:
                typer.echo(f"{found} new events in {out}")
                raise typer.Exit(1 if problems else 0)
            over.wait(every)
    except OSError as error:
        raise UnavailableError(f"the audit trail in {out} cannot be written: {error.strerror}") from None
    finally:
        trail.close()


@app.command()
def expire(
    opensearch: Annotated[str, typer.Option(help="Address of the OpenSearch, such as http://127.0.0.1:9200.")],
    days: Annotated[int, typer.Option(min=1, help="Days that are kept.")] = 365,
) -> None:
    """Delete the day indices of an OpenSearch without index state management that are too old."""
    gone = expire_indices(opensearch, days, now().date())
    typer.echo(f"deleted: {', '.join(gone) or 'nothing'}")


def _sources(logs: Path | None, nifi: str | None, others: dict[str, Path | None]) -> list[Source]:
    sources: list[Source] = []
    if logs is not None:
        if not logs.is_dir():
            raise ConfigError(f"--nifi-logs {logs} is not a folder")
        for name, file, parse in (
            ("nifi-request", "nifi-request*.log", nifilogs.request),
            ("nifi-user", "nifi-user*.log", nifilogs.user),
            ("guard", "nifi-app*.log", nifilogs.refusal),
        ):
            sources.append(LogFile(name, [logs / file], parse, now))
    if nifi is not None:
        rest = Rest(nifi)
        sources += [History(rest), Provenance(rest, now, datetime.timedelta(days=1))]
    parsers = {"keycloak": otherlogs.keycloak, "vault": otherlogs.vault, "opa": otherlogs.decision}
    for name, path in others.items():
        if path is not None:
            if not path.parent.is_dir():
                raise ConfigError(f"{path}: there is no folder {path.parent}")
            sources.append(LogFile(name, [path.with_name(f"{path.name}*")], parsers[name], now))
    return sources
