"""Every alert has a runbook whose queries and commands can be run as they are."""

import re
import subprocess

import pytest
import typer
import yaml

from otmirror.cli.app import app
from otmirror.embedded.loopback import session
from otmirror.errors import ConfigError
from otmirror.slo import alerts, rules, runbooks
from otmirror.workspace import PROJECT

BOOKS = {file.name: runbooks.read(file) for file in sorted(runbooks.FOLDER.glob("[!R]*.md"))}
NAMES = {
    rule["alert"]
    for file in rules.FOLDER.glob("*.yaml")
    for group in yaml.safe_load(file.read_text())["groups"]
    for rule in group["rules"]
    if "alert" in rule
}
ROOT = typer.main.get_command(app)
BLOCKS = [block for book in BOOKS.values() for block in book.blocks]
# Some value of the right form for each placeholder.
EXAMPLES = {
    **dict.fromkeys(runbooks.PLACEHOLDERS, "x"),
    "NIFI": "http://127.0.0.1:1/nifi-api", "EXPORTER": "http://127.0.0.1:1", "ENDPOINT": "opc.tcp://127.0.0.1:1",
}  # fmt: skip


def filled(word):
    return re.sub(r"\$\{?([A-Z_]+)\}?", lambda name: EXAMPLES[name[1]], word)


def parse(words):
    """Let the command's own parser read the words, without running it; returns the command's name."""
    command, context = ROOT, None
    while hasattr(command, "commands"):
        if command.invoke_without_command and (not words or words[0].startswith("-")):
            break
        assert words, "a command is missing"
        assert words[0] in command.commands, f"there is no command {' '.join(words)}"
        command, words = command.commands[words[0]], words[1:]
    command.make_context(command.name, list(words), parent=context)
    return command.name


def test_each_alert_has_its_runbook_and_each_runbook_its_alert():
    assert {alerts.runbook(name) for name in NAMES} == set(BOOKS)
    assert alerts.runbook("HotStoreDown") == "hot-store-down.md"
    assert alerts.runbook("ErrorBudgetBurnSlow") == alerts.runbook("ErrorBudgetBurnFast") == "error-budget-burn.md"


@pytest.mark.parametrize("name", BOOKS)
def test_a_runbook_is_short_and_can_be_acted_on(name):
    book = BOOKS[name]
    assert alerts.runbook(book.title) == name
    assert len((runbooks.FOLDER / name).read_text().split()) < 800
    sections = {block.section for block in book.blocks}
    assert {"First five minutes", "Queries and commands", "Verify"} <= sections
    assert sections <= set(runbooks.HARMLESS), "what changes something is for a person to run, not in a block"
    assert {block.language for block in book.blocks} == {"promql", "sh"}


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language == "sh"], ids=lambda b: f"{b.file}")
def test_commands_exist_with_their_options(block):
    used = set(re.findall(r"\$\{?([A-Z_]+)", block.text))
    assert used <= set(runbooks.PLACEHOLDERS)
    words = runbooks.commands(block)
    assert words or block.text.split()[0] in {"curl", "ls", "df", "date", "dmesg"}
    for command in words:
        assert parse([filled(word) for word in command])
    assert subprocess.run(["bash", "-n", "-c", block.text], timeout=10).returncode == 0


def test_commands_in_sentences_exist_too():
    found = [
        (name, text)
        for name, book in BOOKS.items()
        for body in book.sections.values()
        for text in re.findall(r"(?<!`)`(otmirror [^`]+)`(?!`)", body)
    ]
    assert len(found) > 20
    for name, text in found:
        words = [filled(word) for word in text.split()[1:]]
        try:
            assert parse(words), name
        except Exception as error:
            # Named, not spelled out.
            if type(error).__name__ != "MissingParameter":
                raise
            assert not [word for word in words if word.startswith("-")], (name, text)


def test_victoriametrics_takes_every_query(store):
    queries = [block for block in BLOCKS if block.language == "promql"]
    assert len(queries) > 80
    with session(store.url) as asking:
        for block in queries:
            told = asking.get(f"{store.url}/api/v1/query", params={"query": block.text}, timeout=10).json()
            assert told["status"] == "success", (block.file, block.text, told)
        wrong = asking.get(f"{store.url}/api/v1/query", params={"query": "sum(up"}, timeout=10)
        assert wrong.json()["status"] == "error"


def test_prometheus_takes_every_query(promtool, tmp_path):
    made = [{"record": f"q:{n}", "expr": b.text} for n, b in enumerate(BLOCKS) if b.language == "promql"]
    file = tmp_path / "queries.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": made}]}))
    done = subprocess.run([promtool, "check", "rules", file], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(made)} rules found" in done.stdout


def test_files_that_runbooks_name_exist():
    for name, book in BOOKS.items():
        for body in book.sections.values():
            for path in re.findall(r"`((?:docs|monitoring|flows)/[\w./-]+)`", body):
                assert (PROJECT / path).exists(), f"{name} names {path}"
            for other in re.findall(r"`([a-z-]+\.md)`", body):
                assert other in BOOKS, f"{name} names {other}"


SPOILT = [
    (lambda text: text.replace("## Impact", "## Effect"), "its sections have to be"),
    (lambda text: re.sub(r"## Roll back\n.*?(?=## Escalate)", "", text, flags=re.DOTALL), "its sections have to be"),
    (lambda text: re.sub(r"(## Fix\n).*?(?=## Verify)", r"\1\n", text, flags=re.DOTALL), "nothing is said under Fix"),
    (lambda _: "", "its sections have to be"),
]


@pytest.mark.parametrize(("change", "told"), SPOILT)
def test_a_runbook_without_a_section_is_told(tmp_path, change, told):
    file = tmp_path / "nifi-down.md"
    file.write_text(change((runbooks.FOLDER / "nifi-down.md").read_text()))
    with pytest.raises(ConfigError, match=told):
        runbooks.read(file)
    with pytest.raises(ConfigError, match="No such file"):
        runbooks.read(tmp_path / "none.md")
