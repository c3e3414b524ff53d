"""Secrets of a Vault into the sensitive parameters of a flow, as NiFi's own parameter provider does in a full NiFi.

What was set last is known by the secret's version, never by a value or its digest: NiFi does not show sensitive values,
and nothing of them is kept here. Which keys changed since then is seen from that version, which the Vault still has.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from otmirror.errors import ConfigError, MirrorError
from otmirror.flow.client import NifiApi
from otmirror.pki.stores import write_private
from otmirror.vault.client import MOUNT, Secret, Vault

REPEAT = 240.0
"""Seconds after which a fault that lasts is told again: NiFi shows a bulletin for five minutes."""


@dataclass(frozen=True)
class Outcome:
    """What a look at the Vault came to: the secret's version, and the parameters set for it (none: it was known)."""

    version: int
    set: tuple[str, ...] = ()


class Sync:
    """One flow and its secret, `otmirror/<flow>` unless named otherwise; its keys are the parameters' names."""

    def __init__(self, vault: Vault, api: NifiApi, flow: str, state: Path, path: str | None = None):
        """Take both ends; `state` is the file that remembers which version was set (no secret in it)."""
        self._vault, self._api, self._flow, self._state = vault, api, flow, state
        self._path = path or flow

    def once(self) -> Outcome:
        """Set the flow's sensitive parameters when the secret or the parameters changed since the last time.

        Raises:
            ConfigError: the login, the policy or the secret is not as it has to be, or a key is no sensitive parameter.
            UnavailableError: the Vault or NiFi does not answer.
        """
        secret = self._vault.read(self._path)
        group = self._api.group(self._flow)
        context = self._api.parameter_context(group)
        self._check(secret, context.sensitive)
        # Names are no secret: the key figures count by them.
        mark = {"context": context.id, "version": secret.version, "written": secret.written,
                "names": sorted(secret.values)}  # fmt: skip
        before = self._before(context.id, secret)
        changed = {
            key: value
            for key, value in secret.values.items()
            if before is None or before.get(key) != value or key in context.empty
        }
        if before is None:
            self._set_anyway(group, changed)
        else:
            self._api.set_parameters(group, changed)
        if mark != self._known():
            self._state.parent.mkdir(parents=True, exist_ok=True)
            write_private(self._state, json.dumps(mark))
        return Outcome(secret.version, tuple(sorted(changed)))

    def _before(self, context: str, newest: Secret) -> Mapping[str, str] | None:
        """Return the values that were set last; None when that is not known, or another context's."""
        known = self._known()
        if known.get("context") != context:
            return None
        if (known.get("version"), known.get("written")) == (newest.version, newest.written):
            return newest.values
        try:
            old = self._vault.read(self._path, int(known["version"]))
        except ConfigError:
            return None
        # A secret that was removed altogether begins with version 1 again.
        return old.values if old.written == known.get("written") else None

    def _set_anyway(self, group: str, values: Mapping[str, str]) -> None:
        """Set values that may be the ones NiFi has: those it refuses while a processor that uses them runs."""
        running = [c.id for c in self._api.components(group) if c.state == "RUNNING"]
        if running:
            self._api.stop(group)
        try:
            self._api.set_parameters(group, values)
        finally:
            self._api.await_ready(group)
            for processor in running:
                self._api.schedule(processor, "RUNNING")

    def watch(self, every: float, stop: threading.Event, say: Callable[[str], object]) -> None:
        """Look every `every` seconds until `stop`; faults become a bulletin in NiFi and pass by themselves."""
        say(f"secrets of {self._flow}: looking at {MOUNT}/{self._path} every {every:g} s")
        trouble: str | None = None
        told_at = 0.0
        while not stop.is_set():
            try:
                outcome = self.once()
            except MirrorError as error:
                self._tell_notices(say)
                if str(error) != trouble or time.monotonic() - told_at >= REPEAT:
                    trouble, told_at = str(error), time.monotonic()
                    self._tell("ERROR", f"secrets of {self._flow}: {trouble}", say)
            else:
                self._tell_notices(say)
                if outcome.set:
                    names = ", ".join(outcome.set)
                    self._tell("INFO", f"secrets of {self._flow}: version {outcome.version} is set ({names})", say)
                if trouble:
                    trouble = None
                    self._tell("INFO", f"secrets of {self._flow}: Vault answers again", say)
            stop.wait(every)
        self._vault.close()

    def _tell_notices(self, say: Callable[[str], object]) -> None:
        while self._vault.notices:
            self._tell("WARNING", f"secrets of {self._flow}: {self._vault.notices.pop(0)}", say)

    def _tell(self, level: str, message: str, say: Callable[[str], object]) -> None:
        say(message)
        # Whether NiFi or the Vault is the one that does not answer: the next look says so anyway.
        with suppress(MirrorError):
            self._api.post_bulletin(level, "Vault", message)

    def _check(self, secret: Secret, parameters: Mapping[str, bool]) -> None:
        where = f"Vault secret {MOUNT}/{self._path}"
        unknown = sorted(set(secret.values) - set(parameters))
        if unknown:
            raise ConfigError(f"{where}: the flow {self._flow!r} has no parameter {', '.join(unknown)}")
        shown = sorted(key for key in secret.values if not parameters[key])
        if shown:
            raise ConfigError(f"{where}: the parameter {', '.join(shown)} is not sensitive, NiFi would show its value")

    def _known(self) -> dict[str, Any]:
        try:
            return dict(json.loads(self._state.read_text()))
        except (OSError, ValueError):
            return {}
