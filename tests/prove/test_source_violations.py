"""The proof's look at the source: the shipped bundle passes, and each seeded violation fails its line and no other."""

from __future__ import annotations

import ast
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness import HOME
from otmirror.embedded import nar
from otmirror.errors import ConfigError
from otmirror.prove import flows, static
from otmirror.prove.report import FAILS, Line
from otmirror.prove.source import Bundle
from otmirror.workspace import PROJECT

LINES = {"clients", "channel", "writes", "allow-lists", "connections", "processes", "computed", "flows"}
OPCUA, MODBUS = "otmirror/opcua/reader.py", "otmirror/modbus/device.py"


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What goes into the NAR, without the packages of others, and the flows."""
    folder = tmp_path_factory.mktemp("shipped")
    for name, file in nar.contents(HOME):
        if not name.startswith("NAR-INF/"):
            (folder / "processors" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, folder / "processors" / name)
    shutil.copytree(PROJECT / "flows", folder / "flows")
    return folder


@pytest.fixture
def copy(shipped: Path, tmp_path: Path) -> Path:
    shutil.copytree(shipped, tmp_path / "copy")
    return tmp_path / "copy"


def lines(folder: Path) -> dict[str, Line]:
    found = [*static.lines(Bundle(folder / "processors")), flows.line(folder / "flows")]
    return {line.id: line for line in found}


def failing(found: dict[str, Line]) -> set[str]:
    return {line.id for line in found.values() if line.verdict == FAILS}


def test_the_shipped_bundle_holds_every_line(shipped: Path) -> None:
    found = lines(shipped)
    assert set(found) == LINES
    assert failing(found) == set(), [line.seen for line in found.values() if line.verdict == FAILS]


def test_the_repository_as_it_is_holds_every_line() -> None:
    """With the operator's command beside the bundle: it holds servers, clients that write and processes."""
    bundle = Bundle(HOME)
    found = {line.id: line for line in static.lines(bundle)}
    assert failing(found) == set(), [line.seen for line in found.values() if line.verdict == FAILS]
    reached = {module.path for module in bundle.reachable}
    assert reached.isdisjoint(path for path in reached if path.split("/")[1:2] in [[part] for part in nar.COMMAND_ONLY])
    assert "otmirror/prove/writer.py" in {module.path for module in bundle.modules.values()} - reached


def add(file: str, code: str) -> Callable[[Path], None]:
    """Lines at the end of a file of the bundle, which may be new."""

    def seed(folder: Path) -> None:
        path = folder / "processors" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        before = path.read_text() if path.exists() else ""
        path.write_text(f"{before}\n{code}\n")

    return seed


def change(file: str, old: str, new: str) -> Callable[[Path], None]:
    def seed(folder: Path) -> None:
        path = folder / "processors" / file
        text = path.read_text()
        assert text.count(old) == 1, f"{file} has changed: {old!r} is there {text.count(old)} times"
        path.write_text(text.replace(old, new))

    return seed


def both(*seeds: Callable[[Path], None]) -> Callable[[Path], None]:
    return lambda folder: [seed(folder) for seed in seeds] and None


def component(kind: str, what: str = "processors") -> Callable[[Path], None]:
    def seed(folder: Path) -> None:
        file = folder / "flows" / "pilot.json"
        flow = json.loads(file.read_text())
        inner = {"name": "inner", "processors": [], what: [{"name": "Setpoints", "type": kind}]}
        flow["flowContents"].setdefault("processGroups", []).append(inner)
        file.write_text(json.dumps(flow))

    return seed


