"""MP3, FLAC and AC-3: the frames of encoders, read and taken apart."""

import contextlib
import itertools

import pytest
from helpers.bitstreams import config_of
from helpers.flv_media import encode
from hypothesis import given
from hypothesis import strategies as st

from aircheck.media import ac3, flac, mp3
from aircheck.media.bits import BitstreamError


@pytest.mark.parametrize(("rate", "samples"), [(48000, 1152), (44100, 1152), (22050, 576), (8000, 576)])
def test_mp3_frames_follow_each_other(rate: int, samples: int) -> None:
    packets = [packet.data for packet in encode("libmp3lame", rate=rate, container="mp3").encoded]
    header = mp3.parse_header(packets[0])
    assert (header.layer, header.sample_rate, header.samples, header.channels) == (3, rate, samples, 2)
    frames = list(mp3.split_frames(b"".join(packets)))
    assert [(bytes(frame), count) for frame, count in frames] == [(packet, samples) for packet in packets]


@pytest.mark.parametrize("rate", [48000, 44100, 32000])
def test_ac3_frames_follow_each_other(rate: int) -> None:
    packets = [packet.data for packet in encode("ac3", rate=rate).encoded]
    header = ac3.parse_header(packets[0])
    assert (header.sample_rate, header.channels) == (rate, 2)
    frames = list(ac3.split_frames(b"".join(packets)))
    assert [(bytes(frame), count) for frame, count in frames] == [(packet, 1536) for packet in packets]


def test_enhanced_ac3_is_not_taken_for_ac3() -> None:
    with pytest.raises(BitstreamError):
        ac3.parse_header(b"\x0b\x77\0\0\0\x80\0\0")


def test_flac_tells_rate_and_channels_and_the_length_of_each_frame() -> None:
    config = config_of("flac")
    info = flac.parse_stream_info(config)
    assert (info.sample_rate, info.channels, info.bits_per_sample) == (48000, 2, 16)
    packets = [packet for packet in encode("flac").encoded if packet.data]
    starts = [packet.pts_s * 48000 for packet in packets]
    lengths = [flac.frame_samples(packet.data, config) for packet in packets]
    assert [b - a for a, b in itertools.pairwise(starts)] == lengths[:-1]


@pytest.mark.parametrize(
    ("code_and_number", "samples"),
    [("1", 192), ("4", 2304), ("9", 512), ("c", 4096), ("0", 4608)],
)
def test_flac_block_sizes(code_and_number: str, samples: int) -> None:
    frame = bytes.fromhex(f"fff8{code_and_number}91800")
    assert flac.frame_samples(frame, config_of("flac")) == samples


def test_flac_block_sizes_behind_the_frame_number() -> None:
    assert flac.frame_samples(bytes.fromhex("fff869180a7f"), b"") == 128
    assert flac.frame_samples(bytes.fromhex("fff87918c28003e7"), b"") == 1000


def test_the_stream_info_is_found_with_its_signature_its_block_header_or_alone() -> None:
    info = config_of("flac")
    header = flac.build_header(info)
    assert flac.find_stream_info(header) == flac.find_stream_info(header[4:]) == info
    assert flac.find_stream_info(info) == info
    with pytest.raises(BitstreamError):
        flac.find_stream_info(header[:-1])


def test_a_live_stream_does_not_know_its_totals() -> None:
    info = bytes.fromhex("1200120000077c000e620bb802f000000e40" + "ab" * 16)
    live = flac.without_totals(info)
    assert live.hex() == "120012000000000000000bb802f000000000" + "00" * 16
    assert flac.parse_stream_info(live) == flac.parse_stream_info(info)


@given(st.binary(max_size=60) | st.binary(max_size=60).map(b"\xff\xfb".__add__))
def test_garbage_raises_nothing_else(data: bytes) -> None:
    for parse in (
        mp3.parse_header,
        lambda octets: list(mp3.split_frames(octets)),
        lambda octets: list(ac3.split_frames(b"\x0b\x77" + octets)),
        flac.find_stream_info,
        flac.parse_stream_info,
        lambda octets: flac.frame_samples(b"\xff\xf8" + octets, octets),
    ):
        with contextlib.suppress(BitstreamError):
            parse(data)
