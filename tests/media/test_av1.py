import contextlib

import pytest
from helpers.bitstreams import config_of, damaged
from helpers.flv_media import encode
from hypothesis import given
from hypothesis import strategies as st

from aircheck.media import av1
from aircheck.media.bits import BitstreamError

CONFIG = config_of("libsvtav1")
KEY_FRAME = encode("libsvtav1", frames=1).encoded[0].data


@pytest.mark.parametrize("size", [(64, 48), (640, 360), (130, 98)])
def test_the_size_is_the_one_encoded(size: tuple[int, int]) -> None:
    assert av1.picture_size(config_of("libsvtav1", size)) == size


def test_a_configuration_built_from_a_key_frame_is_as_libavformat_writes_it() -> None:
    # SVT-AV1 switches tools off after it has told of them: the sequence header proper is the frame's.
    built = av1.config_of_temporal_unit(KEY_FRAME)
    header = av1.find_sequence_header(KEY_FRAME)
    assert header is not None
    assert built == CONFIG[:4] + header.whole
    assert av1.build_config(av1.Obu(1, memoryview(CONFIG)[6:], memoryview(b""))) == CONFIG


def test_the_delimiter_is_stripped_and_nothing_else() -> None:
    assert [obu.type for obu in av1.split_obus(KEY_FRAME)][:2] == [
        av1.OBU_TEMPORAL_DELIMITER,
        av1.OBU_SEQUENCE_HEADER,
    ]
    stripped = av1.strip_temporal_delimiters(memoryview(KEY_FRAME))
    assert bytes(stripped) == KEY_FRAME[2:]
    assert av1.strip_temporal_delimiters(stripped) == stripped


def test_an_obu_without_a_size_reaches_to_the_end() -> None:
    obus = list(av1.split_obus(b"\x12\0" + b"\x30abc"))
    assert [(obu.type, bytes(obu.payload)) for obu in obus] == [(2, b""), (av1.OBU_FRAME, b"abc")]


def test_a_unit_without_a_sequence_header_makes_no_configuration() -> None:
    assert av1.config_of_temporal_unit(b"\x12\0") == b""


def test_a_configuration_without_a_sequence_header_has_no_size() -> None:
    with pytest.raises(BitstreamError, match="no sequence header"):
        av1.picture_size(CONFIG[:4])


@given(st.integers(0, (1 << 56) - 1))
def test_leb128_numbers_read_back(value: int) -> None:
    octets = av1.write_leb128(value)
    assert av1.read_leb128(octets + b"\xff", 0) == (value, len(octets))


@given(st.binary(max_size=60) | damaged(CONFIG) | damaged(KEY_FRAME[:60]))
def test_damaged_units_raise_nothing_else(data: bytes) -> None:
    for parse in (av1.picture_size, av1.config_of_temporal_unit, av1.parse_sequence_header):
        with contextlib.suppress(BitstreamError):
            parse(data)
