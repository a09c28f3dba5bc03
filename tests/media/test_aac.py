import contextlib

import pytest
from helpers.bitstreams import config_of, damaged
from helpers.flv_media import encode
from hypothesis import given
from hypothesis import strategies as st

from aircheck.media import aac
from aircheck.media.bits import BitstreamError


def test_what_ffmpeg_writes() -> None:
    config = aac.parse_config(config_of("aac"))
    assert config == aac.AudioSpecificConfig(aac.LOW_COMPLEXITY, 48000, 48000, 2)


@pytest.mark.parametrize(
    ("config", "core_rate", "rate", "channels"),
    [
        ("1210", 44100, 44100, 2),
        ("1588", 8000, 8000, 1),
        # HE-AAC announced openly, behind the plain configuration, and with parametric stereo.
        ("2b118800", 24000, 48000, 2),
        ("131056e598", 24000, 48000, 2),
        ("eb098800", 24000, 48000, 2),
        # The same extension saying that there is no SBR.
        ("131056e500", 24000, 24000, 2),
        # A rate that has no index.
        ("1780271010", 20000, 20000, 2),
    ],
)
def test_known_configurations(config: str, core_rate: int, rate: int, channels: int) -> None:
    parsed = aac.parse_config(bytes.fromhex(config))
    assert (parsed.core_sample_rate, parsed.sample_rate, parsed.channels) == (core_rate, rate, channels)


def test_short_frames_have_960_samples() -> None:
    assert aac.parse_config(b"\x12\x14").frame_samples == 960
    assert aac.parse_config(b"\x12\x10").frame_samples == 1024


@pytest.mark.parametrize("rate", [*aac.SAMPLE_RATES, 20000])
@pytest.mark.parametrize("channels", [1, 2, 6, 8])
def test_a_built_configuration_reads_back(rate: int, channels: int) -> None:
    parsed = aac.parse_config(aac.build_config(aac.LOW_COMPLEXITY, rate, channels))
    assert (parsed.object_type, parsed.sample_rate, parsed.channels) == (2, rate, channels)


def test_adts_frames_become_raw_ones_and_a_configuration() -> None:
    adts = encode("aac", frames=10, container="adts")
    assert aac.is_adts(adts.data)
    frames = [packet.data for packet in adts.encoded]
    assert [bytes(frame) for frame in aac.split_adts(adts.data)] == frames
    assert aac.without_adts(adts.data) == b"".join(frames)
    assert aac.without_adts(adts.data[: len(frames[0]) + 7]) == frames[0]
    assert aac.without_adts(frames[0]) == frames[0]
    assert aac.parse_adts_config(adts.data) == bytes.fromhex("1190")


def test_a_raw_frame_is_no_adts() -> None:
    assert not any(aac.is_adts(packet.data) for packet in encode("aac").encoded)


def test_an_adts_chain_that_breaks_is_an_error() -> None:
    data = encode("aac", frames=10, container="adts").data
    with pytest.raises(BitstreamError):
        list(aac.split_adts(data[:-1]))
    with pytest.raises(BitstreamError):
        list(aac.split_adts(data + bytes(10)))


@given(st.binary(max_size=12) | damaged(bytes.fromhex("131056e598")))
def test_a_damaged_configuration_raises_nothing_else(config: bytes) -> None:
    try:
        parsed = aac.parse_config(config)
    except BitstreamError:
        return
    assert parsed.core_sample_rate > 0
    assert parsed.sample_rate > 0


@given(st.binary(max_size=40) | st.binary(max_size=40).map(b"\xff\xf1".__add__))
def test_garbage_for_adts_raises_nothing_else(data: bytes) -> None:
    for parse in (aac.parse_adts_config, lambda octets: list(aac.split_adts(octets))):
        with contextlib.suppress(BitstreamError):
            parse(data)
