"""A compose file as the policy sees it: anchors and merges resolved, variables put in, environment files read.

Source of the rules of reading: the Compose Specification (interpolation; env_file).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from otmirror.errors import ConfigError

Document = dict[str, Any]
_VARIABLE = re.compile(r"\$(?:(\$)|(\w+)|\{(\w+)(?:(:?)([-+?])([^{}]*))?\})")
# A file of a few lines can mean gigabytes, by anchors that hold anchors.
_MOST_NODES = 200_000


def document(path: Path, content: bytes, variables: Mapping[str, str]) -> Document:
    """Return the policy's input for a compose file; a variable that has no value stays as ${NAME}.

    Args:
        path: the file, for messages and to find files it names.
        content: its bytes.
        variables: what stands in for ${NAME}.

    Raises:
        ConfigError: it is no compose file, or what it is made of is in other files.
    """
    try:
        stack = yaml.safe_load(content)
    except yaml.YAMLError as error:
        if re.search(r"the tag '!(reset|override)'", str(error)):
            raise ConfigError(
                f"compose file {path}: an override of another file; check what `docker compose config` writes of both"
            ) from None
        raise ConfigError(f"compose file {path}: not YAML: {' '.join(str(error).split())}") from None
    except (RecursionError, ValueError) as error:
        raise ConfigError(f"compose file {path}: not readable: {type(error).__name__}") from None
    services = stack.get("services") if isinstance(stack, dict) else None
    if not isinstance(services, dict) or not services:
        raise ConfigError(f"compose file {path}: no compose file (it has no services)")
    _bounded(path, stack)
    filled = {name: _filled(service, variables) for name, service in services.items()}
    for name, service in filled.items():
        _one_file(path, name, service)
        service["environment"] = _environment(path, service)
    if "include" in stack:
        raise ConfigError(f"compose file {path}: it includes other files; check what `docker compose config` writes")
    shared = {
        key: _filled(stack[key], variables) for key in ("networks", "volumes") if isinstance(stack.get(key), dict)
    }
    return {"stack": json.loads(json.dumps({**shared, "services": filled}, default=str))}


def _bounded(path: Path, node: Any) -> None:
    waiting, seen = [node], 0
    while waiting:
        seen += 1
        if seen > _MOST_NODES:
            raise ConfigError(f"compose file {path}: with its anchors it has more than {_MOST_NODES:,} values")
        top = waiting.pop()
        if isinstance(top, (dict, list)):
            waiting += top.values() if isinstance(top, dict) else top


def _one_file(path: Path, name: str, service: Any) -> None:
    if not isinstance(service, dict):
        raise ConfigError(f"compose file {path}: service {name} is not a mapping")
    if "extends" in service:
        raise ConfigError(
            f"compose file {path}: service {name} extends another one; check what `docker compose config` writes"
        )
    for key, kinds in _KINDS.items():
        if service.get(key) is not None and not isinstance(service[key], kinds):
            raise ConfigError(f"compose file {path}: service {name}: {key} is of the wrong kind")
    for key in [key for key, value in service.items() if value is None]:
        del service[key]


_KINDS: dict[str, tuple[type, ...]] = {
    "image": (str,),
    "environment": (dict, list),
    "labels": (dict, list),
    "ports": (list,),
    "volumes": (list,),
    "cap_add": (list,),
    "security_opt": (list,),
    "deploy": (dict,),
    "network_mode": (str,),
    "command": (str, list),
    "entrypoint": (str, list),
    "build": (str, dict),
    "env_file": (str, list),
}


def _filled(node: Any, variables: Mapping[str, str]) -> Any:
    if isinstance(node, dict):
        return {str(key): _filled(value, variables) for key, value in node.items()}
    if isinstance(node, list):
        return [_filled(item, variables) for item in node]
    return _VARIABLE.sub(lambda match: _put_in(match, variables), node) if isinstance(node, str) else node


def _put_in(match: re.Match[str], variables: Mapping[str, str]) -> str:
    dollar, plain, braced, colon, operator, word = match.groups()
    if dollar:
        return "$"
    value = variables.get(plain or braced)
    there = value is not None and (value != "" or not colon)
    if operator == "+":
        return word if there else ""
    if there:
        return value or ""
    return word if operator == "-" else match[0]


def _environment(path: Path, service: Document) -> Document:
    """Return a service's environment with that of its environment files; its own wins."""
    found: Document = {}
    told = service.get("env_file") or []
    for entry in [told] if isinstance(told, str) else told:
        named = entry.get("path", "") if isinstance(entry, dict) else str(entry)
        required = entry.get("required", True) if isinstance(entry, dict) else True
        found.update(_env_file(path.parent / named, path, required))
    own = service.get("environment") or {}
    pairs = own.items() if isinstance(own, dict) else (str(item).partition("=")[::2] for item in own)
    listed = {str(item).partition("=")[0] for item in own if "=" not in str(item)} if isinstance(own, list) else set()
    return found | {key: None if key in listed else value for key, value in pairs}


def _env_file(file: Path, path: Path, required: bool) -> dict[str, str]:
    try:
        return dict(env_lines(file.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError):
        if required:
            raise ConfigError(f"compose file {path}: its environment file {file} cannot be read") from None
        return {}


def env_lines(text: str) -> Iterator[tuple[str, str]]:
    """Yield the NAME=VALUE lines of an environment file; # starts a comment line, quotes around a value go."""
    for line in text.splitlines():
        name, equals, value = line.strip().partition("=")
        if equals and not name.startswith("#"):
            yield name.strip(), value.strip().strip("'\"")
