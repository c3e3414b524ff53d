"""Arrays as one tag an element: `x[0]`, `x[1]`, of a matrix `x[0][1]`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class Elements:
    """Remembers which elements each array tag had, so that an array that turns bad or shorter shows it in each."""

    def __init__(self) -> None:
        self._had: dict[str, tuple[tuple[int, ...], list[str]]] = {}

    def of(self, tag: str, value: list[Any]) -> tuple[list[Any], list[str], list[str]]:
        """Return an array's elements, the last index fastest, their tags, and those the tag had and has no more."""
        shape, flat = _shape(value), value
        for _ in shape[1:]:
            flat = [element for row in flat for element in row]
        known = self._had.get(tag)
        if known is not None and known[0] == shape:
            return flat, known[1], []
        names = _names(tag, shape)
        self._had[tag] = shape, names
        have = set(names)
        gone = [name for name in known[1] if name not in have] if known else []
        return flat, names, gone

    def had(self, tag: str) -> Sequence[str]:
        """Return the tags of the elements that an array had when it was last read; none of what is no array."""
        known = self._had.get(tag)
        return known[1] if known else ()


def _shape(value: list[Any]) -> tuple[int, ...]:
    sizes = []
    while isinstance(value, list):
        sizes.append(len(value))
        if not value:
            break
        value = value[0]
    return tuple(sizes)


def _names(tag: str, shape: tuple[int, ...]) -> list[str]:
    names = [tag]
    for size in shape:
        names = [f"{name}[{index}]" for name in names for index in range(size)]
    return names
