"""Drives the processor files through NiFi's own Python side, with a small fake JVM in the place of NiFi's.

`nifiapi`, the inspector and the loader are the real ones from NiFi's published jars. The fake stands only for what
they call in Java: collections, validators, property values.
"""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from otmirror.embedded.install import install
from otmirror.errors import MirrorError
from otmirror.workspace import PROJECT

PROCESSORS = ("ReadOpcUaTags", "PollModbusReadOnly", "ToVictoriaMetrics", "WriteIceberg")
HOME = PROJECT / "processors"


class _JavaList(list):
    add = list.append
    size = list.__len__


class _JavaMap(dict):
    put = dict.__setitem__


class _Anything:
    """Stands for a Java package, class or constant that is only passed through."""

    def __init__(self, name: str):
        self._name = name

    def __getattr__(self, name: str) -> Any:
        special = {"ArrayList": _JavaList, "HashMap": _JavaMap}
        return special.get(name) or _Anything(f"{self._name}.{name}")

    def __call__(self, *_: Any) -> _Anything:
        return self


@cache
def nifi_python() -> Path:
    """Put NiFi's Python side on the path and a fake JVM behind it; return the folder it was unpacked to."""
    try:
        folder = install().python
    except MirrorError as error:
        pytest.skip(f"NiFi's Python side cannot be had: {error}")
    for part in ("api", "framework"):
        sys.path.insert(0, str(folder / part))
    from nifiapi.__jvm__ import JvmHolder

    JvmHolder.jvm = _Anything("jvm")
    JvmHolder.gateway = SimpleNamespace(new_array=lambda _kind, size: [None] * size, jvm=JvmHolder.jvm)
    JvmHolder.java_gateway = SimpleNamespace(get_method=getattr)
    return folder


@cache
def extension_manager() -> Any:
    """NiFi's own extension manager after it discovered the project's processors."""
    nifi_python()
    import ExtensionManager

    manager = ExtensionManager.ExtensionManager(None)
    manager.discoverExtensions([str(HOME)], "unused")
    return manager


def details(name: str) -> Any:
    """What NiFi's inspector found out about a processor."""
    found = [entry for entry in extension_manager().getProcessorTypes() if entry.type == name]
    assert len(found) == 1, f"NiFi's inspector found {name} {len(found)} times"
    return found[0]


def load(name: str) -> type:
    """Load a processor's class the way NiFi does."""
    manager = extension_manager()
    return manager.getProcessorClass(name, details(name).version, "unused")


class _Descriptor:
    """A property descriptor as Java hands it back to Python."""

    def __init__(self, descriptor: Any):
        self._descriptor = descriptor

    def __getattr__(self, name: str) -> Any:
        return {
            "getName": lambda: self._descriptor.name,
            "getDescription": lambda: self._descriptor.description,
            "getDisplayName": lambda: self._descriptor.displayName,
            "getDefaultValue": lambda: self._descriptor.defaultValue,
            "isRequired": lambda: self._descriptor.required,
            "isSensitive": lambda: self._descriptor.sensitive,
        }.get(name, lambda: None)


class _JavaContext:
    def __init__(self, descriptors: list[Any], values: dict[str, str | None]):
        self._descriptors, self._values, self.yields = descriptors, values, 0

    def getName(self) -> str:  # noqa: N802
        return "under test"

    def getProperties(self) -> Any:  # noqa: N802
        return SimpleNamespace(keySet=lambda: [_Descriptor(descriptor) for descriptor in self._descriptors])

    def getProperty(self, which: Any) -> Any:  # noqa: N802
        value = self._values.get(which if isinstance(which, str) else which.getName())
        return SimpleNamespace(getValue=lambda: value, isExpressionLanguagePresent=lambda: False)

    def __getattr__(self, name: str) -> Any:
        if name == "yield":
            return self._yield
        raise AttributeError(name)

    def _yield(self) -> None:
        self.yields += 1


class Log:
    """NiFi's logger: what was said, by level."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []

    def __getattr__(self, level: str) -> Any:
        return lambda message: self.lines.append((level, message))

    def said(self, *levels: str) -> list[str]:
        return [message for level, message in self.lines if level in (levels or ("warn", "error"))]


class Runner:
    """One processor with its properties, called as NiFi calls it."""

    def __init__(self, name: str, **properties: str | None):
        """Properties are given by name with `_` for blanks, or as a dict under `values`."""
        cls = load(name)
        self.processor = cls(jvm=None)
        self.processor.logger, self.processor.identifier = Log(), "test"
        self.log: Log = self.processor.logger
        descriptors = list(self.processor.getPropertyDescriptors())
        known = {descriptor.name for descriptor in descriptors}
        given: dict[str, str | None] = {}
        for key, value in properties.items():
            match = [wanted for wanted in known if wanted.replace(" ", "_").lower() == key.lower()]
            assert match, f"{name} has no property {key!r}: {sorted(known)}"
            given[match[0]] = value
        self.values = {d.name: given.get(d.name, d.defaultValue) for d in descriptors}
        self.java = _JavaContext(descriptors, self.values)
        from nifiapi.properties import ProcessContext

        self.context = ProcessContext(self.java)

    def validate(self) -> list[str]:
        """Return the validation errors as the canvas lists them."""
        from nifiapi.properties import ValidationContext

        results = self.processor.customValidate(ValidationContext(self.java))
        return [f"{result.subject}: {result.explanation}" for result in results if not result.valid]

    def create(self) -> Any:
        """Call a source once."""
        return self.processor.create(self.context)

    def transform(self, content: bytes, **attributes: str) -> Any:
        """Call a sink with one FlowFile."""
        flowfile = SimpleNamespace(
            getContentsAsBytes=lambda: content,
            getAttribute=attributes.get,
            getAttributes=lambda: attributes,
            getSize=lambda: len(content),
        )
        return self.processor.transform(self.context, flowfile)

    def stop(self) -> None:
        """End the processor as NiFi does."""
        self.processor.onStopped(self.context)
