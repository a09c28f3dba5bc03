"""Key frames get their decoder configuration where the publisher did not put it in."""

from __future__ import annotations

import pytest
from helpers.flv_media import encode

from aircheck.ingest.flv_demux import FlvDemuxer
from aircheck.media import av1, h264, h265
from aircheck.media.in_band import InBandConfiguration
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
    ("sent", "kept"),
    [
        ((IDR,), (SPS, PPS, IDR)),
        ((AUD, SEI, IDR), (AUD, SPS, PPS, SEI, IDR)),
        ((SPS, PPS, IDR), (SPS, PPS, IDR)),
        ((AUD, SPS, SEI, PPS, IDR, IDR), (AUD, SPS, SEI, PPS, IDR, IDR)),
        ((PPS, IDR), (SPS, PPS, PPS, IDR)),
        ((IDR, SPS, PPS), (SPS, PPS, IDR, SPS, PPS)),
        ((SEI,), (SEI,)),
        ((), ()),
    ],
)
def test_parameter_sets_stand_before_the_picture_and_behind_the_delimiter(
    sent: tuple[bytes, ...], kept: tuple[bytes, ...]
) -> None:
    assert InBandConfiguration(TRACK).complete(framed(*sent)) == framed(*kept)


def test_what_was_completed_is_complete() -> None:
    configuration = InBandConfiguration(TRACK)
    assert not configuration.is_in(framed(IDR))
    assert configuration.is_in(configuration.complete(framed(IDR)))


def test_lengths_are_those_of_the_track() -> None:
    record = RECORD[:4] + b"\xfd" + RECORD[5:]
    configuration = InBandConfiguration(Track(1, Codec.H264, 1000, record))
    assert configuration.complete(framed(IDR, size=2)) == framed(SPS, PPS, IDR, size=2)


@pytest.mark.parametrize("frame", [b"\0\0\0\xffshort", b"v    40", b"\1"])
def test_a_frame_that_cannot_be_read_stays_as_it_is(frame: bytes) -> None:
    configuration = InBandConfiguration(TRACK)
    assert configuration.complete(frame) is frame
    assert not configuration.is_in(frame)


@pytest.mark.parametrize("record", [b"", b"\x01\x42", b"\x02" + RECORD[1:]])
def test_a_configuration_that_cannot_be_read_is_left_out(record: bytes) -> None:
    configuration = InBandConfiguration(Track(1, Codec.H264, 1000, record))
    assert not configuration.has_units
    assert configuration.complete(framed(IDR)) == framed(IDR)


def test_vp9_has_nothing_to_carry() -> None:
    assert not InBandConfiguration(Track(1, Codec.VP9, 1000, bytes(8))).has_units


def test_h265_gets_its_three_kinds_of_parameter_sets() -> None:
    key = key_frame_of("libx265")
    configuration = InBandConfiguration(key.track)
    complete = configuration.complete(key.data)
    types = [h265.nal_unit_type(unit) for unit in h264.split_nal_units(complete)]
    assert types[:3] == [h265.NAL_VPS, h265.NAL_SPS, h265.NAL_PPS]
    assert complete.endswith(bytes(key.data))
    assert configuration.complete(complete) is complete


def test_av1_gets_its_sequence_header() -> None:
    key = key_frame_of("libsvtav1")
    configuration = InBandConfiguration(key.track)
    assert configuration.complete(key.data) is key.data, "encoders send it"
    bare = b"".join(obu.whole for obu in av1.split_obus(key.data) if obu.type != av1.OBU_SEQUENCE_HEADER)
    assert not configuration.is_in(bare)
    assert configuration.is_in(configuration.complete(bare))
