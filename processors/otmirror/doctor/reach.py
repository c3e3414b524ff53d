"""Whether somebody listens at an address: a connection that is closed again, no byte sent."""

from __future__ import annotations

import socket

SECONDS = 2.0
"""How long a connection may take to come about."""


def refused(host: str, port: int) -> str | None:
    """Return why nobody can be reached there; None when somebody listens."""
    try:
        with socket.create_connection((host, port), SECONDS):
            return None
    except TimeoutError:
        return f"no answer within {SECONDS:g} s; check the network and firewalls"
    except socket.gaierror:
        return "the host name is not known"
    except ConnectionRefusedError:
        return "connection refused: nothing listens there"
    except (OSError, OverflowError) as error:
        return getattr(error, "strerror", None) or str(error)


def resolved(host_port: str, default: int) -> tuple[str, int]:
    """Return host and port of `host:port`, `host` or `[v6]:port`."""
    host, colon, port = host_port.rpartition(":")
    if not colon or not port.isdigit():
        return host_port.strip("[]"), default
    return host.strip("[]"), int(port)
