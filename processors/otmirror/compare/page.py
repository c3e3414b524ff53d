"""Pages as one HTML file that needs nothing else: no script, no network."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape

_NUMBER = re.compile(r"[-+]?[\d,.]+( ?%| s)?")
_STYLE = """
:root{color-scheme:light}body{font:15px/1.45 system-ui,sans-serif;color:#1c2733;
max-width:1080px;margin:24px auto;padding:0 16px}
h1{font-size:24px}h2{font-size:19px;margin-top:32px}h3{font-size:16px;margin:20px 0 4px}
table{border-collapse:collapse;margin:8px 0}td,th{border:1px solid #d4dbe2;padding:3px 9px;text-align:left;
vertical-align:top}
th{background:#eef2f6}td.n{text-align:right;font-variant-numeric:tabular-nums}code{overflow-wrap:anywhere}
.v{padding:10px 14px;border-radius:6px;font-weight:600}.green{background:#d9f2e0;color:#10552b}
.red{background:#fbdedb;color:#8a1c12}
.note{color:#5b6b7a}.plots{display:grid;grid-template-columns:repeat(auto-fill,minmax(330px,1fr));gap:12px}
.plots figure{margin:0;border:1px solid #d4dbe2;border-radius:6px;padding:6px}
figcaption{font-size:13px;overflow-wrap:anywhere}
.l{color:#1f77b4}.r{color:#d9601a}"""


def head(title: str) -> str:
    """Return the beginning of a page, up to where its body begins."""
    return (
        "<!doctype html><html lang=en><meta charset=utf-8>\n"
        "<meta http-equiv=Content-Security-Policy content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        f"<title>{escape(title)}</title><style>{_STYLE}</style>"
    )


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; cells that are a number are set right."""
    top = "".join(f"<th>{escape(cell)}" for cell in head)
    body = "".join("<tr>" + "".join(_cell(cell, n) for n, cell in enumerate(row)) for row in rows)
    return f"<table><tr>{top}{body}</table>"


def _cell(text: str, column: int) -> str:
    number = column and _NUMBER.fullmatch(text)
    return f"<td{' class=n' if number else ''}>{escape(text)}"
