"""Pictures for browsers: every one of them, in the order in which they are shown, at its own time."""

from __future__ import annotations

import pytest

from aircheck.containers.test_pattern import Pattern, encode_pattern
from aircheck.containers.video_transcode import VideoTranscoder
from aircheck.errors import ContainerError
from aircheck.media import h264
from aircheck.media.packet import Packet
from aircheck.media.track import Codec, Track

PATTERN = encode_pattern(Pattern(duration_s=2, width=160, height=90))
PICTURES = [packet for packet in PATTERN.packets if packet.track is PATTERN.video]


def test_pictures_leave_in_the_order_in_which_they_are_shown() -> None:
    assert [p.pts for p in PICTURES] != sorted(p.pts for p in PICTURES), "the source has B-frames"
    transcoder = VideoTranscoder(PATTERN.video)
    made = [packet for picture in PICTURES for packet in transcoder.feed([picture])]
    expected = sorted(picture.pts for picture in PICTURES)
    assert [packet.pts for packet in made] == expected[: len(made)]
    assert len(made) >= len(PICTURES) - 4
    assert all(packet.pts == packet.dts for packet in made)
    track = made[0].track
    assert (track.codec, track.timescale, track.width, track.height) == (Codec.H264, 90_000, 160, 90)
    config = h264.parse_config(track.config)
    assert config.profile == 66
    assert made[0].is_keyframe
    for packet in made:
        list(h264.split_nal_units(packet.data))


def test_a_key_frame_comes_when_it_is_wanted() -> None:
    transcoder = VideoTranscoder(PATTERN.video)
    made = transcoder.feed(PICTURES[:20])
    assert [packet.is_keyframe for packet in made].count(True) == 1
    transcoder.wants_keyframe = True
    assert [packet.is_keyframe for packet in transcoder.feed(PICTURES[20:24])].count(True) == 1


def test_a_larger_picture_begins_a_new_track() -> None:
    larger = encode_pattern(Pattern(duration_s=1, width=320, height=180))
    later = [
        Packet(p.track, p.pts + 900_000, p.dts + 900_000, p.is_keyframe, p.data)
        for p in larger.packets
        if p.track is larger.video
    ]
    transcoder = VideoTranscoder(PATTERN.video)
    tracks = {packet.track.width: packet for packet in transcoder.feed([*PICTURES, *later])}
    assert set(tracks) == {160, 320}


def test_what_cannot_be_decoded_is_counted() -> None:
    transcoder = VideoTranscoder(PATTERN.video)
    junk = Packet(PATTERN.video, 0, 0, True, b"\0\0\0\5\x65\1\2\3\4")
    assert transcoder.feed([junk, *PICTURES])
    assert transcoder.failed_packets >= 1


def test_codecs_that_nobody_decodes_are_refused() -> None:
    with pytest.raises(ContainerError):
        VideoTranscoder(Track(1, Codec.AAC, 1000))
