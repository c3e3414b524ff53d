"""The bill of materials of the bundle that goes into NiFi, in CycloneDX, and the licences in it."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from otmirror import __version__
from otmirror.embedded.nar import NAR_GROUP, NAR_ID
from otmirror.errors import ConfigError, UnavailableError
from otmirror.supply.lock import tool

ALLOWED = frozenset({
    "Apache-2.0", "MIT", "MIT-0", "BSD-2-Clause", "BSD-3-Clause", "0BSD", "ISC", "PSF-2.0", "MPL-2.0", "Zlib",
})  # fmt: skip
"""Licences (SPDX) that a package of the bundle may have."""
EXCEPTIONS = {"asyncua": frozenset({"LGPL-3.0-or-later", "LGPL-3.0-only", "LGPL-3.0"})}
"""Further licences of single packages: asyncua is unmodified and replaceable in the bundle."""
_CLASSIFIERS = {
    "License :: OSI Approved :: Apache Software License": "Apache-2.0",
    "License :: OSI Approved :: BSD License": "BSD-3-Clause",
    "License :: OSI Approved :: MIT License": "MIT",
    "License :: OSI Approved :: ISC License (ISCL)": "ISC",
    "License :: OSI Approved :: Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "License :: OSI Approved :: Python Software Foundation License": "PSF-2.0",
    "License :: OSI Approved :: GNU Lesser General Public License v3 or later (LGPLv3+)": "LGPL-3.0-or-later",
}
Bom = dict[str, Any]


@dataclass(frozen=True)
class Licensed:
    """A package and its licences as SPDX names; of `A OR B` one is enough, of several entries all hold."""

    name: str
    version: str
    licences: tuple[str, ...]

    @property
    def allowed(self) -> bool:
        """Whether every licence of it is allowed; not so when it states none."""
        may = ALLOWED | EXCEPTIONS.get(self.name.lower(), frozenset())
        return bool(self.licences) and all(_permits(licence, may) for licence in self.licences)


def make(packages: Path) -> Bom:
    """Return the bill of materials of a folder of installed packages, such as the bundle's.

    Raises:
        ConfigError: there is no such folder, or cyclonedx-bom is not installed.
        UnavailableError: cyclonedx-bom failed.
    """
    if not packages.is_dir():
        raise ConfigError(f"there are no packages in {packages}: run `otmirror setup --only bundle`")
    with tempfile.TemporaryDirectory() as folder:
        # An interpreter that sees the folder and nothing else.
        python, out = Path(folder) / "python", Path(folder) / "bom.json"
        python.write_text(f'#!/bin/sh\nPYTHONPATH="{packages}" exec "{sys.executable}" -S "$@"\n')
        python.chmod(0o700)
        argv = [str(tool("cyclonedx-py")), "environment", "--output-reproducible", "--of", "JSON", "-o", str(out),
                str(python)]  # fmt: skip
        done = subprocess.run(argv, capture_output=True, text=True, timeout=300, check=False)
        if done.returncode:
            raise UnavailableError(f"cyclonedx-bom: {' '.join(done.stderr.split())[-300:]}")
        bom: Bom = json.loads(out.read_text())
    bom.setdefault("metadata", {})["component"] = {
        "type": "application",
        "bom-ref": NAR_ID,
        "group": NAR_GROUP,
        "name": NAR_ID,
        "version": __version__,
        "licenses": [{"license": {"id": "Apache-2.0"}}],
    }
    return bom


def licences(bom: Bom) -> list[Licensed]:
    """Return what is known of each component's licence, by name."""
    found = (Licensed(c["name"], c["version"], _spdx(c.get("licenses") or ())) for c in bom["components"])
    return sorted(found, key=lambda one: one.name.lower())


def table(found: list[Licensed]) -> str:
    """Return the licences as a table in Markdown."""
    rows = [f"| {one.name} | {one.version} | {', '.join(one.licences) or 'not stated'} |" for one in found]
    return "\n".join(["| package | version | licence |", "|---|---|---|", *rows]) + "\n"


def _spdx(entries: Any) -> tuple[str, ...]:
    names = []
    for entry in entries:
        licence = entry.get("license") or {}
        name = entry.get("expression") or licence.get("id") or licence.get("name", "")
        names.append(_CLASSIFIERS.get(name, name))
    return tuple(dict.fromkeys(names))


def _permits(expression: str, may: frozenset[str]) -> bool:
    """Return whether an SPDX expression of names, OR and AND is satisfied by allowed names."""
    bare = expression.replace("(", " ").replace(")", " ")
    if "(" in expression and " OR " in bare:
        return all(name in may for name in bare.replace(" OR ", " ").replace(" AND ", " ").split())
    return any(all(name.strip() in may for name in one.split(" AND ")) for one in bare.split(" OR "))
