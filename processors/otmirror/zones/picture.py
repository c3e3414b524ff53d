"""The zones as a picture: a column a zone, a box a member, an arrow from who connects to whom."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from html import escape

from otmirror.zones.model import Matrix

_COLUMN, _GAP, _TOP, _BOX, _STEP, _MARGIN = 170, 190, 74, 40, 62, 16
"""Pixels: width of a zone, space between two; height of its head and of a member, from one to the next; border."""
_COLOURS = ("#f6d9d5", "#fbe8cf", "#e4ecd3", "#d8e6f2")


def svg(matrix: Matrix, profile: str = "full") -> str:
    """Return an SVG of the zones and the conduits between them; those within a zone are in the table only."""
    places = _places(matrix)
    rows = max(sum(m.zone == zone for m in matrix.members.values()) for zone in matrix.zones)
    width = 2 * _MARGIN + len(matrix.zones) * _COLUMN + (len(matrix.zones) - 1) * _GAP
    height = 2 * _MARGIN + _TOP + rows * _STEP
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
            f'height="{height}" font-family="sans-serif" font-size="13">',
            "<title>Zones, members and conduits; each arrow points to where the connection is opened to</title>",
            '<defs><marker id="to" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" '
            'orient="auto"><path d="M0 0 L8 4 L0 8 z" fill="#333"/></marker></defs>',
            f'<rect width="{width}" height="{height}" fill="#fff"/>',
            *_zones(matrix, height),
            *_arrows(matrix, profile, places),
            *_members(matrix, places),
            "</svg>",
            "",
        ]
    )


def _places(matrix: Matrix) -> dict[str, tuple[int, int]]:
    """Return the upper left corner of each member."""
    found = {}
    for column, zone in enumerate(matrix.zones):
        inside = [m.name for m in matrix.members.values() if m.zone == zone]
        for row, member in enumerate(inside):
            found[member] = (_MARGIN + column * (_COLUMN + _GAP), _MARGIN + _TOP + row * _STEP)
    return found


def _zones(matrix: Matrix, height: int) -> Iterator[str]:
    for column, zone in enumerate(matrix.zones.values()):
        x, colour = _MARGIN + column * (_COLUMN + _GAP), _COLOURS[column % len(_COLOURS)]
        yield f'<rect x="{x}" y="{_MARGIN}" width="{_COLUMN}" height="{height - 2 * _MARGIN}" rx="8" fill="{colour}"/>'
        yield _text(x + _COLUMN // 2, _MARGIN + 28, zone.title, 'font-size="17" font-weight="bold"')
        yield _text(x + _COLUMN // 2, _MARGIN + 50, f"zone {zone.name}, SL-T {zone.target}", 'fill="#444"')


def _members(matrix: Matrix, places: dict[str, tuple[int, int]]) -> Iterator[str]:
    for member in matrix.members.values():
        x, y = places[member.name]
        yield f'<rect x="{x + 8}" y="{y}" width="{_COLUMN - 16}" height="{_BOX}" rx="5" fill="#fff" stroke="#555"/>'
        size = 'font-size="10"' if len(member.title) > 22 else ""
        yield _text(x + _COLUMN // 2, y + 25, member.title, size)


def _arrows(matrix: Matrix, profile: str, places: dict[str, tuple[int, int]]) -> Iterator[str]:
    labels: dict[tuple[str, str], list[str]] = {}
    for conduit in matrix.of(profile):
        if len(set(matrix.pair(conduit))) == 2:
            told = f"{conduit.protocol} {', '.join(map(str, conduit.ports))}"
            labels.setdefault((conduit.source, conduit.to), []).append(told)
    busy = {name: sum(name in ends for ends in labels) for name in places}
    for (source, to), lines in labels.items():
        right = places[source][0] < places[to][0]
        x1, x2 = places[source][0] + (_COLUMN - 8 if right else 8), places[to][0] + (8 if right else _COLUMN - 8)
        y1, y2 = (places[end][1] + _BOX // 2 for end in (source, to))
        yield f'<path d="M{x1} {y1} L{x2} {y2}" stroke="#333" stroke-width="1.5" marker-end="url(#to)"/>'
        # Where many lines meet there is no room: nearer to the other end.
        share = 0.5 if busy[source] == busy[to] else (0.58 if busy[source] > busy[to] else 0.42)
        yield from _label(round(x1 + share * (x2 - x1)), round(y1 + share * (y2 - y1)), lines)


def _label(x: int, y: int, lines: Iterable[str]) -> Iterator[str]:
    for offset, line in enumerate(lines):
        middle = y + 17 * offset
        width = round(len(line) * 6.2) + 8
        yield f'<rect x="{x - width // 2}" y="{middle - 9}" width="{width}" height="17" fill="#fff" opacity="0.92"/>'
        yield _text(x, middle + 4, line, 'font-size="11"')


def _text(x: int, y: int, told: str, style: str = "") -> str:
    return f'<text x="{x}" y="{y}" text-anchor="middle" {style}>{escape(told)}</text>'.replace(" >", ">")
