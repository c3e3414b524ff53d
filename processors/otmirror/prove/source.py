"""The bundle's source as a graph of imports: which modules can run in a processor, and what each of them names.

Nothing is imported or run. A module counts as reachable when a processor's file imports it, anywhere in its text and
over any number of steps, and then all of its code does: more than can really be called, never less.
"""

from __future__ import annotations

import ast
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

from otmirror.errors import ConfigError

LIBRARY = "otmirror"
_NOT_OURS = frozenset({"NAR-INF", "META-INF", "__pycache__"})
IMPORTERS = frozenset({"import_module", "__import__"})
"""Functions that import what a string names."""


@dataclass(frozen=True)
class Import:
    """One name that a module imports: `name` with dots, `bound` whether the package at its top becomes a variable."""

    name: str
    line: int
    bound: bool = False


@dataclass(frozen=True, eq=False)
class Module:
    """One file: its name with dots, its path within the bundle, and its syntax tree."""

    name: str
    path: str
    tree: ast.Module
    package: bool

    @cached_property
    def nodes(self) -> tuple[ast.AST, ...]:
        """Every node of its tree."""
        return tuple(ast.walk(self.tree))

    @cached_property
    def imports(self) -> tuple[Import, ...]:
        """Everything it imports, wherever that stands, by statement or by a literal string."""
        return tuple(self._imports())

    def _imports(self) -> Iterator[Import]:
        for node in self.nodes:
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield Import(alias.name, node.lineno, alias.asname is None)
            elif isinstance(node, ast.ImportFrom):
                base = self._base(node)
                for alias in node.names:
                    yield Import(f"{base}.{alias.name}" if base else alias.name, node.lineno)
            elif isinstance(node, ast.Call) and called(node) in IMPORTERS:
                for text in strings(node.args[0]) if node.args else ():
                    yield Import(text, node.lineno, bound=True)

    def _base(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        parts = self.name.split(".")
        parts = parts[: len(parts) - node.level + self.package]
        return ".".join([*parts, *([node.module] if node.module else [])])


def called(call: ast.Call) -> str:
    """Return the last part of the name of what is called; empty when it has none."""
    return last_name(call.func)


def last_name(node: ast.AST) -> str:
    """Return `c` of `a.b.c` and of `c`; empty for anything else."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def strings(node: ast.AST) -> list[str]:
    """Return the texts an expression can be when it is made of literals: itself, or those of a choice; else none."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [node.value]
    if isinstance(node, ast.IfExp):
        both = [strings(node.body), strings(node.orelse)]
        return both[0] + both[1] if all(both) else []
    return []


@lru_cache(maxsize=1024)
def _parsed(path: str, content: bytes) -> Module:
    """Return the module of a file, the same one for the same content."""
    package = path.endswith("__init__.py")
    name = path.removesuffix("/__init__.py" if package else ".py").replace("/", ".")
    return Module(name, path, ast.parse(content, path), package)


class Bundle:
    """The processors' folder: their files at the top, the library beside them."""

    def __init__(self, folder: Path):
        """Read every Python file of it, without the packages of others in NAR-INF.

        Raises:
            ConfigError: there are no processors, or a file is no Python.
        """
        self.folder = folder
        self.modules: dict[str, Module] = {}
        for file in sorted(folder.rglob("*.py")):
            parts = file.relative_to(folder).parts
            if not _NOT_OURS.intersection(parts):
                self._add(file, parts)
        self.processors = [name for name in self.modules if name.split(".")[0] != LIBRARY]
        if not self.processors:
            raise ConfigError(f"there are no processors in {folder}: name the bundle's folder with --bundle")
        self._importer = self._reach()

    def _add(self, file: Path, parts: tuple[str, ...]) -> None:
        try:
            module = _parsed("/".join(parts), file.read_bytes())
        except (OSError, SyntaxError, ValueError) as error:
            raise ConfigError(f"{file} cannot be read as Python: {error}") from None
        self.modules[module.name] = module

    def _reach(self) -> dict[str, str | None]:
        found: dict[str, str | None] = dict.fromkeys(self.processors)
        waiting = deque(self.processors)
        while waiting:
            importer = waiting.popleft()
            for one in self.modules[importer].imports:
                parts = one.name.split(".")
                for end in range(1, len(parts) + 1):  # the packages it is in run too
                    name = ".".join(parts[:end])
                    if name in self.modules and name not in found:
                        found[name] = importer
                        waiting.append(name)
        return found

    @property
    def reachable(self) -> list[Module]:
        """The modules that can run in a processor, the processors first."""
        return [self.modules[name] for name in self._importer]

    def way(self, name: str) -> list[str]:
        """Return the files by which a reachable module is imported, the processor's first."""
        path = []
        step: str | None = name
        while step is not None:
            path.append(self.modules[step].path)
            step = self._importer[step]
        return path[::-1]
