"""`otmirror doctor`: the first five minutes of an outage, in seconds."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from otmirror.errors import MirrorError

NOTHING_SEEN = 2
"""Exit status when nothing could be looked at."""


def doctor(
    nifi: Annotated[
        str | None,
        typer.Option(
            envvar="OTMIRROR_NIFI_URL",
            help="NiFi's REST API. [default: the embedded NiFi that runs]",
            metavar="http://HOST:PORT/nifi-api",
        ),
    ] = None,
    home: Annotated[Path | None, typer.Option(help="Folder of the embedded NiFi meant, instead of --nifi.")] = None,
    flow: Annotated[str | None, typer.Option(help="Look at this flow only.")] = None,
    metrics: Annotated[
        list[Path] | None,
        typer.Option(help="Folder with the processors' metrics files; may repeat. [default: OTMIRROR_METRICS]"),
    ] = None,
    exporter: Annotated[str | None, typer.Option(help="Address of `otmirror metrics serve`.")] = None,
    leave_devices: Annotated[bool, typer.Option("--leave-devices", help="Open no connection to a device.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Look at sources, NiFi, queues, brokers, stores, certificates, disks and clocks; say what is wrong and why.

    Changes nothing anywhere. Exit status 0 when nothing is wrong, 1 with findings, 2 when it could not look.
    Passwords of stores are taken from OTMIRROR_HOT_PASSWORD and from the variables of `otmirror lakehouse`.
    """  # fmt: skip
    from otmirror.doctor import report, site
    from otmirror.doctor.examine import examine

    try:
        # A home that is named means the NiFi in it, whatever the environment says.
        where = site.find(None if home else nifi, home, flow, tuple(metrics or ()), exporter)
        told = examine(where, leave_devices)
    except MirrorError as error:
        Console(stderr=True).print(f"otmirror: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(NOTHING_SEEN) from None
    if as_json:
        typer.echo(json.dumps(report.as_json(told), indent=2, ensure_ascii=False))
    else:
        report.show(told, Console(highlight=False, width=None if sys.stdout.isatty() else 160))
    if not told.healthy:
        raise typer.Exit(1)
