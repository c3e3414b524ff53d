"""What the bundle's source says: no write-capable call can be reached from a processor."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable, Iterator
from functools import lru_cache

from otmirror.prove.names import READ_FUNCTIONS, READ_SERVICES, RECEIVERS, WRITES
from otmirror.prove.report import Line, judged
from otmirror.prove.source import IMPORTERS, Bundle, Module, called, last_name, strings

OPCUA_GUARD, MODBUS_GUARD = "otmirror/opcua/guard.py", "otmirror/modbus/guard.py"
ALLOW_LIST, WIRE = "otmirror/opcua/allowlist.py", "otmirror/opcua/wire.py"
CLIENTS = re.compile(r"asyncua(\.(Client|client\b.*|sync\b.*|\*))?|pymodbus(\.(client\b.*|\*))?")
"""Every way to get at a protocol library's client: by module, by name, or by the package's own namespace."""
PARTS = re.compile(
    r"asyncua\.(ua|observer\.Observer|common\.utils|crypto\.(security_policies|uacrypto)|ua\.\w+(\.\w+)*"
    r"|common\.utils\.\w+|crypto\.(security_policies|uacrypto)\.\w+)"
)
"""The parts of asyncua that encode, decode and encrypt, and connect nowhere."""
THE_CHANNEL = {
    "send_request": {OPCUA_GUARD}, "_send_request": {OPCUA_GUARD}, "message_to_binary": {WIRE}, "_callbackmap": {WIRE},
    "transport.write": {WIRE}, "wire.exchange": {OPCUA_GUARD}, "wire._send": {WIRE}, "uaclient": {OPCUA_GUARD},
    "ctx": {MODBUS_GUARD}, "call_create": {MODBUS_GUARD}, "client.execute": {MODBUS_GUARD}, "_service": {WIRE},
    "Service": {WIRE, OPCUA_GUARD}, "ALLOWED": {ALLOW_LIST, MODBUS_GUARD},
    "guard.Client": {OPCUA_GUARD}, "AsyncModbusTcpClient": {MODBUS_GUARD}, "trace_pdu": {MODBUS_GUARD},
    "observe_request": {OPCUA_GUARD, ALLOW_LIST}, "observer": {OPCUA_GUARD}, "Observer": {ALLOW_LIST},
    "transport": {OPCUA_GUARD, MODBUS_GUARD, WIRE},
}  # fmt: skip
"""Names that lead past a guard, and the files that may have them."""
_GUARDS = frozenset({"GuardedClient", "ReadOnlyGuard"})
"""Classes that nobody may make another one of: it might be less strict."""
LIBRARIES = frozenset({
    "nifiapi", "asyncua", "pymodbus", "pyarrow", "pyiceberg", "sqlalchemy", "requests", "cryptography", "msgspec",
    "numpy", "zstandard", "py4j", "tomli", "otmirror",
})  # fmt: skip
"""Packages that reachable modules may use; whatever else is installed is none of the bundle's."""
OUTWARD = {
    "requests": {
        "otmirror/victoriametrics/client.py", "otmirror/iceberg/catalog.py", "otmirror/netfault.py",
    },
    "sqlalchemy": {"otmirror/iceberg/catalog.py"}, "ssl": {"otmirror/tlsfiles.py"},
    "socket": {"otmirror/opcua/faults.py", "otmirror/opcua/security.py"},
}  # fmt: skip
"""Modules of connections, and the files that use them: the two stores, and names and errors of the socket module."""
NETWORK = frozenset({
    "socket", "_socket", "ssl", "select", "selectors", "socketserver", "http", "ftplib", "smtplib", "imaplib",
    "poplib", "telnetlib", "xmlrpc", "asyncore", "asynchat", "requests", "sqlalchemy", "urllib3", "httpx", "aiohttp",
})  # fmt: skip
OPENS = frozenset({
    "open_connection", "open_unix_connection", "create_connection", "create_unix_connection", "fromfd", "socketpair",
    "create_datagram_endpoint", "start_server", "create_server", "sock_connect", "sock_sendall", "sock_sendto",
    "sendall", "sendto", "urlopen",
})  # fmt: skip
STARTS = frozenset({
    "create_subprocess_exec", "create_subprocess_shell", "subprocess_exec", "subprocess_shell", "popen", "Popen",
    "system", "fork", "forkpty", "posix_spawn", "posix_spawnp", "startfile", "ProcessPoolExecutor", "dlopen", "CDLL",
})  # fmt: skip
_EXEC = r"(exec|spawn)[lv]p?e?"
STARTERS = frozenset({"subprocess", "multiprocessing", "ctypes", "_ctypes", "cffi", "pty", "_posixsubprocess", "runpy"})
COMPUTED = frozenset({
    "exec", "eval", "compile", "globals", "locals", "vars", "setattr", "delattr", "__import__", "__builtins__",
    "methodcaller", "attrgetter", "__getattribute__", "import_module", "__dict__", "exec_module",
    "spec_from_file_location",
})  # fmt: skip
REVIEWED = {
    ("otmirror/samples.py", "getattr(line, name)"),  # a parsed line's column
    ("otmirror/opcua/blocks.py", "getattr(part.readings, name)"),  # a column of readings
    ("otmirror/opcua/decode.py", "getattr(StatusCodes, name, None)"),  # a status code's number
    ("otmirror/opcua/decode.py", "getattr(value, one.name)"),  # a field of a decoded structure
    ("otmirror/opcua/introduction.py", "getattr(ObjectIds, name)"),  # a node's number
    ("otmirror/nifi.py", "getattr(logger, notice.level)"),  # a level of NiFi's logger
}
"""Attributes by a computed name that somebody has looked at: what they are read from has nothing that sends."""

