"""EBML (RFC 8794) and the element IDs of Matroska (RFC 9559) that we write."""

from __future__ import annotations

import struct

EBML = 0x1A45DFA3
SEGMENT = 0x18538067
SEEK_HEAD, SEEK, SEEK_ID, SEEK_POSITION = 0x114D9B74, 0x4DBB, 0x53AB, 0x53AC
INFO, TIMESTAMP_SCALE, DURATION, DATE_UTC = 0x1549A966, 0x2AD7B1, 0x4489, 0x4461
MUXING_APP, WRITING_APP = 0x4D80, 0x5741
TRACKS, TRACK_ENTRY = 0x1654AE6B, 0xAE
CLUSTER, TIMESTAMP, SIMPLE_BLOCK = 0x1F43B675, 0xE7, 0xA3
CUES, CUE_POINT, CUE_TIME = 0x1C53BB6B, 0xBB, 0xB3
CUE_TRACK_POSITIONS, CUE_TRACK, CUE_CLUSTER_POSITION = 0xB7, 0xF7, 0xF1
VOID = 0xEC

UNKNOWN_SIZE = b"\x01" + b"\xff" * 7
"""Of an element that is still being written, in eight bytes."""


def element_id(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8, "big")


def size_field(size: int, width: int = 0) -> bytes:
    """A size as a variable-size integer (RFC 8794, 4), in as few bytes as will do or in `width`."""
    width = width or next(n for n in range(1, 9) if size < (1 << 7 * n) - 1)
    return (size | 1 << 7 * width).to_bytes(width, "big")


def element(number: int, *parts: bytes, width: int = 0) -> bytes:
    body = b"".join(parts)
    return element_id(number) + size_field(len(body), width) + body


def uint(number: int, value: int, width: int = 0) -> bytes:
    """An unsigned integer, in as few bytes as will do or in `width`."""
    return element(number, value.to_bytes(width or max(1, (value.bit_length() + 7) // 8), "big"))


def text(number: int, value: str) -> bytes:
    return element(number, value.encode())


def float64(number: int, value: float) -> bytes:
    return element(number, struct.pack(">d", value))


def void_header(total: int, width: int) -> bytes:
    """The beginning of a Void of `total` bytes whose size field has `width`."""
    return b"\xec" + size_field(total - 1 - width, width)
