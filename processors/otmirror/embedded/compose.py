"""What Docker Compose makes of several compose files, by its own library and without a container engine."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from otmirror.embedded import gomodule
from otmirror.errors import ConfigError
from otmirror.workspace import PROJECT

MODULE = PROJECT / "compose" / "merge"
"""A Go module: a main package over compose-go, the library that `docker compose` reads its files with."""
Stack = dict[str, Any]


def install(say: Callable[[str], object] = print) -> Path:
    """Return the program, built with Go when it is not there (10 s of one core).

    Raises:
        UnavailableError: there is no Go, or the build fails.
    """
    return gomodule.install("compose-merge", MODULE, say)


def merged(program: Path, stacks: Sequence[tuple[Sequence[str], Sequence[Path]]]) -> list[Stack]:
    """Return each stack as Compose sees it: its profiles, and its files in the order of `-f`.

    Raises:
        ConfigError: Compose would refuse one of them; the message is Compose's.
    """
    lines = "".join(f"{','.join(profiles)} {' '.join(map(str, files))}\n" for profiles, files in stacks)
    done = subprocess.run([program], input=lines, cwd=PROJECT, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        raise ConfigError(done.stderr.strip())
    return [json.loads(line) for line in done.stdout.splitlines()]
