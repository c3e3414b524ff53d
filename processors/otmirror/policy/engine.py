"""Asking the Open Policy Agent: one document in, what is denied and what is waived out."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from otmirror.embedded import opa
from otmirror.errors import UnavailableError
from otmirror.policy import site
from otmirror.policy.site import SiteFile
from otmirror.workspace import PROJECT

RULES = PROJECT / "security" / "policy"
NO_OPA = "policy not checked: there is no OPA (`otmirror setup --only opa` builds it)"
_QUERY = "data.otmirror.decision"
_SECONDS = 120


@dataclass(frozen=True, order=True)
class Told:
    """One thing the policy says of a component; `remedy` is empty where nothing has to be done."""

    rule: str
    kind: str
    name: str
    id: str
    message: str
    remedy: str = ""


@dataclass(frozen=True)
class Decision:
    """What the policy says of one document: it is allowed when nothing is denied."""

    denied: tuple[Told, ...]
    waived: tuple[Told, ...]


class Engine:
    """The policy of the project with one site's approvals, and the program that evaluates it."""

    def __init__(self, opa: Path, site: SiteFile, rules: Path = RULES):
        """Take the program, the site's approvals and the folder of the rules."""
        self._opa, self._site = opa, site
        self._files = [*(f for f in sorted(rules.glob("*.rego")) if not f.stem.endswith("_test")), rules / "data.json"]

    @classmethod
    def ready(cls, site_file: Path | None = None) -> Engine:
        """Return the policy with a site's approvals (None: OTMIRROR_POLICY_SITE, or those of the demo).

        Raises:
            ConfigError: the site file cannot be used.
            UnavailableError: there is no OPA; the message says how to get it.
        """
        program = opa.found()
        if program is None:
            raise UnavailableError("there is no OPA to evaluate the policy: `otmirror setup --only opa` builds it")
        named = os.environ.get("OTMIRROR_POLICY_SITE")
        return cls(program, site.load(site_file or (Path(named) if named else site.DEFAULT)))

    @property
    def revision(self) -> str:
        """The first digits of the SHA-256 of rules, data and site file: what a decision was made by."""
        digest = hashlib.sha256(self._site.digest.encode())
        for file in self._files:
            digest.update(file.read_bytes())
        return digest.hexdigest()[:12]

    def decide(self, document: dict[str, Any]) -> Decision:
        """Return what the policy says of a document.

        Raises:
            UnavailableError: the program cannot be run, takes longer than two minutes, or gives no decision.
        """
        command = [str(self._opa), "eval", "--format", "json", "--stdin-input"]
        for file in (*self._files, self._site.path):
            # As a URL: OPA takes what stands before a colon in a path for a place in the data.
            command += ["-d", file.resolve().as_uri()]
        told = self._run([*command, _QUERY], json.dumps(document))
        try:
            value = json.loads(told)["result"][0]["expressions"][0]["value"]
            return Decision(_told(value["denied"]), _told(value["waived"]))
        except (ValueError, LookupError, TypeError):
            raise UnavailableError(f"OPA gave no decision by the rules in {RULES}: {_first(told)}") from None

    def _run(self, command: list[str], text: str) -> str:
        try:
            done = subprocess.run(
                command, input=text, capture_output=True, text=True, timeout=_SECONDS, encoding="utf-8", check=False
            )
        except subprocess.TimeoutExpired:
            raise UnavailableError(f"OPA took longer than {_SECONDS} s for one file") from None
        except OSError as error:
            raise UnavailableError(f"OPA {self._opa} cannot be run: {error.strerror}") from None
        if done.returncode:
            raise UnavailableError(f"OPA failed on the rules in {RULES}: {_first(done.stderr or done.stdout)}")
        return done.stdout


def line(path: Path, told: Told) -> str:
    """Return a denial as one line: file, component with its id, what is wrong, what to do, rule."""
    text = f"{path}: {told.kind} {told.name} ({told.id}): {told.message}; {told.remedy} [{told.rule}]"
    # A name in a file of somebody else's must not look like a line of ours.
    return "".join(char if char.isprintable() else " " for char in text)


def _first(text: str) -> str:
    return " ".join(text.split())[:300] or "it said nothing"


def _told(entries: list[dict[str, Any]]) -> tuple[Told, ...]:
    return tuple(sorted(_one(entry["component"], entry) for entry in entries))


def _one(component: dict[str, str], entry: dict[str, str]) -> Told:
    told = component["kind"], component["name"], component["id"], entry["message"]
    return Told(entry["rule"], *told, entry.get("remedy", ""))
