import pytest
from hypothesis import given
from hypothesis import strategies as st

from aircheck.media.bits import BitReader, BitstreamError, ByteReader, unescape


def exp_golomb(value: int) -> str:
    code = f"{value + 1:b}"
    return "0" * (len(code) - 1) + code


def packed(bits: str) -> bytes:
    bits += "0" * (-len(bits) % 8)
    return int(bits or "0", 2).to_bytes(len(bits) // 8, "big")


@given(st.lists(st.tuples(st.integers(0, 64), st.integers(0, 1 << 64))))
def test_fields_read_back_as_they_were_written(fields: list[tuple[int, int]]) -> None:
    written = [(width, value & ((1 << width) - 1)) for width, value in fields]
    reader = BitReader(packed("".join(f"{value:0{width}b}" if width else "" for width, value in written)))
    assert [reader.read(width) for width, _ in written] == [value for _, value in written]


@given(st.lists(st.integers(0, (1 << 32) - 2)))
def test_exp_golomb_codes_read_back(values: list[int]) -> None:
    reader = BitReader(packed("".join(map(exp_golomb, values))))
    assert [reader.read_ue() for _ in values] == values


@pytest.mark.parametrize(("code", "value"), [(0, 0), (1, 1), (2, -1), (3, 2), (4, -2)])
def test_signed_codes_alternate(code: int, value: int) -> None:
    assert BitReader(packed(exp_golomb(code))).read_se() == value


def test_reading_beyond_the_end_is_an_error_and_consumes_nothing() -> None:
    reader = BitReader(b"\xff")
    with pytest.raises(BitstreamError):
        reader.read(9)
    with pytest.raises(BitstreamError):
        reader.skip(9)
    assert reader.read(8) == 0xFF
    assert reader.bits_left == 0


def test_a_code_of_too_many_zeros_is_an_error() -> None:
    with pytest.raises(BitstreamError, match="leading zeros"):
        BitReader(bytes(100)).read_ue()


def test_bytes_beyond_the_end_are_an_error() -> None:
    reader = ByteReader(b"\1\2\3")
    assert reader.read_uint(2) == 0x102
    with pytest.raises(BitstreamError):
        reader.read(2)
    assert reader.bytes_left == 1


@pytest.mark.parametrize(
    ("escaped", "plain"),
    [
        (b"\0\0\3\1", b"\0\0\1"),
        (b"\0\0\3\0\0\3", b"\0\0\0\0"),
        (b"\0\0\3\3", b"\0\0\3"),
        (b"\1\0\3", b"\1\0\3"),
    ],
)
def test_emulation_prevention_bytes_are_taken_out(escaped: bytes, plain: bytes) -> None:
    assert unescape(escaped) == plain
