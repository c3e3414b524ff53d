"""The sheet that people sign: it shows every result, and there is none where one would be hidden."""

from __future__ import annotations

import datetime
import html.parser
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from otmirror.cli.app import app
from otmirror.errors import MistakesError
from otmirror.rollout.signoff import load_exceptions

TODAY = datetime.datetime.now(datetime.timezone.utc).date()
PHASES = """[pilot]
title = "Pilot"
days = "0-90"
signs = ["Control engineer", "Owner <of> the historian"]
[[pilot.exit]]
id = "fast"
asks = "Recovery is fast | enough"
remedy = "mend it"
evidence = "fast.json"
dated = "time"
value = "seconds"
at_most = 900
unit = "s"
[[pilot.exit]]
id = "proof"
asks = "It only reads"
remedy = "stop"
evidence = "proof.json"
dated = "time"
value = "holds"
equals = true
waivable = false
"""


@pytest.fixture
def made(tmp_path: Path):
    """Write results and exceptions, make a sheet: exit status, the sheet's text or None, what was said."""
    (tmp_path / "phases.toml").write_text(PHASES)

    def made(seconds: float | None, holds: bool = True, exceptions: str = "", form: str = "md"):
        now = datetime.datetime.now(datetime.timezone.utc).isoformat()
        (tmp_path / "fast.json").unlink(missing_ok=True)
        if seconds is not None:
            (tmp_path / "fast.json").write_text(json.dumps({"time": now, "seconds": seconds}))
        (tmp_path / "proof.json").write_text(json.dumps({"time": now, "holds": holds}))
        (tmp_path / "exceptions.toml").write_text(exceptions)
        out = tmp_path / f"sheet.{form}"
        out.unlink(missing_ok=True)
        line = ["rollout", "sign-off", "--phase", "pilot", "--phases", str(tmp_path / "phases.toml"), "--results",
                str(tmp_path), "--out", str(out), "--exceptions", str(tmp_path / "exceptions.toml")]  # fmt: skip
        done = CliRunner().invoke(app, line)
        return done.exit_code, out.read_text() if out.exists() else None, str(done.exception or "")

    return made


def granted(criterion: str = "fast", days: int = 30, phase: str = "pilot", name: str = "Kari Nordmann") -> str:
    until = TODAY + datetime.timedelta(days=days)
    return (f'[[exception]]\nphase = "{phase}"\ncriterion = "{criterion}"\nreason = "spare part ordered"\n'
            f'name = "{name}"\nexpires = {until}\n')  # fmt: skip


def test_a_sheet_of_fulfilled_criteria_has_values_evidence_and_blank_names(made, tmp_path: Path) -> None:
    status, text, _ = made(120.0)
    assert status == 0
    assert "**2 of 2 criteria fulfilled**" in text
    assert "| exit | Recovery is fast \\| enough | at most 900 s | 120 s | passed |" in text
    import hashlib

    assert hashlib.sha256((tmp_path / "fast.json").read_bytes()).hexdigest() in text
    assert "| Control engineer |  |  |  |" in text


def test_a_failure_without_an_exception_makes_no_sheet(made) -> None:
    status, text, said = made(901.0)
    assert (status, text) == (1, None)
    assert "fast is FAILED (901 s, has to be at most 900 s) and there is no exception for it" in said
    status, text, said = made(None)
    assert (status, text) == (1, None)
    assert "fast is NOT KNOWN" in said


def test_an_exception_shows_the_failure_with_who_answers_for_it_and_until_when(made) -> None:
    status, text, _ = made(901.0, exceptions=granted())
    assert status == 0
    assert "1 of 2 criteria fulfilled; 1 not fulfilled, each with an exception below" in text
    assert "| 901 s | FAILED, exception of Kari Nordmann |" in text
    until = TODAY + datetime.timedelta(days=30)
    assert f"| spare part ordered | Kari Nordmann | {until} | mend it |" in text


@pytest.mark.parametrize(
    ("exceptions", "why"),
    [
        (granted(days=-1), "its exception expired"),
        (granted(days=93), "longer than 92 days"),
        (granted(phase="cutover"), "there is no exception for it"),
        (granted() + granted("other"), "the exception for other is of no criterion of pilot"),
        (granted() + granted(), "comes twice"),
        (granted(name=" "), "name has to be text"),
        (granted().replace("expires", "until"), "unknown key until"),
        (granted().replace("reason", "# "), "reason has to be text"),
        ("[exceptions]\n", "unknown exceptions"),
        ("[exception]\n", "are [[exception]] tables"),
        ("nonsense", "exceptions.toml"),
    ],
)
def test_an_exception_that_is_none_makes_no_sheet(made, exceptions: str, why: str) -> None:
    status, text, said = made(901.0, exceptions=exceptions)
    assert (status, text) == (1, None)
    assert why in said


def test_the_last_day_of_an_exception_counts(made) -> None:
    assert made(901.0, exceptions=granted(days=0))[0] == 0


def test_no_exception_stands_for_what_may_not_be_waived(made) -> None:
    status, text, said = made(120.0, holds=False, exceptions=granted("proof"))
    assert (status, text) == (1, None)
    assert "no exception may stand for it" in said


def test_the_html_needs_nothing_else_and_shows_the_same(made) -> None:
    status, text, _ = made(901.0, exceptions=granted(), form="html")
    assert status == 0

    class Page(html.parser.HTMLParser):
        tags: set[str] = set()  # noqa: RUF012
        said = ""

        def handle_starttag(self, tag, attrs):
            self.tags.add(tag)
            assert not {"src", "href"} & {name for name, _ in attrs}

        def handle_data(self, data):
            self.said += data

    page = Page()
    page.feed(text)
    assert not page.tags & {"script", "link", "img", "of"}
    assert "FAILED, exception of Kari Nordmann" in page.said
    assert "Owner <of> the historian" in page.said


def test_a_sheet_has_to_be_markdown_or_html(made) -> None:
    status, text, said = made(120.0, form="pdf")
    assert (status, text) == (1, None)
    assert "has to end in .md or .html" in said


def test_exceptions_are_read_with_all_mistakes_at_once(tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_text('[[exception]]\nexpires = "soon"\n')
    with pytest.raises(MistakesError) as told:
        load_exceptions(file)
    assert len(told.value.problems) == 5
