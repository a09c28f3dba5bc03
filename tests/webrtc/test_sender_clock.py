"""When packets were sent that do not say so themselves."""

from __future__ import annotations

import pytest

from aircheck.webrtc.sender_clock import SPAN_S, SenderClock

AHEAD_S = 40.0
WAY_S = 0.03


def told(clock: SenderClock, now_s: float, *, way_s: float = WAY_S) -> None:
    """A packet that arrives at `now_s`; the sender's clock begins anew at 64 s."""
    clock.told((now_s + AHEAD_S - way_s) % 64, now_s)


def sent_s(clock: SenderClock, now_s: float) -> float:
    """When what arrives at `now_s` was sent, on the clock of arrival and less the way."""
    found = clock.at(now_s)
    assert found is not None
    return (found - AHEAD_S + WAY_S - now_s + 32) % 64 - 32 + now_s


def test_nothing_is_known_before_and_long_after_a_packet_that_told() -> None:
    clock = SenderClock()
    assert clock.at(100.0) is None
    told(clock, 100.0)
    assert clock.at(100.0 + 3 * SPAN_S) is None


@pytest.mark.parametrize("now_s", [100.0, 151.99, 152.0, 152.01, 10_000.0])
def test_what_comes_beside_a_packet_that_told_was_sent_with_it(now_s: float) -> None:
    clock = SenderClock()
    told(clock, now_s - 0.02)
    told(clock, now_s)
    assert sent_s(clock, now_s + 0.01) == pytest.approx(now_s + 0.01, abs=1e-6)


def test_the_packet_that_waited_the_least_tells() -> None:
    clock = SenderClock()
    for at, way_s in enumerate((WAY_S, WAY_S + 0.05, WAY_S + 0.02)):
        told(clock, 100.0 + at * 0.03, way_s=way_s)
    assert sent_s(clock, 100.07) == pytest.approx(100.07)


def test_a_way_that_has_become_longer_is_known_within_two_spans() -> None:
    clock = SenderClock()
    late_s, change_s = 0.5, 101.0
    for at in range(60):
        now_s = 100.0 + at / 30
        told(clock, now_s, way_s=WAY_S if now_s < change_s else WAY_S + late_s)
        if now_s > change_s + 2 * SPAN_S:
            assert sent_s(clock, now_s) == pytest.approx(now_s - late_s)
