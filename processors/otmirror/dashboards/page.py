"""A dashboard as one HTML page that needs nothing else: panels where its JSON puts them, with the stores' values."""

from __future__ import annotations

import datetime
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from otmirror.dashboards import draw
from otmirror.dashboards.ask import Asker
from otmirror.errors import ConfigError, MirrorError, UnavailableError

WIDTH = 1480
_COLUMN, _ROW, _GAP, _TITLE = WIDTH / 24, 38.0, 8.0, 30.0
_HEAD = 92.0
_STYLE = """
body{margin:0;background:#f2f4f7;color:#1c2733;font:13px/1.4 system-ui,sans-serif}
header{padding:12px 14px 0;height:72px;overflow:hidden}h1{font-size:20px;margin:0 0 2px}header p{margin:0;color:#5b6b7a}
nav{float:right}nav a{margin-left:14px}a{color:#1f60c4;text-decoration:none}nav b{margin-left:14px}
main{position:relative}section{position:absolute;box-sizing:border-box;background:#fff;border:1px solid #dde3e9;
border-radius:4px;padding:6px 10px;overflow:hidden}
h2{font-size:13.5px;font-weight:600;margin:0;height:22px;overflow:hidden;white-space:nowrap;text-overflow:ellipsis}
h2 a{float:right;font-weight:400;font-size:12px;margin-left:8px}
.small{display:flex;flex-direction:column}.small .figures{flex:1}
.figures{display:flex;gap:24px;align-items:center;justify-content:center;font-size:34px;font-weight:600}
.figures small{display:block;font-size:12px;font-weight:400;color:#5b6b7a}
.wrong{color:#c4281c;padding-top:6px}.nothing{color:#5b6b7a;text-align:center;padding-top:14px;font-size:16px}
table{border-collapse:collapse;width:100%}
th{text-align:left;color:#5b6b7a;font-weight:500;border-bottom:1px solid #dde3e9}
td,th{padding:2px 8px}td{border-bottom:1px solid #eef1f4}.n{font-variant-numeric:tabular-nums;font-weight:600}
.more{color:#5b6b7a;padding:2px 8px}svg{display:block;font:11.5px system-ui,sans-serif}svg text{fill:#44525f}"""


def height(dashboard: Mapping[str, Any]) -> int:
    """Return how high a dashboard's page is, px.

    Raises:
        ConfigError: it has no panels.
    """
    if not dashboard["panels"]:
        raise ConfigError(f"{dashboard['uid']} has no panels")
    rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in dashboard["panels"])
    return int(_HEAD + rows * _ROW)


def page(
    dashboard: Mapping[str, Any], asker: Asker, others: Sequence[tuple[str, str]] = (), live: int | None = None
) -> str:
    """Return the page, its queries asked now.

    Args:
        dashboard: The JSON of the dashboard.
        asker: Puts the queries.
        others: Address and title of every page, this one's address empty.
        live: Seconds after which a browser asks again; then a panel that cannot be drawn says why in its place.

    Raises:
        ConfigError: the dashboard or, unless it is live, a panel cannot be drawn, or a query is not understood.
        UnavailableError: a store does not answer, and the page is not live.
    """
    now = asker.now or time.time()
    try:
        return _page(dashboard, list(_panels(dashboard, asker, now, live is not None)), asker.span, now, others, live)
    except (KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{dashboard['uid']} cannot be drawn: {error!r}") from None


def _page(
    dashboard: Mapping[str, Any], panels: Sequence[str], span: float, now: float, others: Sequence[tuple[str, str]],
    refresh: int | None,
) -> str:  # fmt: skip
    links = "".join(f'<a href="{escape(url)}">{escape(title)}</a>' if url else f"<b>{escape(title)}</b>"
                    for url, title in others)  # fmt: skip
    title = escape(str(dashboard.get("title", dashboard["uid"])))
    again = f"<meta http-equiv=refresh content={refresh}>" if refresh else ""
    until = datetime.datetime.fromtimestamp(now, datetime.timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")
    return (
        "<!doctype html><html lang=en><meta charset=utf-8>"
        "<meta http-equiv=Content-Security-Policy content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"{again}<title>{title}</title><style>{_STYLE}</style>"
        f"<body style='width:{WIDTH}px'><header><nav>{links}</nav><h1>{title}</h1>"
        f"<p>{escape(dashboard.get('description', ''))}</p>"
        f"<p>{_span(span)} until {until}. Drawn by otmirror from the dashboard's JSON, not by "
        "Grafana.</p></header>"
        f"<main style='height:{height(dashboard) - _HEAD:.0f}px'>{''.join(panels)}</main></body></html>\n"
    )


def _panels(dashboard: Mapping[str, Any], asker: Asker, now: float, live: bool) -> Iterator[str]:
    away: dict[str, str] = {}
    for panel in dashboard["panels"]:
        store = str(panel.get("datasource"))
        try:
            # Each further question to a store that is away would take its time too.
            drawn = away.get(store) or _drawn(panel, dashboard, asker, now)
        except MirrorError as error:
            if not live:
                raise
            drawn = f'<div class="wrong">{escape(str(error))}</div>'
            if isinstance(error, UnavailableError):
                away[store] = drawn
        yield _framed(panel, drawn, dashboard, asker)


def _drawn(panel: Mapping[str, Any], dashboard: Mapping[str, Any], asker: Asker, now: float) -> str:
    try:
        place = panel["gridPos"]
        width, height = place["w"] * _COLUMN - _GAP - 22, place["h"] * _ROW - _GAP - _TITLE - 12
        found = asker.panel(panel, dashboard)
        return draw.panel(_linked(panel, asker, dashboard), found, width, height, (now - asker.span, now))
    except (KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{dashboard['uid']}: panel {panel.get('title')!r} cannot be drawn: {error!r}") from None


def _framed(panel: Mapping[str, Any], drawn: str, dashboard: Mapping[str, Any], asker: Asker) -> str:
    place, links = panel["gridPos"], panel.get("links", [])
    book = next((link["url"] for link in links if "${runbooks}" in link["url"]), "")
    link = f'<a href="{escape(asker.filled(book, dashboard))}">runbook</a>' if book and panel["type"] != "stat" else ""
    return (
        f'<section class="{"small" if panel["type"] == "stat" else ""}" title="{escape(panel.get("description", ""))}" '
        f'style="left:{place["x"] * _COLUMN + _GAP / 2:.1f}px;top:{place["y"] * _ROW:.1f}px;'
        f"width:{place['w'] * _COLUMN - _GAP:.1f}px;"
        f'height:{place["h"] * _ROW - _GAP:.1f}px"><h2>{link}{escape(panel.get("title", ""))}</h2>{drawn}</section>'
    )


def _linked(panel: Mapping[str, Any], asker: Asker, dashboard: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the panel with the address of the runbooks in the links of its cells."""
    text = json.dumps(panel["fieldConfig"])
    if "${runbooks}" not in text:
        return panel
    return {**panel, "fieldConfig": json.loads(text.replace("${runbooks}", asker.filled("${runbooks}", dashboard)))}


def _span(seconds: float) -> str:
    for size, name in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:.0f} {name}"
    return f"{seconds:.0f} s"
