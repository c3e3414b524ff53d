"""Rules of the flow lint on types, properties, services and parameters."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator

from otmirror.flow.canonical import dumps
from otmirror.flow.catalogue import Property
from otmirror.flow.lint_model import REFERENCE, Component, Told, View, open_value, rule

_SECRET = frozenset({"password", "passwd", "passphrase", "secret", "token", "credential", "credentials", "key"})
_LOGIN = re.compile(r"://[^/@\s:]+:[^/@\s]+@")
_LOCAL = re.compile(r"(file:/|/(home|root|Users|tmp|opt|var|mnt|srv|work|usr|data|etc)(/|$)|[A-Za-z]:[\\/]|~/)")


@rule("unknown-type", "use a type of nifi-conf/components, or add it there")
def unknown_type(flow: View) -> Told:
    """A type that no NiFi of this version and not this project has."""
    for c in flow.typed:
        if c["type"] not in flow.known:
            yield c["name"], f"type {c['type']} is not known"


@rule("bundle", "write the bundle and version this project is made for")
def bundle(flow: View) -> Told:
    """A known type out of another bundle or version."""
    for c in flow.typed:
        kind = flow.known.get(c["type"])
        if kind is None:
            continue
        wanted = f"{kind.group}:{kind.artifact}:{kind.version}"
        has = ":".join(c["bundle"].get(part, "") for part in ("group", "artifact", "version"))
        if has != wanted:
            yield c["name"], f"bundle {has} instead of {wanted}"


def _properties(flow: View) -> Iterator[tuple[Component, Property]]:
    for c in flow.typed:
        kind = flow.known.get(c["type"])
        yield from ((c, p) for p in (kind.properties.values() if kind else ()))


def _applies(flow: View, component: Component, declared: Property) -> bool:
    """Tell whether a property counts as the ones it depends on are set; not where that shows only in a running flow."""
    known = flow.known[component["type"]].properties
    for name, values in declared.depends:
        value = flow.value(component, name)
        if value is None or open_value(value) or (values and value not in values):
            return False
        if name in known and not _applies(flow, component, known[name]):
            return False
    return True


@rule("unknown-property", "remove it, or write the name NiFi 2.3.0 has for it")
def unknown_property(flow: View) -> Told:
    """A property the type does not have."""
    for c in flow.typed:
        kind = flow.known.get(c["type"])
        for name in c["properties"] if kind and not kind.dynamic else ():
            if kind and name not in kind.properties:
                yield c["name"], f"property {name!r} does not exist"


@rule("value-not-allowed", "choose one of the values listed")
def value_not_allowed(flow: View) -> Told:
    """A value that is none of those a property can have."""
    for c, declared in _properties(flow):
        value = flow.value(c, declared.name)
        if declared.values and value is not None and not open_value(value) and value not in declared.values:
            yield c["name"], f"property {declared.name!r} is none of {', '.join(declared.values)}"


@rule("required-property", "give it a value")
def required_property(flow: View) -> Told:
    """A property that has to have a value and has none."""
    for c, declared in _properties(flow):
        if declared.required and _applies(flow, c, declared) and not flow.value(c, declared.name):
            yield c["name"], f"property {declared.name!r} has no value"


@rule("sensitive-literal", "refer to a sensitive parameter: #{name}")
def sensitive_literal(flow: View) -> Told:
    """A secret that stands in the file. The secret itself is not shown."""
    for c in flow.typed:
        kind = flow.known.get(c["type"])
        for name, value in c["properties"].items():
            declared = kind.properties.get(name) if kind else None
            told = (c.get("propertyDescriptors") or {}).get(name) or {}
            secret = declared.sensitive if declared else bool(told.get("sensitive"))
            if secret and value and not REFERENCE.fullmatch(value):
                yield c["name"], f"sensitive property {name!r} has its value in the file"
    for name, parameter in flow.parameters.items():
        if parameter.get("sensitive") and parameter.get("value") is not None:
            yield f"parameter {name}", "a sensitive parameter has its value in the file"


@rule("secret-parameter", "make it sensitive, without a value in the file")
def secret_parameter(flow: View) -> Told:
    """A parameter that looks like a secret and is readable by everybody."""
    for name, parameter in flow.parameters.items():
        if parameter.get("sensitive"):
            continue
        if _SECRET & set(re.split(r"[^a-z0-9]+", name.lower())):
            yield f"parameter {name}", "its name is that of a secret, but it is not sensitive"
        elif _LOGIN.search(parameter.get("value") or ""):
            yield f"parameter {name}", "its value holds a password, but it is not sensitive"


def _referred(flow: View) -> Iterator[tuple[str, str]]:
    for c in [*flow.typed, *flow.groups]:
        texts = [v for v in (c.get("properties") or {}).values() if v]
        texts += [c[key] for key in ("schedulingPeriod", "annotationData") if c.get(key)]
        for match in REFERENCE.finditer("\n".join(texts)):
            yield c["name"], match[1] or match[2]


@rule("parameter-undefined", "define it in the flow's parameter context")
def parameter_undefined(flow: View) -> Told:
    """A parameter that is used and not there, or a context that is not there."""
    for name, parameter in _referred(flow):
        if parameter not in flow.parameters:
            yield name, f"parameter {parameter!r} is not defined"
    for group in flow.groups:
        context = group.get("parameterContextName")
        if context and context not in flow.contexts:
            yield group["name"], f"parameter context {context!r} is not in the file"


@rule("parameter-unused", "use it or remove it")
def parameter_unused(flow: View) -> Told:
    """A parameter nothing refers to."""
    used = {parameter for _, parameter in _referred(flow)}
    values = [p.get("value") or "" for p in flow.parameters.values()]
    used |= {m[1] or m[2] for value in values for m in REFERENCE.finditer(value)}
    for name in flow.parameters:
        if name not in used:
            yield f"parameter {name}", "no component uses it"


def _service_references(flow: View) -> Iterator[tuple[Component, Property, str]]:
    for c, declared in _properties(flow):
        value = c["properties"].get(declared.name)
        if declared.service and value and not open_value(value):
            yield c, declared, value


@rule("service-missing", "add the controller service to the flow, or choose one that fits")
def service_missing(flow: View) -> Told:
    """A reference to a controller service that is not there or cannot do what is asked of it."""
    services = {s["identifier"]: s for s in flow.services}
    external = flow.flow.get("externalControllerServices") or {}
    for c, declared, value in _service_references(flow):
        service = services.get(value)
        if service is None and value not in external:
            yield c["name"], f"the controller service of property {declared.name!r} is not in the flow"
        kind = flow.known.get(service["type"]) if service else None
        if kind and service and declared.service not in kind.provides:
            yield c["name"], f"property {declared.name!r}: {service['name']!r} is no {declared.service}"


@rule("service-unused", "refer to it or remove it")
def service_unused(flow: View) -> Told:
    """A controller service nothing refers to."""
    used = {v for c in flow.typed for v in c["properties"].values() if v}
    for service in flow.services:
        if service["identifier"] not in used:
            yield service["name"], "no component uses this controller service"


@rule("duplicate-name", "name each component differently: bulletins and runbooks go by name")
def duplicate_name(flow: View) -> Told:
    """Two processors or two services of one name in one group."""
    for group in flow.groups:
        for kind in ("processors", "controllerServices"):
            for name, count in Counter(c["name"] for c in group.get(kind) or ()).items():
                if count > 1:
                    yield name, f"{count} components have this name"


@rule("duplicate-id", "give each component an identifier of its own")
def duplicate_id(flow: View) -> Told:
    """Two components of one identifier: NiFi would take one for the other."""
    every = [*flow.typed, *flow.connections, *(e for e in flow.ends.values() if e not in flow.processors)]
    counts = Counter(c["identifier"] for c in every)
    for c in every:
        if counts[c["identifier"]] > 1:
            counts[c["identifier"]] = 0
            yield c.get("name") or c["identifier"], f"identifier {c['identifier']} is used twice"


@rule("local-path", "use a relative path or a parameter that each site sets")
def local_path(flow: View) -> Told:
    """A path that exists on one machine only."""
    for c in flow.typed:
        for name, value in c["properties"].items():
            if value and _LOCAL.match(value):
                yield c["name"], f"property {name!r} is a path of one machine"
    for name, parameter in flow.parameters.items():
        if not parameter.get("sensitive") and _LOCAL.match(parameter.get("value") or ""):
            yield f"parameter {name}", "its value is a path of one machine"


@rule("not-canonical", "write it with `otmirror flow lint --fix` or export it from the canvas")
def not_canonical(flow: View) -> Told:
    """A file that is not in the form the Git flow registry clients write."""
    text = flow.path.read_text(encoding="utf-8")
    if text != dumps(json.loads(text)):
        yield "file", "it is not in canonical form"
