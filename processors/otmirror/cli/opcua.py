"""`otmirror opcua`: find out what a server has, and what a tag list would give, without NiFi."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from otmirror import taglist
from otmirror.errors import ConfigError
from otmirror.opcua import address, discovery
from otmirror.opcua.chunks import ChunkReader, first_limit
from otmirror.opcua.config import OpcUaConfig
from otmirror.opcua.decode import Batch
from otmirror.opcua.faults import status_name
from otmirror.opcua.guard import GuardedClient
from otmirror.opcua.plan import ReadPlan
from otmirror.opcua.readings import Reading
from otmirror.opcua.study import forms_of, study
from otmirror.status import STATUS
from otmirror.taglist import Tag

PASSWORD = "OTMIRROR_OPCUA_PASSWORD"  # noqa: S105 - the variable's name
KEY_PASSWORD = "OTMIRROR_OPCUA_KEY_PASSWORD"  # noqa: S105 - the variable's name
AHEAD = 60.0
"""Seconds by which a device's clock may be ahead of this machine's."""
T = TypeVar("T")

app = typer.Typer(
    help=f"Look at an OPC UA server, read-only. The password of --username comes from {PASSWORD}, that of --user-key "
    f"from {KEY_PASSWORD}.",
    no_args_is_help=True,
)

Url = Annotated[str, typer.Argument(help="Address of the server, such as opc.tcp://10.1.2.3:4840.")]
Policy = Annotated[str, typer.Option(help="Security Policy of the processor.")]
Mode = Annotated[str, typer.Option(help="Security Mode of the processor.")]
User = Annotated[str | None, typer.Option(help="User name; anonymous without it.")]
Plain = Annotated[bool, typer.Option("--allow-plain-password", help="Send the password where nothing protects it.")]
UserCert = Annotated[Path | None, typer.Option(help="The user's X.509 certificate, instead of --username.")]
UserKey = Annotated[Path | None, typer.Option(help="Private key of --user-cert.")]
Deprecated = Annotated[bool, typer.Option("--allow-deprecated", help="Allow policies that are no longer safe.")]
Pki = Annotated[Path, typer.Option(help="Folder for certificates, as of the processor.")]
Trust = Annotated[str, typer.Option(help="Which server certificate is accepted: first use, trusted only, any.")]
Timeout = Annotated[float, typer.Option(help="Seconds to wait for each answer.")]


def _config(
    url: str, tags: tuple[Tag, ...], policy: str, mode: str, user: str | None, plain: bool, user_cert: Path | None,
    user_key: Path | None, deprecated: bool, pki: Path, trust: str, timeout: float,
) -> OpcUaConfig:  # fmt: skip
    password = os.environ.get(PASSWORD) if user else None
    if user and password is None:
        raise ConfigError(f"--username: set the environment variable {PASSWORD} to the password")
    return OpcUaConfig(
        url, tags, policy=policy, mode=mode, username=user, password=password, allow_plain_password=plain,
        user_certificate=user_cert, user_key=user_key, allow_deprecated=deprecated,
        user_key_password=(os.environ.get(KEY_PASSWORD) or None) if user_key else None,
        pki=pki, trust=trust, request_timeout=timeout,
    )  # fmt: skip


@app.command()
def browse(
    url: Url,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Tag list to write; else printed.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
    root: Annotated[str, typer.Option(help="Node to begin at.")] = "i=85",
    prefix: Annotated[str, typer.Option(help="What tags begin with, such as acme/north.")] = "",
    include: Annotated[list[str] | None, typer.Option(help="Glob on a variable's path; may repeat.")] = None,
    exclude: Annotated[list[str] | None, typer.Option(help="Glob of paths to leave out; may repeat.")] = None,
    depth: Annotated[int, typer.Option(help="Levels below the root.", min=1)] = 20,
    policy: Policy = "None",
    mode: Mode = "SignAndEncrypt",
    username: User = None,
    allow_plain_password: Plain = False,
    user_cert: UserCert = None,
    user_key: UserKey = None,
    allow_deprecated: Deprecated = False,
    pki: Pki = Path("otmirror-pki"),
    trust: Trust = "first use",
    timeout: Timeout = 10.0,
) -> None:
    """Write a tag list of the variables that can be read, with their types and units.

    Ctrl-C ends it and keeps what was found.
    """
    if output is not None and output.exists() and not force:
        raise ConfigError(f"{output} is there already: choose another file, or give --force to overwrite it")
    config = _config(
        url, (Tag("-", "i=2259"),), policy, mode, username, allow_plain_password, user_cert, user_key,
        allow_deprecated, pki, trust, timeout,
    )  # fmt: skip
    start = address.parse(root)
    choice = discovery.Choice(tuple(include or ()), tuple(exclude or ()), depth)
    found: list[discovery.Variable] = []
    stopped = _stopped(_browse(config, start, choice, found))
    text = discovery.as_csv(found, prefix)
    if output is None:
        sys.stdout.write(text)
    else:
        output.write_text(text, encoding="utf-8")
    unknown = sum(variable.type is None for variable in found)
    more = f", {unknown} of a type that is not known" if unknown else ""
    typer.echo(f"{len(found)} variable(s){more}{'; stopped before the end' if stopped else ''}", err=True)
    if stopped or not found:
        raise typer.Exit(1)


def _stopped(work: Coroutine[Any, Any, None]) -> bool:
    try:
        asyncio.run(work)
    except KeyboardInterrupt:
        return True
    return False


async def _browse(
    config: OpcUaConfig, root: address.Address, choice: discovery.Choice, found: list[discovery.Variable]
) -> None:
    client, told = GuardedClient(config), time.monotonic()

    def say(looked: int, count: int) -> None:
        nonlocal told
        if time.monotonic() - told > 2.0:
            told = time.monotonic()
            typer.echo(f"{looked} nodes looked at, {count} variables", err=True)

    try:
        await _connect(client)
        node = root.node_id(client.namespaces)
        if node is None:
            raise ConfigError(f"--root: namespace URI {root.uri!r} is not in the server's NamespaceArray")
        async for variable in discovery.browse(client, node, choice, say):
            found.append(variable)
    finally:
        await client.close()


async def _connect(client: GuardedClient) -> None:
    await client.connect()
    for _, text in client.warnings:
        typer.echo(f"warning: {text}", err=True)


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="The tag list (CSV).")],
    url: Url,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, a line a tag.")] = False,
    policy: Policy = "None",
    mode: Mode = "SignAndEncrypt",
    username: User = None,
    allow_plain_password: Plain = False,
    user_cert: UserCert = None,
    user_key: UserKey = None,
    allow_deprecated: Deprecated = False,
    pki: Pki = Path("otmirror-pki"),
    trust: Trust = "first use",
    timeout: Timeout = 10.0,
) -> None:
    """Read a tag list once and show what would be mirrored, problems first. Exit status 1 when there are any."""
    tags = tuple(taglist.load(file, address.check))
    config = _config(
        url, tags, policy, mode, username, allow_plain_password, user_cert, user_key, allow_deprecated, pki, trust,
        timeout,
    )  # fmt: skip
    rows = asyncio.run(_once(config))
    now = time.time()
    told = [row | {"problem": problem(tag, row, now)} for tag, row in zip(tags, rows, strict=True)]
    told.sort(key=lambda row: row["problem"] is None)
    problems = sum(row["problem"] is not None for row in told)
    if as_json:
        for row in told:
            typer.echo(json.dumps(row))
    else:
        _table(told, {tag.tag: tag.address for tag in tags}, now)
    typer.echo(f"{len(told)} tag(s), {problems} with a problem", err=True)
    if problems:
        raise typer.Exit(1)


async def _once(config: OpcUaConfig) -> list[dict[str, Any]]:
    """Return one sample a tag, in the list's order."""
    client, plan = GuardedClient(config), ReadPlan(config)
    found: dict[int, Reading] = {}
    try:
        await _connect(client)
        plan.resolve(client.namespaces)
        studied = await study(client, config.tags, plan.node_ids, forms_of(config))
        asked = [(n, node) for n, node in enumerate(plan.nodes) if node is not None]

        def deliver(start: int, values: Sequence[Reading]) -> None:
            found.update({asked[start + n][0]: value for n, value in enumerate(values)})

        limit = first_limit(client.max_nodes_per_read, config.max_nodes)
        await ChunkReader(client.read_values, limit).read([node for _, node in asked], deliver)
    finally:
        await client.close()
    batch, now = Batch(config.source, studied.forms), time.time_ns() // 1000
    for n, tag in enumerate(studied.tags):
        if n in found:
            batch.add(tag, found[n], now)
        else:
            batch.add_bad(tag, STATUS["BadNodeIdUnknown"], now)
    return [row | {"ts_source": found[n][3] if n in found else None} for n, row in enumerate(batch.table().to_pylist())]


