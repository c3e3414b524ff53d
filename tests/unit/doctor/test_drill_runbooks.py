"""What a runbook tells to type is found, typed, and judged by whether it worked."""

import json

import pytest

from otmirror.drill import faults, report, watch
from otmirror.drill.run import Outcome
from otmirror.slo import rules

RUNBOOK = """# Alert

```promql
up == 0

sum by (source) (
  rate(otmirror_samples_read_total[5m])
)
```

Then:

```console
$ true
$ echo a \\
    b
# a remark
```

```sh
exit 3
no-such-command-here
false
echo <your host>
```

```text
rm -rf /nowhere
```
"""


def test_queries_and_commands_are_found_one_by_one():
    lines = watch.blocks(RUNBOOK)
    assert [(line.kind, " ".join(line.text.split())) for line in lines] == [
        ("promql", "up == 0"),
        ("promql", "sum by (source) ( rate(otmirror_samples_read_total[5m]) )"),
        ("sh", "true"),
        ("sh", "echo a b"),
        ("sh", "exit 3"),
        ("sh", "no-such-command-here"),
        ("sh", "false"),
        ("sh", "echo <your host>"),
    ]


def test_commands_are_judged_by_how_they_end(tmp_path):
    commands = [line for line in watch.blocks(RUNBOOK) if line.kind == "sh"]
    told = {line.text: line.problem for line in watch.tried(commands, "", {}, tmp_path)}
    assert told["true"] is None
    assert told["false"] is None  # as our own commands tell of findings
    assert "ended with 3" in told["exit 3"]
    assert "ended with 127" in told["no-such-command-here"]
    assert "filled in" in told["echo <your host>"]


def test_otmirror_is_on_the_path_and_a_wrong_option_is_no_success(tmp_path):
    environment = watch.environment_of(tmp_path / "bin", {"FLOW": "pilot"})
    lines = [watch.Line("sh", 'test "$FLOW" = pilot && command -v otmirror'),
             watch.Line("sh", "otmirror doctor --no-such-option")]  # fmt: skip
    good, bad = watch.tried(lines, "", environment, tmp_path)
    assert good.problem is None
    assert "No such option" in bad.problem


def test_a_query_that_nobody_answers_does_not_work(tmp_path):
    (line,) = watch.tried([watch.Line("promql", "up")], "http://127.0.0.1:9", {}, tmp_path)
    assert line.problem


def test_every_fault_expects_alerts_that_there_are():
    names = rules.names(1)
    every = faults.faults()
    assert len(every) >= 24
    assert len({fault.name for fault in every}) == len(every)
    assert all(fault.alerts <= names for fault in every)
    assert sum(fault.short for fault in every) == 3


def outcome(**told):
    values = {"alert": "TagsBad", "detect_s": 30.0, "named": True, "cause": "tags-bad", "recover_s": 60.0}
    return Outcome("a fault", ["TagsBad"], **values | told)


@pytest.mark.parametrize(
    ("told", "met"),
    [
        ({}, True),
        ({"detect_s": 121.0}, False),
        ({"detect_s": None, "alert": None}, False),
        ({"recover_s": None}, False),
        ({"lines": (watch.Line("sh", "x", "ended with 2"),)}, False),
        ({"lines": (watch.Line("sh", "x"),)}, True),
        ({"named": False, "cause": "hot-down"}, False),
    ],
)
def test_the_goals_are_missed_by_one_outcome_that_misses_them(told, met):
    assert report.met([outcome(**told)]) is met


def test_nine_right_of_ten_is_enough_and_eight_is_not():
    assert report.met([outcome(named=n > 0) for n in range(10)])
    assert not report.met([outcome(named=n > 1) for n in range(10)])


def test_the_figures_hold_what_others_read_and_no_time_is_made_up():
    outcomes = [outcome(), outcome(detect_s=None, alert=None, recover_s=100.0)]
    lost = {"opcua:plant": {"emitted": 10, "iceberg_lost": 0, "hot_missing": 1, "twice": 0}}
    others = {"docs/runbooks/watchdog.md": [watch.Line("sh", "true"), watch.Line("sh", "exit 3", "ended with 3")]}
    told = report.as_json(outcomes, "2026-11-26T02:00:00+00:00", "2 cores", ["TagsBad"], lost, others)
    told = json.loads(json.dumps(told))
    assert told["time"] == "2026-11-26T02:00:00+00:00"
    assert [(one["detect_s"], one["recover_s"], one["named"]) for one in told["faults"]] == [
        (30.0, 60.0, True), (None, 100.0, True)
    ]  # fmt: skip
    assert told["detect_s"] == {"mean": 30.0, "median": 30.0, "max": 30.0}
    assert told["recover_s"] == {"mean": 80.0, "median": 80.0, "max": 100.0}
    page = report.markdown(told, outcomes)
    assert "| never |" in page
    assert "1 not in VictoriaMetrics" in page
    assert "The 1 runbooks that no fault led to, tried while all was well: 1 of 2 queries and commands work." in page
    assert "beside them: TagsBad. Not seen: BufferFilling, CertificateExpiring, " in page