Found = Iterator[tuple[int, str]]
Rule = Callable[[Module], Found]


def lines(bundle: Bundle) -> list[Line]:
    """Return what the source proves, a line a claim."""
    reach = f"{len(bundle.reachable)} modules reachable from {len(bundle.processors)} processors"
    how = "syntax tree of every module a processor can import"
    return [
        _clients(bundle),
        judged("channel", "Only the guards touch the connections beneath them", how, _broken(bundle, _channel), reach),
        judged("writes", "No call that writes is reachable from a processor", how, _broken(bundle, _writes), reach),
        _allow_lists(bundle),
        judged(
            "connections", "No connection is opened but to devices through the guards, and to the stores", how,
            _broken(bundle, _connections), f"{reach}; stores in {len(OUTWARD['requests']) - 1} of them",
        ),
        judged("processes", "No process is started, no native code loaded", how, _broken(bundle, _processes), reach),
        judged(
            "computed", "No import or attribute by a computed name, no code made of text", how,
            _broken(bundle, _computed), f"{reach}; {len(REVIEWED)} reviewed reads of attributes",
        ),
    ]  # fmt: skip


def _broken(bundle: Bundle, rule: Rule) -> list[str]:
    return [
        f"{module.path}:{line} {what} (by {' > '.join(bundle.way(module.name))})"
        for module in bundle.reachable
        for line, what in _found(rule, module)
    ]


@lru_cache(maxsize=8192)
def _found(rule: Rule, module: Module) -> tuple[tuple[int, str], ...]:
    return tuple(dict.fromkeys(rule(module)))


def _clients(bundle: Bundle) -> Line:
    """Of the whole bundle, also of what no processor reaches, and by name; of reachable modules by what is harmless."""
    importers: dict[str, set[str]] = {}
    for module in bundle.modules.values():
        for one in client_imports(module):
            importers.setdefault(one.split(".")[0], set()).add(module.path)
    wanted = {"asyncua": {OPCUA_GUARD}, "pymodbus": {MODBUS_GUARD}}
    broken = [
        f"{path} imports the client of {library}"
        for library, paths in importers.items()
        for path in sorted(paths - wanted[library])
    ]
    broken += [f"{library}'s client is not imported by its guard" for library in wanted if library not in importers]
    broken += _broken(bundle, _library_parts)
    return judged(
        "clients", "Only the two guards import a protocol library's client", "imports of every file, also by string",
        broken, f"2 of {len(bundle.modules)} modules: {OPCUA_GUARD}, {MODBUS_GUARD}",
    )  # fmt: skip


