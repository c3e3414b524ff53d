"""What the bundle is made of: locked by hash, listed, with allowed licences, looked up where a database can be had."""

import base64
import hashlib
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from otmirror.embedded import bundle
from otmirror.errors import ConfigError, UnavailableError
from otmirror.supply import lock, sbom, scan
from otmirror.workspace import PROJECT


def pins(text: str) -> list[Requirement]:
    """The requirements of a pip file, without comments and hashes."""
    joined = re.sub(r"\\\n", " ", text)
    lines = (re.sub(r"--hash=\S+", "", line.partition("#")[0]).strip() for line in joined.splitlines())
    return [Requirement(line) for line in lines if line]


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def here(requirements: list[Requirement]) -> dict[str, str]:
    """Name and version of what is for this interpreter."""
    wanted = (one for one in requirements if one.marker is None or one.marker.evaluate())
    return {normal(one.name): str(one.specifier).removeprefix("==") for one in wanted}


LOCKED = bundle.LOCK.read_text()


def test_the_lock_is_that_of_the_requirements():
    for python in ("3.10.0", "3.11.0", "3.12.0"):
        environment = {"python_version": python[:4], "python_full_version": python}
        sets = [
            {(normal(one.name), str(one.specifier)) for one in pins(text)
             if one.marker is None or one.marker.evaluate(environment)}
            for text in (bundle.REQUIREMENTS.read_text(), LOCKED)
        ]  # fmt: skip
        assert sets[0] == sets[1], f"Python {python}: run `make lock`"


def test_every_package_is_locked_by_hash_and_names_no_index():
    entries = [entry for entry in re.sub(r"\\\n", " ", LOCKED).splitlines() if entry and entry[0] != "#"]
    assert len(entries) > 40
    for entry in entries:
        assert "==" in entry
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry
    assert "://" not in LOCKED
    assert "--index" not in LOCKED


@pytest.mark.parametrize("python", ["3.10", "3.11", "3.12"])
@pytest.mark.parametrize("platform", ["x86_64-manylinux_2_28", "aarch64-manylinux_2_28"])
def test_the_lock_suffices(python, platform):
    try:
        lock.check(python, platform)
    except UnavailableError as error:
        if re.search(r"hash|No solution|no wheels|unsatisfiable", str(error)):
            raise
        pytest.skip(f"no package index here: {error}")


