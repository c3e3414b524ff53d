"""`otmirror flow lint`, `diff` and `publish`: flows as versions of files."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from otmirror.cli.nifi import PORT
from otmirror.embedded import opa
from otmirror.errors import ConfigError, MirrorError
from otmirror.flow.canonical import Flow, dumps, keep_local, load, loads
from otmirror.flow.client import NifiApi
from otmirror.flow.diff import diff as differences
from otmirror.flow.lint import Finding
from otmirror.flow.lint import lint as linted
from otmirror.flow.registry import Registry
from otmirror.policy.check import check
from otmirror.policy.decisions import default_log
from otmirror.policy.engine import NO_OPA, Engine
from otmirror.policy.findings import merged
from otmirror.workspace import PROJECT

Url = Annotated[
    str, typer.Option(envvar="OTMIRROR_NIFI_URL", help="NiFi's REST API.", metavar="http://HOST:PORT/nifi-api")
]
DEFAULT_URL = f"http://127.0.0.1:{PORT}/nifi-api"
_SIDE = "A file, a name in flows/, live:NAME in a running NiFi, or git:REVISION:PATH."


def lint(
    flows: Annotated[list[str] | None, typer.Argument(help="Files or names in flows/. [default: all of them]")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write the findings as a JSON list.")] = False,
    fix: Annotated[bool, typer.Option("--fix", help="First rewrite the files in canonical form.")] = False,
    policy: Annotated[
        bool | None,
        typer.Option("--policy/--no-policy", help="The policy too. [default: if there is an OPA to evaluate it]"),
    ] = None,
) -> None:
    """Check flow files against the rules of docs/flows.md and docs/policy.md.

    Exit status 0 without findings, 1 with findings, 2 when the policy was asked for and could not be evaluated.
    """
    paths = [flow_file(name) for name in flows or ()] or sorted((PROJECT / "flows").glob("*.json"))
    if not paths:
        raise ConfigError(f"there are no flows in {PROJECT / 'flows'}")
    if fix:
        for path in paths:
            path.write_text(dumps(load(path)), encoding="utf-8")
    found = linted(paths)
    if policy is not False:
        found = _with_policy(found, paths, "flow lint", policy is True)
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in found], indent=2, ensure_ascii=False))
    else:
        for finding in found:
            typer.echo(str(finding))
        typer.echo(f"{len(paths)} flows, {len(found)} findings", err=True)
    if found:
        raise typer.Exit(1)


def _with_policy(found: list[Finding], paths: Sequence[Path], asked_by: str, required: bool) -> list[Finding]:
    """Return lint's findings and the policy's denials; what both find is told once, as the policy's."""
    try:
        if not required and opa.found() is None:
            typer.echo(NO_OPA, err=True)
            return found
        told = check(paths, Engine.ready(), default_log(), asked_by)
    except MirrorError as error:
        typer.echo(f"otmirror: {error}", err=True)
        raise typer.Exit(2) from None
    return merged(found, told)


def diff(
    before: Annotated[str, typer.Argument(help=_SIDE)],
    after: Annotated[str, typer.Argument(help=_SIDE)],
    url: Url = DEFAULT_URL,
) -> None:
    """Say in words what changed from one flow to another; exit status 0 same, 1 different, 2 trouble."""
    try:
        lines = differences(*_sides(before, after, url))
    except ConfigError as error:
        typer.echo(f"otmirror: {error}", err=True)
        raise typer.Exit(2) from None
    for line in lines:
        typer.echo(line)
    if lines:
        raise typer.Exit(1)


def publish(
    flow: Annotated[str, typer.Argument(help="A flow file, or the name of one in flows/.")],
    registry: Annotated[str, typer.Option(envvar="OTMIRROR_REGISTRY_URL", help="NiFi Registry, https://HOST:PORT.")],
    bucket: Annotated[str, typer.Option(help="Bucket; made when missing.")],
    comment: Annotated[str, typer.Option(help="Comment of the version.")] = "",
    token: Annotated[
        str | None, typer.Option("--token", metavar="VARIABLE", help="Environment variable with a bearer token.")
    ] = None,
    certificate: Annotated[Path | None, typer.Option(help="Client certificate, PEM.")] = None,
    key: Annotated[Path | None, typer.Option(help="Its key, PEM.")] = None,
    ca: Annotated[Path | None, typer.Option(help="Certificates to trust, PEM. [default: the system's]")] = None,
) -> None:
    """Save a flow file as the next version in a NiFi Registry, if its content changed. Refuses what `lint` finds."""
    path = flow_file(flow)
    content = load(path)
    found = _with_policy(linted([path]), [path], "flow publish", False)
    if found:
        raise ConfigError(f"{path} has {len(found)} findings; see `otmirror flow lint {flow}`")
    if bool(certificate) != bool(key):
        raise ConfigError("--certificate and --key go together")
    for file in filter(None, (certificate, key, ca)):
        if not file.is_file():
            raise ConfigError(f"{file}: no such file")
    client = Registry(registry, _token(token), (str(certificate), str(key)) if key else None, str(ca) if ca else None)
    told = client.publish(content, bucket, comment)
    name = content["flowContents"].get("name")
    state = f"published as version {told.version}" if told.new else f"is unchanged since version {told.version}"
    typer.echo(f"{name} {state} in bucket {bucket}")


def flow_file(named: str) -> Path:
    """Return the flow file a user means: a path, or a name in flows/."""
    path = Path(named)
    return path if path.suffix == ".json" or path.exists() else PROJECT / "flows" / f"{named}.json"


def _token(variable: str | None) -> str | None:
    if variable and not os.environ.get(variable):
        raise ConfigError(f"--token: the environment variable {variable} is not set")
    return os.environ[variable] if variable else None


def _sides(before: str, after: str, url: str) -> tuple[Flow, Flow]:
    files = [None if side.startswith("live:") else _file(side) for side in (before, after)]
    known = next((file for file in files if file), None)
    old, new = (
        file or _live(side.removeprefix("live:"), url, known) for side, file in zip((before, after), files, strict=True)
    )
    return old, new


def _file(side: str) -> Flow:
    if not side.startswith("git:"):
        return load(flow_file(side))
    revision, colon, path = side.removeprefix("git:").partition(":")
    if not colon or not revision or not path or revision.startswith("-"):
        raise ConfigError(f"{side}: write git:REVISION:PATH, such as git:HEAD:flows/pilot.json")
    try:
        told = subprocess.run(
            ["git", "show", f"{revision}:{path}"], cwd=PROJECT, capture_output=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigError(f"{side}: git cannot be run: {error}") from None
    if told.returncode:
        raise ConfigError(f"{side}: {' '.join(told.stderr.decode(errors='replace').split())}")
    return loads(told.stdout, side)


def _live(name: str, url: str, file: Flow | None) -> Flow:
    """Return a flow of a running NiFi; its name, which belongs to the canvas, and what NiFi lacks as in `file`."""
    api = NifiApi(url)
    group = api.group(name)
    exported = api.export_flow(group)
    if file is None:
        return exported
    return keep_local(exported, {**file, "parameterContexts": {}}, api.missing(group))
