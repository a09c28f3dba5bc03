"""Parts of frames become access units and tracks, or a typed error."""

from __future__ import annotations

import base64
import random
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest
from helpers.rtp_media import FORMATS, frames_of_clip, make_clip
from helpers.tools import requires
from hypothesis import given, settings
from hypothesis import strategies as st

from aircheck.media import h264
from aircheck.media.bits import BitstreamError
from aircheck.media.track import Codec, Kind
from aircheck.webrtc.pictures import VIDEO_TIMESCALE, H264Pictures, pictures_of
from aircheck.wire.rtp.formats import DEPACKETIZERS

pytestmark = requires("ffmpeg")

VIDEO = (Codec.VP8, Codec.VP9, Codec.H264, Codec.H265, Codec.AV1)


@cache
def parts_of(clips: Path, codec: Codec, frame: int = 0, size: str = "320x180") -> Sequence[bytes]:
    """The parts of a real frame, as its depacketizer hands them on."""
    depacketizer = DEPACKETIZERS[codec]()
    clip = make_clip(clips, codec, None, size=size)
    for packet in frames_of_clip(clip, Kind.VIDEO, 1, FORMATS[codec].payload_type)[frame].packets:
        depacketizer.push(packet.payload, 0, len(packet.payload))
    return tuple(depacketizer.finish())


@pytest.mark.parametrize("codec", VIDEO)
def test_a_key_frame_makes_the_track(codec: Codec, clips: Path) -> None:
    pictures = pictures_of(codec, 7, {})
    _, is_keyframe = pictures.make([*parts_of(clips, codec)])
    track = pictures.track
    assert is_keyframe
    assert track is not None
    assert (track.id, track.codec, track.timescale) == (7, codec, VIDEO_TIMESCALE)
    assert (track.width, track.height) == (320, 180)
    assert pictures.make([*parts_of(clips, codec, 1)])[1] is False
    pictures.make([*parts_of(clips, codec, 30)])
    assert pictures.track is track, "the next key frame changes nothing"


@pytest.mark.parametrize("codec", VIDEO)
@given(seed=st.integers(0, 2**32), flips=st.integers(1, 12))
@settings(max_examples=60)
def test_damaged_frames_are_taken_or_a_typed_error(codec: Codec, seed: int, flips: int, clips: Path) -> None:
    chance = random.Random(seed)
    parts = [bytearray(part) for part in parts_of(clips, codec)]
    for _ in range(flips):
        part = chance.choice(parts)
        part[chance.randrange(min(len(part), 60))] = chance.randrange(256)
    try:
        pictures_of(codec, 1, {}).make([bytes(part) for part in parts])
    except BitstreamError:
        return


@pytest.mark.parametrize("codec", VIDEO)
@given(parts=st.lists(st.binary(min_size=3, max_size=40), min_size=1, max_size=4))
@settings(max_examples=100)
def test_any_bytes_are_taken_or_a_typed_error(codec: Codec, parts: list[bytes]) -> None:
    try:
        pictures_of(codec, 1, {}).make(parts[:1] if codec in (Codec.VP8, Codec.VP9) else parts)
    except BitstreamError:
        return


def test_parameter_sets_of_the_description_serve_key_frames_that_have_none(clips: Path) -> None:
    units = parts_of(clips, Codec.H264)
    sets = [unit for unit in units if unit[0] & 0x1F in (h264.NAL_SPS, h264.NAL_PPS)]
    rest = [unit for unit in units if unit not in sets]
    text = ",".join(base64.b64encode(unit).decode() for unit in sets)
    pictures = H264Pictures(1, {"sprop-parameter-sets": text + ",no base64!"})
    _, is_keyframe = pictures.make(rest)
    assert is_keyframe
    assert pictures.track is not None
    assert h264.parse_config(pictures.track.config).sps == (sets[0],)
    with pytest.raises(BitstreamError):
        H264Pictures(1, {}).make(rest)


def test_sets_that_the_key_frame_does_not_refer_to_do_not_count(clips: Path) -> None:
    """An encoder may list sets of all its sizes before each key frame."""
    units = parts_of(clips, Codec.H264)
    foreign = [
        unit
        for unit in parts_of(clips, Codec.H264, size="640x360")
        if unit[0] & 0x1F in (h264.NAL_SPS, h264.NAL_PPS)
    ]
    pictures = H264Pictures(1, {})
    pictures.make([*foreign, *units])
    track = pictures.track
    assert track is not None
    assert (track.width, track.height) == (320, 180)


def test_a_bit_depth_that_no_decoder_has_is_refused(clips: Path) -> None:
    """The High profile tells it; a number beyond what the record can hold must not get there."""
    sps = bytes.fromhex("6764001f") + bits("101000000100101100011100" + "1" * 40)
    pps = next(unit for unit in parts_of(clips, Codec.H264) if unit[0] & 0x1F == h264.NAL_PPS)
    idr = next(unit for unit in parts_of(clips, Codec.H264) if unit[0] & 0x1F == h264.NAL_IDR)
    with pytest.raises(BitstreamError, match="bits of luma"):
        H264Pictures(1, {}).make([sps, pps, idr])


def bits(text: str) -> bytes:
    return int(text.ljust(-(-len(text) // 8) * 8, "0"), 2).to_bytes(-(-len(text) // 8), "big")
