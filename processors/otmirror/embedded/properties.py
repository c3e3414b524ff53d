"""Java's .properties files, as far as NiFi's need it."""

from __future__ import annotations


def parse(text: str) -> dict[str, str]:
    """Return the keys and values of a .properties text without continuation lines."""
    lines = (line.strip() for line in text.splitlines())
    pairs = (line.partition("=") for line in lines if line and line[0] not in "#!")
    return {key.strip(): value.strip() for key, _, value in pairs}


def escaped(value: str) -> str:
    """Return a value as a .properties file holds it."""
    return value.replace("\\", "\\\\")
