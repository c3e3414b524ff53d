"""The faulty relay in front of a test's server."""

from __future__ import annotations

from typing import Any

from opcua_server import Server

from otmirror.witness import faulty
from otmirror.witness.faulty import overwritten, stuck, truncated

__all__ = ["FaultyRelay", "overwritten", "stuck", "truncated"]


class FaultyRelay(faulty.FaultyRelay):
    """In front of a server on this machine, or of a port."""

    def __init__(self, server: Server | int, **options: Any):
        super().__init__(("127.0.0.1", server if isinstance(server, int) else server.port), **options)

    @property
    def url(self) -> str:
        return f"opc.tcp://{self.host}:{self.port}"