def client_imports(module: Module) -> Iterator[str]:
    """Yield the imports of a module that lead to a protocol library's client."""
    for one in module.imports:
        # `import asyncua.ua` makes the whole package a variable.
        name = one.name.split(".")[0] if one.bound else one.name
        if CLIENTS.fullmatch(one.name) or CLIENTS.fullmatch(name):
            yield one.name


def _library_parts(module: Module) -> Found:
    for one in module.imports:
        library = one.name.split(".")[0]
        harmless = library not in ("asyncua", "pymodbus") or PARTS.fullmatch(one.name)
        own = {"asyncua": OPCUA_GUARD, "pymodbus": MODBUS_GUARD}.get(library)
        if not harmless and module.path != own:
            yield one.line, f"imports {one.name}"


def _channel(module: Module) -> Found:
    def elsewhere(name: str) -> bool:
        return module.path not in THE_CHANNEL.get(name, {module.path})

    for one in module.imports:
        parts = one.name.split(".")
        if elsewhere(parts[-1]) or elsewhere(".".join(parts[-2:])):
            yield one.line, f"imports {one.name}"
    for node in module.nodes:
        if isinstance(node, ast.ClassDef):
            bases = {last_name(base) for base in node.bases} & _GUARDS
            yield from ((node.lineno, f"{node.name} is made of {base}") for base in sorted(bases))
        if not isinstance(node, (ast.Attribute, ast.Name)):
            continue
        name = last_name(node)
        whole = f"{last_name(node.value)}.{name}" if isinstance(node, ast.Attribute) else name
        yield from ((node.lineno, found) for found in {name: 0, whole: 0} if elsewhere(found))
        of_others = isinstance(node, ast.Attribute) and name == "_client" and last_name(node.value) not in ("self", "")
        if of_others and module.path not in (OPCUA_GUARD, MODBUS_GUARD):
            yield node.lineno, whole


def _writes(module: Module) -> Found:
    for one in module.imports:
        if WRITES.fullmatch(one.name.rpartition(".")[2]):
            yield one.line, one.name
    for node in module.nodes:
        if isinstance(node, (ast.Attribute, ast.Name)) and WRITES.fullmatch(last_name(node)):
            yield node.lineno, last_name(node)
        elif isinstance(node, ast.Attribute) and node.attr in ("write", "call", "cancel"):
            if last_name(node.value) in RECEIVERS:
                yield node.lineno, f"{last_name(node.value)}.{node.attr}"
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and WRITES.fullmatch(node.value):
            yield node.lineno, f"the name {node.value!r}"
        yield from _function_code(node)


def _function_code(node: ast.AST) -> Found:
    """A Modbus message of another function code, made by hand."""
    pairs: list[tuple[str, ast.AST | None]] = []
    if isinstance(node, ast.keyword):
        pairs = [(node.arg or "", node.value)]
    elif isinstance(node, (ast.Assign, ast.AnnAssign)):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        pairs = [(last_name(target), node.value) for target in targets]
    for name, value in pairs:
        if name == "function_code" and not (isinstance(value, ast.Constant) and value.value in READ_FUNCTIONS):
            yield getattr(node, "lineno", 0), f"function_code = {ast.unparse(value) if value else '?'}"


def _allow_lists(bundle: Bundle) -> Line:
    services = _assigned(bundle, ALLOW_LIST)
    functions = _assigned(bundle, MODBUS_GUARD)
    broken = []
    names: list[str] = []
    if isinstance(services, ast.Dict) and services.keys:
        names = [last_name(key) if key else "**" for key in services.keys]
        odd = [name for name in names if name.removesuffix("Request") not in READ_SERVICES or name.endswith("_")]
        broken += [f"{ALLOW_LIST}: {name} is no service that only reads" for name in odd]
    else:
        broken.append(f"{ALLOW_LIST}: ALLOWED is no literal, or assigned more than once")
    codes: set[object] = set()
    literal = functions.args[0] if isinstance(functions, ast.Call) and len(functions.args) == 1 else functions
    if isinstance(literal, ast.Set):
        codes = {one.value if isinstance(one, ast.Constant) else ast.unparse(one) for one in literal.elts}
        broken += [f"{MODBUS_GUARD}: function code {code} is no read" for code in codes if code not in READ_FUNCTIONS]
    else:
        broken.append(f"{MODBUS_GUARD}: ALLOWED is no literal, or assigned more than once")
    return judged(
        "allow-lists", "The guards' allow-lists hold reads only", "the lists as written, against the specifications'",
        broken, f"{len(names)} services, {len(codes)} function codes",
    )  # fmt: skip


