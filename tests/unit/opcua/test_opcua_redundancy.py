"""Which of several servers is read: cases worked out by hand, on a clock that the test moves."""

from __future__ import annotations

import pytest

from otmirror.backoff import Backoff
from otmirror.opcua.config import OpcUaConfig, build
from otmirror.opcua.redundancy import Servers, health
from otmirror.taglist import Tag

A, B, C = "opc.tcp://a:4840", "opc.tcp://b:4840", "opc.tcp://c:4840"


def servers(*urls: str) -> Servers:
    """Delays of 1, 2, 4 ... 30 s without jitter."""
    return Servers(urls or (A, B), lambda: Backoff(1.0, 30.0, lambda: 0.999999))


@pytest.mark.parametrize(("level", "expected"), [(0, 0), (1, 1), (2, 2), (199, 2), (200, 3), (255, 3), (None, 3)])
def test_the_sub_ranges_of_a_service_level(level: int | None, expected: int) -> None:
    assert health(level) == expected


def test_one_server_is_tried_again_and_again() -> None:
    s = servers(A)
    assert s.next(0.0) == A
    s.failed(A, 0.0)
    assert s.next(0.5) is None
    assert s.next(1.0) == A
    s.failed(A, 1.0)
    assert s.next(2.5) is None
    assert s.next(3.0) == A
    s.connected(A, 255, 3.0)
    s.succeeded()
    s.lost(10.0)
    assert s.next(10.5) is None
    assert s.next(11.0) == A


def test_the_first_one_comes_first_and_the_next_when_it_cannot_be_had() -> None:
    s = servers(A, B, C)
    assert s.next(0.0) == A
    s.failed(A, 0.0)
    assert s.next(0.0) == B
    s.failed(B, 0.0)
    assert s.next(0.0) == C
    s.failed(C, 0.0)
    assert s.next(0.0) is None
    assert s.next(1.0) == A


def test_a_lost_server_gets_one_more_chance() -> None:
    s = servers()
    s.connected(A, 255, 0.0)
    s.succeeded()
    s.lost(100.0)
    assert s.next(100.5) is None
    assert s.next(101.0) == A
    s.failed(A, 101.0)
    assert s.next(101.0) == B
    s.connected(B, 255, 101.0)
    assert s.current == B
    assert s.wanted(200.0) is None, "the one that is read stays while it is healthy"


def test_a_server_that_is_lost_twice_without_an_answer_gets_no_further_chance() -> None:
    s = servers()
    s.connected(A, 255, 0.0)
    s.lost(1.0)
    assert s.next(2.0) == A
    s.connected(A, 255, 2.0)
    s.lost(2.1)
    assert s.next(2.1) == B


def test_a_refused_login_is_not_repeated_soon_and_another_server_is_tried() -> None:
    s = servers()
    s.failed(A, 0.0, 600.0)
    assert s.next(0.0) == B
    s.failed(B, 0.0)
    assert s.next(1.0) == B
    s.failed(B, 1.0, 600.0)
    assert s.next(599.0) is None
    assert s.next(600.0) == A


def test_among_those_that_can_be_had_the_one_with_the_highest_level_comes_first() -> None:
    s = servers(A, B, C)
    s.level(B, 100, 0.0)
    s.level(C, 220, 0.0)
    s.failed(A, 1.0)
    assert s.next(1.0) == C
    assert servers(A, B, C).standby(0.0) == B, "of equals the first one"
    assert s.standby(1.0) == C


def test_a_degraded_server_is_left_for_a_healthy_one_only() -> None:
    s = servers()
    s.connected(A, 255, 0.0)
    s.level(A, 150, 10.0)
    assert s.wanted(10.0) == B
    s.level(B, 199, 10.1)
    assert not s.better(B, 10.1)
    assert s.wanted(10.2) is None, "it was looked at a moment ago"
    assert s.wanted(71.0) == B
    s.level(B, 200, 71.1)
    assert s.better(B, 71.1)


def test_without_data_even_a_degraded_one_is_better() -> None:
    s = servers()
    s.connected(A, 1, 0.0)
    s.level(B, 2, 0.1)
    assert s.better(B, 0.1)
    s.level(B, 0, 0.1)
    assert not s.better(B, 0.1)


def test_servers_that_change_places_all_the_time_cause_one_move_a_minute() -> None:
    s = servers()
    s.connected(A, 255, 0.0)
    moves = 0
    for second in range(1, 3601):
        now = float(second)
        other = B if s.current == A else A
        s.level(s.current, 100, now)
        s.level(other, 255, now)
        if s.better(other, now):
            s.connected(other, 255, now)
            moves += 1
    assert 55 <= moves <= 60


def test_a_move_after_a_loss_also_starts_the_minute() -> None:
    s = servers()
    s.connected(A, 255, 0.0)
    s.failed(A, 100.0)
    s.connected(B, 100, 100.0)
    assert s.wanted(159.0) is None
    assert s.wanted(160.0) == A


def test_a_server_that_does_not_answer_is_not_looked_at_all_the_time() -> None:
    s = servers()
    s.connected(A, 100, 0.0)
    looks = 0
    for tenth in range(6000):
        now = tenth / 10
        if s.wanted(now) == B:
            looks += 1
            s.failed(B, now)
    assert looks < 30  # after 1, 2, 4, 8, 16 s and then each 30 s


def test_the_list_of_backups_is_taken_as_written() -> None:
    config = build(
        None, "tag,address\na,i=2258\n", "opc.tcp://b, opc.tcp://c:4841/x\n opc.tcp://d:4840", endpoint="opc.tcp://a"
    )
    assert config.endpoints == (A, B, "opc.tcp://c:4841/x", "opc.tcp://d:4840")
    assert config.source == "opcua:a:4840"
    assert OpcUaConfig("opc.tcp://a", (Tag("t", "i=2258"),)).endpoints == (A,)
