"""Why a request got no answer, in words."""

from __future__ import annotations

import re

import requests

_SIGNS = (
    ("Connection refused", "connection refused; is it running there?"),
    ("Failed to resolve", "the host name is not known"),
    ("NameResolutionError", "the host name is not known"),
    ("No route to host", "no route to the host"),
    ("Network is unreachable", "the network is unreachable"),
    ("Connection aborted", "the server closed the connection without an answer"),
    ("reset by peer", "the server closed the connection without an answer"),
)


def words(error: BaseException) -> str:
    """Return the reason of a failed `requests` call, without the URL: a library's own text is long and nested."""
    text = str(error)
    if isinstance(error, requests.exceptions.SSLError):
        found = re.search(r"certificate verify failed: ([^(\"']+)", text)
        return f"TLS: {found[1].strip() if found else 'no secure connection (is it really HTTPS?)'}"
    if isinstance(error, requests.ConnectTimeout):
        return "no connection within the timeout; check the network and firewalls"
    if isinstance(error, requests.Timeout) or "Read timed out" in text:
        return "no answer within the timeout"
    return next((meaning for sign, meaning in _SIGNS if sign in text), f"no answer ({type(error).__name__})")