def problem(tag: Tag, row: dict[str, Any], now: float) -> str | None:
    """Return what is wrong with a tag's sample (`now` in seconds since 1970), or None."""
    if row["quality"] != "good":
        return f"{row['quality']}: {status_name(row['status'])}"
    named_integer = row["type"] == "enum" and (tag.type or "").startswith(("int", "uint"))
    if tag.type is not None and row["type"] != tag.type and not named_integer and (tag.scale, tag.offset) == (1.0, 0.0):
        return f"is of type {row['type']}, the list says {tag.type}"
    if row["value"] is None and row["text"] is None:
        return "good, but without a value"
    if row["ts_source"] is not None and row["ts_source"] / 1e6 > now + AHEAD:
        return f"its clock is {row['ts_source'] / 1e6 - now:.0f} s ahead"
    return None


def _table(told: list[dict[str, Any]], addresses: dict[str, str], now: float) -> None:
    table = Table("tag", "address", "value", "unit", "age, s", "problem")
    for row in told:
        value = " ".join(one for one in ("" if row["value"] is None else f"{row['value']:g}", row["text"]) if one)
        age = "" if row["ts_source"] is None else f"{now - row['ts_source'] / 1e6:.1f}"
        table.add_row(row["tag"], addresses[row["tag"]], value, row["unit"] or "", age, row["problem"] or "")
    Console(width=None if sys.stdout.isatty() else 200).print(table)
