"""Whether key frames have their decoder configuration in them."""

from __future__ import annotations

import pytest
from helpers.flv_media import encode

from aircheck.ingest.flv_demux import FlvDemuxer
from aircheck.media import av1, h264, h265
from aircheck.media.in_band import carries_configuration
from aircheck.media.packet import Packet
from aircheck.media.track import Codec, Track

SPS, PPS, SLICE, IDR, AUD, SEI = b"\x67sps", b"\x68pps", b"\x41slice", b"\x65idr", b"\x09\xf0", b"\x06sei"
RECORD = bytes((1, 66, 0, 30, 0xFF, 0xE1, 0, 4)) + SPS + bytes((1, 0, 4)) + PPS
TRACK = Track(1, Codec.H264, 1000, RECORD)


def framed(*units: bytes, size: int = 4) -> bytes:
    return b"".join(len(unit).to_bytes(size, "big") + unit for unit in units)


def key_frame_of(codec: str) -> Packet:
    demuxer = FlvDemuxer()
    packets = demuxer.feed(encode(codec, frames=3).messages(), 0).packets
    return next(packet for packet in packets if packet.is_keyframe)


@pytest.mark.parametrize(
    ("units", "carries"),
    [
        ((SPS, PPS, IDR), True),
        ((AUD, SPS, SEI, PPS, IDR, IDR), True),
        ((IDR,), False),
        ((AUD, SEI, IDR), False),
        ((PPS, IDR), False),
        ((IDR, SPS, PPS), False),
        ((SEI,), False),
        ((), False),
    ],
)
def test_parameter_sets_must_stand_before_the_picture(units: tuple[bytes, ...], carries: bool) -> None:
    assert carries_configuration(TRACK, framed(*units)) is carries


def test_a_frame_is_looked_into_only_as_far_as_a_picture_may_lie() -> None:
    assert not carries_configuration(TRACK, bytes(4 * 1000) + framed(SPS, PPS, IDR))


def test_lengths_are_those_of_the_track() -> None:
    short = Track(1, Codec.H264, 1000, RECORD[:4] + b"\xfd" + RECORD[5:])
    assert carries_configuration(short, framed(SPS, PPS, IDR, size=2))


@pytest.mark.parametrize("frame", [b"\0\0\0\xffshort", b"v    40", b"\1"])
def test_a_frame_that_cannot_be_read_carries_nothing(frame: bytes) -> None:
    assert not carries_configuration(TRACK, frame)


@pytest.mark.parametrize("record", [b"", b"\x01\x42", b"\x02" + RECORD[1:]])
def test_nothing_is_known_of_a_track_whose_configuration_cannot_be_read(record: bytes) -> None:
    assert not carries_configuration(Track(1, Codec.H264, 1000, record), framed(SPS, PPS, IDR))


def test_vp9_says_all_in_each_key_frame() -> None:
    assert carries_configuration(Track(1, Codec.VP9, 1000, bytes(8)), b"\x82")


def test_h265_has_three_kinds_of_parameter_sets() -> None:
    key = key_frame_of("libx265")
    config = h265.parse_config(key.track.config)
    sets = framed(*config.vps, *config.sps, *config.pps)
    assert not carries_configuration(key.track, key.data)
    assert carries_configuration(key.track, sets + bytes(key.data))
    assert not carries_configuration(key.track, framed(*config.sps, *config.pps) + bytes(key.data))
    assert len(list(h264.split_nal_units(sets))) >= 3


def test_av1_has_a_sequence_header() -> None:
    key = key_frame_of("libsvtav1")
    assert carries_configuration(key.track, key.data), "encoders send it"
    bare = b"".join(obu.whole for obu in av1.split_obus(key.data) if obu.type != av1.OBU_SEQUENCE_HEADER)
    assert not carries_configuration(key.track, bare)
