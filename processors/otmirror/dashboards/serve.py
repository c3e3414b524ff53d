"""Dashboards in a browser without Grafana: a page is made whenever it is asked for."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from otmirror.dashboards import page, pictures
from otmirror.dashboards.ask import Asker
from otmirror.dashboards.grafana import RUNBOOKS
from otmirror.errors import MirrorError, UnavailableError
from otmirror.workspace import PROJECT

_BOOK = re.compile(re.escape(RUNBOOKS) + r"/([a-z0-9-]{1,64})\.md")
PORT = 8430
"""The usual port."""
REFRESH = 15
"""Seconds after which a browser asks again."""


def server(
    dashboards: Sequence[Mapping[str, Any]],
    asker: Asker,
    host: str,
    port: int,
    books: Path = PROJECT / "docs" / "runbooks",
) -> ThreadingHTTPServer:
    """Return a server of the dashboards that listens already; `serve_forever` answers.

    It knows GET only: `/` (the first dashboard), `/<name>`, runbooks as text, and `/health`. It has no login: an
    address other than a loopback one belongs behind a proxy that has.

    Raises:
        UnavailableError: the address cannot be listened on.
    """
    known = {f"/{pictures.name(made)}": made for made in dashboards}

    class Handler(BaseHTTPRequestHandler):
        server_version = "otmirror"
        sys_version = ""

        def do_GET(self) -> None:
            path = urlsplit(self.path).path
            book = _BOOK.fullmatch(path)
            if book:
                self._runbook(books / f"{book[1]}.md")
            elif path == "/health":
                self._answer(200, "text/plain", "OK\n")
            elif path == "/" or path in known:
                self._page(known.get(path, dashboards[0]))
            else:
                self._answer(404, "text/plain", "There is no such page.\n")

        def log_message(self, format: str, *_args: Any) -> None:
            """Say nothing of requests."""

        def _page(self, made: Mapping[str, Any]) -> None:
            others = [
                ("" if other is made else f"/{pictures.name(other)}", pictures.short(other)) for other in dashboards
            ]
            try:
                self._answer(200, "text/html", page.page(made, asker, others, REFRESH))
            except MirrorError as error:
                self._answer(502, "text/plain", f"{error}\n")

        def _runbook(self, file: Path) -> None:
            if file.is_file():
                self._answer(200, "text/plain", file.read_text("utf-8"))
            else:
                self._answer(404, "text/plain", "There is no such runbook.\n")

        def _answer(self, status: int, kind: str, text: str) -> None:
            body = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", f"{kind}; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.send_header("X-Content-Type-Options", "nosniff")
            self.end_headers()
            self.wfile.write(body)

    try:
        return ThreadingHTTPServer((host, port), Handler)
    except OSError as error:
        raise UnavailableError(f"{host}:{port} cannot be listened on: {error.strerror}") from None


def run(made: ThreadingHTTPServer, say: Callable[[str], object]) -> None:
    """Answer until Ctrl-C."""
    say(f"dashboards at http://{made.server_address[0]!s}:{made.server_address[1]}/ until Ctrl-C")
    try:
        made.serve_forever()
    except KeyboardInterrupt:
        say("ended")
    finally:
        made.server_close()
