"""Which OPA is used, and what is said when there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from otmirror.embedded import opa
from otmirror.errors import ConfigError, UnavailableError


@pytest.fixture(autouse=True)
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without OPA and Go; its PATH is the folder returned."""
    monkeypatch.delenv("OPA_BINARY", raising=False)
    monkeypatch.setenv("OTMIRROR_WORK", str(tmp_path / "work"))
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def program(path: Path, script: str) -> Path:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_one_on_path_is_used_when_it_speaks_rego_v1(empty: Path) -> None:
    assert opa.found() is None
    for told in ("echo 'Version: 0.70.0'", "echo hello", "exit 1"):
        program(empty / "opa", told)
        assert opa.found() is None, told
    on_path = program(empty / "opa", "echo 'Version: 1.4.2'\necho 'Build Commit: x'")
    assert opa.found() == on_path
    assert opa.install() == on_path


def test_one_that_is_named_goes_first(empty: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(empty / "opa", "echo 'Version: 1.4.2'")
    monkeypatch.setenv("OPA_BINARY", str(program(tmp_path / "mine", "")))
    assert opa.found() == tmp_path / "mine"
    monkeypatch.setenv("OPA_BINARY", str(tmp_path / "none"))
    with pytest.raises(ConfigError, match=r"OPA_BINARY=.*none does not exist"):
        opa.found()


def test_without_go_it_says_what_to_do() -> None:
    with pytest.raises(UnavailableError, match=r"put the program opa \(1\.0 or newer\) on PATH, .* or install Go"):
        opa.install()


def test_a_build_that_fails_leaves_nothing_but_its_log(empty: Path, tmp_path: Path) -> None:
    program(empty / "go", "echo 'no network' >&2\nexit 1")
    with pytest.raises(UnavailableError, match=r"the build failed, see .*opa\.log"):
        opa.install(say=lambda line: None)
    left = {file.name for file in (tmp_path / "work" / "bin").iterdir()}
    assert left == {"opa.lock", "opa.log"}
    assert "no network" in (tmp_path / "work" / "bin" / "opa.log").read_text()
    assert opa.found() is None


def test_the_version_is_that_of_the_module() -> None:
    assert opa.version() == "v1.22.2"
