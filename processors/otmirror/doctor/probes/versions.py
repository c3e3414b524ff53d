"""Versions: of the bundle on both sides, and of the packages it was locked with."""

from __future__ import annotations

from collections.abc import Iterable

from otmirror import __version__
from otmirror.doctor.findings import Finding
from otmirror.doctor.flowview import OURS, FlowView
from otmirror.doctor.probes.figures import Figures
from otmirror.embedded.bundle import BUNDLED, LOCK, PROCESSORS, fingerprint
from otmirror.embedded.server import EmbeddedNifi


def of_bundle(views: Iterable[FlowView], figures: Iterable[Figures]) -> list[Finding]:
    """Return where processors that run are of another version than this command."""
    running = {
        one.processor.name: labels.get("version", "")
        for one in figures
        if one.known
        for labels, _ in one.each("build_info")
    }
    for view in views:
        for one in view.of(*OURS):
            running.setdefault(one.name, one.version)
    found = []
    for version in sorted({version for version in running.values() if version and version != __version__}):
        names = ", ".join(sorted(name for name, other in running.items() if other == version))
        text = f"{names} run version {version}, this command is {__version__}"
        found.append(Finding("version-drift", "otmirror", text))
    return found


def of_packages(server: EmbeddedNifi | None) -> list[Finding]:
    """Return whether the packages beside this checkout's processors are those that were locked."""
    marker = PROCESSORS / BUNDLED.parent / "dependencies"
    if server is None or not (PROCESSORS / BUNDLED).is_dir():
        return []
    try:
        same = marker.read_text() == fingerprint()
    except OSError:
        same = False
    text = f"the packages of the processors are not those of {LOCK.name}: otmirror setup"
    return [] if same else [Finding("version-drift", str(PROCESSORS / BUNDLED), text)]
