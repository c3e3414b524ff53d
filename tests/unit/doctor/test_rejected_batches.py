"""What the drill found: a batch that is rejected as a whole counts as rejected."""

import json
import time

from otmirror.clock import SystemClock
from otmirror.victoriametrics.config import Config
from otmirror.victoriametrics.sink import VictoriaMetricsSink


def test_every_sample_of_a_batch_too_old_is_counted():
    sink = VictoriaMetricsSink(Config("http://127.0.0.1:9", retention=86400.0), SystemClock())
    old = time.time_ns() // 1000 - 2 * 86_400_000_000
    sample = {"tag": "a/b", "ts": old, "value": 1.0, "type": "double", "quality": "good", "source": "s"}
    told = sink.write("".join(json.dumps(sample | {"tag": f"a/{n}"}) + "\n" for n in range(3)).encode(), {})
    sink.close()
    assert told.relationship == "rejected"
    counts = sink.figures.collect().numbers
    assert counts["otmirror_samples_rejected_total", ("retention",)] == 3
