"""The NAR: a NiFi without the source folder loads it from its autoload folder, and the pilot runs on it."""

import subprocess
import sys
import zipfile

import pytest

import otmirror
from otmirror.demo import run
from otmirror.workspace import PROJECT

from .pilots import folder, pilot

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(1500)]


def test_the_pilot_runs_on_the_nar_that_make_nar_builds():
    subprocess.run([sys.executable, "-m", "otmirror", "nar"], check=True, timeout=600, cwd=PROJECT)
    nar = PROJECT / "dist" / f"otmirror-nar-{otmirror.__version__}.nar"
    with zipfile.ZipFile(nar) as archive:
        names = set(archive.namelist())
        manifest = archive.read("META-INF/MANIFEST.MF").decode()
    assert "Nar-Id: otmirror-nar" in manifest
    assert {"ReadOpcUaTags.py", "otmirror/samples.py"} <= names
    assert not any(name.startswith(("otmirror/cli", "otmirror/plant", "otmirror/demo")) for name in names)
    with pilot(folder("nar"), ["--tags", "16"], start=False, nars=[nar]) as stack:
        home = stack.nifi.home
        assert str(PROJECT / "processors") not in (home / "conf" / "nifi.properties").read_text()
        result = run.record(stack, 15)
    assert result.audit.complete, result.audit
