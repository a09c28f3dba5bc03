import contextlib

import pytest
from helpers.bitstreams import config_of, damaged
from hypothesis import given
from hypothesis import strategies as st

from aircheck.media import h264
from aircheck.media.bits import BitstreamError

CONFIG = config_of("libx264")


@pytest.mark.parametrize("size", [(64, 48), (1920, 1080), (640, 360), (130, 98), (2, 2), (854, 480)])
def test_the_size_shown_is_the_one_encoded_whatever_the_macroblocks(size: tuple[int, int]) -> None:
    assert h264.picture_size(config_of("libx264", size)) == size


@pytest.mark.parametrize(
    ("sps", "size", "profile"),
    [
        # Interlaced: rows count twice, and so do the units of cropping.
        ("67640028ace401e0113f708000000300800000190f8b1724", (1920, 1080), 100),
        # Baseline, with picture order type 2.
        ("6742c015d901e08fea1000000300100000030320f162e480", (480, 270), 66),
        # High 4:4:4 Predictive, which crops by single samples.
        ("67f40015919681909f8f8f84000003000400000300c83c58ba80", (386, 290), 244),
    ],
)
def test_known_parameter_sets(sps: str, size: tuple[int, int], profile: int) -> None:
    parameters = h264.parse_sps(bytes.fromhex(sps))
    assert ((parameters.width, parameters.height), parameters.profile) == (size, profile)


def test_a_configuration_built_from_its_parameter_sets_is_the_same_again() -> None:
    config = h264.parse_config(CONFIG)
    assert config.nal_length_size == 4
    built = h264.build_config(config.sps, config.pps)
    assert h264.parse_config(built) == config


def test_a_high_profile_configuration_tells_chroma_and_depths() -> None:
    sps = bytes.fromhex("67640028ace401e0113f708000000300800000190f8b1724")
    assert h264.build_config([sps], [b"\x68\xeb"]).endswith(b"\xfd\xf8\xf8\0")


def test_nal_units_survive_the_way_through_lengths_and_start_codes() -> None:
    units = [b"\x67\1\2", b"\x68\3", b"\x65" + bytes(range(1, 200))]
    joined = h264.join_length_prefixed(units)
    assert [bytes(unit) for unit in h264.split_nal_units(joined)] == units
    assert h264.split_annex_b(b"".join(b"\0\0\0\1" + unit for unit in units)) == units
    assert [h264.nal_unit_type(unit) for unit in units] == [h264.NAL_SPS, h264.NAL_PPS, h264.NAL_IDR]


def test_a_length_that_could_be_a_start_code_is_not_taken_for_one() -> None:
    assert not h264.is_annex_b(h264.join_length_prefixed([b"\x65" + bytes(300), b"\x06\1"]))
    assert h264.is_annex_b(b"\0\0\0\1\x67")
    assert h264.is_annex_b(b"\0\0\1\x67")


def test_a_nal_unit_that_reaches_too_far_is_an_error() -> None:
    with pytest.raises(BitstreamError):
        list(h264.split_nal_units(b"\0\0\0\5abc"))
    with pytest.raises(BitstreamError):
        list(h264.split_nal_units(b"\0\0"))


def test_a_configuration_without_parameter_sets_cannot_be_built() -> None:
    with pytest.raises(BitstreamError):
        h264.build_config([], [])


@given(st.binary(max_size=80) | damaged(CONFIG))
def test_a_damaged_configuration_raises_nothing_else(record: bytes) -> None:
    for parse in (h264.parse_config, h264.picture_size, h264.parse_sps):
        with contextlib.suppress(BitstreamError):
            parse(record)


@given(damaged(h264.parse_config(CONFIG).sps[0]))
def test_a_damaged_parameter_set_raises_nothing_else(nal_unit: bytes) -> None:
    try:
        parameters = h264.parse_sps(nal_unit)
    except BitstreamError:
        return
    assert parameters.width > 0
    assert parameters.height > 0


@given(st.binary(max_size=60), st.sampled_from((1, 2, 4)))
def test_damaged_access_units_raise_nothing_else(data: bytes, nal_length_size: int) -> None:
    with contextlib.suppress(BitstreamError):
        assert all(h264.split_nal_units(data, nal_length_size))
