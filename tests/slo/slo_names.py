"""Which metrics a PromQL expression names, and which there are."""

import re

from otmirror.metrics.definitions import BY_NAME, HISTOGRAM

# From NiFi 2's own endpoint, /nifi-api/flow/metrics/prometheus.
NIFI = {
    "nifi_amount_items_queued", "nifi_percent_used_count", "nifi_percent_used_bytes",
    "nifi_content_repo_free_space_bytes", "nifi_content_repo_total_space_bytes",
}  # fmt: skip
RECORDED = re.compile(r"slo:[a-z_]+:[a-z0-9_]+")
NAME = re.compile(r"\b((?:otmirror|nifi|vm|ot)_[a-z0-9_]+)\b")


def ours():
    found = set()
    for metric in BY_NAME.values():
        found |= {f"{metric.name}_{part}" for part in ("bucket", "sum", "count")} if metric.kind == HISTOGRAM else {
            metric.name
        }  # fmt: skip
    return found


def named(expr):
    """The metrics that an expression names, labels and their values left out."""
    bare = re.sub(r"\{[^}]*\}", "", expr)
    bare = re.sub(r"\b(?:by|without|on|ignoring|group_left|group_right) *\([^)]*\)", "", bare)
    return set(NAME.findall(bare)), set(RECORDED.findall(bare))
