"""A stack's folder belongs to one command at a time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from otmirror.demo.stack import Stack
from otmirror.embedded.processes import Server, started, wait_until
from otmirror.errors import UnavailableError

SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]


def test_a_second_command_is_refused_and_the_first_ones_servers_go_on(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    with Stack(folder) as first:
        first.plant.start(SLEEP, lambda: True)
        with pytest.raises(UnavailableError, match=rf"{folder} is in use by another command \(pid {os.getpid()}\)"):
            Stack(folder).__enter__()
        assert first.plant.running
    assert not first.plant.running
    # Servers without a command are orphans.
    first.plant.start(SLEEP, lambda: True)
    with Stack(folder):
        pass
    assert not first.plant.running


def environment(work: Path, **more: str) -> dict[str, str]:
    return {**os.environ, "OTMIRROR_WORK": str(work), "COLUMNS": "200", **more}


def test_the_command_refuses_in_one_line(tmp_path: Path) -> None:
    with Stack(tmp_path / "demo"):
        done = subprocess.run(
            [sys.executable, "-m", "otmirror", "demo"], env=environment(tmp_path),
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == f"otmirror: {tmp_path / 'demo'} is in use by another command (pid {os.getpid()})\n"


@pytest.mark.parametrize("sign", [signal.SIGHUP, signal.SIGTERM, signal.SIGINT])
def test_a_lost_terminal_leaves_no_server(tmp_path: Path, sign: signal.Signals) -> None:
    # The plant is real; the next server never gets ready, so that the command waits for it.
    binary = tmp_path / "never-ready"
    binary.write_text("#!/bin/sh\nexec sleep 600\n")
    binary.chmod(0o755)
    servers = [Server(name, tmp_path / "run" / name.lower()) for name in ("plant", "VictoriaMetrics")]
    command = subprocess.Popen(
        [sys.executable, "-m", "otmirror", "demo", "--forever"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env=environment(tmp_path, VICTORIAMETRICS_BINARY=str(binary)), start_new_session=True,
        # Under nohup, or in a shell's background, the command would rightly go on.
        preexec_fn=lambda: [signal.signal(one, signal.SIG_DFL) for one in (signal.SIGHUP, signal.SIGINT)],
    )  # fmt: skip
    try:
        assert wait_until(lambda: all(server.running for server in servers), 60)
        pids = [pid for server in servers for pid in server.processes()]
        assert len(pids) >= 2
        # The kernel and the shell each send one.
        command.send_signal(sign)
        command.send_signal(sign)
        output, _ = command.communicate(timeout=60)
    finally:
        command.kill()
        command.communicate()
        for server in servers:
            server.stop()
    assert command.returncode == 130, output
    assert [pid for pid in pids if started(pid)] == []
