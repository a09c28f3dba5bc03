"""The timeline of one peer, without packets."""

from __future__ import annotations

from itertools import pairwise

import pytest

from aircheck.webrtc.sync import ORIGIN_S, LipSync, TrackClock

FRAME_TICKS = 3000
SOUND_TICKS = 960


def test_frames_that_were_kept_for_seconds_and_come_in_a_burst_keep_their_times() -> None:
    """As GStreamer's webrtcbin sends what it has encoded until it was connected."""
    sync = LipSync()
    pictures, sound = sync.add(90_000, is_sound=False), sync.add(48_000, is_sound=True)
    now_s = 50.0
    frames = [pictures.arrived(7_000 + i * FRAME_TICKS, now_s) for i in range(90)]
    packets = [sound.arrived(99 + i * SOUND_TICKS, now_s) for i in range(150)]
    for clock in (pictures, sound):
        sync.place(clock)
    times = [pictures.pts(frame) for frame in frames]
    assert times[0] == ORIGIN_S * 90_000
    assert {after - before for before, after in pairwise(times)} == {FRAME_TICKS}
    heard = [sound.pts(packet) for packet in packets]
    assert {after - before for before, after in pairwise(heard)} == {SOUND_TICKS}
    assert pictures.early_timestamps == sound.early_timestamps == 0


class Sound:
    """Sound of a sender whose pictures are placed already; `send` returns places in seconds."""

    def __init__(self) -> None:
        self.sync = LipSync()
        self.pictures = self.sync.add(90_000, is_sound=False)
        self.clock = self.sync.add(48_000, is_sound=True)
        self.now_s = 60.0
        self.timestamp = 0
        self.pictures.arrived(self.picture_timestamp, self.now_s)
        self.pictures.captured(self.picture_timestamp, self.now_s)
        self.clock.arrived(0, self.now_s)
        self.clock.captured(0, self.now_s)
        for clock in (self.pictures, self.clock):
            self.sync.place(clock)

    @property
    def picture_timestamp(self) -> int:
        return round(self.now_s * 90_000)

    def send(self, seconds: float, *, late_s: float = 0.0, tells: bool = True) -> list[float]:
        """In steps of 20 ms, each so late; the sender's clock begins anew at 64 s."""
        places = []
        for _ in range(round(seconds / 0.02)):
            self.now_s += 0.02
            self.timestamp += SOUND_TICKS
            if tells:
                self.clock.captured(self.timestamp, (self.now_s + late_s) % 64)
            places.append(self.clock.pts(self.clock.arrived(self.timestamp, self.now_s)) / 48_000)
        return places

    def report(self) -> None:
        for clock, timestamp in ((self.pictures, self.picture_timestamp), (self.clock, self.timestamp)):
            self.sync.reported(clock, round((1000 + self.now_s) * (1 << 32)), timestamp)


@pytest.mark.parametrize("tells", [True, False], ids=["by headers", "by reports"])
def test_sound_whose_clock_stood_still_comes_later(tells: bool) -> None:
    """A page takes the microphone away and gives it back: its timestamps go on as if nothing had been."""
    sound = Sound()
    before = sound.send(2.0, tells=tells)
    sound.report()
    sound.now_s += 2.0
    sound.send(0.4, tells=tells)
    if not tells:
        sound.report()
        sound.report()
    after = sound.send(1.0, tells=tells)
    assert after[0] - before[-1] == pytest.approx(2.42, abs=0.01)
    assert {round(later - sooner, 6) for sooner, later in pairwise(after)} == {0.02}
    sound.report()
    assert sound.clock.standstills == 1
    assert picture_place_s(sound) == pytest.approx(after[-1], abs=0.01)


def picture_place_s(sound: Sound) -> float:
    clock: TrackClock = sound.pictures
    return clock.pts(clock.arrived(sound.picture_timestamp, sound.now_s)) / 90_000


def test_sound_that_waited_in_the_sender_keeps_its_place() -> None:
    sound = Sound()
    before = sound.send(1.0)
    waited = sound.send(0.2, late_s=0.5)
    after = sound.send(1.0)
    assert {round(later - sooner, 6) for sooner, later in pairwise([*before, *waited, *after])} == {0.02}
    assert sound.clock.standstills == 0


def test_one_report_that_was_held_up_changes_nothing() -> None:
    sound = Sound()
    before = sound.send(1.0, tells=False)
    sound.report()
    sound.now_s += 1.0
    sound.report()
    sound.now_s -= 1.0
    sound.report()
    after = sound.send(1.0, tells=False)
    assert {round(later - sooner, 6) for sooner, later in pairwise([*before, *after])} == {0.02}
    assert picture_place_s(sound) == pytest.approx(after[-1], abs=0.01)
