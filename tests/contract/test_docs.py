"""What the documents show works as shown."""

import re

import pytest

from otmirror import taglist
from otmirror.cli.app import app
from otmirror.flow.roles import load, table
from otmirror.modbus.address import checker
from otmirror.opcua import address as opcua
from otmirror.workspace import PROJECT

README = (PROJECT / "README.md").read_text()
CHECKS = {"opcua": opcua.check, "modbus": checker({"": ("127.0.0.1", 502)}, 125)}


def blocks(language):
    """The text of the README's code blocks in a language."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```", README, re.MULTILINE | re.DOTALL)
    return [re.sub(rf"^{indent}", "", text, flags=re.MULTILINE) for indent, text in found]


@pytest.mark.parametrize(("protocol", "number"), [("opcua", 0), ("modbus", 1)])
def test_the_tag_lists_of_the_readme_are_accepted(protocol, number):
    tags = taglist.parse(blocks("csv")[number], "README.md", CHECKS[protocol])
    assert len(tags) >= 2


def test_every_command_of_the_readme_exists():
    import typer

    root = typer.main.get_command(app)
    commands = re.findall(
        r"\botmirror ((?:[a-z]+ ?)+)", "\n".join(blocks("console") + re.findall(r"`([^`]+)`", README))
    )
    assert commands
    for line in commands:
        first, *rest = line.split()
        assert first in root.commands, line
        group = root.commands[first]
        if hasattr(group, "commands") and rest:
            assert rest[0] in group.commands, line


def test_links_to_files_lead_somewhere():
    for document in [*PROJECT.glob("*.md"), *(PROJECT / "docs").glob("*.md"), *(PROJECT / "flows").glob("*.md")]:
        for target in re.findall(r"\]\((?!https?://)([^)#]+)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name} links to {target}"


def test_the_policies_of_the_roles_are_documented():
    assert table(load(PROJECT / "security" / "roles.toml")) in (PROJECT / "docs" / "sso.md").read_text()


def test_every_test_that_a_guarantee_names_exists():
    for name in re.findall(r"`(tests/[^`]+)`", (PROJECT / "docs" / "guarantees.md").read_text()):
        assert (PROJECT / name).exists(), name


def test_every_test_of_the_failure_table_exists():
    for row in (PROJECT / "docs" / "failures.md").read_text().splitlines():
        file = ""
        for name in re.findall(r"`((?:tests/|::)[^`]+)`", row):
            path, _, test = name.partition("::")
            file = path or file
            text = (PROJECT / file).read_text()
            assert not test or f"def {test}(" in text, name
