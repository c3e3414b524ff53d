"""Requests to servers on this machine, which no proxy has to see."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

import requests


def session(url: str) -> requests.Session:
    """Return a session for `url`; when its host is this machine, proxies in the environment do not hold."""
    made = requests.Session()
    made.trust_env = not _is_loopback(url)
    return made


def answers(url: str) -> bool:
    """Return whether a server answers `url` well within two seconds."""
    try:
        with session(url) as asking:
            return asking.get(url, timeout=2).ok
    except requests.RequestException:
        return False


def _is_loopback(url: str) -> bool:
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
