"""The bundle's packages against a database of known vulnerabilities, by pip-audit."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

from otmirror.embedded.bundle import LOCK
from otmirror.errors import UnavailableError
from otmirror.supply.lock import tool


@dataclass(frozen=True)
class Finding:
    """A known vulnerability of a package, and the versions without it."""

    package: str
    version: str
    id: str
    fixed: tuple[str, ...]

    def __str__(self) -> str:
        fixed = f"fixed in {', '.join(self.fixed)}" if self.fixed else "no fixed version yet"
        return f"{self.package} {self.version}: {self.id}, {fixed}"


def scan(lock: Path = LOCK) -> list[Finding]:
    """Return the known vulnerabilities of the locked packages.

    Raises:
        ConfigError: pip-audit is not installed.
        UnavailableError: there is no database here, or not for every package: what was not looked up is not clean.
    """
    argv = [str(tool("pip-audit")), "--requirement", str(lock), "--require-hashes", "--disable-pip",
            "--progress-spinner", "off", "--format", "json"]  # fmt: skip
    done = subprocess.run(argv, capture_output=True, text=True, timeout=600, check=False)
    return understand(done.stdout, done.stderr)


def understand(told: str, said: str = "") -> list[Finding]:
    """Return the findings in pip-audit's answer in JSON; `said` is what it wrote beside.

    Raises:
        UnavailableError: it is no answer, or does not cover every package.
    """
    try:
        packages = json.loads(told)["dependencies"]
    except (ValueError, KeyError, TypeError):
        why = " ".join(said.split())[-200:] or "no answer"
        raise UnavailableError(f"no vulnerability database can be reached: {why}") from None
    unknown = [package["name"] for package in packages if "skip_reason" in package]
    if unknown or not packages:
        raise UnavailableError(
            f"the vulnerability database knows {len(packages) - len(unknown)} of {len(packages)} packages"
            f"{f', not {unknown[0]} for one' if unknown else ''}: the package index here keeps none"
        )
    return [
        Finding(package["name"], package["version"], found["id"], tuple(found.get("fix_versions") or ()))
        for package in packages
        for found in package.get("vulns") or ()
    ]
