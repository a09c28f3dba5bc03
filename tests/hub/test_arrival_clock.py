"""Where media time lies on the wall clock: by those packets that were the least late."""

from __future__ import annotations

from dataclasses import replace

from helpers.packets import batch, new_stream, video

from aircheck.hub.arrival_clock import WINDOW_NS, ArrivalClock
from aircheck.media.packet import Packet
from aircheck.media.track import DATA_TRACK

S = 1_000_000_000


def test_the_least_late_packet_tells_the_time() -> None:
    clock = ArrivalClock()
    assert clock.zero_ns is None
    for media_s, late_ns in ((0, 90), (1, 20), (2, 70)):
        clock.note(100 * S + media_s * S + late_ns, media_s * S)
    assert clock.zero_ns == 100 * S + 20


def test_a_clock_that_runs_slow_is_followed_but_one_late_window_is_not_believed_at_once() -> None:
    clock = ArrivalClock()
    clock.note(0, 0)
    clock.note(WINDOW_NS, WINDOW_NS - 300)
    assert clock.zero_ns == 0
    clock.note(2 * WINDOW_NS, 2 * WINDOW_NS - 300)
    assert clock.zero_ns == 300


def test_a_leap_forward_is_followed_at_once() -> None:
    clock = ArrivalClock()
    clock.note(10 * S, 0)
    clock.note(11 * S, 5 * S)
    assert clock.zero_ns == 6 * S


def test_a_stream_knows_from_what_passes_through_it() -> None:
    stream = new_stream()
    stream.publish(batch([video(960), video(1000)], arrival_ns=7 * S))
    assert stream.arrival_clock.zero_ns == 6 * S


def test_data_messages_do_not_tell_the_time() -> None:
    stream = new_stream()
    message = Packet(DATA_TRACK, 90_000 * 3600, 90_000 * 3600, True, b"")
    stream.publish(replace(batch([video(1000), message], arrival_ns=7 * S), has_data=True))
    assert stream.arrival_clock.zero_ns == 6 * S
