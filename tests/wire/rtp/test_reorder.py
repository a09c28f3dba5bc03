from __future__ import annotations

import random

from helpers.impairment import Impairment
from hypothesis import given
from hypothesis import strategies as st

from aircheck.wire.rtp.reorder import GIVE_UP_S, MAX_MISSING, MAX_REQUESTS, ReorderBuffer, RoundTrip


def push_all(buffer: ReorderBuffer[int], numbers: list[int], now_s: float = 0.0) -> list[int | None]:
    return [item for number in numbers for item in buffer.push(number & 0xFFFF, number, now_s)]


@given(st.integers(0, 0x1FFFF), st.permutations(range(1, 40)), st.lists(st.integers(1, 39), max_size=10))
def test_packets_come_out_in_order_whatever_order_they_came_in(
    first: int, order: list[int], again: list[int]
) -> None:
    buffer: ReorderBuffer[int] = ReorderBuffer()
    numbers = [first + offset for offset in [0, *order, *again]]
    assert push_all(buffer, numbers) == [first + offset for offset in range(40)]
    assert buffer.lost == 0
    assert buffer.duplicates == len(again)
    assert not buffer.is_waiting


def test_a_missing_packet_is_asked_for_at_once_and_again_after_a_round_trip() -> None:
    buffer: ReorderBuffer[int] = ReorderBuffer(RoundTrip(0.08))
    push_all(buffer, [10, 11, 13, 14, 17])
    assert buffer.wanted(0.0) == (12, 15, 16)
    assert buffer.wanted(0.05) == ()
    assert buffer.wanted(0.11) == (12, 15, 16)
    assert push_all(buffer, [12], 0.12) == [12, 13, 14]
    assert buffer.wanted(0.3) == (15, 16)


def test_requests_follow_a_long_round_trip() -> None:
    """At a delay of 100 ms each way a fixed pace of 60 ms would ask, and be answered, four times."""
    buffer: ReorderBuffer[int] = ReorderBuffer(RoundTrip())
    there, back = Impairment(delay_s=0.1), Impairment(delay_s=0.1)
    asked: list[int] = []
    got: list[int | None] = []
    for step in range(3000):
        now_s = step / 100
        if step % 20 != 7:
            there.send(step.to_bytes(2, "big"), now_s)
        for packet in back.receive(now_s):
            there.send(packet, now_s)
        for packet in there.receive(now_s):
            number = int.from_bytes(packet, "big")
            got += buffer.push(number, number, now_s)
        for wanted in buffer.wanted(now_s):
            asked.append(wanted)
            back.send(wanted.to_bytes(2, "big"), now_s)
    assert None not in got
    assert got == sorted(got, key=lambda number: number or 0)
    late = [number for number in asked if number > 500]
    assert len(late) <= 1.05 * len(set(late))
    assert 0.15 < buffer.round_trip.seconds < 0.25


def needless_requests(buffer: ReorderBuffer[int]) -> int:
    """Of a thousand packets in bursts of ten that all come, by up to 15 ms out of order."""
    path = Impairment(delay_s=0.05, jitter_s=0.015, calm_packets=1)
    asked = 0
    for step in range(1100):
        now_s = step / 100
        for number in range(step, step + 10) if step < 1000 and not step % 10 else ():
            path.send(number.to_bytes(2, "big"), now_s)
        for packet in path.receive(now_s):
            buffer.push(int.from_bytes(packet, "big"), 0, now_s)
        asked += len(buffer.wanted(now_s))
    return asked


def test_packets_that_are_often_late_are_waited_for_before_they_are_asked_for() -> None:
    hasty: ReorderBuffer[int] = ReorderBuffer()
    patient: ReorderBuffer[int] = ReorderBuffer(knows_answers=True)
    assert needless_requests(hasty) > 200
    assert needless_requests(patient) < 20
    assert patient.recovered == 0


def test_who_lost_packets_is_asked_at_once_again_when_none_are_late_any_more() -> None:
    buffer: ReorderBuffer[int] = ReorderBuffer(RoundTrip(0.08), knows_answers=True)
    needless_requests(buffer)
    first = buffer.highest + 1
    push_all(buffer, [first, first + 2], 20.0)
    assert buffer.wanted(20.0) == ()
    assert buffer.wanted(20.04) == ((first + 1) & 0xFFFF,)
    for at in range(first + 2, first + 102, 2):
        push_all(buffer, [at], 21.0)
        buffer.wanted(22.0)
        buffer.push_again(at - 1 & 0xFFFF, at - 1, 22.0)
    push_all(buffer, [first + 102], 23.0)
    assert buffer.wanted(23.0) == ((first + 101) & 0xFFFF,)


