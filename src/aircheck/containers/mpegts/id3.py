"""Data messages as ID3 tags, after Apple's "Timed Metadata for HTTP Live Streaming".

A message is one ID3v2.4 tag: a TXXX frame with its name and, in JSON, its values for players; a PRIV frame
with the message itself for whoever wants it unchanged. The text is left out where it would be very long.
"""

from __future__ import annotations

from aircheck.media.data_message import json_of, read_message
from aircheck.media.packet import Payload

FORMAT_ID = b"ID3 "
PRIVATE_OWNER = b"application/x-amf"
"""Owner of the PRIV frame: the MIME type of what is in it."""

_MAX_TEXT_BYTES = 32_000
_UTF8 = b"\x03"
_HEADER_BYTES = 10
_VERSION = b"ID3\x04\0\0"


def build_tag(message: Payload) -> bytes:
    """The tag of a message (AMF0)."""
    body = _frame(b"PRIV", PRIVATE_OWNER + b"\0" + bytes(message))
    name, values = read_message(message)
    text = json_of(values).encode("utf-8", "replace")
    if len(text) <= _MAX_TEXT_BYTES:
        title = name.replace("\0", "").encode("utf-8", "replace")
        body = _frame(b"TXXX", _UTF8 + title + b"\0" + text) + body
    return _VERSION + _synchsafe(len(body)) + body


def parse_tag(start: bytes) -> tuple[int, int] | None:
    """How long a tag is that begins so, and how long the message in it; None for what is no tag of ours."""
    if start[: len(_VERSION)] != _VERSION or len(start) < _HEADER_BYTES:
        return None
    total = _HEADER_BYTES + _size(start[6:10])
    position = _HEADER_BYTES
    while position + _HEADER_BYTES <= len(start):
        size = _size(start[position + 4 : position + 8])
        if start[position : position + 4] == b"PRIV":
            return total, size - len(PRIVATE_OWNER) - 1
        position += _HEADER_BYTES + size
    return None


def _frame(kind: bytes, body: bytes) -> bytes:
    return kind + _synchsafe(len(body)) + b"\0\0" + body


def _synchsafe(size: int) -> bytes:
    """28 bits in four bytes that never look like a sync word."""
    return bytes((size >> 21 & 0x7F, size >> 14 & 0x7F, size >> 7 & 0x7F, size & 0x7F))


def _size(field: bytes) -> int:
    return field[0] << 21 | field[1] << 14 | field[2] << 7 | field[3]
