"""Profiles of servers, and the limits that follow: cases worked out by hand."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from otmirror.opcua import profiles
from otmirror.opcua.profiles import PROFILES, BuildInfo, effective
from otmirror.workspace import PROJECT

LIBRARY = PROJECT / "processors" / "otmirror"
DATA = json.loads((LIBRARY / "opcua" / "profiles.json").read_text(encoding="ascii"))


@pytest.mark.parametrize(
    ("build", "name"),
    [
        (BuildInfo("SIMATIC.S7-1200.OPC-UA.Application:PLC_1", "Siemens AG", "V4.5"), "S7-1200"),
        (BuildInfo("CPU 1214C DC/DC/DC", "SIEMENS AG"), "S7-1200"),
        (BuildInfo("6ES7 214-1AG40-0XB0", "Siemens"), "S7-1200"),
        (BuildInfo("", "Siemens AG", "V2.9", "https://www.siemens.com/s7-1500"), "S7-1500"),
        (BuildInfo("CPU 1516-3 PN/DP", "SIEMENS AG", "V2.9.4"), "S7-1500"),
        (BuildInfo("6ES7 512-1DK01-0AB0", "Siemens"), "S7-1500"),
        (BuildInfo("SIMATIC WinCC", "Siemens AG"), "unknown"),
        (BuildInfo("CPU 1516", "Another Maker"), "unknown"),
        (BuildInfo("KEPServerEX", "PTC Inc.", "6.14"), "Kepware"),
        (BuildInfo("ThingWorx Kepware Server", "PTC"), "Kepware"),
        (BuildInfo("Vuforia", "PTC Inc."), "unknown"),
        (BuildInfo("Ignition OPC-UA Server", "Inductive Automation", "8.1"), "Ignition"),
        (BuildInfo("Prosys OPC UA Simulation Server", "Prosys OPC Ltd"), "Prosys"),
        (BuildInfo("NodeOPCUA-Server", "NodeOPCUA"), "unknown"),
        (BuildInfo(), "unknown"),
    ],
)
def test_a_server_is_recognised_by_what_it_says_of_itself(build: BuildInfo, name: str) -> None:
    assert profiles.choose("auto", build).name == name


def test_a_name_counts_whatever_the_server_says() -> None:
    assert profiles.choose("generic-fast", BuildInfo("KEPServerEX")).name == "generic-fast"
    assert set(profiles.NAMES) == {"auto", *DATA}


ALL = dict.fromkeys(profiles.STATED, 70)


@pytest.mark.parametrize(
    ("stated", "profile", "nodes", "expected"),
    [
        # (nodes a Read, nodes a Browse, paths, nodes a HistoryRead, items a call)
        ({}, "unknown", 0, (1000, 100, 100, 100, 100)),
        ({}, "S7-1200", 0, (100, 100, 100, 100, 100)),
        (ALL, "S7-1200", 0, (70, 70, 70, 70, 70)),
        (ALL, "unknown", 0, (70, 70, 70, 70, 70)),
        (ALL, "generic-fast", 20, (20, 70, 70, 70, 70)),
        (dict.fromkeys(ALL, 0), "S7-1500", 0, (500, 500, 500, 500, 500)),
        (dict.fromkeys(ALL), "S7-1500", 5000, (500, 500, 500, 500, 500)),
        ({"MaxNodesPerRead": 10_000, "MaxMonitoredItemsPerCall": 10}, "generic-fast", 0, (5000, 1000, 1000, 1000, 10)),
        ({"MaxNodesPerHistoryReadData": 5}, "S7-1200", 40, (40, 100, 100, 5, 100)),
    ],
)
def test_the_smallest_limit_counts(
    stated: dict[str, int | None], profile: str, nodes: int, expected: tuple[int, ...]
) -> None:
    found = effective(stated, PROFILES[profile], nodes)
    assert found.profile == profile
    assert (
        found.nodes_per_read, found.nodes_per_browse, found.paths_per_translate, found.nodes_per_history_read,
        found.items_per_call,
    ) == expected  # fmt: skip


def test_a_configured_rate_replaces_the_profiles() -> None:
    assert effective({}, PROFILES["S7-1200"]).requests_per_second == 20
    assert effective({}, PROFILES["S7-1200"], 0, 3).requests_per_second == 3
    assert effective({}, PROFILES["S7-1200"], 0, 300).requests_per_second == 300
    assert effective({}, PROFILES["unknown"]).requests_per_second == 0


def test_the_rest_is_the_profiles() -> None:
    small = effective(ALL, PROFILES["S7-1200"])
    assert (small.items, small.deadband_filter, small.min_sampling_ms, small.min_publishing_ms) == (
        1000, False, 100, 500,
    )  # fmt: skip
    assert effective(ALL, PROFILES["S7-1500"]).deadband_filter


def test_every_profile_gives_its_reason_and_where_it_is_from() -> None:
    for name, profile in PROFILES.items():
        assert len(profile.note) > 40, name
        assert profile.sources, name
        assert all(source.startswith("https://") for source in profile.sources), name
        counts = (profile.max_nodes_per_read, profile.max_items_per_call, profile.max_nodes_per_browse)
        assert min(counts) > 0, name
        for alternative in profile.recognised:
            assert set(alternative) <= {"manufacturer", "product", "version"}, name
            assert all(re.compile(pattern) for pattern in alternative.values())


def test_the_data_is_part_of_the_package_and_of_the_nar(tmp_path: Path) -> None:
    from otmirror.embedded.nar import contents

    assert "otmirror/opcua/profiles.json" in {name for name, _ in contents(PROJECT / "processors")}
    assert '"opcua/profiles.json"' in (PROJECT / "pyproject.toml").read_text(encoding="utf-8")


def test_a_servers_name_in_words() -> None:
    assert str(BuildInfo("Box", "Acme", "1.2")) == "Box 1.2 of Acme"
    assert str(BuildInfo("", "Acme")) == "Acme"
    assert str(BuildInfo()) == "a server that does not name itself"


def row(name: str) -> str:
    """A profile's row in the document's table, from the data alone."""
    it = DATA[name]

    def most(number: float) -> str:
        return f"{number:g}" if number else "-"

    numbers = [it["max_nodes_per_read"], it["max_items_per_call"], it["max_items"], it["max_nodes_per_browse"]]
    cells = [f"`{name}`", it["title"], *map(most, numbers), most(it["requests_per_second"])]
    cells += ["yes" if it["deadband_filter"] else "no", most(it["min_sampling_ms"]), most(it["min_publishing_ms"])]
    return "| " + " | ".join(cells) + " |"


def test_the_document_has_the_table_the_reasons_and_the_sources_of_the_data() -> None:
    text = (PROJECT / "docs" / "opcua.md").read_text(encoding="utf-8")
    rows = [row(name) for name in DATA]
    at = text.index(rows[0])
    assert text[at:].startswith("\n".join(rows) + "\n"), "write these rows:\n" + "\n".join(rows)
    flat = " ".join(text.split())
    for name, it in DATA.items():
        assert f"**{name}**: {it['note']}" in flat, f"- **{name}**: {it['note']}"
        for source in it["sources"]:
            assert source in text, source


def test_the_processor_offers_every_profile() -> None:
    text = (PROJECT / "processors" / "ReadOpcUaTags.py").read_text(encoding="ascii")
    listed = re.search(r'allowable_values=\["auto", (.*?)\]', text)
    assert listed
    assert json.loads(f"[{listed[1]}]") == list(DATA)
