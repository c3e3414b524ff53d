"""The policy's denials beside the findings of the flow lint, each defect once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from otmirror.flow.lint_model import Finding
from otmirror.policy.engine import Decision

OWNED = {
    "sensitive-literal": "literal-secret",
    "secret-parameter": "literal-secret",
    "queue-unbounded": "no-back-pressure",
    "queue-expires": "flowfiles-expire",
    "failure-dropped": "no-failure-path",
    "relationship-loose": "no-failure-path",
}
"""Rules of the lint whose subject is the policy's; they stay for where there is no OPA."""


def merged(found: Sequence[Finding], told: Mapping[Path, Decision]) -> list[Finding]:
    """Return the lint's findings and the policy's denials, file by file.

    A finding by a rule in `OWNED` is left out when the policy denies the same component by the rule that owns it.
    """
    denials = {
        str(path): [
            Finding(d.rule, str(path), f"{d.kind} {d.name} ({d.id})", d.message, d.remedy) for d in decision.denied
        ]
        for path, decision in told.items()
    }
    names = {(str(path), d.rule, d.name) for path, decision in told.items() for d in decision.denied}

    def told_already(finding: Finding) -> bool:
        rule = OWNED.get(finding.rule)
        return any(
            (file, by) == (finding.file, rule)
            # As the lint names components, parameters and connections.
            and (finding.component in (name, f"parameter {name}") or finding.component.endswith(f"({name})"))
            for file, by, name in names
        )

    kept = [finding for finding in found if not told_already(finding)]
    return [one for file in denials for one in (*(f for f in kept if f.file == file), *denials[file])]
