"""HTTP for the scrape: /metrics, and /health for whoever watches the exporter."""

from __future__ import annotations

import socket
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from otmirror.errors import ConfigError, UnavailableError
from otmirror.exporter.union import Union

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def address(text: str) -> tuple[str, int]:
    """Read `host:port`; an IPv6 address goes in brackets.

    Raises:
        ConfigError: it is something else.
    """
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdigit() or int(port) > 65535:
        raise ConfigError(f"--listen {text!r}: write host:port, such as 127.0.0.1:9478")
    return host.strip("[]"), int(port)


class Exporter(ThreadingHTTPServer):
    """Answers scrapes, each in a thread of its own."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, listen: tuple[str, int], union: Union):
        """Bind at once; `serve_forever` answers.

        Raises:
            UnavailableError: the address cannot be had.
        """
        self.union, self._host = union, listen[0]
        if ":" in listen[0]:
            self.address_family = socket.AF_INET6
        try:
            super().__init__(listen, _Handler)
        except OSError as error:
            raise UnavailableError(f"{listen[0]}:{listen[1]} cannot be listened on: {error.strerror}") from None

    @property
    def url(self) -> str:
        """The address to scrape."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self.server_port}/metrics"


class _Handler(BaseHTTPRequestHandler):
    server: Exporter
    timeout = 10.0

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/metrics":
            self._answer(200, self.server.union.render(), CONTENT_TYPE)
        elif path == "/health":
            self._answer(200, "OK\n", "text/plain")
        else:
            self._answer(404, "see /metrics\n", "text/plain")

    do_HEAD = do_GET  # noqa: N815

    def _answer(self, status: int, text: str, kind: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: a scrape every few seconds is no event."""
