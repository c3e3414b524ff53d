"""nftables' command, for the tests that build the zones from network namespaces."""

from __future__ import annotations

import shutil
from pathlib import Path

from otmirror.embedded.maven import apt_install
from otmirror.errors import UnavailableError


def nft_binary() -> Path:
    """Return the path of `nft`, installing Debian's package (and `ip` with it) when there is none and there is root.

    Raises:
        UnavailableError: there is none and it cannot be installed.
    """
    # Debian keeps it where only root's PATH leads.
    path = "/usr/sbin:/sbin:/usr/bin"
    found = shutil.which("nft", path=path) or (
        apt_install("nftables", "iproute2") and shutil.which("nft", path=path)
    )  # fmt: skip
    if not found:
        raise UnavailableError("nftables was not found: install it (Debian: apt-get install nftables)")
    return Path(found)
