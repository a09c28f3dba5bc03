"""Who sends faster than real time, and who only seems to."""

from __future__ import annotations

import random

from helpers.packets import av_batches, new_stream

from aircheck.hub.pace import AHEAD_NS, FIRST_DELAY_NS, Pace

MS = 1_000_000
S = 1_000_000_000
PER_S = 80
"""Packets of a second of pictures and sound."""


class Publisher:
    """Sends to a pace that begins somewhere on the wall clock."""

    def __init__(self) -> None:
        self.pace = Pace()
        self.wall_ns = 1_700_000_000 * S
        self.media_ns = 5 * S
        self.longest_lead_ns = 0
        self.send(0, 40, 2)

    def send(self, passed_ms: int, media_ms: int, packets: int | None = None) -> None:
        """So much later, so much media at once."""
        self.wall_ns += passed_ms * MS
        self.media_ns += media_ms * MS
        count = max(1, media_ms * PER_S // 1000) if packets is None else packets
        self.pace.note(self.wall_ns, self.media_ns, count)
        self.longest_lead_ns = max(self.longest_lead_ns, self.pace.lead_ns)

    def send_at(self, speed: float, seconds: int) -> None:
        for _ in range(seconds * 10):
            self.send(100, round(100 * speed))


def test_a_publisher_in_real_time_is_never_ahead_however_uneven_it_comes() -> None:
    publisher, chance = Publisher(), random.Random(7)
    for _ in range(3000):
        late_ms = chance.choice((0, 0, 0, 300, 900))
        publisher.send(400 + late_ms, 400)
        publisher.send(max(1, 400 - late_ms), 400)
    assert publisher.longest_lead_ns < AHEAD_NS


def test_who_catches_up_after_a_bad_moment_of_its_network_was_not_ahead() -> None:
    publisher = Publisher()
    publisher.send_at(1, 20)
    publisher.send(25_000, 0, 1)
    publisher.send_at(6, 5)
    assert publisher.longest_lead_ns < AHEAD_NS


def test_who_begins_with_its_last_group_of_pictures_was_not_ahead() -> None:
    publisher = Publisher()
    publisher.send(10, 6000)
    publisher.send_at(1, 5)
    assert publisher.longest_lead_ns < AHEAD_NS


def test_a_leap_of_the_media_time_is_no_lead() -> None:
    publisher = Publisher()
    publisher.send_at(1, 5)
    publisher.send(400, 3_600_000, 32)
    publisher.send_at(1, 5)
    publisher.send(400, -3_600_000, 32)
    publisher.send_at(1, 5)
    assert publisher.longest_lead_ns < AHEAD_NS


def test_a_wall_clock_that_is_set_makes_nobody_ahead() -> None:
    publisher = Publisher()
    for set_by_ms in (-3_600_000, 3_600_000):
        publisher.send_at(1, 5)
        publisher.send(400 + set_by_ms, 400)
        publisher.send_at(1, 5)
    assert publisher.longest_lead_ns < AHEAD_NS


def test_a_replay_is_ahead_soon_and_stays_so() -> None:
    publisher = Publisher()
    publisher.send_at(20, 1)
    assert publisher.pace.is_ahead
    publisher.send_at(20, 60)
    assert publisher.pace.is_ahead
    publisher.send_at(1, 30)
    assert not publisher.pace.is_ahead, "a lead that does not grow is forgotten"


def test_twice_the_speed_is_ahead_and_a_little_too_fast_is_not() -> None:
    twice, little = Publisher(), Publisher()
    twice.send_at(2, 60)
    little.send_at(1.2, 600)
    assert twice.pace.is_ahead
    assert little.longest_lead_ns < AHEAD_NS


def test_a_lead_shrinks_by_the_time_that_its_publisher_waits() -> None:
    publisher = Publisher()
    publisher.send(10, 100_000)
    lead_ns = publisher.pace.lead_ns
    assert lead_ns > 90 * S - FIRST_DELAY_NS
    for waited_s in range(1, 20):
        publisher.pace.wait(publisher.wall_ns + waited_s * S)
    assert publisher.pace.lead_ns == lead_ns - 19 * S
    publisher.pace.wait(publisher.wall_ns)  # the wall clock was set back
    assert publisher.pace.lead_ns == lead_ns - 19 * S


def test_a_stream_knows_the_pace_of_its_publisher() -> None:
    stream = new_stream()
    for one in av_batches(60_000):
        stream.publish(one)
    assert not stream.pace.is_ahead
    for one in av_batches(60_000, start_ms=60_000):
        one.arrival_ns = 60 * S + one.arrival_ns // 100
        stream.publish(one)
    assert stream.pace.is_ahead
