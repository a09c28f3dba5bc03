import contextlib

import pytest
from helpers.bitstreams import config_of, damaged
from hypothesis import given
from hypothesis import strategies as st

from aircheck.media import h265
from aircheck.media.bits import BitstreamError

CONFIG = config_of("libx265")


@pytest.mark.parametrize("size", [(64, 48), (1920, 1080), (130, 98)])
def test_the_size_shown_is_the_one_encoded(size: tuple[int, int]) -> None:
    assert h265.picture_size(config_of("libx265", size)) == size


@pytest.mark.parametrize(
    ("sps", "size", "chroma"),
    [
        (
            "4201010408000003009e0800000300003c9001890094e79f2cacd24995cd010000030001000003001908",
            (386, 290),
            3,
        ),
        (
            "4201010408000003009d0800000300003cb00a480b9c9796566924cae68080000003008000000c84",
            (322, 182),
            2,
        ),
    ],
)
def test_cropping_counts_in_samples_of_the_chroma(sps: str, size: tuple[int, int], chroma: int) -> None:
    parameters = h265.parse_sps(bytes.fromhex(sps))
    assert (parameters.width, parameters.height) == size
    assert parameters.chroma_format == chroma


def test_a_built_configuration_begins_as_libavformat_writes_it() -> None:
    config = h265.parse_config(CONFIG)
    built = h265.build_config(config.vps, config.sps, config.pps)
    assert built[:22] == CONFIG[:22]
    assert h265.parse_config(built) == config


def test_nal_unit_types_that_begin_decoding() -> None:
    assert h265.nal_unit_type(b"\x26\1") == h265.NAL_IDR_W_RADL
    assert h265.is_random_access(h265.NAL_CRA)
    assert not h265.is_random_access(1)


@given(st.binary(max_size=80) | damaged(CONFIG))
def test_a_damaged_configuration_raises_nothing_else(record: bytes) -> None:
    for parse in (h265.parse_config, h265.picture_size, h265.parse_sps):
        with contextlib.suppress(BitstreamError):
            parse(record)


@given(damaged(h265.parse_config(CONFIG).sps[0]))
def test_a_damaged_parameter_set_raises_nothing_else(nal_unit: bytes) -> None:
    try:
        parameters = h265.parse_sps(nal_unit)
        h265.build_config([b"\x40\1"], [nal_unit], [b"\x44\1"])
    except BitstreamError:
        return
    assert parameters.width > 0
    assert parameters.height > 0
