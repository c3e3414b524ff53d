"""`otmirror prove` as a user runs it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from harness import HOME
from otmirror.cli.app import app
from otmirror.errors import ConfigError
from otmirror.prove import report
from otmirror.prove.standin import StandIn

pytestmark = pytest.mark.heavy
OPCUA_TAGS = "tag,address\na,nsu=urn:otmirror:plant;s=Well1.P-PDG\nb,nsu=urn:otmirror:plant;s=Well1.P-TPT\n"
MODBUS_TAGS = "tag,address,type\na,1:holding:0,float\nb,1:discrete:0,\n"


def run(*arguments: object) -> tuple[int, dict[str, dict[str, str]], str]:
    done = CliRunner().invoke(app, ["prove", "--json", *map(str, arguments)])
    if isinstance(done.exception, ConfigError):
        raise done.exception
    assert isinstance(done.exception, (SystemExit, type(None))), done.exception
    told = json.loads(done.stdout)
    assert told["holds"] is (done.exit_code == 0)
    return done.exit_code, {line["id"]: line for line in told["lines"]}, done.stderr


@pytest.fixture(scope="module")
def plant() -> StandIn:
    """Somebody else's server, as far as the command knows."""
    with StandIn() as running:
        yield running


def test_it_passes_on_the_shipped_bundle_and_looks_on_at_a_server_of_yours(plant: StandIn, tmp_path: Path) -> None:
    tags = tmp_path / "tags.csv"
    tags.write_text(OPCUA_TAGS)
    before = plant.set_opcua(5.5)
    code, lines, told = run(
        "--opcua", "opc.tcp://{}:{}".format(*plant.opcua_address), "--taglist", tags, "--seconds", 3
    )  # fmt: skip
    assert code == 0, [line for line in lines.values() if line["verdict"] == report.FAILS]
    assert {line["verdict"] for line in lines.values()} == {report.HOLDS, report.UNCHECKED}
    assert {name for name, line in lines.items() if line["verdict"] == report.UNCHECKED} == {"encrypted", "network"}
    yours = lines["yours-opcua"]
    assert "CreateSession 1" in yours["seen"]
    assert "Write" not in yours["seen"]
    assert "faults" not in yours["seen"], "a server of yours is left in peace"
    assert plant.opcua_value() == before == 5.5
    assert "20 claims, 0 failed, 2 not checked here" in told


def test_it_looks_on_at_a_modbus_device_of_yours_and_a_seeded_bundle_fails(plant: StandIn, tmp_path: Path) -> None:
    shutil.copytree(HOME, tmp_path / "bundle", ignore=shutil.ignore_patterns("NAR-INF", "META-INF", "__pycache__"))
    with (tmp_path / "bundle" / "PollModbusReadOnly.py").open("a") as file:
        file.write("\n\ndef tune(client):\n    return client.write_registers(30, [7])\n")
    tags = tmp_path / "tags.csv"
    tags.write_text(MODBUS_TAGS)
    code, lines, told = run(
        "--modbus", "{}:{}".format(*plant.modbus_address), "--taglist", tags, "--seconds", 3,
        "--bundle", tmp_path / "bundle",
    )  # fmt: skip
    assert code == 1
    assert [name for name, line in lines.items() if line["verdict"] == report.FAILS] == ["writes"]
    assert "PollModbusReadOnly.py:" in lines["writes"]["seen"]
    assert "3 Read Holding Registers" in lines["yours-modbus"]["seen"]
    assert "1 failed" in told


def test_a_server_that_does_not_answer_proves_nothing(tmp_path: Path) -> None:
    from otmirror.prove import proof

    tags = tmp_path / "tags.csv"
    tags.write_text(OPCUA_TAGS)
    look = proof._dry(proof.Yours("opc.tcp://127.0.0.1:9", None, tags, 1.0))
    first, _ = look()
    assert first.verdict == report.FAILS
    assert "nothing was read, so nothing is proven" in first.seen


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--opcua", "opc.tcp://plc"], "--taglist"),
        (["--taglist", "tags.csv"], "goes with --opcua or --modbus"),
        (["--opcua", "opc.tcp://plc", "--modbus", "plc", "--taglist", "tags.csv"], "one of --opcua and --modbus"),
        (["--opcua", "opc.tcp://plc", "--taglist", "no-such-file.csv"], "no-such-file.csv"),
        (["--opcua", "http://plc", "--taglist", "tags.csv"], "Endpoint URL"),
        (["--modbus", "a=plc, b=plc2", "--taglist", "tags.csv"], "give one device"),
        (["--modbus", "plc", "--taglist", "tags.csv"], "line 2"),
        (["--opcua", "opc.tcp://plc", "--taglist", "tags.csv", "--seconds", "0"], "--seconds 0"),
        (["--bundle", "."], "no processors"),
    ],
)
def test_mistakes_are_told_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], told: str
) -> None:
    (tmp_path / "tags.csv").write_text(OPCUA_TAGS)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=told):
        run(*arguments)


def test_the_table_is_for_people() -> None:
    from rich.console import Console

    lines = [report.judged("a", "Claim [1]", "how", [], "seen"), report.judged("b", "c", "d", list("123456"), "e")]
    with (console := Console(width=100)).capture() as text:
        console.print(report.as_table(lines))
    assert "1; 2; 3; 4; 5; and 1 more" in text.get()
    assert report.FAILS in text.get()
    assert "Claim [1]" in text.get()
