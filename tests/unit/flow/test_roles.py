"""The file of roles: what it says, and what is said of a mistake in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from otmirror.errors import ConfigError, MistakesError
from otmirror.flow.roles import Grant, load
from otmirror.workspace import PROJECT

GOOD = """
[roles.viewer]
group = "v"
tells = "sees"
read = ["/flow", "/process-groups/{root}"]
write = []
"""


def test_a_role_is_read_and_put_on_a_canvas(tmp_path: Path) -> None:
    file = tmp_path / "roles.toml"
    file.write_text(GOOD)
    [role] = load(file)
    assert (role.name, role.group, role.tells) == ("viewer", "v", "sees")
    assert role.at("abc") == {Grant("read", "/flow"), Grant("read", "/process-groups/abc")}


def test_no_shipped_role_gives_rights_or_runs_code() -> None:
    """By hand: what would let a role make itself an administrator, or run a program on the server."""
    forbidden = {
        Grant("write", resource)
        for resource in ("/policies", "/tenants", "/controller", "/restricted-components", "/proxy", "/counters")
    }
    roles = load(PROJECT / "security" / "roles.toml")
    assert [role.name for role in roles] == ["viewer", "operator", "flow-author", "auditor"]
    for role in roles:
        assert not role.grants & forbidden, role.name
        assert not [one for one in role.grants if one.resource.startswith(("/restricted", "/proxy", "/policies/"))]
    read_only = {role.name for role in roles if not [one for one in role.grants if one.action == "write"]}
    assert read_only == {"viewer", "auditor"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "has no"),
        ("roles = 3", "has no"),
        ("[roles.a", "roles.toml: "),
        ("[roles]\na = 3", "a: is no table"),
        (GOOD.replace('group = "v"', 'group = ""'), "viewer: group has to be a text"),
        (GOOD.replace("write = []", ""), "viewer: write has to be a list"),
        (GOOD.replace('"/flow"', '"flow"'), "read: 'flow' does not begin with /"),
        (GOOD.replace("write", "writes"), "unknown key 'writes'"),
        (GOOD + GOOD.replace("viewer", "other"), "two roles have the same group"),
    ],
)
def test_a_mistake_is_said(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "roles.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=told):
        load(file)


def test_all_mistakes_are_said_at_once(tmp_path: Path) -> None:
    file = tmp_path / "roles.toml"
    file.write_text(GOOD.replace('"/flow"', '"flow"').replace('tells = "sees"', "tells = 1"))
    with pytest.raises(MistakesError) as told:
        load(file)
    assert len(told.value.problems) == 2
    with pytest.raises(ConfigError, match="No such file"):
        load(tmp_path / "nothing")
