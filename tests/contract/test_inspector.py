"""The four processor files under NiFi's own inspector and loader."""

import ast
import json
import subprocess
import sys

import pytest

import otmirror
from harness import HOME, PROCESSORS, Runner, details, extension_manager, load, nifi_python
from otmirror.prove.source import Bundle, Module
from otmirror.prove.static import client_imports
from otmirror.workspace import PROJECT

SOURCES = ("ReadOpcUaTags", "PollModbusReadOnly")


def test_nifi_finds_the_four_processors_and_nothing_else():
    found = {entry.type for entry in extension_manager().getProcessorTypes()}
    assert found == set(PROCESSORS)


@pytest.mark.parametrize("name", PROCESSORS)
def test_the_inspector_lists_every_property_that_the_processor_has(name):
    listed = {prop.name: prop for prop in details(name).property_descriptions}
    actual = {prop.name: prop for prop in load(name)(jvm=None).getPropertyDescriptors()}
    assert set(listed) == set(actual)
    for key, prop in actual.items():
        documented = listed[key]
        assert documented.description == prop.description, key
        assert documented.required == prop.required, key
        assert documented.sensitive == prop.sensitive, key
        assert (documented.default_value or None) == (prop.defaultValue or None), key
        assert documented.allowable_values == (prop.allowableValues or []), key
        assert len(prop.description) > 30, f"{key}: the description says too little"


@pytest.mark.parametrize("name", PROCESSORS)
def test_the_inspector_lists_every_use_case(name):
    source = ast.parse((HOME / f"{name}.py").read_text())
    decorators = next(node for node in source.body if isinstance(node, ast.ClassDef)).decorator_list
    wanted = [decorator.func.id for decorator in decorators]
    assert len(details(name).use_cases) == wanted.count("use_case") >= 2
    assert len(details(name).multi_processor_use_cases) == wanted.count("multi_processor_use_case")
    for use_case in details(name).use_cases:
        assert use_case.description
        assert use_case.configuration


@pytest.mark.parametrize("name", PROCESSORS)
def test_details_are_complete_and_of_one_version(name):
    found = details(name)
    assert found.version == otmirror.__version__
    assert found.interfaces == [
        "org.apache.nifi.python.processor." + ("FlowFileSource" if name in SOURCES else "FlowFileTransform")
    ]
    assert len(found.description) > 80
    assert len(found.tags) >= 4
    assert found.dependencies == [], "dependencies are bundled, NiFi must not download any"


def test_flows_name_the_same_version():
    for file in (PROJECT / "flows").glob("*.json"):
        processors = json.loads(file.read_text())["flowContents"]["processors"]
        bundles = [p["bundle"] for p in processors if p["bundle"]["artifact"] == "python-extensions"]
        assert {bundle["version"] for bundle in bundles} == {otmirror.__version__}, file.name


def test_files_that_nifi_opens_in_its_locale_are_ascii():
    for file in [*HOME.glob("*.py"), *(HOME / "otmirror").glob("*.py")]:
        assert file.read_bytes().isascii(), f"{file.name}: NiFi may run under an ASCII locale"


def test_the_processor_files_are_thin():
    for name in PROCESSORS:
        tree = ast.parse((HOME / f"{name}.py").read_text())
        for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
            if function.name == "getPropertyDescriptors":
                assert len(function.body) == 1, f"{name}.{function.name} is no plain list"
                continue  # a property a line, however many there are
            assert function.end_lineno - function.lineno <= 40, f"{name}.{function.name} is no thin shell"
        modules = {
            (node.module if isinstance(node, ast.ImportFrom) else node.names[0].name).split(".")[0]
            for node in tree.body
            if isinstance(node, (ast.Import, ast.ImportFrom))
        }
        assert modules - set(sys.stdlib_module_names) <= {"nifiapi", "otmirror"}, name


def test_the_library_knows_no_nifi():
    for file in (HOME / "otmirror").rglob("*.py"):
        tree = ast.parse(file.read_text())
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any(name.split(".")[0] == "nifiapi" for name in names), file


GUARDS = {"asyncua": "otmirror/opcua/guard.py", "pymodbus": "otmirror/modbus/guard.py"}


def test_only_the_guards_import_a_protocol_librarys_client():
    """In the whole library, the operator's command included; what fails this is in tests/prove."""
    importers = {}
    for module in Bundle(HOME).modules.values():
        for found in client_imports(module):
            importers.setdefault(found.split(".")[0], set()).add(module.path)
    assert importers == {library: {guard} for library, guard in GUARDS.items()}


@pytest.mark.parametrize(
    "code",
    [
        "from asyncua import Client",
        "import asyncua",
        "import asyncua.ua",
        "import asyncua.client.client as c",
        "from asyncua.client.ua_client import UaClient",
        "def f():\n    from pymodbus.client import AsyncModbusTcpClient",
        "import_module('pymodbus.client')",
    ],
)
def test_that_check_can_fail(code):
    assert list(client_imports(Module("m", "m.py", ast.parse(code), package=False)))


@pytest.mark.parametrize("name", PROCESSORS)
def test_a_processor_starts_in_the_interpreter_that_nifi_uses(name):
    """`python -S`, no site-packages: only NiFi's api, the processors' folder and the bundled dependencies."""
    bundled = HOME / "NAR-INF" / "bundled-dependencies"
    if not bundled.is_dir():
        pytest.skip("the bundle's dependencies are not installed: make deps")
    python = nifi_python()
    script = (
        "import sys, json\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "import harness_minimal\n"
        f"import {name}\n"
        f"processor = {name}.{name}(jvm=None)\n"
        "print(json.dumps(sorted(d.name for d in processor.getPropertyDescriptors())))\n"
    )
    path = f"{python / 'api'}:{python / 'framework'}:{HOME}:{bundled}"
    done = subprocess.run(
        [sys.executable, "-S", "-c", script, str(PROJECT / "tests" / "contract")],
        env={"PYTHONPATH": path, "PATH": "/usr/bin:/bin", "LC_ALL": "C"},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == sorted(Runner(name).values)
