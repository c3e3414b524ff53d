"""A flow definition as the policy sees it: one flat list of components, parameters put in, no secret.

What is done here is only what needs NiFi's own rules of reading: parameter contexts, defaults of properties, inner
groups. What is allowed is decided in security/policy.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from otmirror import taglist
from otmirror.errors import ConfigError
from otmirror.flow.canonical import Flow, loads
from otmirror.flow.catalogue import Type, catalogue
from otmirror.flow.lint_model import REFERENCE, SOURCES, Component, View, open_value

ENCODING = "1.0"
Document = dict[str, Any]


def document(path: Path, content: bytes, given: Mapping[str, str], tags: Path | None) -> Document:
    """Return the policy's input for a flow file.

    Args:
        path: the file, for messages.
        content: its bytes.
        given: values of parameters in place of the file's, as a site sets them.
        tags: folder with the tag lists that Tag List File names, by their file names; None looks at none of them.

    Raises:
        ConfigError: it is no flow definition of a known version, or a tag list cannot be read.
    """
    try:
        flow = loads(content, str(path))
        encoding = flow.get("flowEncodingVersion", ENCODING)
        if encoding != ENCODING:
            raise ConfigError(
                f"flow {path}: flowEncodingVersion is {encoding}, not {ENCODING}; export it from NiFi 2.x"
            )
        return _Reading(View(path, flow, catalogue()), given, tags).document()
    except RecursionError:
        raise ConfigError(f"flow {path}: it is nested too deeply for a flow definition") from None
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ConfigError(f"flow {path}: no flow definition as NiFi writes it: {error!r}") from None


class _Reading:
    def __init__(self, view: View, given: Mapping[str, str], tags: Path | None):
        self._view, self._given, self._tags = view, given, tags
        self._flow: Flow = view.flow
        self._scopes: dict[str | None, dict[str, Component]] = {}

    def document(self) -> Document:
        return {
            "components": [*self._components(), *self._outside()],
            "connections": [_connection(c) for c in self._view.connections],
            "parameters": list(self._parameters()),
            "notes": list(self._notes()),
        }

    def _components(self) -> Iterator[Document]:
        for group in self._view.groups:
            scope = self._scope(group.get("parameterContextName"))
            for p in group.get("processors") or ():
                ended = sorted(p.get("autoTerminatedRelationships") or ())
                relationships = sorted(self._view.relationships(p) | set(ended))
                yield {
                    **_named("processor", p),
                    "properties": self._properties(p, scope),
                    "relationships": relationships,
                    "terminated": ended,
                    "tag_list": self._tag_list(p, scope),
                }
            for s in group.get("controllerServices") or ():
                yield {**_named("controller service", s), **_BARE, "properties": self._properties(s, scope)}
            for remote in group.get("remoteProcessGroups") or ():
                targets = remote.get("targetUris") or remote.get("targetUri") or ""
                known = {"Target URIs": {"value": targets, "sensitive": False, "literal": True, "default": False}}
                named = _named("remote process group", {**remote, "type": "RemoteProcessGroup"})
                yield {**named, **_BARE, "properties": known}

    def _outside(self) -> Iterator[Document]:
        """Return what a flow uses and does not hold: parameter providers, services and groups of other flows."""
        for kind, key in (
            ("parameter provider", "parameterProviders"),
            ("external service", "externalControllerServices"),
        ):
            for identifier, told in (self._flow.get(key) or {}).items():
                yield {**_named(kind, {"identifier": identifier, **told}), **_BARE, "properties": {}}
        for group in self._view.groups:
            if group.get("versionedFlowCoordinates") and not any(group.get(key) for key in _CONTENTS):
                named = _named("process group", {**group, "type": "process group of another flow"})
                yield {**named, **_BARE, "properties": {}}

    def _scope(self, context: str | None) -> dict[str, Component]:
        """Return the parameters a group sees: its context's own, then those of the contexts that inherits from."""
        if context not in self._scopes:
            found: dict[str, Component] = {}
            waiting, seen = [context], set()
            while waiting:
                name = waiting.pop(0)
                if name in seen:
                    continue
                seen.add(name)
                told = self._view.contexts.get(name or "") or {}
                for parameter in told.get("parameters") or ():
                    found.setdefault(parameter["name"], parameter)
                waiting += told.get("inheritedParameterContexts") or ()
            self._scopes[context] = found
        return self._scopes[context]

    def _value(self, parameter: Component) -> str | None:
        value = self._given.get(parameter["name"], parameter.get("value"))
        return None if value is None else str(value)

    def _resolved(self, raw: str, scope: Mapping[str, Component]) -> str | None:
        """Return a value with its parameters put in; None when it is nothing but a parameter without a value.

        A sensitive parameter and one that is not there stay as they are. Source: NiFi's user guide, Parameters:
        a reference is escaped by a second #.
        """
        whole = REFERENCE.fullmatch(raw)
        alone = scope.get(whole[1] or whole[2]) if whole else None
        if alone and not alone.get("sensitive") and self._value(alone) is None:
            return None

        def put_in(match: Any) -> str:
            parameter = scope.get(match[1] or match[2])
            if parameter is None or parameter.get("sensitive"):
                return str(match[0])
            escaped = len(match[0]) - len(match[0].lstrip("#")) - 1
            return "#" * (escaped // 2) + (self._value(parameter) or "")

        return REFERENCE.sub(put_in, raw)

    def _properties(self, component: Component, scope: Mapping[str, Component]) -> Document:
        kind = self._view.known.get(component["type"])
        found = _defaults(kind)
        for name, raw in (component.get("properties") or {}).items():
            if raw is None or raw == "":
                continue
            told = (component.get("propertyDescriptors") or {}).get(name) or {}
            declared = kind.properties.get(name) if kind else None
            sensitive = bool(told.get("sensitive")) or bool(declared and declared.sensitive)
            if sensitive:
                found[name] = {"sensitive": True, "literal": not REFERENCE.fullmatch(raw), "default": False}
                continue
            value = self._resolved(raw, scope)
            if value is not None:
                found[name] = {"value": value, "sensitive": False, "literal": not open_value(raw), "default": False}
        return found

    def _parameters(self) -> Iterator[Document]:
        for context, told in self._view.contexts.items():
            for parameter in told.get("parameters") or ():
                name, value = parameter["name"], self._value(parameter)
                sensitive = bool(parameter.get("sensitive"))
                shown = {} if sensitive or value is None else {"value": value}
                literal = value not in (None, "")
                yield {"kind": "parameter", "name": name, "id": f"{context}/{name}", "sensitive": sensitive,
                       "literal": literal, **shown}  # fmt: skip

    def _notes(self) -> Iterator[Document]:
        """Return the texts people write beside components."""
        for group in self._view.groups:
            every = [("process group", group)]
            every += [(kind, c) for key, kind in _NOTED for c in group.get(key) or ()]
            for kind, component in every:
                text = "\n".join(
                    component[key] for key in ("comments", "label", "annotationData") if component.get(key)
                )
                if text:
                    name = component.get("name") or kind
                    yield {"kind": kind, "name": name, "id": component["identifier"], "text": text}

    def _tag_list(self, processor: Component, scope: Mapping[str, Component]) -> list[Document]:
        if processor["type"] not in SOURCES:
            return []
        raw = (processor.get("properties") or {}).get
        inline, file = (self._resolved(raw(name) or "", scope) for name in ("Tag List", "Tag List File"))
        if inline:
            tags = taglist.parse(inline, f"{self._view.path}: {processor['name']}: Tag List")
        elif file and self._tags:
            tags = taglist.load(self._tags / Path(file).name)
        else:
            return []
        return [
            {"tag": t.tag, "intervals_ms": [ms for ms in (t.interval_ms, t.sampling_ms) if ms is not None]}
            for t in tags
        ]


_BARE: Document = {"relationships": [], "terminated": [], "tag_list": []}
_CONTENTS = ("processors", "processGroups", "remoteProcessGroups", "controllerServices", "connections")
_NOTED = (("processors", "processor"), ("controllerServices", "controller service"), ("labels", "label"))


def _named(kind: str, component: Component) -> Document:
    bundle = component.get("bundle") or {}
    return {
        "kind": kind,
        "name": component.get("name") or kind,
        "id": component["identifier"],
        "type": component.get("type") or "of unknown type",
        "bundle": f"{bundle.get('group', '')}:{bundle.get('artifact', '')}",
    }


def _defaults(kind: Type | None) -> Document:
    """Return the defaults of a known type's properties: what is not in the file is so."""
    return {
        name: {"value": declared.default, "sensitive": False, "literal": False, "default": True}
        for name, declared in (kind.properties.items() if kind else ())
        if declared.default is not None and not declared.sensitive
    }


def _connection(connection: Component) -> Document:
    return {
        "id": connection["identifier"],
        **{
            end: {"id": connection[end]["id"], "name": connection[end].get("name") or connection[end]["id"]}
            for end in ("source", "destination")
        },
        "relationships": connection.get("selectedRelationships") or [],
        "objects": connection.get("backPressureObjectThreshold") or 0,
        "size": connection.get("backPressureDataSizeThreshold") or "",
        "expiration": connection.get("flowFileExpiration") or "",
    }
