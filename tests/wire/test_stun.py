"""STUN: the RFC's own vectors, what we serialize, and whatever anybody may send."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aircheck.wire import stun
from aircheck.wire.stun import Attribute, StunError, Type

# RFC 5769, 2.1: a request with short-term credentials.
SAMPLE_REQUEST = bytes.fromhex(
    "000100582112a442b7e7a701bc34d686fa87dfae"
    "802200105354554e207465737420636c69656e74"
    "002400046e0001ff"
    "80290008932ff9b151263b36"
    "000600096576746a3a68367659202020"
    "000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a2"
    "80280004e57a3bcf"
)
SAMPLE_PASSWORD = b"VOkJxbRl1RmTxUk/WvJxBt"
SAMPLE_TRANSACTION = bytes.fromhex("b7e7a701bc34d686fa87dfae")
TRANSACTION = bytes(range(12))

attributes = st.lists(
    st.tuples(
        st.integers(0, 0xFFFF).filter(lambda kind: kind not in (Attribute.FINGERPRINT, 8)),
        st.binary(max_size=40),
    ),
    max_size=8,
)


def test_the_rfcs_request_is_understood_and_proven() -> None:
    message = stun.parse(SAMPLE_REQUEST)
    assert message.type is Type.BINDING_REQUEST
    assert message.transaction_id == SAMPLE_TRANSACTION
    assert message.username == "evtj:h6vY"
    assert message.is_proven(SAMPLE_PASSWORD)
    assert not message.is_proven(SAMPLE_PASSWORD + b"x")
    assert message.is_from_controlled
    assert not message.nominates
    assert message.unknown_attributes == ()


@pytest.mark.parametrize(
    ("host", "port", "value"),
    [  # RFC 5769, 2.2 and 2.3
        ("192.0.2.1", 32853, "0001a147e112a643"),
        ("2001:db8:1234:5678:11:2233:4455:6677", 32853, "0002a1470113a9faa5d3f179bc25f4b5bed2b9d9"),
    ],
)
def test_the_rfcs_addresses_are_written_and_read(host: str, port: int, value: str) -> None:
    assert stun.xor_address(host, port, SAMPLE_TRANSACTION).hex() == value
    assert stun.parse_xor_address(bytes.fromhex(value), SAMPLE_TRANSACTION) == (host, port)


def test_ipv4_inside_ipv6_is_written_as_ipv4() -> None:
    inside = stun.xor_address("::ffff:192.0.2.1", 1, TRANSACTION)
    assert inside == stun.xor_address("192.0.2.1", 1, TRANSACTION)


def test_an_answer_is_proven_by_the_password() -> None:
    request = stun.parse(SAMPLE_REQUEST)
    answer = stun.parse(stun.success(request, "192.0.2.9", 1234, b"secret"))
    assert answer.type is Type.BINDING_SUCCESS
    assert answer.transaction_id == SAMPLE_TRANSACTION
    assert answer.is_proven(b"secret")
    value = answer.attributes[Attribute.XOR_MAPPED_ADDRESS]
    assert stun.parse_xor_address(value, SAMPLE_TRANSACTION) == ("192.0.2.9", 1234)


def test_an_error_names_what_was_not_understood() -> None:
    request = stun.parse(stun.serialize(Type.BINDING_REQUEST, TRANSACTION, [(0x7F00, b"abc"), (0xFF00, b"")]))
    assert request.unknown_attributes == (0x7F00,)
    answer = stun.parse(stun.error(request, 420, "Unknown Attribute", unknown=request.unknown_attributes))
    assert answer.type is Type.BINDING_ERROR
    assert answer.attributes[Attribute.UNKNOWN_ATTRIBUTES] == b"\x7f\x00"
    assert answer.attributes[Attribute.ERROR_CODE] == b"\0\0\x04\x14Unknown Attribute"
    assert not answer.is_proven(b"")


def test_what_follows_the_integrity_is_not_believed() -> None:
    proven = stun.serialize(Type.BINDING_REQUEST, TRANSACTION, [(Attribute.USERNAME, b"a:b")], key=b"k")
    body = proven[20:-8] + struct.pack("!HH", Attribute.USE_CANDIDATE, 0)
    forged = proven[:2] + struct.pack("!H", len(body)) + proven[4:20] + body
    message = stun.parse(forged)
    assert message.is_proven(b"k")
    assert not message.nominates


@pytest.mark.parametrize(
    "data",
    [
        b"",
        SAMPLE_REQUEST[:19],
        SAMPLE_REQUEST[:-1],
        SAMPLE_REQUEST[:-8],
        SAMPLE_REQUEST[:-1] + b"\0",
        SAMPLE_REQUEST + bytes(4),
        SAMPLE_REQUEST[:4] + bytes(4) + SAMPLE_REQUEST[8:],
        b"\x3f\xff" + SAMPLE_REQUEST[2:],
        stun.serialize(Type.BINDING_REQUEST, TRANSACTION, [(0x8000, b"")] * 40),
        stun.serialize(Type.BINDING_REQUEST, TRANSACTION, [(0x8000, bytes(1600))]),
        stun.serialize(Type.BINDING_REQUEST, TRANSACTION, [(Attribute.MESSAGE_INTEGRITY, bytes(16))]),
    ],
)
def test_what_is_no_message_is_refused(data: bytes) -> None:
    with pytest.raises(StunError):
        stun.parse(data)


@given(attributes, st.booleans())
def test_what_is_written_is_read(pairs: list[tuple[int, bytes]], has_key: bool) -> None:
    key = b"key" if has_key else None
    message = stun.parse(stun.serialize(Type.BINDING_REQUEST, TRANSACTION, pairs, key=key))
    first = dict(reversed(pairs))
    assert {kind: message.attributes[kind] for kind in first} == first
    assert message.is_proven(b"key") is has_key


@given(st.binary(max_size=1600) | st.binary(max_size=200).map(lambda tail: SAMPLE_REQUEST[:20] + tail))
def test_only_stun_errors_come_of_anything(data: bytes) -> None:
    try:
        message = stun.parse(data)
    except StunError:
        return
    assert message.username is not None
    message.is_proven(b"key")


@given(st.integers(0, (len(SAMPLE_REQUEST) - 8) * 8 - 1))
def test_no_flipped_bit_is_believed(position: int) -> None:
    data = bytearray(SAMPLE_REQUEST)
    data[position // 8] ^= 1 << position % 8
    try:
        message = stun.parse(bytes(data))
    except StunError:
        return
    assert not message.is_proven(SAMPLE_PASSWORD), "a length that swallows the rest"
