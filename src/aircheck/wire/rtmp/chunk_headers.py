"""Headers of chunks (RTMP specification 5.3.1): what each leaves out, its chunk stream knows."""

from __future__ import annotations

import struct
from typing import NamedTuple

from aircheck.wire.rtmp.limits import Limits

DEFAULT_CHUNK_SIZE = 128
EXTENDED = 0xFFFFFF
"""In the place of a timestamp that takes more bits."""
MASK32 = 0xFFFFFFFF

_MESSAGE_HEADER_BYTES = (11, 7, 3, 0)

_word = struct.Struct(">I").unpack_from
_little_word = struct.Struct("<I").unpack_from


def serialize_basic_header(form: int, csid: int) -> bytes:
    """In its 1-, 2- or 3-byte form (5.3.1.1)."""
    if csid < 64:
        return bytes((form << 6 | csid,))
    if csid < 320:
        return bytes((form << 6, csid - 64))
    return bytes((form << 6 | 1, csid - 64 & 0xFF, csid - 64 >> 8))


class ChunkStream:
    """What the next header of a chunk stream may leave out, and its message in the making."""

    __slots__ = (
        "delta",
        "extended",
        "length_and_type",
        "marker",
        "offset",
        "partial",
        "stream_id",
        "timestamp",
    )

    def __init__(self, csid: int) -> None:
        self.marker = serialize_basic_header(3, csid)
        self.timestamp = 0
        self.delta = 0
        self.length_and_type = 0
        self.stream_id = 0
        self.extended = b""
        """The extended timestamp field as last sent, which chunks of type 3 may repeat."""
        self.partial: bytearray | None = None
        self.offset = 0
        """Where the message has begun, counted in everything received."""


class Header(NamedTuple):
    """A chunk's header with nothing left out. `field` is the timestamp or its delta, extended if need be;
    `extended` the bytes that extend it; `end` where the payload begins."""

    csid: int
    stream: ChunkStream
    form: int
    field: int
    length_and_type: int
    stream_id: int
    extended: bytes
    end: int


class HeaderFault(ValueError):
    """The peer's fault: a header that cannot stand here."""


class HeaderReader:
    """Reads headers one by one; keeps the chunk streams by which they are shortened."""

    def __init__(self, limits: Limits) -> None:
        self.chunk_streams: dict[int, ChunkStream] = {}
        self.need = 1
        """How many bytes, from its first one on, the header takes at least that was not whole."""
        self._limits = limits

    def read(self, view: memoryview, position: int, size: int) -> Header | None:
        """Basic header, message header and extended timestamp; None when bytes are missing, `need` at least.

        Raises HeaderFault.
        """
        basic = self._basic_header(view, position, size)
        if basic is None:
            return None
        csid, body = basic
        form = view[position] >> 6
        end = body + _MESSAGE_HEADER_BYTES[form]
        if end > size:
            self.need = end - position
            return None
        stream = self.chunk_streams.get(csid)
        if stream is None:
            stream = self._new_chunk_stream(csid, form)
        elif stream.partial is not None and form != 3:
            raise HeaderFault("a new header inside a message")
        field = int.from_bytes(view[body : body + 3], "big") if form < 3 else stream.delta
        extended = self._extended(view, end, size, stream, form, field)
        if extended is None:
            self.need = size + 1 - position
            return None
        if extended:
            field = _word(extended)[0]
            end += 4 if view[end : end + 4] == extended else 0
        length_and_type = _word(view, body + 3)[0] if form < 2 else stream.length_and_type
        stream_id = _little_word(view, body + 7)[0] if form == 0 else stream.stream_id
        return Header(csid, stream, form, field, length_and_type, stream_id, extended, end)

    def _basic_header(self, view: memoryview, position: int, size: int) -> tuple[int, int] | None:
        """The chunk stream id in its 1-, 2- or 3-byte form, and the position behind it (5.3.1.1)."""
        csid = view[position] & 0x3F
        end = position + (csid + 2 if csid == 0 else 3 if csid == 1 else 1)
        if end > size:
            self.need = end - position
            return None
        if csid == 0:
            csid = 64 + view[position + 1]
        elif csid == 1:
            csid = 64 + view[position + 1] + 256 * view[position + 2]
        return csid, end

    def _new_chunk_stream(self, csid: int, form: int) -> ChunkStream:
        # Type 1 is enough to begin with: librtmp opens chunk stream 2 with a ping that has no stream id.
        if form > 1:
            raise HeaderFault(f"chunk stream {csid} begins with a header of type {form}")
        if len(self.chunk_streams) >= self._limits.max_chunk_streams:
            raise HeaderFault(f"more than {self._limits.max_chunk_streams} chunk streams")
        return ChunkStream(csid)

    def _extended(
        self, view: memoryview, position: int, size: int, stream: ChunkStream, form: int, field: int
    ) -> bytes | None:
        """The extended timestamp field that is in force: empty if none, None if bytes are missing.

        Whether a chunk of type 3 repeats the field is a matter of dialect: FFmpeg and FMLE do, rtmpdump and
        older OBS do not. It does if the bytes there are the field's (5.3.1.3).
        """
        if form < 3:
            if field != EXTENDED:
                return b""
            return bytes(view[position : position + 4]) if position + 4 <= size else None
        if not stream.extended:
            return b""
        there = bytes(view[position : position + 4])
        if len(there) < 4 and stream.extended.startswith(there):
            return None
        return stream.extended
