"""The chunk stream (RTMP specification 5.3): bytes to messages.

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

from aircheck.wire.errors import RemoteProtocolError
from aircheck.wire.rtmp.chunk_headers import (
    DEFAULT_CHUNK_SIZE,
    EXTENDED,
    MASK32,
    ChunkStream,
    Header,
    HeaderFault,
    HeaderReader,
)
from aircheck.wire.rtmp.limits import DEFAULT_LIMITS, Limits
from aircheck.wire.rtmp.messages import Buffer, MediaMessage, MediaRun, Message, MessageType

_AUDIO = int(MessageType.AUDIO)
_VIDEO = int(MessageType.VIDEO)
_LONGEST_PLAIN_HEADER_BYTES = 12
_FEW_CONTINUATIONS = 8
"""Up to so many, to join the pieces of a message is cheaper than to cut the headers out of a copy."""
_FORMAT_3 = 0xC0

_two_words = struct.Struct(">II").unpack_from
_word = struct.Struct(">I").unpack_from
_little_word = struct.Struct("<I").unpack_from


class ChunkParser:
    """Feed it with `receive`, then `take` what has become complete.

    `receive` keeps no reference to its argument. It raises `RemoteProtocolError` for a peer's fault; what
    was complete before is there to be taken all the same.
    """

    def __init__(self, limits: Limits = DEFAULT_LIMITS, *, session: str = "", offset: int = 0) -> None:
        self.chunk_size = DEFAULT_CHUNK_SIZE
        self._limits = limits
        self._session = session
        self._headers = HeaderReader(limits)
        self._chunk_streams = self._headers.chunk_streams
        self._output: list[Message | MediaRun] = []
        self._latest: ChunkStream | None = None
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
            if (type_id != 9 and type_id != 8) or delta == EXTENDED or length > max_message_bytes:
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
        try:
            header = self._headers.read(view, position, size)
        except HeaderFault as fault:
            raise self._fault(str(fault), position, view) from None
        if header is None:
            self._need = self._headers.need
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

    def _begin(self, header: Header, position: int) -> None:
        """The first chunk of a message is there: from now on its header is what others leave out."""
        stream = header.stream
        start = 0 if header.form == 0 else stream.timestamp
        stream.timestamp = start + header.field & MASK32
        stream.delta = header.field
        stream.length_and_type = header.length_and_type
        stream.stream_id = header.stream_id
        stream.extended = header.extended
        stream.offset = self._base + position
        self._chunk_streams[header.csid] = stream

    def _check_length(self, length: int, position: int, view: memoryview) -> None:
        if length > self._limits.max_message_bytes:
            raise self._fault(
                f"a message of {length} bytes; {self._limits.max_message_bytes} are allowed", position, view
            )
        if length + self._pending_bytes > self._limits.max_pending_bytes:
            raise self._fault(
                f"unfinished messages of more than {self._limits.max_pending_bytes} bytes", position, view
            )

    def _add_payload(self, stream: ChunkStream, payload: memoryview) -> None:
        length = stream.length_and_type >> 8
        if stream.partial is not None:
            stream.partial += payload
            self._finish(stream)
        elif len(payload) == length:
            self._complete(stream, bytes(payload))
        else:
            stream.partial = bytearray(payload)
            self._pending_bytes += length

    def _finish(self, stream: ChunkStream) -> None:
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

    def _complete(self, stream: ChunkStream, payload: bytes | bytearray) -> None:
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

    def _set_chunk_size(self, stream: ChunkStream, payload: Buffer) -> None:
        size_bytes = int.from_bytes(payload[:4], "big") if len(payload) >= 4 else 0
        allowed = self._limits.max_chunk_size
        if not 1 <= size_bytes <= allowed:
            raise self._message_fault(
                f"a chunk size of {size_bytes}; 1 to {allowed} are allowed", stream, payload
            )
        self.chunk_size = size_bytes

    def _abort(self, stream: ChunkStream, payload: Buffer) -> None:
        if len(payload) < 4:
            raise self._message_fault("an Abort message that names no chunk stream", stream, payload)
        aborted = self._chunk_streams.get(int.from_bytes(payload[:4], "big"))
        if aborted is not None and aborted.partial is not None:
            aborted.partial = None
            self._pending_bytes -= aborted.length_and_type >> 8

    def _message_fault(self, message: str, stream: ChunkStream, payload: Buffer) -> RemoteProtocolError:
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
