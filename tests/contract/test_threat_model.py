"""Every control of the threat model, and every answer about the supply chain, names a test that exists."""

import ast
import re

import pytest

from otmirror.workspace import PROJECT

PAGES = ("threat-model.md", "supply-chain.md", "audit.md")
NAMED = re.compile(r"`(tests/[\w/.-]+?)(?:::(\w+))?`")


def functions(path) -> set[str]:
    return {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("page", PAGES)
def test_every_test_that_is_named_exists(page):
    named = NAMED.findall((PROJECT / "docs" / page).read_text())
    assert named
    missing = [
        f"{file}::{function}"
        for file, function in named
        if not (PROJECT / file).exists() or (function and function not in functions(PROJECT / file))
    ]
    assert missing == []


def test_every_control_of_an_abuse_case_has_a_test():
    text = (PROJECT / "docs" / "threat-model.md").read_text()
    cases = re.split(r"^### (?=\d+\. )", text.partition("\n## Mapping")[0], flags=re.MULTILINE)[1:]
    assert len(cases) == 11
    for case in cases:
        name = case.partition("\n")[0]
        rows = [row for row in case.splitlines() if row.startswith("| ") and not row.startswith("| control")]
        assert rows, name
        assert [row for row in rows if not NAMED.search(row)] == [], name
        assert "\nLeft: " in case, f"{name}: what is left is not said"


def test_the_mapping_names_cases_that_exist():
    text = (PROJECT / "docs" / "threat-model.md").read_text()
    table = text.partition("### IEC 62443-3-3")[2].partition("\n### ")[0]
    rows = [row for row in table.splitlines() if re.match(r"\| \d", row)]
    assert len(rows) > 10
    for row in rows:
        numbers = [int(n) for n in row.rstrip(" |").rpartition("|")[2].split(",")]
        assert numbers
        assert set(numbers) <= set(range(1, 12)), row
