"""Packing the processors into a NAR: a zip with their files and the library at its root.

The layout is what NiFi's NarUnpacker and its Python extension manager look for: META-INF/MANIFEST.MF with Nar-Id,
Nar-Group and Nar-Version, the processors' files at the root, their packages in NAR-INF/bundled-dependencies.
"""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from otmirror import __version__
from otmirror.embedded.bundle import BUNDLED, PROCESSORS
from otmirror.errors import ConfigError

NAR_ID = "otmirror-nar"
NAR_GROUP = "io.otmirror"
COMMAND_ONLY = (
    "audit",
    "cli",
    "compare",
    "dashboards",
    "demo",
    "doctor",
    "drill",
    "embedded",
    "exporter",
    "flow",
    "kpi",
    "plant",
    "policy",
    "prove",
    "recovery",
    "rollout",
    "slo",
    "supply",
    "witness",
    "zones",
)
"""The library's packages that only the operator's command needs."""
_EPOCH = (1980, 1, 1, 0, 0, 0)


def build(folder: Path, processors: Path = PROCESSORS) -> Path:
    """Write otmirror-nar-<version>.nar into `folder` and return its path; the same input gives the same bytes.

    Raises:
        ConfigError: there are no processors, or their packages are not installed.
    """
    if not any(processors.glob("*.py")):
        raise ConfigError(f"there are no processors in {processors}")
    if not (processors / BUNDLED).is_dir():
        raise ConfigError(f"the processors' packages are missing in {processors / BUNDLED}: run `otmirror setup`")
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{NAR_ID}-{__version__}.nar"
    fresh = target.with_suffix(".new")
    # The lowest level: almost all of it is native code, and a tight NAR is not worth minutes.
    with zipfile.ZipFile(fresh, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        files = sorted(contents(processors))
        # NiFi's unpacker makes no folder that has no entry of its own.
        for name in sorted({"META-INF", *_folders(name for name, _ in files)}):
            _add(archive, f"{name}/", b"", 0o40755)
        _add(archive, "META-INF/MANIFEST.MF", manifest().encode())
        for name, file in files:
            _add(archive, name, file.read_bytes())
    fresh.replace(target)
    return target


def manifest() -> str:
    """Return META-INF/MANIFEST.MF: the NAR's coordinate, and the Python its native packages are for."""
    lines = {
        "Manifest-Version": "1.0",
        "Created-By": f"otmirror {__version__}",
        "Nar-Id": NAR_ID,
        "Nar-Group": NAR_GROUP,
        "Nar-Version": __version__,
        "Python-Version": f"{sys.version_info.major}.{sys.version_info.minor}",
        "Python-Platform": sys.platform,
    }
    return "".join(f"{key}: {value}\r\n" for key, value in lines.items()) + "\r\n"


def contents(processors: Path) -> Iterator[tuple[str, Path]]:
    """Yield the name inside the NAR and the file for all that belongs into it."""
    library = processors / "otmirror"
    left_out = {library / name for name in COMMAND_ONLY}
    for root in (library, processors / BUNDLED):
        for file in root.rglob("*"):
            if file.is_file() and "__pycache__" not in file.parts and not left_out.intersection(file.parents):
                yield file.relative_to(processors).as_posix(), file
    for file in processors.glob("*.py"):
        yield file.name, file


def _folders(names: Iterable[str]) -> Iterator[str]:
    for name in names:
        yield from (folder.as_posix() for folder in PurePosixPath(name).parents if folder.name)


def _add(archive: zipfile.ZipFile, name: str, data: bytes, mode: int = 0o100644) -> None:
    info = zipfile.ZipInfo(name, _EPOCH)
    info.external_attr = mode << 16
    archive.writestr(info, data, zipfile.ZIP_DEFLATED, 1)
