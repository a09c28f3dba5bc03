"""The timeline of one peer, without packets."""

from __future__ import annotations

from itertools import pairwise

from aircheck.webrtc.sync import ORIGIN_S, LipSync

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
