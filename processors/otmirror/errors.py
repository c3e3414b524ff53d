"""What can go wrong, in words for the person who has to act.

A message names the property, file, line, tag or endpoint concerned and what to do; it never holds a secret.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager


class MirrorError(Exception):
    """Base of every error this library raises on purpose."""


class ConfigError(MirrorError):
    """A mistake in the configuration: retrying does not help, somebody has to change something."""


class MistakesError(ConfigError):
    """Several mistakes in the configuration at once, each a sentence in `problems`."""

    def __init__(self, problems: Sequence[str]):
        self.problems = list(problems)
        shown = self.problems[:20]
        if len(self.problems) > len(shown):
            shown.append(f"... and {len(self.problems) - len(shown)} more")
        super().__init__("; ".join(shown))


@contextmanager
def gathered(problems: list[str]) -> Iterator[None]:
    """Add the mistakes that are raised inside to `problems` and go on."""
    try:
        yield
    except MistakesError as error:
        problems += error.problems


class UnavailableError(MirrorError):
    """A neighbour (device, store, catalog) does not answer as it should now; retrying may help."""


class ReadOnlyError(MirrorError):
    """Something tried to send a request that is not on the read-only allow-list. Nothing was sent."""
