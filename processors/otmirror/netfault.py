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
# TLS alerts (RFC 8446, 6.2) with which a server refuses a client's certificate.
_ALERTS = (
    ("certificate required", "the server wants a client certificate"),
    ("certificate expired", "the server refuses our client certificate: it has expired"),
    ("unknown ca", "the server refuses our client certificate: it does not trust the authority"),
    ("bad certificate", "the server refuses our client certificate, or wants one"),
    ("unsupported certificate", "the server refuses our client certificate: it is not made for clients"),
    ("certificate revoked", "the server refuses our client certificate: it is revoked"),
    ("certificate unknown", "the server refuses our client certificate"),
    ("access denied", "the server refuses our client certificate"),
)
# With TLS 1.3 a client has sent its request before the server refuses its certificate; then the alert may be lost.
_HUNG_UP = "EOF occurred in violation of protocol"
_LOST = "the server closed the connection; it may want a client certificate, or refuse ours"


def words(error: BaseException) -> str:
    """Return the reason of a failed `requests` call, without the URL: a library's own text is long and nested."""
    text = str(error)
    if refusal := _refusal(text):
        return f"TLS: {refusal}"
    if isinstance(error, requests.exceptions.SSLError):
        found = re.search(r"certificate verify failed: (.*?)\s*\(_ssl", text)
        return f"TLS: {found[1].strip() if found else 'no secure connection (is it really HTTPS?)'}"
    if isinstance(error, requests.ConnectTimeout):
        return "no connection within the timeout; check the network and firewalls"
    if isinstance(error, requests.Timeout) or "Read timed out" in text:
        return "no answer within the timeout"
    return next((meaning for sign, meaning in _SIGNS if sign in text), f"no answer ({type(error).__name__})")


def blames_client_certificate(error: BaseException) -> bool:
    """Return whether a server refused a request for the certificate we gave, or gave not."""
    return _refusal(str(error)) is not None


def _refusal(text: str) -> str | None:
    found = re.search(r"alert ([a-z ]+)", text)
    if found:
        return next((meaning for sign, meaning in _ALERTS if found[1].strip().startswith(sign)), None)
    return _LOST if _HUNG_UP in text else None
