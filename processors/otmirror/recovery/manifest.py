"""The manifest of a backup: what it holds, when, of which versions, and the SHA-256 of every file.

`manifest.json` comes last; beside it `manifest.sha256` (for `sha256sum -c`) and, with a key, `manifest.hmac`
(HMAC-SHA-256, hexadecimal), which nobody without the key can make.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import msgspec

from otmirror.errors import ConfigError, UnavailableError

FORMAT = 1
MANIFEST, DIGEST, SEAL = "manifest.json", "manifest.sha256", "manifest.hmac"
_CHUNK = 2**20
_SHORTEST_KEY = 16


class File(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A file of the backup, `path` relative to its folder."""

    path: str
    bytes: int
    sha256: str


class Counts(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What a VictoriaMetrics shows to queries: series in all, samples by metric."""

    series: int
    samples: dict[str, int]


class Hot(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The snapshot of VictoriaMetrics; `rows` as its files say, repeats included; times in ms since 1970."""

    url: str
    snapshot: str
    rows: int
    first_ms: int
    last_ms: int
    counts: Counts | None
    """Counted in a scratch server that the backup was restored to; None when that was left out."""


class Table(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """An Iceberg table as its catalog showed it; `files` are its data files that the current snapshot needs."""

    name: str
    location: str
    metadata: str
    snapshot: int | None
    rows: int
    files: int
    bytes: int
    copies: dict[str, str]
    """Location of each file that was copied -> its path in the backup."""


class Lakehouse(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The Iceberg catalog. `root` is the location of the warehouse, None for a catalog that keeps it to itself."""

    kind: str
    root: str | None
    data: bool
    """Whether every file of every snapshot was copied, not the tables' metadata files alone."""
    tables: list[Table]


class Flow(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A flow's file; `running` says whether it ran."""

    name: str
    path: str
    running: bool


class Configured(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A configuration file: where it was, and its path in the backup."""

    source: str
    path: str


class Omitted(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What is not in the backup, and why."""

    what: str
    why: str


class Point(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Whatever was read before `time` is in every store of the backup; by source, as well. ISO 8601, UTC."""

    time: str | None
    us: int | None
    sources: dict[str, str]


class Manifest(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A whole backup. `new_bytes` is what was not linked from the backup before."""

    format: int
    name: str
    begun: str
    finished: str
    seconds: float
    previous: str | None
    versions: dict[str, str]
    consistency_point: Point
    hot: Hot | None
    lakehouse: Lakehouse | None
    flows: list[Flow]
    configuration: list[Configured]
    not_included: list[Omitted]
    bytes: int
    new_bytes: int
    files: list[File]


def write(folder: Path, manifest: Manifest, key: bytes | None) -> None:
    """Write the manifest, its digest and, with a key, its seal."""
    text = msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n"
    _synced(folder / MANIFEST, text)
    _synced(folder / DIGEST, f"{hashlib.sha256(text).hexdigest()}  {MANIFEST}\n".encode())
    if key is not None:
        _synced(folder / SEAL, _seal(text, key).encode() + b"\n")


def read(folder: Path, key: bytes | None = None) -> Manifest:
    """Return the manifest of a backup; its digest, and with a key its seal, have to be right.

    Raises:
        ConfigError: it is no backup, of a format this version does not know, or the manifest was changed.
    """
    try:
        text, told = (folder / MANIFEST).read_bytes(), (folder / DIGEST).read_text("utf-8").split()
        seal = (folder / SEAL).read_text("utf-8").strip() if key is not None else ""
    except FileNotFoundError as error:
        missing = Path(error.filename).name
        what = "it was not sealed with a key" if missing == SEAL else f"there is no {missing}"
        raise ConfigError(f"{folder} is no whole backup: {what}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{folder}: the manifest cannot be read: {error}") from None
    if not told or told[0] != hashlib.sha256(text).hexdigest():
        raise ConfigError(f"{folder / MANIFEST} is not what the backup wrote: its SHA-256 is not the one in {DIGEST}")
    if key is not None and not hmac.compare_digest(seal, _seal(text, key)):
        raise ConfigError(
            f"{folder / MANIFEST} does not bear the seal of this key: it was changed, or sealed by another"
        )
    return _decoded(folder, text)


def _decoded(folder: Path, text: bytes) -> Manifest:
    try:
        version = msgspec.json.decode(text, type=dict).get("format")
        if version != FORMAT:
            raise ConfigError(f"{folder}: a backup of format {version}; this version of otmirror reads format {FORMAT}")
        manifest = msgspec.json.decode(text, type=Manifest)
    except msgspec.MsgspecError as error:
        raise ConfigError(f"{folder / MANIFEST} is no manifest: {error}") from None
    copies = [
        path for table in (manifest.lakehouse.tables if manifest.lakehouse else ()) for path in table.copies.values()
    ]
    for path in (*(file.path for file in manifest.files), *copies, *(flow.path for flow in manifest.flows),
                 *(one.path for one in manifest.configuration)):  # fmt: skip
        if not inside(path):
            raise ConfigError(f"{folder / MANIFEST}: the path {path!r} leads out of the backup")
    return manifest


def inside(path: str) -> bool:
    """Return whether a path stays within the folder it is relative to."""
    parts = PurePosixPath(path)
    return bool(path) and not parts.is_absolute() and ".." not in parts.parts


def key_of(file: Path | None) -> bytes | None:
    """Return the key in a file, None without one.

    Raises:
        ConfigError: it cannot be read, or is shorter than 16 bytes.
    """
    if file is None:
        return None
    try:
        key = file.read_bytes().strip()
    except OSError as error:
        raise ConfigError(f"--key-file {file}: {error.strerror}") from None
    if len(key) < _SHORTEST_KEY:
        raise ConfigError(f"--key-file {file}: a key has at least {_SHORTEST_KEY} bytes (openssl rand -hex 32)")
    return key


def inventory(folder: Path, known: dict[tuple[int, int], str]) -> tuple[list[File], int]:
    """Return every file of a folder with its digest, all of it synced to disk, and how many bytes are new.

    `known` holds digests by device and inode of files that another backup has too: they are not read again.
    """
    files, new = [], 0
    for path in content(folder):
        found = path.stat()
        digest = known.get((found.st_dev, found.st_ino))
        if digest is None:
            digest, new = sha256(path, sync=True), new + found.st_size
        files.append(File(path.relative_to(folder).as_posix(), found.st_size, digest))
    return files, new


def content(folder: Path) -> Iterator[Path]:
    """Yield the files of a backup, its manifest left out, in order."""
    own = {folder / name for name in (MANIFEST, DIGEST, SEAL)}
    yield from (path for path in sorted(folder.rglob("*")) if path.is_file() and path not in own)


def sha256(path: Path, sync: bool = False) -> str:
    """Return the SHA-256 of a file, hexadecimal.

    Raises:
        UnavailableError: it cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
            if sync:
                os.fsync(file.fileno())
    except OSError as error:
        raise UnavailableError(f"{path}: {error.strerror}") from None
    return digest.hexdigest()


def damage(folder: Path, manifest: Manifest, digests: bool = True) -> list[str]:
    """Return how a backup differs from its manifest: a sentence a file; sizes only without `digests`."""
    problems, told = [], {file.path: file for file in manifest.files}
    there = {path.relative_to(folder).as_posix(): path for path in content(folder)}
    problems += [f"{path}: is missing" for path in sorted(told.keys() - there.keys())]
    problems += [f"{path}: is not in the manifest" for path in sorted(there.keys() - told.keys())]
    for name in sorted(told.keys() & there.keys()):
        size = there[name].stat().st_size
        if size != told[name].bytes:
            problems.append(f"{name}: has {size:,} bytes, not {told[name].bytes:,}")
        elif digests and sha256(there[name]) != told[name].sha256:
            problems.append(f"{name}: its content is not what was backed up (SHA-256)")
    return problems


def _seal(text: bytes, key: bytes) -> str:
    return hmac.new(key, text, hashlib.sha256).hexdigest()


def _synced(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
