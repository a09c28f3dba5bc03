import contextlib

import pytest
from helpers.bitstreams import config_of, damaged
from helpers.flv_media import encode
from hypothesis import given
from hypothesis import strategies as st

from aircheck.media import opus
from aircheck.media.bits import BitstreamError


def test_what_libopus_writes_is_what_we_build() -> None:
    assert config_of("libopus") == opus.build_head(2)
    assert opus.parse_head(config_of("libopus")) == opus.OpusHead(2, 312, 48000, 0, 0)


def test_packets_of_libopus_sound_20_ms() -> None:
    assert {opus.packet_samples(packet.data) for packet in encode("libopus").encoded} == {960}


@pytest.mark.parametrize(
    ("packet", "samples"),
    [
        (b"\x08", 960),  # SILK, 20 ms
        (b"\x18", 2880),  # SILK, 60 ms
        (b"\x60", 480),  # hybrid, 10 ms
        (b"\xe0", 120),  # CELT, 2.5 ms
        (b"\xf9", 1920),  # two frames of 20 ms
        (b"\xfb\x03", 2880),  # three frames of 20 ms, counted
    ],
)
def test_the_table_of_contents_tells_the_duration(packet: bytes, samples: int) -> None:
    assert opus.packet_samples(packet) == samples


@pytest.mark.parametrize("packet", [b"", b"\xfb", b"\xfb\x00", b"\x1b\x3f"])
def test_a_duration_that_cannot_be_is_an_error(packet: bytes) -> None:
    with pytest.raises(BitstreamError):
        opus.packet_samples(packet)


def test_more_than_two_channels_need_a_mapping() -> None:
    with pytest.raises(BitstreamError):
        opus.build_head(6)
    surround = opus.build_head(2)[:9] + b"\6" + opus.build_head(2)[10:18] + b"\1"
    with pytest.raises(BitstreamError, match="mapping"):
        opus.parse_head(surround)
    assert opus.parse_head(surround + b"\4\2\0\4\1\2\3\5").channels == 6


@given(st.binary(max_size=30) | damaged(opus.build_head(2)))
def test_garbage_raises_nothing_else(data: bytes) -> None:
    for parse in (opus.parse_head, opus.packet_samples):
        with contextlib.suppress(BitstreamError):
            parse(data)
