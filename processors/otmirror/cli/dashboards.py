"""`otmirror dashboards`: Grafana's dashboards from their source, and the same drawn without Grafana."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from otmirror.dashboards import catalogue, grafana, lint
from otmirror.dashboards.ask import Access, Asker, seconds
from otmirror.dashboards.model import HOT, MONITORING
from otmirror.errors import ConfigError

app = typer.Typer(help="Dashboards for Grafana, and drawn without it.", no_args_is_help=True)

Folder = Annotated[Path, typer.Option("--dashboards", help="Folder with the dashboards' JSON.")]
MonitoringUrl = Annotated[str, typer.Option("--monitoring", help="The store of the mirror's own metrics.")]
HotUrl = Annotated[str, typer.Option("--hot", help="The store of the plant's values.")]
Span = Annotated[str, typer.Option("--span", help="The time shown: a number and s, m, h, d or w.")]
Scrape = Annotated[float, typer.Option(help="Seconds between two scrapes of the monitoring store.")]
Authority = Annotated[
    Path | None, typer.Option("--ca", help="Certificate of the authority that signed the stores', for https.")
]


@app.command()
def generate(
    out: Annotated[Path, typer.Option(help="Folder for the JSON files.")] = catalogue.FOLDER,
    check: Annotated[bool, typer.Option("--check", help="Write nothing; exit 1 when a file differs.")] = False,
    runbooks: Annotated[str, typer.Option(help="Address of the folder with the runbooks.")] = grafana.RUNBOOKS,
) -> None:
    """Write a JSON file a dashboard, and check them against our own rules."""
    from otmirror.zones.document import write

    if check:
        wrong = catalogue.stale(out) or lint.problems(catalogue.load(out))
        for line in wrong:
            typer.echo(line)
        if wrong:
            typer.echo("run `otmirror dashboards generate`")
            raise typer.Exit(1)
        typer.echo(f"{len(catalogue.DASHBOARDS)} dashboards are as their source says")
        return
    for file in write(catalogue.files(out, runbooks)):
        typer.echo(f"wrote {file}")
    wrong = lint.problems(catalogue.load(out))
    if wrong:
        raise ConfigError("; ".join(wrong))


@app.command()
def render(
    monitoring: MonitoringUrl = "http://127.0.0.1:8429",
    hot: HotUrl = "http://127.0.0.1:8428",
    out: Annotated[Path, typer.Option(help="Folder for the pages and pictures.")] = Path("dashboards"),
    span: Span = "1h",
    scrape: Scrape = 15.0,
    folder: Folder = catalogue.FOLDER,
    png: Annotated[bool, typer.Option(help="Take a picture of each page (needs Chromium).")] = True,
    ca: Authority = None,
) -> None:
    """Draw every dashboard with the stores' values: a page and a picture each. Logins: see docs/dashboards.md."""
    from otmirror.dashboards import pictures

    made = catalogue.load(folder)
    for file in pictures.pages(made, _asker(monitoring, hot, span, scrape, ca), out):
        typer.echo(f"wrote {file}")
    for file in pictures.take(made, out) if png else ():
        typer.echo(f"wrote {file}")


@app.command()
def serve(
    monitoring: MonitoringUrl = "http://127.0.0.1:8429",
    hot: HotUrl = "http://127.0.0.1:8428",
    listen: Annotated[str, typer.Option(help="Address and port; there is no login.")] = "127.0.0.1:8430",
    span: Span = "1h",
    scrape: Scrape = 15.0,
    folder: Folder = catalogue.FOLDER,
    ca: Authority = None,
) -> None:
    """Show the dashboards in a browser without Grafana, until Ctrl-C."""
    from otmirror.dashboards import serve as serving

    host, _, port = listen.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise ConfigError(f"--listen {listen!r} is not ADDRESS:PORT, such as 127.0.0.1:8430")
    asker = _asker(monitoring, hot, span, scrape, ca)
    serving.run(serving.server(catalogue.load(folder), asker, host, int(port)), typer.echo)


def _asker(monitoring: str, hot: str, span: str, scrape: float, ca: Path | None) -> Asker:
    if not 1 <= scrape <= 3600:
        raise ConfigError(f"--scrape is between 1 and 3600 s, not {scrape:g}")
    if ca is not None and not ca.is_file():
        raise ConfigError(f"--ca {ca} does not exist")
    stores = {name: _access(name, url, ca) for name, url in ((MONITORING, monitoring), (HOT, hot))}
    return Asker(stores, seconds(span), scrape)


def _access(name: str, url: str, ca: Path | None) -> Access:
    if not url.startswith(("http://", "https://")) or "@" in url:
        raise ConfigError(f"--{name} is http:// or https:// without a user, who is in OTMIRROR_{name.upper()}_USER")
    login = {key: os.environ.get(f"OTMIRROR_{name.upper()}_{key.upper()}", "") for key in ("user", "password")}
    return Access(url, login["user"], login["password"], str(ca or ""))