def wheel(folder: Path, name: str, *metadata: str) -> Path:
    """A wheel of an empty package with the metadata given."""
    folder.mkdir(exist_ok=True)
    info = f"{name}-1.0.dist-info"
    files = {
        f"{name}/__init__.py": "",
        f"{info}/METADATA": "\n".join(["Metadata-Version: 2.4", f"Name: {name}", "Version: 1.0", *metadata, ""]),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    digests = {path: base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
               for path, text in files.items()}  # fmt: skip
    files[f"{info}/RECORD"] = "".join(f"{path},sha256={d},\n" for path, d in digests.items()) + f"{info}/RECORD,,\n"
    target = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(target, "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
    return target


def installed(folder: Path, name: str, *metadata: str) -> Path:
    """A folder with one installed package."""
    with zipfile.ZipFile(wheel(folder, name, *metadata)) as archive:
        archive.extractall(folder / "packages")
    return folder / "packages"


def test_a_package_that_is_not_the_locked_one_is_not_installed(tmp_path, monkeypatch):
    made = wheel(tmp_path, "harmless")
    digest = hashlib.sha256(made.read_bytes()).hexdigest()
    locked = tmp_path / "requirements.lock"
    locked.write_text(f"harmless @ {made.as_uri()} --hash=sha256:{digest}\n")
    monkeypatch.setattr(bundle, "LOCK", locked)
    bundle._pip(tmp_path / "good")
    assert (tmp_path / "good" / "harmless").is_dir()
    with zipfile.ZipFile(made, "a") as archive:
        archive.writestr("harmless/added.py", "print('somebody else was here')")
    with pytest.raises(ConfigError, match=r"requirements\.lock: a package is not the one that was locked"):
        bundle._pip(tmp_path / "bad")
    assert not (tmp_path / "bad" / "harmless").exists()


@pytest.fixture(scope="module")
def bom():
    packages = bundle.PROCESSORS / bundle.BUNDLED
    if not packages.is_dir():
        pytest.skip("the bundle's packages are not installed: otmirror setup --only bundle")
    return sbom.make(packages)


def test_the_bill_of_materials_is_what_was_locked(bom):
    listed = {normal(one["name"]): one["version"] for one in bom["components"]}
    assert listed == here(pins(LOCKED))
    assert bom["metadata"]["component"]["name"] == "otmirror-nar"
    assert all(one["purl"].startswith("pkg:pypi/") for one in bom["components"])


def test_the_bill_of_materials_is_valid_cyclonedx(bom):
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    assert bom["bomFormat"] == "CycloneDX"
    version = SchemaVersion.from_version(bom["specVersion"])
    assert JsonStrictValidator(version).validate_str(json.dumps(bom)) is None


def test_every_licence_of_the_bundle_is_allowed(bom):
    found = sbom.licences(bom)
    assert [f"{one.name}: {one.licences}" for one in found if not one.allowed] == []
    assert {one.name for one in found if any("GPL" in licence for licence in one.licences)} == {"asyncua"}


STATED = {
    "License-Expression: MIT": True,
    "License-Expression: GPL-3.0-only OR Apache-2.0": True,
    "License-Expression: Apache-2.0 AND GPL-3.0-only": False,
    "License-Expression: (MIT OR Apache-2.0) AND BSD-3-Clause": True,
    "License-Expression: (MIT OR GPL-2.0-only) AND GPL-3.0-only": False,
    "License-Expression: AGPL-3.0-or-later": False,
    "License-Expression: LGPL-3.0-or-later": False,  # only asyncua may
    "Classifier: License :: OSI Approved :: GNU General Public License v3 (GPLv3)": False,
    "License: Proprietary": False,
    "Summary: says nothing of a licence": False,
}


def test_licences_that_are_allowed_and_that_are_not(tmp_path):
    for number, metadata in enumerate(STATED):
        installed(tmp_path, f"package_{number}", metadata)
    found = sbom.licences(sbom.make(tmp_path / "packages"))
    told = {one.name: one.allowed for one in found}
    assert told == {f"package_{number}": allowed for number, allowed in enumerate(STATED.values())}
    assert "| package_0 | 1.0 | MIT |" in sbom.table(found)


def test_an_empty_folder_is_no_bundle(tmp_path):
    with pytest.raises(ConfigError, match="otmirror setup --only bundle"):
        sbom.make(tmp_path / "none")


CLEAN = {"name": "six", "version": "1.17.0", "vulns": []}
HIT = {
    "name": "old",
    "version": "1.0",
    "vulns": [{"id": "PYSEC-1", "fix_versions": ["1.1"], "aliases": [], "description": "d"}],
}
UNKNOWN = {"name": "six", "skip_reason": "Dependency not found on PyPI and could not be audited: six (1.17.0)"}


def test_findings_are_told_with_what_to_do():
    assert scan.understand(json.dumps({"dependencies": [CLEAN], "fixes": []})) == []
    (found,) = scan.understand(json.dumps({"dependencies": [CLEAN, HIT], "fixes": []}))
    assert str(found) == "old 1.0: PYSEC-1, fixed in 1.1"


@pytest.mark.parametrize("told", [
    "", "no json", "[]", "{}", json.dumps({"dependencies": []}), json.dumps({"dependencies": [CLEAN, UNKNOWN]}),
])  # fmt: skip
def test_what_was_not_looked_up_is_not_clean(told):
    with pytest.raises(UnavailableError, match="vulnerability database"):
        scan.understand(told)


def test_the_scan_says_what_it_found_or_why_it_could_not():
    argv = [sys.executable, "-m", "otmirror", "supply", "scan"]
    done = subprocess.run(argv, cwd=PROJECT / "processors", capture_output=True, text=True, timeout=110, check=False)
    if "skipped" in done.stdout:
        assert done.returncode == 0
        pytest.skip(done.stdout.strip())
    assert done.returncode == 0, done.stderr
