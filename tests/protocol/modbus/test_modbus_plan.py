import itertools
import random
from dataclasses import dataclass

import pytest

from otmirror.modbus.plan import plan


@dataclass(frozen=True)
class Span:
    offset: int
    count: int

    @property
    def registers(self):
        return set(range(self.offset, self.offset + self.count))


def declared(spans):
    return set().union(*(span.registers for span in spans))


def fewest_by_trying(spans, limit):
    """The least number of allowed requests that hold every span whole, found by trying all choices."""
    allowed = declared(spans)
    windows = [
        window
        for start in allowed
        for length in range(1, limit + 1)
        if (window := set(range(start, start + length))) <= allowed
    ]
    windows = [w for w in windows if any(s.registers <= w for s in spans)]
    for number in range(1, len(spans) + 1):
        for choice in itertools.combinations(windows, number):
            if all(any(span.registers <= window for window in choice) for span in spans):
                return number
    raise AssertionError("no choice holds every span")


def check(spans, limit):
    requests, known = plan(spans, limit), declared(spans)
    assert sorted(map(id, spans)) == sorted(id(s) for request in requests for s in request.spans), "each span once"
    for request in requests:
        window = set(range(request.offset, request.offset + request.count))
        assert 1 <= request.count <= limit
        assert all(span.registers <= window for span in request.spans), "a span is split"
        assert window <= known, "an undeclared register is touched"
    return requests


@pytest.mark.parametrize("seed", range(8))
def test_it_is_never_beaten_by_trying_everything(seed):
    random_ = random.Random(seed)
    for _ in range(25):
        limit = random_.randint(4, 6)
        spans = [Span(random_.randint(0, 11), random_.choice([1, 1, 2, 2, 4])) for _ in range(random_.randint(1, 6))]
        assert len(check(spans, limit)) == fewest_by_trying(spans, limit), (spans, limit)


@pytest.mark.parametrize("seed", range(20))
def test_large_random_maps_keep_the_rules(seed):
    random_ = random.Random(seed)
    limit = random_.choice([4, 20, 125])
    spans = [Span(random_.randint(0, 65532), random_.choice([1, 2, 4])) for _ in range(2000)]
    spans += [Span(i * 2, 2) for i in range(500)] + [Span(65532, 4)] * 3
    check(spans, limit)


def test_by_hand():
    # 62 floats fit 125 registers; the 63rd would be split.
    assert [(r.offset, r.count) for r in plan([Span(2 * i, 2) for i in range(100)], 125)] == [(0, 124), (124, 76)]
    # A gap of one undeclared register parts two requests.
    assert [(r.offset, r.count) for r in plan([Span(3, 1), Span(0, 2)], 125)] == [(0, 2), (3, 1)]
    # Several tags on one register are one request.
    assert [(r.offset, r.count) for r in plan([Span(5, 1), Span(5, 2), Span(5, 1)], 125)] == [(5, 2)]
    assert plan([], 125) == []


def test_a_span_longer_than_the_limit():
    with pytest.raises(ValueError, match="longer than a request"):
        plan([Span(0, 1), Span(10, 5)], 4)


def test_bits_up_to_2000():
    assert [(r.offset, r.count) for r in plan([Span(i, 1) for i in range(2003)], 2000)] == [(0, 2000), (2000, 3)]
