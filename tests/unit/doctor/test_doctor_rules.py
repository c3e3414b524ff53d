"""Findings made by hand: which one is the cause, and what follows from it."""

import ast
from pathlib import Path

import pytest

from otmirror.doctor import examine
from otmirror.doctor.findings import ERROR, KINDS, LAYERS, NOTE, WARNING, Finding, runbook
from otmirror.doctor.flowview import FlowView
from otmirror.doctor.rules import diagnose
from otmirror.slo import alerts

OPCUA, MODBUS = "Read OPC UA", "Poll Modbus"
HOT, MERGE, COLD = "To VictoriaMetrics", "Merge for Iceberg", "Write Iceberg"


def found(code, *scope, since=None):
    return Finding(code, f"{code} here", "", since, frozenset(scope))


def codes(causes):
    return [(one.finding.code, sorted(follows.code for follows in one.consequences)) for one in causes]


def test_nothing_found_is_no_cause():
    assert diagnose([]) == ([], [])


def test_a_warehouse_that_cannot_be_written_is_what_made_the_sources_silent():
    """The chain of the whole flow: the sources stand at the far end of it, and look like the trouble."""
    causes, notes = diagnose(
        [
            found("source-stale", OPCUA, since=300.0),
            found("hot-stale", OPCUA, HOT, since=310.0),
            found("cold-stale", OPCUA, MODBUS, MERGE, COLD, since=100.0),
            found("back-pressure", OPCUA, MODBUS, MERGE, COLD),
            found("queue-filling", MERGE, COLD),
            found("retry-waiting", COLD),
            found("processor-complains", COLD, since=120.0),
            found("cold-warehouse", COLD),
        ]
    )
    assert codes(causes) == [
        (
            "cold-warehouse",
            [
                "back-pressure", "cold-stale", "hot-stale", "processor-complains", "queue-filling", "retry-waiting",
                "source-stale",
            ],
        )
    ]  # fmt: skip
    assert causes[0].since == 100.0
    assert notes == []


def test_two_troubles_at_two_parts_stay_two():
    causes, _ = diagnose(
        [
            found("tags-bad", MODBUS),
            found("source-unreachable", OPCUA),
            found("hot-down", HOT),
            found("hot-stale", OPCUA, HOT),
            found("queue-filling", HOT),
        ]
    )
    assert codes(causes) == [
        ("source-unreachable", ["hot-stale"]),
        ("hot-down", ["hot-stale", "queue-filling"]),
        ("tags-bad", []),
    ]


def test_a_device_that_is_gone_explains_its_own_tags_and_nobody_elses():
    causes, _ = diagnose([found("tags-bad", OPCUA), found("tags-bad", MODBUS), found("source-silent", MODBUS)])
    assert codes(causes) == [("source-silent", ["tags-bad"]), ("tags-bad", [])]


@pytest.mark.parametrize(
    ("cause", "effects"),
    [
        ("nifi-down", ["source-stale", "hot-stale", "cold-stale", "heartbeat-old", "processor-gone"]),
        ("taglist-unusable", ["processor-invalid", "hot-stale"]),
        ("certificate-expired", ["hot-refuses", "retry-waiting", "source-certificate"]),
        ("clock-behind", ["samples-rejected", "hot-stale"]),
        ("disk-full", ["nifi-down", "cold-warehouse", "source-stale"]),
        ("processor-frozen", ["heartbeat-old", "queue-filling", "back-pressure", "source-stale"]),
        ("processor-stopped", ["queue-filling", "back-pressure", "source-stale"]),
        ("hot-read-only", ["retry-waiting", "queue-filling", "hot-stale"]),
    ],
)
def test_the_cause_comes_first_and_takes_the_rest_along(cause, effects):
    causes, _ = diagnose([*(found(code, COLD) for code in effects), found(cause, COLD)])
    assert codes(causes) == [(cause, sorted(effects))]


def test_what_is_wrong_comes_before_what_may_become_so():
    causes, _ = diagnose([found("certificate-expiring", OPCUA), found("version-drift"), found("tags-bad", MODBUS)])
    assert causes[0].finding.code == "tags-bad"
    assert len(causes) == 3


def test_a_complaint_that_nothing_explains_is_a_note_and_no_cause():
    causes, notes = diagnose([found("processor-complains", HOT), found("not-looked")])
    assert causes == []
    assert sorted(note.code for note in notes) == ["not-looked", "processor-complains"]


def test_no_kind_explains_itself_in_a_circle():
    def below(code, way):
        assert code not in way, f"{' -> '.join([*way, code])} is a circle"
        for effect in KINDS[code].effects:
            below(effect, [*way, code])

    for code in KINDS:
        below(code, [])


def test_every_kind_is_known_to_the_alerts():
    names = {alert.name for alert in alerts.load(1)}
    for code, kind in KINDS.items():
        assert kind.layer in LAYERS
        assert kind.weight in (ERROR, WARNING, NOTE)
        assert set(kind.effects) <= set(KINDS), code
        assert kind.alert is None or kind.alert in names, code
    assert runbook("HotStoreDown") == "docs/runbooks/hot-store-down.md"
    assert runbook(None) is None


def test_every_kind_can_be_found():
    made = {
        node.value
        for file in Path(examine.__file__).parent.rglob("*.py")
        if file.name not in ("findings.py", "rules.py")
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.Constant)
    }
    assert set(KINDS) <= made


def test_what_is_above_and_below_a_queue_is_found_through_funnels():
    names = {"r": OPCUA, "m": MODBUS, "v": HOT, "g": MERGE, "w": COLD}
    links = (("r", "funnel"), ("m", "funnel"), ("funnel", "v"), ("funnel", "g"), ("g", "w"), ("w", "w"), ("v", "g"))
    view = FlowView("pilot", (), links=links, names=names)
    assert view.below("g") == {MERGE, COLD}
    assert view.above("funnel") == {OPCUA, MODBUS}
    assert view.above("w") == {OPCUA, MODBUS, HOT, MERGE, COLD}
