"""Telegraf, as small as the tests need it: built from its published module with only a few of its plugins."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from otmirror.embedded.install import locked
from otmirror.errors import ConfigError, UnavailableError
from otmirror.workspace import work

VERSION = "v1.37.2"
PLUGINS = (
    "inputs.opcua", "inputs.modbus", "outputs.file", "outputs.mqtt", "serializers.json", "serializers.influx",
)  # fmt: skip
_MODULE = "github.com/influxdata/telegraf/cmd/telegraf"


def install(say: Callable[[str], object] = print) -> Path:
    """Return the path of a Telegraf binary with at least `PLUGINS`, built with Go when there is none.

    Raises:
        ConfigError: TELEGRAF_BINARY names no file.
        UnavailableError: there is none and it cannot be built.
    """
    named = os.environ.get("TELEGRAF_BINARY")
    if named:
        if not Path(named).is_file():
            raise ConfigError(f"TELEGRAF_BINARY={named} does not exist")
        return Path(named)
    built = work() / "bin" / f"telegraf-{VERSION}"
    with locked(work() / "bin" / "telegraf.lock"):
        return built if built.is_file() else _build(built, say)


def _build(target: Path, say: Callable[[str], object]) -> Path:
    go = shutil.which("go")
    if not go:
        raise UnavailableError("Telegraf: install Go 1.26 or newer to build it, or name a binary in TELEGRAF_BINARY")
    say(f"Telegraf: building {VERSION} with Go (a minute or two)")
    folder = target.parent / "telegraf-build"
    log = target.parent / "telegraf.log"
    # One compiler at a time, so that a small machine stays usable; the caller's own flags hold beside it.
    flags = f"{os.environ.get('GOFLAGS', '')} -p=1 -buildvcs=false".strip()
    env = {**os.environ, "GOBIN": str(folder), "CGO_ENABLED": "0", "GOFLAGS": flags}
    command = [go, "install", "-tags", ",".join(("custom", *PLUGINS)), f"{_MODULE}@{VERSION}"]
    try:
        with log.open("wb") as output:
            done = subprocess.run(command, env=env, stdout=output, stderr=output, check=False)
        if done.returncode:
            raise UnavailableError(f"Telegraf: the build failed, see {log}")
        return (folder / "telegraf").replace(target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
