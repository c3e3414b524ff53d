"""The runbooks in docs/runbooks: one an alert, all with the same sections, and commands that can be run as they are."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from otmirror.errors import ConfigError
from otmirror.slo import rules
from otmirror.slo.alerts import runbook
from otmirror.workspace import PROJECT

FOLDER = PROJECT / "docs" / "runbooks"
SECTIONS = (
    "What it means", "Impact", "First five minutes", "Queries and commands", "Fix", "Verify", "Roll back", "Escalate",
)  # fmt: skip
HARMLESS = ("First five minutes", "Queries and commands", "Verify")
"""Sections whose blocks only look: they may be run at any time."""
PLACEHOLDERS = {
    "MONITORING": "the monitoring store, such as http://127.0.0.1:8429",
    "HOT": "VictoriaMetrics, such as http://127.0.0.1:8428",
    "EXPORTER": "`otmirror metrics serve`, such as http://127.0.0.1:9478",
    "NIFI": "NiFi's REST API, such as http://127.0.0.1:8643/nifi-api",
    "FLOW": "the flow's name, such as pilot",
    "NIFI_HOME": "folder of the embedded NiFi",
    "METRICS": "folder of the processors' metrics files (OTMIRROR_METRICS of NiFi)",
    "WAREHOUSE": "the Iceberg warehouse",
    "TAGLIST": "the device's tag list",
    "ENDPOINT": "the OPC UA server, such as opc.tcp://plc7:4840",
    "CERTIFICATES": "a certificate, a folder of them, or host:port",
}
"""All that a command may leave to the reader, as environment variables."""
_HEAD = """# Runbooks

One an alert; `runbook_url` of the alert leads there. All have the same sections: what it means, impact, first five
minutes, queries and commands, fix, verify, roll back, escalate. Queries are for the monitoring store
(`$MONITORING/vmui`). What is under *First five minutes*, *Queries and commands* and *Verify* only looks; it may be run
at any time. *page* wakes somebody up, *ticket* waits for office hours. `otmirror slo generate` makes this page.

| alert | severity | component | means |
|---|---|---|---|"""
_PLACEHOLDERS = """Commands are run in the project's folder, with these set in the environment, once a shell:
"""
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A query or command of a runbook: `language` is promql or sh."""

    file: str
    section: str
    language: str
    text: str


@dataclass(frozen=True)
class Runbook:
    """One runbook, its sections in their order."""

    file: str
    title: str
    sections: dict[str, str]

    @property
    def blocks(self) -> list[Block]:
        """What is in fences, from the top."""
        return [
            Block(self.file, section, language, text.strip())
            for section, body in self.sections.items()
            for language, text in _BLOCK.findall(body)
        ]


def read(path: Path) -> Runbook:
    """Read a runbook.

    Raises:
        ConfigError: it is missing, or its sections are not those of `SECTIONS`, in order, each with a text.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    head, *parts = re.split(r"^## ", text, flags=re.MULTILINE)
    split = [part.partition("\n") for part in parts]
    sections = {name.strip(): body.strip() for name, _, body in split}
    if tuple(name.strip() for name, _, _ in split) != SECTIONS:
        raise ConfigError(f"{path}: its sections have to be {', '.join(SECTIONS)}, in this order")
    empty = [name for name, body in sections.items() if not body]
    if empty:
        raise ConfigError(f"{path}: nothing is said under {', '.join(empty)}")
    return Runbook(path.name, head.strip().removeprefix("# "), sections)


def commands(block: Block) -> list[list[str]]:
    """Return the words of each `otmirror` command in a block of sh, the program itself left out."""
    found = []
    for line in block.text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] == ["otmirror"]:
            found.append(words[1:])
    return found


def index(phase: int = 1, folder: Path = FOLDER) -> str:
    """Return docs/runbooks/README.md: every alert with its runbook, and the placeholders.

    Raises:
        ConfigError: a mistake in rules or runbooks; an alert has no runbook.
    """
    every = [
        rule
        for groups in rules.groups(phase).values()
        for group in groups
        for rule in group["rules"]
        if "alert" in rule
    ]
    lines = [_HEAD]
    for name in dict.fromkeys(rule["alert"] for rule in every):
        labels = [rule["labels"] for rule in every if rule["alert"] == name]
        file = runbook(name)
        means = read(folder / file).sections["What it means"].partition(". ")[0].rstrip(".")
        lines.append(f"| [{name}]({file}) | {_words(labels, 'severity')} | {_words(labels, 'component')} | {means}. |")
    lines += ["", "## Placeholders", "", _PLACEHOLDERS, "| variable | is |", "|---|---|"]
    lines += [f"| `${name}` | {meaning} |" for name, meaning in PLACEHOLDERS.items()]
    return "\n".join(lines) + "\n"


def files(phase: int = 1, folder: Path = FOLDER) -> dict[Path, str]:
    """Return the index by its path.

    Raises:
        ConfigError: as `index`.
    """
    return {folder / "README.md": index(phase, folder)}


def _words(labels: Iterable[dict[str, str]], name: str) -> str:
    return ", ".join(dict.fromkeys(label[name] for label in labels))
