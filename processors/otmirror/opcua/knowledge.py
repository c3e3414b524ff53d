"""What a source knows of its tags beyond values, asked once: units, types, names of states, ranges, structures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from otmirror.emission import EmissionFilter
from otmirror.errors import MirrorError
from otmirror.loopthread import LoopThread
from otmirror.opcua import metadata
from otmirror.opcua.config import OpcUaConfig
from otmirror.opcua.guard import GuardedClient
from otmirror.opcua.metadata import Meta
from otmirror.opcua.plan import ReadPlan, some
from otmirror.opcua.structures import Structures
from otmirror.opcua.study import forms_of, reopened, study

_TAGS_A_REQUEST = 50
"""Tags a request, for the time limit: a server with smaller limits than that is not waited for any longer."""


class Knowledge:
    """Completes the plan's tags and says how values become samples.

    The server is asked before the first values are emitted, as a unit is part of what a series is, and once only; but
    what structures look like belongs to a connection.
    """

    def __init__(
        self,
        config: OpcUaConfig,
        plan: ReadPlan,
        loop: LoopThread,
        emission: EmissionFilter,
        say: Callable[[str, str, str], None],
    ):
        """Take what it completes; nothing is asked yet."""
        self._config, self._plan, self._loop, self._emission, self._say = config, plan, loop, emission, say
        self._known: Sequence[Meta] | None = None
        self.forms = forms_of(config)

    def learn(self, client: GuardedClient) -> None:
        """Ask the server, on the first connection that answers. A connection that breaks meanwhile shows by itself."""
        if self._known is not None:
            self._reopen(client, self._known)
            return
        wanting = set() if self._config.emit_repeats else set(self._emission.without_range)
        if not (self._config.metadata or wanting):
            return
        requests = 12 * (len(self._plan.tags) / _TAGS_A_REQUEST + 1)
        try:
            found = self._loop.run(
                study(client, self._plan.tags, self._plan.node_ids, self.forms),
                requests * self._config.request_timeout,
            )
        except (MirrorError, TimeoutError) as error:
            self._say("warn", "metadata", f"units, types and ranges cannot be read now: {error}")
            return
        self._known = found.metas
        if self._config.metadata:
            self._plan.tags, self.forms = found.tags, found.forms
            if notice := metadata.writable_notice(found.tags, found.metas):
                self._say("warn", "writable", notice)
        self._set_ranges(found.metas, wanting)

    def _reopen(self, client: GuardedClient, metas: Sequence[Meta]) -> None:
        """Ask a server connected to again what structures look like, as it may have been changed meanwhile."""
        if not self._config.metadata or all(meta.type not in (None, "json") for meta in metas):
            return
        try:
            work = reopened(client, self._plan.node_ids, metas)
            structures = self._loop.run(work, 40 * self._config.request_timeout)
        except (MirrorError, TimeoutError) as error:
            structures = Structures()
            self._say("warn", "structures", f"definitions of structures cannot be read: {error}")
        self.forms = replace(self.forms, structures=structures)

    def learn_more(self, client: GuardedClient) -> None:
        """Ask for the definitions of structures that were met since, each once."""
        if self.forms.structures.unknown and self._config.metadata:
            try:
                work = metadata.learn_unknown(client, self.forms.structures)
                self._loop.run(work, 20 * self._config.request_timeout)
            except (MirrorError, TimeoutError) as error:
                self._say("warn", "structures", f"definitions of structures cannot be read: {error}")

    def _set_ranges(self, metas: Sequence[Meta], wanting: set[str]) -> None:
        """Give deadbands in percent their range, in the unit of the samples; without one, all is emitted."""
        lacking = []
        for tag, meta in zip(self._plan.tags, metas, strict=True):
            if tag.tag not in wanting:
                continue
            known = meta.low is not None and meta.high is not None
            ends = sorted(end * tag.scale + tag.offset for end in (meta.low or 0.0, meta.high or 0.0))
            if not known or not self._emission.set_range(tag.tag, *ends):
                lacking.append(tag.tag)
        if lacking:
            text = (
                f"{len(lacking)} tags have a deadband in percent and no EURange on the server, so every sample of them"
            )
            self._say("warn", "range", f"{text} is emitted; fill in the column range of the tag list: {some(lacking)}")
