"""STUN (RFC 8489) as ICE uses it (RFC 8445 7): binding requests and their answers.

Only what an agent that answers checks needs, and what a test needs to send them. A message is read once, from
bytes whose every length is checked first; nothing in it is believed before `Message.is_proven`.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address, ip_address

from aircheck.wire.errors import RemoteProtocolError

MAGIC_COOKIE = 0x2112A442
HEADER_BYTES = 20
MAX_BYTES = 1500
"""Larger than any datagram that arrives whole on the internet."""
MAX_ATTRIBUTES = 32

_COOKIE = MAGIC_COOKIE.to_bytes(4, "big")
_FINGERPRINT_XOR = 0x5354554E
_INTEGRITY_BYTES = 24
"""MESSAGE-INTEGRITY with its header."""
_FINGERPRINT_BYTES = 8


class StunError(RemoteProtocolError):
    """`offset` counts from the first byte of the message."""


class Type(IntEnum):
    """Message types of the one method that ICE uses."""

    BINDING_REQUEST = 0x0001
    BINDING_INDICATION = 0x0011
    BINDING_SUCCESS = 0x0101
    BINDING_ERROR = 0x0111


class Attribute(IntEnum):
    MAPPED_ADDRESS = 0x0001
    USERNAME = 0x0006
    MESSAGE_INTEGRITY = 0x0008
    ERROR_CODE = 0x0009
    UNKNOWN_ATTRIBUTES = 0x000A
    XOR_MAPPED_ADDRESS = 0x0020
    PRIORITY = 0x0024
    USE_CANDIDATE = 0x0025
    SOFTWARE = 0x8022
    FINGERPRINT = 0x8028
    ICE_CONTROLLED = 0x8029
    ICE_CONTROLLING = 0x802A


_KNOWN = frozenset(Attribute)
_COMPREHENSION_OPTIONAL = 0x8000


@dataclass(frozen=True, slots=True)
class Message:
    """A message whose framing is right. `attributes` has the first of each kind, up to its integrity."""

    type: Type
    transaction_id: bytes
    attributes: dict[int, bytes]
    data: bytes
    integrity_offset: int | None

    @property
    def username(self) -> str:
        """For a check `receiver's ufrag:sender's ufrag`; empty when it is missing."""
        return self.attributes.get(Attribute.USERNAME, b"").decode("utf-8", "replace")

    @property
    def nominates(self) -> bool:
        return Attribute.USE_CANDIDATE in self.attributes

    @property
    def is_from_controlled(self) -> bool:
        """The sender believes that we control: a conflict for an agent that never does (RFC 8445 7.3.1.1)."""
        return Attribute.ICE_CONTROLLED in self.attributes

    @property
    def unknown_attributes(self) -> tuple[int, ...]:
        """Those that must be understood and are not."""
        return tuple(
            kind for kind in self.attributes if kind < _COMPREHENSION_OPTIONAL and kind not in _KNOWN
        )

    def is_proven(self, key: bytes) -> bool:
        """Whether the sender knew the password (RFC 8489 14.5). Without MESSAGE-INTEGRITY: never."""
        offset = self.integrity_offset
        if offset is None:
            return False
        length = struct.pack("!H", offset + _INTEGRITY_BYTES - HEADER_BYTES)
        covered = self.data[:2] + length + self.data[4:offset]
        expected = hmac.new(key, covered, hashlib.sha1).digest()
        return hmac.compare_digest(expected, self.attributes[Attribute.MESSAGE_INTEGRITY])


def parse(data: bytes) -> Message:
    """Read one datagram or frame. Raises `StunError`; a wrong FINGERPRINT is one, a missing one is not."""
    size = len(data)
    if not HEADER_BYTES <= size <= MAX_BYTES:
        raise StunError(f"a STUN message of {size} bytes", offset=0, data=data)
    number, length = struct.unpack_from("!HH", data)
    if data[4:8] != _COOKIE:
        raise StunError("no magic cookie", offset=4, data=data[4:])
    if length != size - HEADER_BYTES or length % 4:
        raise StunError(f"length {length} of {size - HEADER_BYTES} bytes", offset=2, data=data[2:])
    try:
        kind = Type(number)
    except ValueError:
        raise StunError(f"message type {number:#06x}", offset=0, data=data) from None
    attributes, integrity_offset = _parse_attributes(data)
    return Message(kind, data[8:20], attributes, data, integrity_offset)


def _parse_attributes(data: bytes) -> tuple[dict[int, bytes], int | None]:
    attributes: dict[int, bytes] = {}
    integrity_offset: int | None = None
    offset = HEADER_BYTES
    for _ in range(MAX_ATTRIBUTES + 1):
        if offset == len(data):
            return attributes, integrity_offset
        kind, length = struct.unpack_from("!HH", data, offset)
        end = offset + 4 + length
        if end > len(data):
            raise StunError(f"attribute {kind:#06x} of {length} bytes ends outside", offset=offset, data=data)
        value = data[offset + 4 : end]
        if kind == Attribute.FINGERPRINT:
            _check_fingerprint(data, offset, value)
            return attributes, integrity_offset
        if kind == Attribute.MESSAGE_INTEGRITY and integrity_offset is None:
            if length != hashlib.sha1().digest_size:
                raise StunError(f"integrity of {length} bytes", offset=offset, data=data[offset:])
            integrity_offset = offset
            attributes[kind] = value
        elif integrity_offset is None:
            attributes.setdefault(kind, value)
        offset = end + -length % 4
    raise StunError(f"more than {MAX_ATTRIBUTES} attributes", offset=offset, data=data[offset:])


def _check_fingerprint(data: bytes, offset: int, value: bytes) -> None:
    expected = zlib.crc32(data[:offset]) ^ _FINGERPRINT_XOR
    if offset + _FINGERPRINT_BYTES != len(data) or value != expected.to_bytes(4, "big"):
        raise StunError("wrong fingerprint", offset=offset, data=data[offset:])


def serialize(
    kind: Type,
    transaction_id: bytes,
    attributes: Sequence[tuple[int, bytes]],
    *,
    key: bytes | None = None,
) -> bytes:
    """A message with FINGERPRINT, and with MESSAGE-INTEGRITY when there is a key."""
    body = b"".join(_attribute(number, value) for number, value in attributes)
    if key is not None:
        head = _header(kind, transaction_id, len(body) + _INTEGRITY_BYTES)
        digest = hmac.new(key, head + body, hashlib.sha1).digest()
        body += _attribute(Attribute.MESSAGE_INTEGRITY, digest)
    message = _header(kind, transaction_id, len(body) + _FINGERPRINT_BYTES) + body
    crc = zlib.crc32(message) ^ _FINGERPRINT_XOR
    return message + _attribute(Attribute.FINGERPRINT, crc.to_bytes(4, "big"))


def success(request: Message, host: str, port: int, key: bytes) -> bytes:
    """The answer to a check that came from `host` and `port`."""
    address = xor_address(host, port, request.transaction_id)
    return serialize(
        Type.BINDING_SUCCESS, request.transaction_id, [(Attribute.XOR_MAPPED_ADDRESS, address)], key=key
    )


def error(
    request: Message, code: int, reason: str, *, key: bytes | None = None, unknown: Sequence[int] = ()
) -> bytes:
    """An error answer. `unknown` lists the attributes to blame for a 420."""
    value = struct.pack("!HBB", 0, code // 100, code % 100) + reason.encode()
    attributes: list[tuple[int, bytes]] = [(Attribute.ERROR_CODE, value)]
    if unknown:
        attributes.append((Attribute.UNKNOWN_ATTRIBUTES, struct.pack(f"!{len(unknown)}H", *unknown)))
    return serialize(Type.BINDING_ERROR, request.transaction_id, attributes, key=key)


def xor_address(host: str, port: int, transaction_id: bytes) -> bytes:
    """The value of XOR-MAPPED-ADDRESS (RFC 8489 14.2). IPv4 inside IPv6 is written as IPv4."""
    address = ip_address(host.partition("%")[0])
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    family = 1 if isinstance(address, IPv4Address) else 2
    hidden = _xor(address.packed, _COOKIE + transaction_id)
    return struct.pack("!BBH", 0, family, port ^ (MAGIC_COOKIE >> 16)) + hidden


def parse_xor_address(value: bytes, transaction_id: bytes) -> tuple[str, int]:
    """Host and port out of XOR-MAPPED-ADDRESS. Raises `StunError`."""
    if (len(value), value[1:2]) not in ((8, b"\x01"), (20, b"\x02")):
        raise StunError(f"an address of {len(value)} bytes", offset=0, data=value)
    port = struct.unpack_from("!H", value, 2)[0] ^ (MAGIC_COOKIE >> 16)
    return str(ip_address(_xor(value[4:], _COOKIE + transaction_id))), port


def _xor(value: bytes, mask: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(value, mask, strict=False))


def _header(kind: Type, transaction_id: bytes, length: int) -> bytes:
    return struct.pack("!HHI", kind, length, MAGIC_COOKIE) + transaction_id


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("!HH", kind, len(value)) + value + bytes(-len(value) % 4)
