"""HAProxy, which the compose stack's relays are: Debian's package, for the tests."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from otmirror.embedded.maven import apt_install
from otmirror.errors import UnavailableError


def binary() -> Path:
    """Return HAProxy's program, installing Debian's package when there is none and there is root.

    Raises:
        UnavailableError: there is none and it cannot be installed.
    """
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
    found = shutil.which("haproxy", path=path) or (apt_install("haproxy") and shutil.which("haproxy", path=path))
    if not found:
        raise UnavailableError("HAProxy was not found: install it (Debian: apt-get install haproxy)")
    return Path(found)
