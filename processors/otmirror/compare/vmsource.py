"""VictoriaMetrics as a side: what ToVictoriaMetrics wrote, through the streamed export.

The export gives a line a series and block: https://docs.victoriametrics.com/victoriametrics/#how-to-export-data-in-json-line-format
The series are those of `victoriametrics.lines`: PREFIX_value and PREFIX_quality with the label `tag`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import msgspec
import numpy as np
import pyarrow as pa
import requests

from otmirror.compare.options import Window
from otmirror.compare.series import FROM_SERIES, NO_TIME
from otmirror.compare.spill import ROWS
from otmirror.embedded.loopback import session
from otmirror.errors import ConfigError, UnavailableError

_PREFIX = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TIMEOUT = (10.0, 300.0)
_POINTS_A_LINE = 10_000
_READ = 4 * 2**20
_LONGEST_LINE = 64 * 2**20


class _Line(msgspec.Struct):
    metric: dict[str, str]
    values: list[float | None]
    timestamps: list[int]


@dataclass(frozen=True)
class VictoriaMetricsSource:
    """A server, or a tenant's path on a cluster's vmselect."""

    url: str
    prefix: str = "ot"
    token: str | None = field(default=None, repr=False)
    """A bearer token."""

    def __post_init__(self) -> None:
        """Refuse what cannot work.

        Raises:
            ConfigError: the prefix is no metric's name, or the URL holds a password.
        """
        if not _PREFIX.fullmatch(self.prefix):
            raise ConfigError(f"prefix {self.prefix!r} is no metric's name")
        parts = urlsplit(self.url)
        if parts.password or parts.username:
            raise ConfigError(
                "the URL of VictoriaMetrics holds a user: put a bearer token into the environment instead"
            )

    @property
    def title(self) -> str:
        """The address and the metrics."""
        return f"VictoriaMetrics {self.url} ({self.prefix}_value, {self.prefix}_quality)"

    def batches(self, window: Window) -> Iterator[pa.RecordBatch]:
        """Yield the rows in the window; see `run.Source`."""
        asked = {
            "match[]": f'{{__name__=~"{self.prefix}_(value|quality)",tag!=""}}',
            # Milliseconds are cut, both ends count: the end of the window is not in it.
            "start": f"{-(-window.start // 1000) / 1000:.3f}",
            "end": f"{(-(-window.end // 1000) - 1) / 1000:.3f}",
            "max_rows_per_line": str(_POINTS_A_LINE),
        }
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        try:
            with session(self.url) as asking:
                answer = asking.post(f"{self.url.rstrip('/')}/api/v1/export", data=asked, headers=headers, stream=True,
                                     timeout=_TIMEOUT)  # fmt: skip
                if not answer.ok:
                    raise UnavailableError(f"{self.title} answers {answer.status_code}: {answer.text[:200].strip()}")
                for line in _lines(answer):
                    yield self._rows(line)
        except requests.RequestException as error:
            raise UnavailableError(f"{self.title} cannot be read: {type(error).__name__}") from None
        except msgspec.MsgspecError:
            raise ConfigError(f"{self.title}: the answer is no export of VictoriaMetrics") from None

    def _rows(self, line: bytes) -> pa.RecordBatch:
        found = _decode(line)
        count = len(found.timestamps)
        number = np.array(found.values, np.float64)
        is_value = found.metric["__name__"].endswith("_value")
        quality = np.full(count, FROM_SERIES, np.int8) if is_value else np.nan_to_num(number).astype(np.int8)
        value = number if is_value else np.full(count, np.nan)
        tag = pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int32)), [found.metric["tag"]])
        return pa.RecordBatch.from_arrays(
            [tag, pa.array(np.array(found.timestamps, np.int64) * 1000), pa.array(value), pa.array(quality),
             pa.array(np.full(count, NO_TIME, np.int64))],
            names=ROWS.names,
        )  # fmt: skip


_decode = msgspec.json.Decoder(_Line).decode


def _lines(answer: requests.Response) -> Iterator[bytes]:
    """Split a streamed answer into lines; requests' own way splits every chunk into a list of copies."""
    rest = b""
    for chunk in answer.iter_content(_READ):
        *whole, last = chunk.split(b"\n")
        if whole:
            whole[0] = rest + whole[0]
            rest = last
        else:
            rest += last
        if len(rest) > _LONGEST_LINE:
            raise ConfigError("a line of the export is longer than 64 MB")
        yield from filter(None, whole)
    if rest:
        yield rest
