"""Browsing a server into a tag list, and checking a tag list against it: the commands, against node-opcua."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from opcua_server import PLANT, Server, rows
from typer.testing import CliRunner

from otmirror import taglist
from otmirror.cli.app import app
from otmirror.opcua import address

TYPES = {  # what server.js declares
    "Type.Boolean": "bool", "Type.SByte": "int8", "Type.Byte": "uint8", "Type.Int16": "int16", "Type.UInt16": "uint16",
    "Type.Int32": "int32", "Type.UInt32": "uint32", "Type.Int64": "int64", "Type.UInt64": "uint64",
    "Type.Float": "float", "Type.Double": "double", "Type.String": "string",
}  # fmt: skip


def run(*argv: object) -> Any:
    return CliRunner().invoke(app, ["opcua", *map(str, argv)])


@pytest.fixture(scope="module")
def listed(plant: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("browse") / "tags.csv"
    before = plant.do("requests")
    done = run("browse", plant.url, "-o", file, "--prefix", "acme/north", "--exclude", "*/Counter[1-9]*")
    assert done.exit_code == 0, f"{done.output} {done.exception!r}"
    sent = {name for name, count in plant.do("requests").items() if count != before.get(name, 0)} - {"mostNodes"}
    assert sent <= {
        "GetEndpoints", "CreateSession", "ActivateSession", "CloseSession", "Read", "Browse", "BrowseNext",
        "TranslateBrowsePathsToNodeIds", "OpenSecureChannel", "CloseSecureChannel",
    }  # fmt: skip
    assert plant.do("sessions") == 0
    return file


def test_every_variable_is_listed_with_its_address_and_type(listed: Path) -> None:
    tags = {tag.address: tag for tag in taglist.load(listed, address.check)}
    for name, kind in TYPES.items():
        tag = tags[f"nsu={PLANT};s={name}"]
        assert tag.type == kind, tag
        assert tag.tag.startswith("acme/north/")
        assert tag.tag.endswith(f"/{name}")
    assert {f"nsu={PLANT};{rest}" for rest in ("i=7001", "b=AQID", "s=Counter0")} <= set(tags)
    assert not any("Counter7" in where for where in tags)
    assert not any(where.startswith("i=") for where in tags), "the server's own variables are no tags"


def test_what_was_listed_can_be_read_by_the_reader(listed: Path, plant: Server, connect: Any) -> None:
    tags = [tag for tag in taglist.load(listed, address.check) if "/Type." in tag.tag]
    found = rows(connect(plant, tags).read())
    assert {row["quality"] for row in found.values()} == {"good"}
    for tag in tags:
        if tag.type is not None and "/Type." in tag.tag:
            assert found[tag.tag]["type"] == tag.type, tag


def test_a_file_that_is_there_is_not_overwritten(listed: Path, plant: Server) -> None:
    before = listed.read_bytes()
    done = run("browse", plant.url, "-o", listed)
    assert done.exit_code == 1
    assert "is there already" in str(done.exception)
    assert listed.read_bytes() == before


def test_ten_thousand_variables_through_browse_next(plant: Server) -> None:
    done = run("browse", plant.url, "--include", "*/Counter*", "--depth", "3")
    assert done.exit_code == 0, f"{done.stderr} {done.exception!r}"
    assert sum(line.count(";s=Counter") for line in done.stdout.splitlines()) == 10_000
    assert "10000 variable(s)" in done.stderr


def test_checking_names_problems_first(plant: Server, tmp_path: Path) -> None:
    file = tmp_path / "tags.csv"
    file.write_text(
        "tag,address,type\n"
        f"good,nsu={PLANT};s=Type.Double,double\n"
        f"unknown,nsu={PLANT};s=Typo,\n"
        f"other,nsu={PLANT};s=Type.Double,int16\n"
        f"sensor,nsu={PLANT};s=Status.BadSensorFailure,\n"
        "nowhere,nsu=http://elsewhere/;s=x,\n"
    )
    done = run("check", file, plant.url, "--json")
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.exit_code == 1
    assert told[-1] == told[-1] | {"tag": "good", "value": 0.1, "problem": None}
    problems = {row["tag"]: row["problem"] for row in told[:-1]}
    assert problems == {
        "unknown": "bad: BadNodeIdUnknown (0x80340000)", "other": "is of type double, the list says int16",
        "sensor": "bad: BadSensorFailure (0x808C0000)", "nowhere": "bad: BadNodeIdUnknown (0x80340000)",
    }  # fmt: skip
    shown = run("check", file, plant.url).stdout
    assert shown.index("BadSensorFailure") < shown.index("\u2502 good")


def test_a_good_list_ends_with_0_and_no_server_with_one_line(plant: Server, tmp_path: Path) -> None:
    file = tmp_path / "tags.csv"
    file.write_text(f"tag,address\ngood,nsu={PLANT};s=Type.Double\n")
    assert run("check", file, plant.url).exit_code == 0
    done = run("check", file, "opc.tcp://127.0.0.1:1")
    assert done.exit_code == 1
    assert "127.0.0.1:1" in str(done.exception)
    assert run("browse", plant.url, "--username", "operator").exit_code == 1
