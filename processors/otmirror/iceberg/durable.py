"""Files that survive a power loss: on disk before anything points to them.

A catalog in a database is durable when its commit returns; files that are only in the machine's memory by then leave
a table nobody can read.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

from pyiceberg.io.pyarrow import PyArrowFile, PyArrowFileIO


class DurableFileIO(PyArrowFileIO):
    """pyiceberg's file access; a local file is on disk when it is closed."""

    def new_output(self, location: str) -> PyArrowFile:
        """Return the file to write at `location`."""
        scheme, netloc, path = self.parse_location(location, self.properties)
        if scheme != "file":
            return super().new_output(location)
        return _Output(location, path, self.fs_by_scheme(scheme, netloc))


class _Output(PyArrowFile):
    def create(self, overwrite: bool = False) -> Any:
        make_folder(Path(self._path).parent)
        return io.BufferedWriter(_File(self._path, "w" if overwrite else "x"), self._buffer_size)


class _File(io.FileIO):
    def close(self) -> None:
        if self.closed:
            return
        try:
            os.fsync(self.fileno())
        finally:
            super().close()
        _sync(Path(str(self.name)).parent)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, each on disk before this returns."""
    if folder.is_dir():
        return
    if not folder.parent.exists():
        make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    _sync(folder.parent)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