SEEDS: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "a processor imports asyncua's client": (
        "clients",
        add("ReadOpcUaTags.py", "from asyncua import Client"),
        "ReadOpcUaTags.py imports the client of asyncua",
    ),
    "a helper imports it by another name, inside a function": (
        "clients",
        add(OPCUA, "def f():\n    import asyncua.ua\n    return asyncua.Client"),
        OPCUA,
    ),
    "the blocking client": (
        "clients",
        add("otmirror/opcua/plan.py", "from asyncua.sync import Client as C"),
        "plan.py",
    ),
    "pymodbus' client in a new file": (
        "clients",
        both(
            add("otmirror/modbus/quick.py", "from pymodbus.client import ModbusTcpClient"),
            add(MODBUS, "from otmirror.modbus import quick"),
        ),
        "otmirror/modbus/quick.py",
    ),
    "a server, which could be a client's back door": (
        "clients",
        add("otmirror/opcua/study.py", "from asyncua.server import Server"),
        "imports asyncua.server.Server",
    ),
    "the connection beneath the guard": (
        "channel",
        add(OPCUA, "def f(client, request):\n    return client.protocol.send_request(request)"),
        "send_request",
    ),
    "the client out of the guard's own namespace": (
        "channel",
        add(OPCUA, "from otmirror.opcua.guard import Client"),
        "imports otmirror.opcua.guard.Client",
    ),
    "the client inside the guarded one": (
        "channel",
        add(OPCUA, "def f(guarded):\n    return guarded._client"),
        "guarded._client",
    ),
    "a guard of one's own, which is less strict": (
        "channel",
        add(OPCUA, "class Mine(ReadOnlyGuard):\n    pass"),
        "Mine is made of ReadOnlyGuard",
    ),
    "a guard that is asked nothing": (
        "channel",
        add(MODBUS, "async def observe():\n    client.observer = None"),
        "observer",
    ),
    "bytes of a service put together by hand": (
        "channel",
        add("otmirror/opcua/services.py", "from otmirror.opcua.wire import Service\nx = Service(1, b'', 2)"),
        "otmirror/opcua/services.py",
    ),
    "a helper that writes values": (
        "writes",
        add(OPCUA, "async def tune(client, nodes):\n    await client.write_values(nodes, [1.0])"),
        "write_values",
    ),
    "a request that writes": (
        "writes",
        add("otmirror/opcua/services.py", "def f():\n    return ua.WriteRequest()"),
        "WriteRequest",
    ),
    "a method of the plant called": (
        "writes",
        add(OPCUA, "async def trip(node):\n    await node.call_method('Trip')"),
        "call_method",
    ),
    "a write by a name in a string": (
        "writes",
        add(OPCUA, "def f(node):\n    return getattr(node, 'write_value')"),
        "the name 'write_value'",
    ),
    "a write of pymodbus in a new sub-module": (
        "writes",
        both(
            add("otmirror/modbus/extra/__init__.py", "from . import tuning"),
            add("otmirror/modbus/extra/tuning.py", "def set_point(c):\n    return c.write_register(30, 7)"),
            add("otmirror/modbus/unit.py", "def f():\n    from .extra import tuning"),
        ),
        "otmirror/modbus/extra/tuning.py:3 write_register (by PollModbusReadOnly.py > otmirror/modbus/reader.py",
    ),
    "another function code in a message of one's own": (
        "writes",
        add(MODBUS, "class Tune:\n    function_code = 0x10"),
        "function_code = 16",
    ),
    "an allow-list that grows later": (
        "allow-lists",
        add("otmirror/opcua/allowlist.py", "ALLOWED[object] = 'Read'"),
        "assigned more than once",
    ),
    "an allow-list that is added to": (
        "allow-lists",
        add("otmirror/opcua/allowlist.py", "ALLOWED.update({object: 'Read'})"),
        "assigned more than once",
    ),
    "an allow-list changed from elsewhere": (
        "channel",
        add(OPCUA, "from otmirror.opcua import allowlist\nallowlist.ALLOWED[object] = 'Read'"),
        "ALLOWED",
    ),
    "function code 16 on the allow-list": (
        "allow-lists",
        change("otmirror/modbus/guard.py", "frozenset({1, 2, 3, 4})", "frozenset({1, 2, 3, 4, 16})"),
        "function code 16 is no read",
    ),
    "a raw socket in a processor": (
        "connections",
        add("PollModbusReadOnly.py", "def raw():\n    import socket\n    return socket.socket()"),
        "PollModbusReadOnly.py",
    ),
    "a socket where the module is allowed for its errors": (
        "connections",
        add("otmirror/opcua/faults.py", "def raw():\n    return socket.create_connection(('plc', 502))"),
        "create_connection",
    ),
    "a connection of asyncio": (
        "connections",
        add(MODBUS, "async def raw():\n    return await asyncio.open_connection('plc', 502)"),
        "open_connection",
    ),
    "another protocol library": ("connections", add(MODBUS, "import snap7"), "imports snap7"),
    "a program started by a processor": (
        "processes",
        add("WriteIceberg.py", "def f():\n    import subprocess\n    subprocess.run(['mbpoll'])"),
        "imports subprocess",
    ),
    "a shell": ("processes", add("otmirror/nifi.py", "import os\nos.system('mbpoll')"), "system"),
    "native code": ("processes", add("otmirror/clock.py", "from ctypes import CDLL"), "ctypes"),
    "an import through importlib": (
        "computed",
        add(OPCUA, "from importlib import import_module\nm = import_module('asy' + 'ncua')"),
        "import_module",
    ),
    "an attribute put together": (
        "computed",
        add(OPCUA, "def f(node, what):\n    return getattr(node, 'wri' + what)"),
        "getattr(node, 'wri' + what)",
    ),
    "code made of text": ("computed", add(MODBUS, "def f(text):\n    exec(text)"), "exec"),
    "a flow that writes over OPC UA": (
        "flows",
        component("org.example.opcua.WriteOpcUa"),
        "Setpoints is of type org.example.opcua.WriteOpcUa",
    ),
    "a flow that runs a program": (
        "flows",
        component("org.apache.nifi.processors.standard.ExecuteStreamCommand"),
        "ExecuteStreamCommand",
    ),
    "a service of a flow that runs a script": (
        "flows",
        component("org.apache.nifi.lookup.script.ScriptedLookupService", "controllerServices"),
        "Scripted",
    ),
}


