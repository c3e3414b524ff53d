"""Where backups lie: one dated folder each, which is there as a whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TextIO

from otmirror.embedded.processes import claim
from otmirror.errors import ConfigError, UnavailableError
from otmirror.recovery.manifest import MANIFEST

_DATE = "%Y-%m-%dT%H-%M-%SZ"
_PARTIAL = ".partial"


@dataclass(frozen=True)
class Making:
    """A backup that is being made: its temporary folder, the name it will have, the backup before it."""

    folder: Path
    name: str
    previous: Path | None
    lock: TextIO
    """Held as long as this command lives, or a child that inherited it."""


def stamp(moment: datetime | None = None) -> str:
    """Return a time (now) as part of a file name, UTC."""
    return (moment or datetime.now(timezone.utc)).strftime(_DATE)


def backups(target: Path) -> list[Path]:
    """Return the backups in a folder, oldest first.

    Raises:
        ConfigError: there is no such folder.
    """
    if not target.is_dir():
        raise ConfigError(f"there is no folder {target}")
    return sorted(path for path in target.iterdir() if _is_name(path.name) and (path / MANIFEST).is_file())


@contextmanager
def making(target: Path, leftover: Callable[[Path], object]) -> Iterator[Making]:
    """Give a temporary folder that becomes a backup when nothing goes wrong inside, and is removed otherwise.

    What a killed command left behind is removed first, after `leftover` was told.

    Raises:
        UnavailableError: another command makes a backup there, or the disk is full or cannot be written.
    """
    with _told(target):
        target.mkdir(parents=True, exist_ok=True)
        lock = claim(target / ".lock", f"the backup folder {target}")
    with lock, _told(target):
        for old in target.glob(f".*{_PARTIAL}"):
            leftover(old)
            shutil.rmtree(old)
        before, name = backups(target), stamp()
        if (target / name).exists():
            raise UnavailableError(f"{target / name} is there already: a second has to pass between two backups")
        partial = target / f".{name}{_PARTIAL}"
        partial.mkdir(mode=0o700)
        try:
            yield Making(partial, name, before[-1] if before else None, lock)
            _sync_folders(partial)
            partial.rename(target / name)
            _sync(target)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise


@contextmanager
def _told(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        what = f"{error.filename}: " if error.filename else ""
        why = error.strerror or str(error)
        advice = "; make room and try again" if error.errno == errno.ENOSPC else ""
        raise UnavailableError(
            f"the backup in {target} was given up, nothing of it was kept: {what}{why}{advice}"
        ) from None


def _is_name(name: str) -> bool:
    try:
        datetime.strptime(name, _DATE)
    except ValueError:
        return False
    return True


def _sync_folders(folder: Path) -> None:
    for path in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
        _sync(path)


def _sync(folder: Path) -> None:
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def take_empty(target: Path, option: str, force: bool, say: Callable[[str], object]) -> None:
    """Make sure that `target` can be restored to: it is not there, or empty, or moved aside with `force`.

    Raises:
        ConfigError: it holds something and `force` is not set.
    """
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise ConfigError(f"{option} {target}: is no folder")
    if not target.exists() or not any(target.iterdir()):
        return
    if not force:
        raise ConfigError(
            f"{option} {target}: is not empty; name a new folder, or move what is there aside with --force"
        )
    aside = target.with_name(f"{target.name}.before-{stamp()}")
    target.rename(aside)
    say(f"what was in {target} is in {aside} now")
