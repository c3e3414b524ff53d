"""Configuration files: tag lists, certificates, templates. Private keys and passwords are named, not copied."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from otmirror.errors import ConfigError
from otmirror.recovery.manifest import Configured, Omitted

FOLDER = "configuration"
_STORES = (".p12", ".pfx", ".jks", ".keystore", ".bcfks")
_SECRET_WORDS = ("password", "passwd", "secret", "token", "sensitive.key", "credential")
_MARKS = (b"PRIVATE KEY-----", b"nifi.sensitive.props.key=")
_WHY = "a private key or secret: not included, kept in Vault (--with-keys includes it)"
_ENDINGS = (".tags", ".pki")
"""Of the parameters that name a configuration file or folder."""


def named(values: dict[str, str]) -> list[Path]:
    """Return the tag lists and PKI folders that a flow's parameters name and that are on this machine."""
    paths = (Path(value) for name, value in values.items() if name.endswith(_ENDINGS) and value.startswith("/"))
    return sorted({path for path in paths if path.exists()})


def back_up(paths: Iterable[Path], folder: Path, with_keys: bool) -> tuple[list[Configured], list[Omitted]]:
    """Copy files and folders into `folder`/configuration; return them, and the secrets that were left out.

    Raises:
        ConfigError: there is no such file.
        OSError: a file cannot be read, or the disk is full.
    """
    copied: dict[Path, Configured] = {}
    omitted = {}
    for given in paths:
        if not given.exists():
            raise ConfigError(f"{given}: there is no such file or folder (--config, --nifi-home)")
        for file in _files(given.absolute()):
            if not with_keys and is_secret(file):
                omitted[file] = Omitted(str(file), _WHY)
                continue
            path = f"{FOLDER}/{str(file).lstrip('/')}"
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, folder / path)
            (folder / path).chmod(0o600 if is_secret(file) else 0o644)
            copied[file] = Configured(str(file), path)
    return [copied[file] for file in sorted(copied)], [omitted[file] for file in sorted(omitted)]


def is_secret(file: Path) -> bool:
    """Return whether a file holds a private key or another secret, by its name and by what is in it."""
    name = file.name.lower()
    if name.endswith((*_STORES, ".key")) or any(word in name for word in _SECRET_WORDS):
        return True
    with file.open("rb") as opened:
        while lines := opened.readlines(2**20):
            if any(mark in line and not line.rstrip().endswith(b"=") for line in lines for mark in _MARKS):
                return True
    # A key in DER has no words in it.
    return name.endswith(".der") and "private" in file.parts


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
        return
    for folder, names, files in os.walk(path):
        names[:] = sorted(name for name in names if name not in (".git", "__pycache__"))
        yield from (Path(folder) / name for name in sorted(files) if (Path(folder) / name).is_file())


def restore(configured: Iterable[Configured], backup: Path, target: Path) -> int:
    """Copy the files to below `target`, each at the path it had; return how many."""
    count = 0
    for one in configured:
        file = target / one.source.lstrip("/")
        if ".." in file.parts:
            raise ConfigError(f"{one.source!r} leads out of {target}")
        file.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(backup / one.path, file)
        count += 1
    return count
