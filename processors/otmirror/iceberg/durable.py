"""Files that survive a power loss: on disk before anything points to them.

A catalog in a database is durable when its commit returns; files that are only in the machine's memory by then leave
a table nobody can read.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

from pyarrow.fs import FileSystem, S3FileSystem
from pyiceberg.io.pyarrow import PyArrowFile, PyArrowFileIO

S3_CA = "otmirror.s3.ca-file"
"""Property with the PEM file of the authority to believe of an S3 storage; pyiceberg has none of its own."""


class DurableFileIO(PyArrowFileIO):
    """pyiceberg's file access; a local file is on disk when it is closed, and S3 is believed by our own authority."""

    def new_output(self, location: str) -> PyArrowFile:
        """Return the file to write at `location`."""
        scheme, netloc, path = self.parse_location(location, self.properties)
        if scheme != "file":
            return super().new_output(location)
        return _Output(location, path, self.fs_by_scheme(scheme, netloc))

    def _initialize_s3_fs(self, netloc: str | None) -> FileSystem:
        made = super()._initialize_s3_fs(netloc)
        authority = self.properties.get(S3_CA)
        if not authority or not isinstance(made, S3FileSystem):
            return made
        # A file system cannot be changed; what it is pickled as are the arguments it was made with.
        _, (arguments,) = made.__reduce__()
        return S3FileSystem(**{**arguments, "tls_ca_file_path": authority})


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