def test_a_packet_that_was_only_late_is_no_answer() -> None:
    buffer: ReorderBuffer[int] = ReorderBuffer(RoundTrip(0.2), knows_answers=True)
    push_all(buffer, [1, 3], 0.0)
    assert buffer.wanted(0.0) == (2,)
    assert push_all(buffer, [2], 0.01) == [2, 3]
    assert buffer.round_trip.seconds == 0.2
    assert buffer.recovered == 0


def test_on_a_long_path_a_second_request_still_has_time_to_be_answered() -> None:
    """And what that did not bring is asked for more often, as there is no time for a third round trip."""
    buffer: ReorderBuffer[int] = ReorderBuffer(RoundTrip(0.24))
    push_all(buffer, [1, 3], 0.0)
    asked_s = [ms / 1000 for ms in range(0, 500, 10) if buffer.wanted(ms / 1000)]
    assert asked_s[:3] == [0.0, 0.2, 0.23]
    assert asked_s[1] + 0.24 < GIVE_UP_S


def test_a_packet_is_asked_for_only_so_often() -> None:
    buffer: ReorderBuffer[int] = ReorderBuffer(RoundTrip(0.001), give_up_s=1000)
    push_all(buffer, [1, 3])
    assert sum(len(buffer.wanted(now_s / 10)) for now_s in range(100)) == MAX_REQUESTS


def test_a_hole_is_given_up_in_time_and_told() -> None:
    buffer: ReorderBuffer[int] = ReorderBuffer()
    assert push_all(buffer, [1, 2, 5, 6, 8]) == [1, 2]
    assert not buffer.expire(GIVE_UP_S - 0.01)
    assert list(buffer.expire(GIVE_UP_S)) == [None, 5, 6, None, 8]
    assert buffer.lost == 3
    assert push_all(buffer, [3, 9]) == [9]


def test_a_younger_hole_is_still_waited_for() -> None:
    buffer: ReorderBuffer[int] = ReorderBuffer()
    push_all(buffer, [1, 3], now_s=0.0)
    push_all(buffer, [5], now_s=0.3)
    assert list(buffer.expire(0.6)) == [None, 3]
    assert push_all(buffer, [4], 0.7) == [4, 5]


def test_a_huge_hole_is_not_waited_for() -> None:
    buffer: ReorderBuffer[int] = ReorderBuffer()
    assert push_all(buffer, [1, 2, 1000, 1001]) == [1, 2, None, 1000, 1001]
    assert buffer.wanted(0.0) == ()
    assert buffer.lost == 997


def test_a_source_full_of_holes_makes_us_remember_only_so_many() -> None:
    buffer: ReorderBuffer[int] = ReorderBuffer()
    out = push_all(buffer, list(range(0, 60_000, 3)))
    assert out.count(None) > 10
    assert len(buffer.wanted(0.0)) <= MAX_MISSING
    buffer.flush()
    assert buffer.lost == 40_000 - 2


def test_one_stray_number_changes_nothing_and_two_in_a_row_begin_anew() -> None:
    buffer: ReorderBuffer[int] = ReorderBuffer()
    assert push_all(buffer, [1, 2, 30_000, 3]) == [1, 2, 3]
    assert push_all(buffer, [40_000, 40_001, 40_002]) == [None, 40_001, 40_002]
    assert buffer.resets == 1
    assert buffer.first == 40_001


def test_a_packet_sent_again_fills_only_a_hole() -> None:
    buffer: ReorderBuffer[int] = ReorderBuffer()
    assert buffer.push_again(4, 4, 0.0) == ()
    push_all(buffer, [5, 6, 8])
    assert buffer.push_again(6, 6, 0.0) == ()
    assert buffer.push_again(50_000, 50_000, 0.0) == ()
    assert buffer.push_again(50_001, 50_001, 0.0) == ()
    assert list(buffer.push_again(7, 7, 0.0)) == [7, 8]
    assert list(buffer.push_again(9, 9, 0.0)) == [9]


@given(st.integers(0, 2**32))
def test_what_comes_out_never_goes_back(seed: int) -> None:
    chance = random.Random(seed)
    buffer: ReorderBuffer[int] = ReorderBuffer()
    out: list[int] = []
    for step in range(400):
        number = max(0, step + chance.randint(-20, 3))
        if chance.random() < 0.8:
            out += [item for item in buffer.push(number & 0xFFFF, number, step / 50) if item is not None]
        out += [item for item in buffer.expire(step / 50) if item is not None]
    out += [item for item in buffer.flush() if item is not None]
    assert out == sorted(set(out))
    assert not buffer.is_waiting