@pytest.mark.parametrize("name", SEEDS)
def test_a_violation_fails_its_line_and_no_other(copy: Path, name: str) -> None:
    line, seed, told = SEEDS[name]
    seed(copy)
    found = lines(copy)
    assert failing(found) == {line}, {one: found[one].seen for one in failing(found)}
    assert told in found[line].seen


def test_an_allow_list_with_the_write_itself(copy: Path) -> None:
    """Two lines: the list holds no read, and the request of a write can be reached."""
    change("otmirror/opcua/allowlist.py", '    ua.ReadRequest: "Read",', '    ua.WriteRequest: "Read",')(copy)
    found = lines(copy)
    assert failing(found) == {"allow-lists", "writes"}
    assert "WriteRequest is no service that only reads" in found["allow-lists"].seen


def test_a_bundle_whose_guards_do_not_guard_proves_nothing(copy: Path) -> None:
    (copy / "processors" / "otmirror" / "modbus" / "guard.py").write_text("ALLOWED = frozenset({1, 2, 3, 4})\n")
    found = lines(copy)
    assert failing(found) == {"clients"}
    assert found["clients"].seen == "pymodbus's client is not imported by its guard"


def test_what_no_processor_imports_is_not_reachable(copy: Path) -> None:
    add("otmirror/modbus/nobody.py", "def f(c):\n    return c.write_register(30, 7)")(copy)
    assert failing(lines(copy)) == set()


@pytest.mark.parametrize("text", ["def f(:", "\x00", "x = '\ud800'"])
def test_a_file_that_is_no_python_is_told(copy: Path, text: str) -> None:
    (copy / "processors" / "otmirror" / "odd.py").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(ConfigError, match=r"odd\.py cannot be read as Python"):
        Bundle(copy / "processors")


def test_an_empty_folder_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no processors in .*--bundle"):
        Bundle(tmp_path)
    assert flows.line(tmp_path).verdict == FAILS


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"flowContents": 7}', '{"flowContents": {"processors": [{}]}}'])
def test_a_flow_that_cannot_be_read_fails(tmp_path: Path, text: str) -> None:
    (tmp_path / "odd.json").write_text(text)
    line = flows.line(tmp_path)
    assert line.verdict == FAILS
    assert "odd.json" in line.seen


def modules(code: str) -> Iterator[str]:
    from otmirror.prove.source import Module

    module = Module("otmirror.a.b", "otmirror/a/b.py", ast.parse(code), package=False)
    return (one.name for one in module.imports)


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("from . import c", ["otmirror.a.c"]),
        ("from .c import d", ["otmirror.a.c.d"]),
        ("from .. import c as d", ["otmirror.c"]),
        ("from ..c.d import e, f", ["otmirror.c.d.e", "otmirror.c.d.f"]),
        ("import a.b as c, d", ["a.b", "d"]),
        ("def f():\n    if x:\n        import a.b", ["a.b"]),
        ("import_module('a.b' if x else 'c')", ["a.b", "c"]),
        ("__import__('a')", ["a"]),
        ("import_module(name)", []),
    ],
)
def test_imports_by_every_way_of_python(code: str, names: list[str]) -> None:
    assert list(modules(code)) == names
