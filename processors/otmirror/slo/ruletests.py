"""The unit tests of the rules (monitoring/rules/tests, in promtool's format) and the programs that run them."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import yaml

from otmirror.embedded.vmtools import tool
from otmirror.errors import ConfigError, UnavailableError
from otmirror.slo.rules import FOLDER

TESTS = FOLDER / "tests"
BEGIN = 946_684_800
"""Where vmalert-tool's clock begins: 2000-01-01, in seconds since 1970. promtool's begins at 0."""
_TIMES = re.compile(r"^[a-z_]+_timestamp_seconds\b")
_START = re.compile(r"^[0-9.e]+")
_TIMEOUT = 300


def promtool(files: Iterable[Path], binary: Path) -> str | None:
    """Run test files with Prometheus' promtool; return what failed, None when nothing did.

    Raises:
        UnavailableError: it cannot be run.
    """
    return _failed([str(binary), "test", "rules", *map(str, files)])


def vmalert_tool(files: Iterable[Path], say: Callable[[str], object] = print) -> str | None:
    """Run the same files with vmalert-tool, translated; return what failed, None when nothing did.

    Raises:
        ConfigError: a file is no test.
        UnavailableError: vmalert-tool cannot be had or run.
    """
    binary = tool("vmalert-tool", say)
    with tempfile.TemporaryDirectory() as folder:
        translated = [Path(folder) / file.name for file in files]
        for file, target in zip(files, translated, strict=True):
            target.write_text(for_vmalert(file), encoding="utf-8")
        return _failed([str(binary), "unittest", *(f"-files={target}" for target in translated)])


def for_vmalert(file: Path) -> str:
    """Return a test file in vmalert-tool's format: with the alerts' groups, other names, times since 2000.

    Raises:
        ConfigError: it is no test of rules, or tests an alert that its rules do not have.
    """
    try:
        told: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
        told["rule_files"] = [str((file.parent / name).resolve()) for name in told["rule_files"]]
        group = _groups(map(Path, told["rule_files"]))
        for test in told["tests"]:
            for series in test["input_series"]:
                series["values"] = _shifted(series["series"], str(series["values"]))
            for check in test.get("alert_rule_test", []):
                check["groupname"] = group[check["alertname"]]
            if "promql_expr_test" in test:
                test["metricsql_expr_test"] = test.pop("promql_expr_test")
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise ConfigError(f"{file}: no unit test of rules: {type(error).__name__}: {error}") from None
    return str(yaml.safe_dump(told, sort_keys=False, width=100_000))


def _groups(files: Iterable[Path]) -> dict[str, str]:
    return {
        rule["alert"]: str(group["name"])
        for file in files
        for group in yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]
        for rule in group["rules"]
        if "alert" in rule
    }


def _shifted(series: str, values: str) -> str:
    if not _TIMES.match(series):
        return values
    return " ".join(_START.sub(lambda start: f"{BEGIN + float(start[0]):.0f}", part) for part in values.split())


def _failed(argv: list[str]) -> str | None:
    try:
        done = subprocess.run(
            argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=_TIMEOUT, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UnavailableError(f"{argv[0]} cannot be run: {error}") from None
    return done.stdout if done.returncode else None
