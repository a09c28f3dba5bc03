"""The chunk stream (RTMP specification 5.3): bytes to messages and back.

The parser takes the bytes of one read in one pass. Three paths, from fast to slow:

1. `_whole_messages`: an audio or video message that lies in the buffer whole, however many chunks it has.
2. `_continue`: chunks in a row that continue a message which lies in several buffers.
3. `_one_chunk`: everything else, chunk by chunk. Only this path changes headers, waits, or finds fault.

All three agree on one rule: a chunk is taken once all of it is there. So what comes out depends on the bytes
alone and never on how they were split, and at most one chunk is kept from read to read, beside the messages
that have begun.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import NamedTuple

from aircheck.wire.errors import LocalProtocolError, RemoteProtocolError
from aircheck.wire.rtmp.limits import DEFAULT_LIMITS, Limits
from aircheck.wire.rtmp.messages import Buffer, MediaMessage, MediaRun, Message, MessageType

DEFAULT_CHUNK_SIZE = 128

_AUDIO = int(MessageType.AUDIO)
_VIDEO = int(MessageType.VIDEO)
_EXTENDED = 0xFFFFFF
_MASK32 = 0xFFFFFFFF
_MESSAGE_HEADER_BYTES = (11, 7, 3, 0)
_LONGEST_PLAIN_HEADER_BYTES = 12
_FEW_CONTINUATIONS = 8
"""Up to so many, to join the pieces of a message is cheaper than to cut the headers out of a copy."""
_FORMAT_3 = 0xC0

_uint32 = struct.Struct(">I")
_two_words = struct.Struct(">II").unpack_from
_word = _uint32.unpack_from
_little_word = struct.Struct("<I").unpack_from


class _ChunkStream:
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
        self.marker = _basic_header(3, csid)
        self.timestamp = 0
        self.delta = 0
        self.length_and_type = 0
        self.stream_id = 0
        self.extended = b""
        """The extended timestamp field as last sent, which chunks of type 3 may repeat."""
        self.partial: bytearray | None = None
        self.offset = 0
        """Where the message has begun, counted in everything received."""


class _Header(NamedTuple):
    """A chunk's header with nothing left out. `field` is the timestamp or its delta, extended if need be;
    `extended` the bytes that extend it; `end` where the payload begins."""

    csid: int
    stream: _ChunkStream
    form: int
    field: int
    length_and_type: int
    stream_id: int
    extended: bytes
    end: int


class ChunkParser:
    """Feed it with `receive`, then `take` what has become complete.

    `receive` keeps no reference to its argument. It raises `RemoteProtocolError` for a peer's fault; what
    was complete before is there to be taken all the same.
    """

    def __init__(self, limits: Limits = DEFAULT_LIMITS, *, session: str = "", offset: int = 0) -> None:
        self.chunk_size = DEFAULT_CHUNK_SIZE
        self._limits = limits
        self._session = session
        self._chunk_streams: dict[int, _ChunkStream] = {}
        self._output: list[Message | MediaRun] = []
        self._latest: _ChunkStream | None = None
        self._run: list[MediaMessage] | None = None
        self._run_stream_id = 0
        self._tail = bytearray()
        self._need = 1
        self._pending_bytes = 0
        self._base = offset

    @property
    def is_mid_message(self) -> bool:
        """Whether a message, or a chunk, has begun and is not complete."""
        return bool(self._tail) or self._pending_bytes > 0

    def take(self) -> list[Message | MediaRun]:
        """All that has become complete since the last call, in order."""
        output, self._output, self._run = self._output, [], None
        return output

    def receive(self, data: Buffer) -> None:
        with memoryview(data) as view:
            position = self._complete_tail(view) if self._tail else 0
            if position < len(view):
                position += self._parse(view[position:] if position else view)
                self._tail += view[position:]

    def _complete_tail(self, view: memoryview) -> int:
        """Join the chunk that the last read left unfinished, and only that; return what it took."""
        position = 0
        while self._tail and position < len(view):
            end = position + self._need - len(self._tail)
            self._tail += view[position:end]
            position = min(end, len(view))
            if len(self._tail) < self._need:
                break
            with memoryview(self._tail) as tail:
                consumed = self._parse(tail)
            del self._tail[:consumed]
        return position

    def _parse(self, view: memoryview) -> int:
        """Take all whole chunks in `view`; return their size. `_need` then says what the next one takes."""
        position, size = 0, len(view)
        self._need = 1
        while position < size:
            start = position
            position = self._whole_messages(view, start, size)
            if self._pending_bytes and position < size:
                position = self._continue(view, position, size)
            if position == start:
                position = self._one_chunk(view, start, size)
                if position == start:
                    break
        self._base += position
        return position

    def _whole_messages(self, view: memoryview, position: int, size: int) -> int:
        """Take audio and video messages as long as they are whole, plain and in one piece.

        This loop is what a stream costs. It changes nothing before a message is known to be complete, and
        leaves whatever it does not understand to `_one_chunk`.
        """
        if self._pending_bytes:
            return position
        run, run_stream_id = self._run, self._run_stream_id
        find_stream = self._chunk_streams.get
        chunk_size, stride = self.chunk_size, self.chunk_size + 1
        max_message_bytes = self._limits.max_message_bytes
        last = size - _LONGEST_PLAIN_HEADER_BYTES
        while position <= last:
            header = view[position]
            stream = find_stream(header & 0x3F)
            if stream is None or stream.extended:
                break
            if 0x40 <= header < 0x80:
                delta, length_and_type = _two_words(view, position)
                delta &= 0xFFFFFF
                timestamp = stream.timestamp + delta & 0xFFFFFFFF
                body = position + 8
            elif header >= 0xC0:
                delta, length_and_type = stream.delta, stream.length_and_type
                timestamp = stream.timestamp + delta & 0xFFFFFFFF
                body = position + 1
            elif header >= 0x80:
                delta = _word(view, position)[0] & 0xFFFFFF
                length_and_type = stream.length_and_type
                timestamp = stream.timestamp + delta & 0xFFFFFFFF
                body = position + 4
            else:
                timestamp, length_and_type = _two_words(view, position)
                timestamp = delta = timestamp & 0xFFFFFF
                body = position + 12
                if _little_word(view, position + 8)[0] != stream.stream_id:
                    break
            type_id = length_and_type & 0xFF
            length = length_and_type >> 8
            if (type_id != 9 and type_id != 8) or delta == _EXTENDED or length > max_message_bytes:
                break
            payload: bytes | bytearray
            if length <= chunk_size:
                end = body + length
                if end > size:
                    break
                payload = bytes(view[body:end])
            else:
                continuations = (length - 1) // chunk_size
                end = body + length + continuations
                if end > size:
                    break
                marker = body + chunk_size
                if continuations <= _FEW_CONTINUATIONS:
                    pieces = [view[body:marker]]
                    while marker < end and view[marker] == header | _FORMAT_3:
                        piece = marker + 1
                        marker += stride
                        pieces.append(view[piece:marker] if marker < end else view[piece:end])
                    if marker < end:
                        break
                    payload = b"".join(pieces)
                else:
                    payload = bytearray(view[body:end])
                    if payload[chunk_size::stride].count(header | _FORMAT_3) != continuations:
                        break
                    del payload[chunk_size::stride]
            stream.timestamp = timestamp
            stream.delta = delta
            stream.length_and_type = length_and_type
            if run is None or stream.stream_id != run_stream_id:
                run_stream_id = stream.stream_id
                run = self._begin_run(run_stream_id)
            run.append((type_id, timestamp, payload))
            position = end
        return position

    def _one_chunk(self, view: memoryview, position: int, size: int) -> int:
        """Take the chunk at `position`; return its end, or `position` when bytes are missing: `_need` then
        says how many the chunk takes at least."""
        header = self._header(view, position, size)
        if header is None:
            return position
        stream, body = header.stream, header.end
        length = header.length_and_type >> 8
        if stream.partial is None:
            self._check_length(length, position, view)
        missing = length if stream.partial is None else length - len(stream.partial)
        end = body + min(self.chunk_size, missing)
        if end > size:
            self._need = end - position
            return position
        if stream.partial is None:
            self._begin(header, position)
        self._latest = stream
        self._add_payload(stream, view[body:end])
        return end

    def _header(self, view: memoryview, position: int, size: int) -> _Header | None:
        """Basic header, message header and extended timestamp (5.3.1); None when bytes are missing."""
        basic = self._basic_header(view, position, size)
        if basic is None:
            return None
        csid, body = basic
        form = view[position] >> 6
        end = body + _MESSAGE_HEADER_BYTES[form]
        if end > size:
            self._need = end - position
            return None
        stream = self._chunk_streams.get(csid)
        if stream is None:
            stream = self._new_chunk_stream(csid, form, position, view)
        elif stream.partial is not None and form != 3:
            raise self._fault("a new header inside a message", position, view)
        field = int.from_bytes(view[body : body + 3], "big") if form < 3 else stream.delta
        extended = self._extended(view, end, size, stream, form, field)
        if extended is None:
            self._need = size + 1 - position
            return None
        if extended:
            field = _word(extended)[0]
            end += 4 if view[end : end + 4] == extended else 0
        length_and_type = _word(view, body + 3)[0] if form < 2 else stream.length_and_type
        stream_id = _little_word(view, body + 7)[0] if form == 0 else stream.stream_id
        return _Header(csid, stream, form, field, length_and_type, stream_id, extended, end)

    def _begin(self, header: _Header, position: int) -> None:
        """The first chunk of a message is there: from now on its header is what others leave out."""
        stream = header.stream
        start = 0 if header.form == 0 else stream.timestamp
        stream.timestamp = start + header.field & _MASK32
        stream.delta = header.field
        stream.length_and_type = header.length_and_type
        stream.stream_id = header.stream_id
        stream.extended = header.extended
        stream.offset = self._base + position
        self._chunk_streams[header.csid] = stream

    def _basic_header(self, view: memoryview, position: int, size: int) -> tuple[int, int] | None:
        """The chunk stream id in its 1-, 2- or 3-byte form, and the position behind it (5.3.1.1)."""
        csid = view[position] & 0x3F
        end = position + (csid + 2 if csid == 0 else 3 if csid == 1 else 1)
        if end > size:
            self._need = end - position
            return None
        if csid == 0:
            csid = 64 + view[position + 1]
        elif csid == 1:
            csid = 64 + view[position + 1] + 256 * view[position + 2]
        return csid, end

    def _new_chunk_stream(self, csid: int, form: int, position: int, view: memoryview) -> _ChunkStream:
        # Type 1 is enough to begin with: librtmp opens chunk stream 2 with a ping that has no stream id.
        if form > 1:
            raise self._fault(f"chunk stream {csid} begins with a header of type {form}", position, view)
        if len(self._chunk_streams) >= self._limits.max_chunk_streams:
            raise self._fault(f"more than {self._limits.max_chunk_streams} chunk streams", position, view)
        return _ChunkStream(csid)

    def _extended(
        self, view: memoryview, position: int, size: int, stream: _ChunkStream, form: int, field: int
    ) -> bytes | None:
        """The extended timestamp field that is in force: empty if none, None if bytes are missing.

        Whether a chunk of type 3 repeats the field is a matter of dialect: FFmpeg and FMLE do, rtmpdump and
        older OBS do not. It does if the bytes there are the field's (5.3.1.3).
        """
        if form < 3:
            if field != _EXTENDED:
                return b""
            return bytes(view[position : position + 4]) if position + 4 <= size else None
        if not stream.extended:
            return b""
        there = bytes(view[position : position + 4])
        if len(there) < 4 and stream.extended.startswith(there):
            return None
        return stream.extended

    def _check_length(self, length: int, position: int, view: memoryview) -> None:
        if length > self._limits.max_message_bytes:
            raise self._fault(
                f"a message of {length} bytes; {self._limits.max_message_bytes} are allowed", position, view
            )
        if length + self._pending_bytes > self._limits.max_pending_bytes:
            raise self._fault(
                f"unfinished messages of more than {self._limits.max_pending_bytes} bytes", position, view
            )

    def _add_payload(self, stream: _ChunkStream, payload: memoryview) -> None:
        length = stream.length_and_type >> 8
        if stream.partial is not None:
            stream.partial += payload
            self._finish(stream)
        elif len(payload) == length:
            self._complete(stream, bytes(payload))
        else:
            stream.partial = bytearray(payload)
            self._pending_bytes += length

    def _finish(self, stream: _ChunkStream) -> None:
        """End a message in the making if nothing of it is missing any more."""
        partial, length = stream.partial, stream.length_and_type >> 8
        if partial is not None and len(partial) == length:
            stream.partial = None
            self._pending_bytes -= length
            self._complete(stream, partial)

    def _continue(self, view: memoryview, position: int, size: int) -> int:
        """Take the chunks in a row that continue the message begun last, to its end if it is there."""
        stream = self._latest
        if stream is None or stream.partial is None or stream.extended or len(stream.marker) > 1:
            return position
        chunk_size, stride = self.chunk_size, self.chunk_size + 1
        partial = stream.partial
        before = len(partial)
        missing = (stream.length_and_type >> 8) - before
        count = (missing - 1) // chunk_size + 1
        end = position + missing + count
        if end > size:
            count = (size - position) // stride
            end = position + count * stride
        partial += view[position:end]
        markers = partial[before::stride]
        if markers.count(stream.marker) != count:
            taken = stride * (count - len(markers.lstrip(stream.marker)))
            end = position + taken
            del partial[before + taken :]
        del partial[before::stride]
        self._finish(stream)
        return end

    def _complete(self, stream: _ChunkStream, payload: bytes | bytearray) -> None:
        type_id = stream.length_and_type & 0xFF
        if type_id in (_AUDIO, _VIDEO):
            self._begin_run(stream.stream_id).append((type_id, stream.timestamp, payload))
        elif type_id == MessageType.SET_CHUNK_SIZE:
            self._set_chunk_size(stream, payload)
        elif type_id == MessageType.ABORT:
            self._abort(stream, payload)
        else:
            self._output.append(Message(type_id, stream.timestamp, stream.stream_id, payload, stream.offset))
            self._run = None

    def _begin_run(self, stream_id: int) -> list[MediaMessage]:
        """The run that media of this message stream belongs to: the current one if nothing came between."""
        if self._run is None or stream_id != self._run_stream_id:
            self._run, self._run_stream_id = [], stream_id
            self._output.append(MediaRun(stream_id, self._run))
        return self._run

    def _set_chunk_size(self, stream: _ChunkStream, payload: Buffer) -> None:
        size_bytes = int.from_bytes(payload[:4], "big") if len(payload) >= 4 else 0
        allowed = self._limits.max_chunk_size
        if not 1 <= size_bytes <= allowed:
            raise self._message_fault(
                f"a chunk size of {size_bytes}; 1 to {allowed} are allowed", stream, payload
            )
        self.chunk_size = size_bytes

    def _abort(self, stream: _ChunkStream, payload: Buffer) -> None:
        if len(payload) < 4:
            raise self._message_fault("an Abort message that names no chunk stream", stream, payload)
        aborted = self._chunk_streams.get(int.from_bytes(payload[:4], "big"))
        if aborted is not None and aborted.partial is not None:
            aborted.partial = None
            self._pending_bytes -= aborted.length_and_type >> 8

    def _message_fault(self, message: str, stream: _ChunkStream, payload: Buffer) -> RemoteProtocolError:
        return RemoteProtocolError(
            message, session=self._session, offset=stream.offset, data=bytes(payload[:32])
        )

    def _fault(self, message: str, position: int, view: memoryview) -> RemoteProtocolError:
        return RemoteProtocolError(
            message,
            session=self._session,
            offset=self._base + position,
            data=bytes(view[position : position + 32]),
        )


def _basic_header(form: int, csid: int) -> bytes:
    if csid < 64:
        return bytes((form << 6 | csid,))
    if csid < 320:
        return bytes((form << 6, csid - 64))
    return bytes((form << 6 | 1, csid - 64 & 0xFF, csid - 64 >> 8))


class _Sent:
    """The last message on a chunk stream that we write."""

    __slots__ = ("stream_id", "timestamp")

    def __init__(self, timestamp: int, stream_id: int) -> None:
        self.timestamp = timestamp
        self.stream_id = stream_id


class ChunkSerializer:
    """Messages to chunks. Payloads are passed on, not copied: they must not change until they are written."""

    def __init__(self) -> None:
        self.chunk_size = DEFAULT_CHUNK_SIZE
        self._sent: dict[int, _Sent] = {}

    def serialize(
        self, out: list[Buffer], csid: int, type_id: int, timestamp: int, stream_id: int, payload: Buffer
    ) -> None:
        """Append the chunks of one message to `out`. Raises `LocalProtocolError` if it is too long."""
        length = len(payload)
        if length > 0xFFFFFF:
            raise LocalProtocolError(f"a message of {length} bytes; 16777215 are possible")
        header, extended = self._header(csid, type_id, timestamp & _MASK32, stream_id, length)
        chunk_size = self.chunk_size
        if length <= chunk_size:
            out += (header, payload) if length else (header,)
            return
        continuation = _basic_header(3, csid) + extended
        view = memoryview(payload)
        out += (header, view[:chunk_size])
        for start in range(chunk_size, length, chunk_size):
            out += (continuation, view[start : start + chunk_size])

    def serialize_all(
        self, out: list[Buffer], stream_id: int, messages: Iterable[tuple[int, int, Buffer]]
    ) -> None:
        """Append media messages, each on the chunk stream of its type."""
        for type_id, timestamp, payload in messages:
            self.serialize(out, MEDIA_CSIDS.get(type_id, DATA_CSID), type_id, timestamp, stream_id, payload)

    def _header(
        self, csid: int, type_id: int, timestamp: int, stream_id: int, length: int
    ) -> tuple[bytes, bytes]:
        """Of type 0 to begin with, for another message stream and for time that goes back; else of type 1."""
        sent = self._sent.get(csid)
        if sent is None:
            self._sent[csid] = _Sent(timestamp, stream_id)
            return self._full_header(csid, type_id, timestamp, stream_id, length)
        delta = timestamp - sent.timestamp & _MASK32
        sent.timestamp = timestamp
        if sent.stream_id != stream_id or delta >= 0x80000000:
            sent.stream_id = stream_id
            return self._full_header(csid, type_id, timestamp, stream_id, length)
        field, extended = _timestamp_field(delta)
        return _basic_header(1, csid) + _words(field, length, type_id) + extended, extended

    def _full_header(
        self, csid: int, type_id: int, timestamp: int, stream_id: int, length: int
    ) -> tuple[bytes, bytes]:
        field, extended = _timestamp_field(timestamp)
        words = _words(field, length, type_id)
        return _basic_header(0, csid) + words + stream_id.to_bytes(4, "little") + extended, extended


CONTROL_CSID = 2
COMMAND_CSID = 3
STATUS_CSID = 5
DATA_CSID = 7
MEDIA_CSIDS = {_AUDIO: 4, _VIDEO: 6}


def _timestamp_field(value: int) -> tuple[int, bytes]:
    return (_EXTENDED, _uint32.pack(value)) if value >= _EXTENDED else (value, b"")


def _words(field: int, length: int, type_id: int) -> bytes:
    return (field << 32 | length << 8 | type_id).to_bytes(7, "big")
