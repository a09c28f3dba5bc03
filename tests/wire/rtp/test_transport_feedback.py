from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aircheck.wire.rtp.errors import RtpError
from aircheck.wire.rtp.rtcp import parse_compound
from aircheck.wire.rtp.transport_feedback import TICKS_PER_S, ArrivalLog, TransportFeedback


def told(log: ArrivalLog) -> dict[int, int]:
    """What a sender reads out of the feedback: ticks by sequence number."""
    found: dict[int, int] = {}
    for feedback in log.report(1, 2):
        (parsed,) = parse_compound(feedback.serialize())
        assert isinstance(parsed, TransportFeedback)
        for offset, ticks in enumerate(parsed.arrivals):
            if ticks is not None:
                found[(parsed.base_sequence + offset) & 0xFFFF] = ticks
    return found


@given(
    st.integers(0, 0xFFFF),
    st.lists(st.tuples(st.integers(1, 40), st.floats(0, 0.5)), min_size=1, max_size=200),
)
def test_every_arrival_is_told_with_its_time(first: int, steps: list[tuple[int, float]]) -> None:
    log, sent = ArrivalLog(), {}
    number, now_s = first, 1000.0
    for step, pause_s in steps:
        number += step
        now_s += pause_s
        log.add(number & 0xFFFF, now_s)
        sent[number & 0xFFFF] = int(now_s * TICKS_PER_S)
    assert told(log) == sent
    assert told(log) == {}


def test_packets_out_of_order_are_told_in_the_order_of_their_numbers() -> None:
    log = ArrivalLog()
    for number, now_s in ((5, 10.0), (7, 10.001), (6, 10.010), (65535, 10.011)):
        log.add(number, now_s)
    (feedback,) = log.report(1, 2)
    assert feedback.base_sequence == 65535
    assert feedback.arrivals == (40044, None, None, None, None, None, 40000, 40040, 40004)


def test_feedback_is_numbered() -> None:
    log = ArrivalLog()
    counts = []
    for number in range(300):
        log.add(number, number * 0.1)
        counts += [feedback.feedback_count for feedback in log.report(1, 2)]
    assert counts == [number & 0xFF for number in range(300)]


def test_a_pause_longer_than_a_delta_begins_another_message() -> None:
    log = ArrivalLog()
    log.add(1, 10.0)
    log.add(2, 100.0)
    assert [len(feedback.arrivals) for feedback in log.report(1, 2)] == [1, 1]


def test_a_message_of_the_draft_is_understood() -> None:
    """Run of two small deltas, a two-bit vector, a one-bit vector."""
    body = bytes.fromhex("00000001 00000002 0010 0017 00000405".replace(" ", ""))
    body += bytes.fromhex("2002" + "d240" + "a001".replace(" ", ""))
    body += bytes((4, 8)) + bytes((1,)) + b"\xff\xff" + bytes((2,)) + bytes((3, 4))
    feedback = TransportFeedback.parse(body)
    assert feedback.base_sequence == 16
    assert feedback.feedback_count == 5
    assert feedback.arrivals[:3] == (4 * 256 + 4, 4 * 256 + 12, 4 * 256 + 13)
    assert feedback.arrivals[4] == 4 * 256 + 12
    assert len(feedback.arrivals) == 23


@given(st.binary(max_size=64))
def test_any_bytes_are_feedback_or_a_typed_error(body: bytes) -> None:
    try:
        TransportFeedback.parse(body)
    except RtpError:
        return


def test_feedback_about_nothing_is_our_mistake() -> None:
    with pytest.raises(ValueError, match="no packet"):
        TransportFeedback(1, 2, 0, 0, (None,)).serialize()


@given(st.lists(st.integers(0, 0xFFFF), max_size=3000))
def test_no_message_is_larger_than_a_packet(numbers: list[int]) -> None:
    log = ArrivalLog()
    for at, number in enumerate(numbers):
        log.add(number, 100 + at * 0.05)
    assert all(len(feedback.serialize()) <= 1200 for feedback in log.report(1, 2))
