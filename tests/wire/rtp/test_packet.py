from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aircheck.wire.rtp.errors import RtpError
from aircheck.wire.rtp.packet import RtpPacket, extension_elements, find_extension, payload_bounds

short_extensions = st.dictionaries(st.integers(1, 14), st.binary(min_size=1, max_size=16), max_size=4)
long_extensions = st.dictionaries(st.integers(1, 255), st.binary(max_size=40), max_size=4)

packets = st.builds(
    RtpPacket,
    payload_type=st.integers(0, 127),
    sequence_number=st.integers(0, 0xFFFF),
    timestamp=st.integers(0, 0xFFFFFFFF),
    ssrc=st.integers(0, 0xFFFFFFFF),
    payload=st.binary(max_size=60),
    is_marked=st.booleans(),
    csrcs=st.lists(st.integers(0, 0xFFFFFFFF), max_size=15).map(tuple),
    extensions=short_extensions | long_extensions,
    padding_bytes=st.integers(0, 255),
)


@given(packets)
def test_a_packet_survives_serializing_and_parsing(packet: RtpPacket) -> None:
    assert RtpPacket.parse(packet.serialize()) == packet


@given(packets, st.integers(1, 255))
def test_the_quick_search_finds_what_the_whole_walk_finds(packet: RtpPacket, key: int) -> None:
    data = packet.serialize()
    extension_at, start, _ = payload_bounds(data)
    walked = {one: at for one, at, _ in extension_elements(data, extension_at, start)}
    if extension_at != start:
        assert find_extension(data, key, extension_at, start) == walked.get(key, 0)


@given(st.binary(max_size=80), st.integers(0, 15))
def test_any_bytes_are_a_packet_or_a_typed_error(data: bytes, key: int) -> None:
    data = b"\x90" + data
    try:
        extension_at, start, end = payload_bounds(data)
    except RtpError:
        return
    assert 12 <= extension_at <= start <= end <= len(data)
    if extension_at != start:
        find_extension(data, key, extension_at, start)
    RtpPacket.parse(data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x80" * 11,
        b"\x00" + bytes(20),
        b"\x82" + bytes(15),
        b"\x90" + bytes(11),
        b"\x90" + bytes(11) + b"\xbe\xde\0\5" + bytes(4),
        b"\xa0" + bytes(12),
        b"\xa0" + bytes(12) + b"\xff",
    ],
    ids=["nothing", "short", "version", "csrcs", "no extension", "extension", "padding 0", "padding"],
)
def test_a_cut_off_packet_is_refused(data: bytes) -> None:
    with pytest.raises(RtpError):
        payload_bounds(data)


def test_padding_inside_one_byte_extensions_is_passed_over() -> None:
    data = b"\x90\x60\0\1" + bytes(8) + b"\xbe\xde\0\2" + b"\0\0\x31\xab\xcd\0\x10\x77" + b"media"
    assert RtpPacket.parse(data).extensions == {3: b"\xab\xcd", 1: b"\x77"}