def _assigned(bundle: Bundle, path: str) -> ast.AST | None:
    """Return what ALLOWED is made of in a file; None when it is not there, or changed later."""
    found: list[ast.AST] = []
    for node in (node for module in bundle.modules.values() if module.path == path for node in module.nodes):
        if isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            touched = [t.value if isinstance(t, ast.Subscript) else t for t in targets]
            if node.value and any(last_name(one) == "ALLOWED" for one in touched):
                found.append(node.value)
        elif isinstance(node, ast.Attribute) and last_name(node.value) == "ALLOWED" and node.attr != "get":
            found.append(node)
    return found[0] if len(found) == 1 else None


def _connections(module: Module) -> Found:
    standard = sys.stdlib_module_names
    for one in module.imports:
        top = one.name.split(".")[0]
        known = top in LIBRARIES or top in standard or top in ("_typeshed", "typing_extensions")
        outward = top in NETWORK or one.name.startswith("urllib.request")
        opens = one.name.rpartition(".")[2] in OPENS or one.name.lower() == "socket.socket"
        if not known or opens or (outward and module.path not in OUTWARD.get(top, ())):
            yield one.line, f"imports {one.name}"
    for node in module.nodes:
        if not isinstance(node, (ast.Attribute, ast.Name)):
            continue
        name = last_name(node)
        if name in OPENS or (isinstance(node, ast.Attribute) and name in ("socket", "SocketType")):
            yield node.lineno, name


def _processes(module: Module) -> Found:
    for one in module.imports:
        name = one.name.rpartition(".")[2]
        if one.name.split(".")[0] in STARTERS or name in STARTS or re.fullmatch(rf"os\.{_EXEC}", one.name):
            yield one.line, f"imports {one.name}"
    for node in module.nodes:
        if isinstance(node, (ast.Attribute, ast.Name)):
            name = last_name(node)
            of_os = isinstance(node, ast.Attribute) and last_name(node.value) == "os"
            if name in STARTS or (of_os and re.fullmatch(_EXEC, name)):
                yield node.lineno, name


def _computed(module: Module) -> Found:
    calls = {id(node.func) for node in module.nodes if isinstance(node, ast.Call)}
    for one in module.imports:
        if one.name.split(".")[0] in ("pickle", "marshal", "shelve", "code", "codeop"):
            yield one.line, f"imports {one.name}"
    for node in module.nodes:
        if isinstance(node, ast.Name) and node.id == "getattr" and id(node) not in calls:
            yield node.lineno, "getattr handed on"
        if isinstance(node, ast.Call) and called(node) == "getattr":
            literal = len(node.args) > 1 and strings(node.args[1])
            if not literal and (module.path, ast.unparse(node)) not in REVIEWED:
                yield node.lineno, ast.unparse(node)
        elif isinstance(node, ast.Name) and node.id in COMPUTED | IMPORTERS:
            yield node.lineno, node.id
        elif isinstance(node, ast.Attribute) and ast.unparse(node) == "sys.modules":
            yield node.lineno, "sys.modules"
        elif isinstance(node, ast.Attribute) and node.attr in COMPUTED - {"compile"}:
            yield node.lineno, ast.unparse(node)
        elif isinstance(node, ast.ImportFrom) and node.module in ("importlib", "operator", "builtins"):
            names = {alias.name for alias in node.names}
            yield from ((node.lineno, f"imports {name}") for name in sorted(names & (COMPUTED | {"machinery", "util"})))
