"""Templates that make the tag and the source of a sample out of a Telegraf metric."""

from __future__ import annotations

import re
from collections.abc import Mapping

from otmirror.errors import ConfigError, MistakesError, gathered

DEFAULT_TAG, DEFAULT_SOURCE = "telegraf/{name|measurement}/{field}", "telegraf:{host|measurement}"
MEASUREMENT, FIELD = "measurement", "field"

_PLACE = re.compile(r"\{([^{}]*)\}")


class Template:
    """Text with placeholders: `{a|b}` is the metric's tag `a` or, where it has none, its tag `b`.

    `measurement` and `field` stand for the metric's name and the field's.
    """

    def __init__(self, text: str):
        """Parse a template.

        Raises:
            ConfigError: it is none; the message says why.
        """
        self.text = text
        pieces = _PLACE.split(text)
        literals, places = pieces[::2], pieces[1::2]
        self.names = [[name.strip() for name in place.split("|")] for place in places]
        if not text.strip():
            raise ConfigError("is empty")
        if any("{" in literal or "}" in literal for literal in literals):
            raise ConfigError(f"{text!r} has a brace without its partner; write {{name}}, or {{name|other}}")
        for place, names in zip(places, self.names, strict=True):
            if not all(names):
                raise ConfigError(f"{text!r}: {{{place}}} lacks a name; write {{name}}, or {{name|other}}")
        self._literals = literals

    def uses(self, name: str) -> bool:
        """Return whether a placeholder names `name`."""
        return any(name in names for names in self.names)

    def render(self, measurement: str, tags: Mapping[str, str], field: str = "") -> str:
        """Fill the placeholders.

        Raises:
            ValueError: a placeholder names nothing the metric has.
        """
        parts = [self._literals[0]]
        for names, literal in zip(self.names, self._literals[1:], strict=True):
            for name in names:
                value = measurement if name == MEASUREMENT else field if name == FIELD else tags.get(name)
                if value:
                    break
            else:
                raise ValueError(f"the template {self.text!r} needs {' or '.join(names)}, which the metric has not")
            parts += (value, literal)
        return "".join(parts)


def tag_template(text: str) -> Template:
    """Return the template of the property Telegraf Tag.

    Raises:
        ConfigError: it is none, or does not tell the fields of a metric apart.
    """
    try:
        template = Template(text)
    except ConfigError as error:
        raise ConfigError(f"Telegraf Tag: {error}") from None
    if not template.uses(FIELD):
        raise ConfigError(f"Telegraf Tag: {text!r} has no {{field}}: all fields of a metric would be one tag")
    return template


def source_template(text: str) -> Template:
    """Return the template of the property Telegraf Source.

    Raises:
        ConfigError: it is none, or makes a source of every field.
    """
    try:
        template = Template(text)
    except ConfigError as error:
        raise ConfigError(f"Telegraf Source: {error}") from None
    if template.uses(FIELD):
        raise ConfigError(f"Telegraf Source: {text!r} names {{field}}: every field would be a source of its own")
    return template


def template_problems(tag: str, source: str) -> list[str]:
    """Return what is wrong with the two templates."""
    problems: list[str] = []
    for check, text in ((tag_template, tag), (source_template, source)):
        with gathered(problems):
            try:
                check(text)
            except ConfigError as error:
                raise MistakesError([str(error)]) from None
    return problems
