"""The layout of the NAR, on a small tree of its own."""

from __future__ import annotations

import hashlib
import os
import zipfile
from pathlib import Path

import pytest

from otmirror import __version__
from otmirror.embedded.nar import build
from otmirror.errors import ConfigError


@pytest.fixture
def processors(tmp_path: Path) -> Path:
    root = tmp_path / "processors"
    for name in (
        "ReadTags.py", "otmirror/__init__.py", "otmirror/opcua/client.py", "otmirror/__pycache__/x.pyc",
        "otmirror/cli/__init__.py", "otmirror/plant/rows.py", "otmirror/embedded/java.py", "otmirror/demo/run.py",
        "NAR-INF/bundled-dependencies/asyncua/__init__.py", "NAR-INF/bundled-dependencies/asyncua/__pycache__/x.pyc",
        "NAR-INF/dependencies", "requirements.txt", "otmirror.egg-info/PKG-INFO",
    ):  # fmt: skip
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    return root


def test_it_holds_what_nifi_needs_and_nothing_of_the_command(processors: Path, tmp_path: Path) -> None:
    nar = build(tmp_path / "dist", processors)
    assert nar.name == f"otmirror-nar-{__version__}.nar"
    with zipfile.ZipFile(nar) as archive:
        names = archive.namelist()
        manifest = dict(
            line.split(": ") for line in archive.read("META-INF/MANIFEST.MF").decode().split("\r\n") if line
        )
        assert archive.read("ReadTags.py") == b"ReadTags.py"
        assert archive.testzip() is None
    assert sorted(name for name in names if not name.endswith("/")) == [
        "META-INF/MANIFEST.MF",
        "NAR-INF/bundled-dependencies/asyncua/__init__.py",
        "ReadTags.py",
        "otmirror/__init__.py",
        "otmirror/opcua/client.py",
    ]
    # NiFi's unpacker makes no folder by itself: each comes before what is in it.
    for name in names:
        folder = name.rstrip("/").rpartition("/")[0]
        assert not folder or names.index(f"{folder}/") < names.index(name)
    assert manifest["Nar-Id"] == "otmirror-nar"
    assert manifest["Nar-Group"] == "io.otmirror"
    assert manifest["Nar-Version"] == __version__


def test_the_same_input_gives_the_same_bytes(processors: Path, tmp_path: Path) -> None:
    first = hashlib.sha256(build(tmp_path / "dist", processors).read_bytes()).hexdigest()
    os.utime(processors / "ReadTags.py", (1, 1))
    second = hashlib.sha256(build(tmp_path / "dist", processors).read_bytes()).hexdigest()
    assert first == second


def test_what_is_missing_is_said(processors: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no processors in"):
        build(tmp_path / "dist", tmp_path)
    (processors / "NAR-INF").rename(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="run `otmirror setup`"):
        build(tmp_path / "dist", processors)
    assert not list((tmp_path / "dist").glob("*"))
