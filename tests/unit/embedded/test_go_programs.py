"""Which Helm is used, and what is said when a Go program cannot be built."""

from __future__ import annotations

from pathlib import Path

import pytest

from otmirror.embedded import compose, helm
from otmirror.errors import ConfigError, UnavailableError


@pytest.fixture(autouse=True)
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without Go and Helm; its PATH is the folder returned."""
    monkeypatch.delenv("HELM_BINARY", raising=False)
    monkeypatch.setenv("OTMIRROR_WORK", str(tmp_path / "work"))
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def program(file: Path, script: str) -> Path:
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    return file


def quiet(_line: str) -> None:
    pass


def test_the_helm_that_is_named_goes_before_the_one_on_path(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_path = program(path / "helm", "exit 0")
    assert helm.install(quiet) == on_path
    monkeypatch.setenv("HELM_BINARY", str(program(path / "mine", "exit 0")))
    assert helm.install(quiet) == path / "mine"
    monkeypatch.setenv("HELM_BINARY", str(path / "none"))
    with pytest.raises(ConfigError, match=r"HELM_BINARY=.*none does not exist"):
        helm.install(quiet)


def test_a_build_that_fails_names_its_log(path: Path, tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match=r"put its binary on PATH, name it in HELM_BINARY, or install Go"):
        helm.install(quiet)
    with pytest.raises(UnavailableError, match=r"Go 1\.26 or newer is needed"):
        compose.install(quiet)
    program(path / "go", "echo 'no network' >&2\nexit 1")
    with pytest.raises(UnavailableError, match=r"see .*helm\.log"):
        helm.install(quiet)
    with pytest.raises(UnavailableError, match=r"the build failed, see .*compose-merge\.log"):
        compose.install(quiet)
    for log in ("helm.log", "compose-merge.log"):
        assert "no network" in (tmp_path / "work/bin" / log).read_text()


def test_what_go_builds_is_kept(path: Path) -> None:
    # As `go install` does: into GOBIN, under the package's last name.
    program(path / "go", 'echo "$*" >"$GOBIN/arguments"; printf "#!/bin/sh\\n" >"$GOBIN/helm"')
    built = helm.install(quiet)
    assert (built.parent / "arguments").read_text() == f"install helm.sh/helm/v3/cmd/helm@{helm.VERSION}\n"
    (path / "go").unlink()
    assert helm.install(quiet) == built
