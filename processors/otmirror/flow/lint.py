"""Rules a flow file has to keep before it may be published; `otmirror flow lint`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from otmirror.errors import ConfigError

# Importing the two modules registers their rules.
from otmirror.flow import lint_components, lint_delivery
from otmirror.flow.canonical import load
from otmirror.flow.catalogue import catalogue
from otmirror.flow.lint_model import RULES, Finding, Rule, View

__all__ = ["Finding", "Rule", "lint", "rules"]
_MODULES = (lint_components, lint_delivery)


def rules() -> tuple[Rule, ...]:
    """Return every rule, in the order they are checked."""
    return tuple(RULES)


def lint(paths: Sequence[Path]) -> list[Finding]:
    """Return every finding in some flow files, file by file.

    Raises:
        ConfigError: a file cannot be read or is no flow definition.
    """
    known = catalogue()
    found: list[Finding] = []
    for path in paths:
        flow = load(path)
        try:
            view = View(path, flow, known)
            for rule in RULES:
                told = rule.check(view)
                found += [Finding(rule.id, str(path), name, message, rule.remedy) for name, message in told]
        except (KeyError, TypeError, AttributeError) as error:
            raise ConfigError(f"flow {path}: no flow definition as NiFi writes it: {error!r}") from None
    return found
