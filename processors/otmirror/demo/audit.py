"""Was everything stored, once, in both stores? Counted from the sources' own numbering and from NiFi's provenance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

import duckdb
import pyarrow as pa

from otmirror.samples import SCHEMA

# VictoriaMetrics keeps milliseconds and about 12 significant digits.
_VIEWS = """
set timezone = 'UTC';
create temp view cold as
    select *, ts // 1000 - (ts % 1000 < 0)::int as ts_ms from iceberg where value is not null;
create temp view numeric as select distinct tag, source, ts_ms from cold;
create temp view runs as
    select *, seq - lag(seq) over per_source - 1 as skipped, ts_read - lag(ts_read) over per_source as pause,
           lag(seq) over per_source is null
               or (seq - lag(seq) over per_source > 1 and seq > lag(ts_read) over per_source) as starts
    from iceberg window per_source as (partition by source order by seq);
"""

_PER_SOURCE = """
select source, count(distinct tag) as tags, count(*) as stored, count(*) filter (quality = 'bad') as bad,
       count(*) - count(distinct (tag, ts)) as duplicated,
       coalesce(sum(skipped) filter (not starts and skipped > 0), 0)::bigint as missing,
       count(*) filter (starts) - 1 as restarts,
       coalesce(max(pause) filter (starts), 0) / 1e6 as longest_gap_s,
       (select count(*) from numeric where numeric.source = runs.source) as numeric,
       (select count(*) from numeric anti join hot using (tag, source, ts_ms) where numeric.source = runs.source)
           as hot_missing
from runs group by source order by source
"""

_HOT_UNKNOWN = "select count(*) from hot anti join numeric using (tag, source, ts_ms)"

_HOT_DIFFERENT = """
select count(*) from (
    select bool_or(abs(hot.value - cold.value) <= 1e-11 * abs(cold.value)) as same
    from hot join cold using (tag, source, ts_ms) group by tag, source, ts_ms
) where not same
"""

_HOT_REPEATED = "select count(*) - count(distinct (tag, source, ts_ms)) from hot"


@dataclass(frozen=True)
class SourceAudit:
    """One source's figures.

    `emitted` is how many samples left the processor, by NiFi's provenance, and `declared` how many tags its list has;
    None when not asked.

    A reader that starts numbers its first sample with its start time in µs (otmirror.sequence): a jump to a number
    later than the read time of the sample before it begins a new run (`restarts`); any other jump is `missing`
    samples.
    """

    source: str
    tags: int
    stored: int
    bad: int
    duplicated: int
    missing: int
    restarts: int
    longest_gap_s: float
    numeric: int
    hot_missing: int
    emitted: int | None = None
    declared: int | None = None

    @property
    def hot_found(self) -> int:
        """Samples with a number that VictoriaMetrics has too."""
        return self.numeric - self.hot_missing

    @property
    def lost(self) -> int:
        """Samples that left the processor and are not in both stores."""
        cold = max(self.missing, (self.emitted - self.stored + self.duplicated) if self.emitted is not None else 0)
        return cold + self.hot_missing

    @property
    def complete(self) -> bool:
        """Whether every declared tag was seen, some samples are good, and both stores hold what left the source."""
        told = self.emitted is None or self.emitted == self.stored - self.duplicated
        seen = self.declared is None or self.declared == self.tags
        return told and seen and self.stored > self.bad and self.lost == 0 and self.duplicated == 0


@dataclass(frozen=True)
class Audit:
    """The figures of a run: one entry a source, and what is wrong across them."""

    sources: list[SourceAudit] = field(default_factory=list)
    hot_unknown: int = 0
    hot_different: int = 0
    hot_repeated: int = 0
    rejected: int = 0

    @property
    def lost(self) -> int:
        """Samples missing in a store."""
        return sum(source.lost for source in self.sources)

    @property
    def duplicated(self) -> int:
        """Samples stored more than once, in either store."""
        return sum(source.duplicated for source in self.sources) + self.hot_repeated

    @property
    def complete(self) -> bool:
        """Whether something was mirrored and both stores hold all of it, once, with the same values."""
        wrong = self.duplicated + self.hot_unknown + self.hot_different
        return bool(self.sources) and all(source.complete for source in self.sources) and wrong == 0


def audit(
    iceberg: pa.Table | None,
    hot: pa.Table,
    rejected: int = 0,
    emitted: Mapping[str, int] | None = None,
    declared: Mapping[str, int] | None = None,
) -> Audit:
    """Compare the stores sample by sample.

    Args:
        iceberg: rows of ot.samples, times in µs (`Lakehouse.samples`); None when there is no table.
        hot: all of ot_value (`stores.victoriametrics`).
        rejected: number of rows in ot.rejects.
        emitted: samples by source that left the source processors.
        declared: tags by source that should have been seen. A source in either that stored nothing is listed.
    """
    with duckdb.connect() as database:
        database.register("iceberg", SCHEMA.empty_table() if iceberg is None else iceberg)
        database.register("hot", hot)
        database.execute(_VIEWS)
        rows = database.sql(_PER_SOURCE).to_arrow_table().to_pylist()
        queries = (_HOT_UNKNOWN, _HOT_DIFFERENT, _HOT_REPEATED)
        unknown, different, repeated = (int(database.execute(query).fetchall()[0][0]) for query in queries)
    nothing = dict.fromkeys((column.name for column in fields(SourceAudit)), 0)
    absent = (set(emitted or ()) | set(declared or ())) - {row["source"] for row in rows}
    rows += [{**nothing, "source": name} for name in sorted(absent)]
    for row in rows:
        row["emitted"] = None if emitted is None else emitted.get(row["source"], 0)
        row["declared"] = None if declared is None else declared.get(row["source"], 0)
    return Audit([SourceAudit(**row) for row in rows], unknown, different, repeated, rejected)
