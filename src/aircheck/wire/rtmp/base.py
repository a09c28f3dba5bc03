"""An RTMP connection without I/O: what both ends share.

    connection.receive(data, now)               # b"" is the end; raises RemoteProtocolError
    for event in connection.events(): ...       # also after the error: what came before it
    transport.writelines(connection.data_to_send())

Which input is allowed when, and what it leads to, is written in `state`. Control messages are dealt with in
here: chunk sizes, acknowledgements, pings. So are those commands that need no decision.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from aircheck.wire import amf
from aircheck.wire.amf import AmfValue
from aircheck.wire.errors import LocalProtocolError, RemoteProtocolError
from aircheck.wire.rtmp import events as ev
from aircheck.wire.rtmp import messages, state
from aircheck.wire.rtmp.chunk_parser import ChunkParser
from aircheck.wire.rtmp.chunk_serializer import COMMAND_CSID, CONTROL_CSID, STATUS_CSID, ChunkSerializer
from aircheck.wire.rtmp.commands import Command, parse_command
from aircheck.wire.rtmp.handshake import ClientHandshake, ServerHandshake
from aircheck.wire.rtmp.limits import Limits
from aircheck.wire.rtmp.messages import Buffer, MediaMessage, MediaRun, Message, MessageType, UserControl
from aircheck.wire.rtmp.state import ConnectionInput, ConnectionState, StreamInput, StreamState

WINDOW_ACK_SIZE = 2_500_000
OUTPUT_CHUNK_SIZE = 65_536


class MessageStream:
    """A message stream (NetStream) of a connection."""

    __slots__ = ("id", "key", "publish_type", "request", "state", "wants_to_publish")

    def __init__(self, stream_id: int, initial: StreamState) -> None:
        self.id = stream_id
        self.state = initial
        self.key = ""
        self.request = 0
        self.publish_type = "live"
        self.wants_to_publish = False


class Connection:
    """What both ends share. Use `ServerConnection` or `ClientConnection`."""

    _connection_table: ClassVar[state.ConnectionTable]
    _stream_table: ClassVar[state.StreamTable]

    def __init__(self, handshake: ServerHandshake | ClientHandshake, limits: Limits, session: str) -> None:
        self.state = ConnectionState.HANDSHAKING
        self.session = session
        self.bytes_received = 0
        self.last_received_s = 0.0
        """`now` of the last bytes; whoever watches for idle peers sends them a ping."""
        self.round_trip_s: float | None = None
        """From the last ping that was answered."""
        self.peer_acknowledged_bytes = 0
        self.stray_messages = 0
        """Media outside of a publication."""
        self.ignored_messages = 0
        """Of a type, or with a content, that means nothing to us."""
        self._limits = limits
        self._handshake = handshake
        self._parser = ChunkParser(limits, session=session, offset=0)
        self._serializer = ChunkSerializer()
        self._events: list[ev.Event] = []
        self._output: list[Buffer] = list(handshake.data_to_send())
        self._streams: dict[int, MessageStream] = {}
        self._ack_window = WINDOW_ACK_SIZE
        self._acknowledged = 0
        self._now = 0.0
        self._ping_stamp: int | None = None

    # The contract with whoever does the I/O

    def receive(self, data: Buffer, now: float) -> None:
        """Take what was read; empty means that the peer has closed. `data` may be used again afterwards.

        `now` is monotonic, in seconds. Raises `RemoteProtocolError` if the peer breaks the protocol; events
        from before are there to be drained, and the connection is over.
        """
        if self.state is ConnectionState.ENDED:
            raise LocalProtocolError("data for a connection that has ended", session=self.session)
        self._now = self.last_received_s = now
        if not len(data):
            self._step(ConnectionInput.END)
            return
        try:
            self._receive(data)
        except RemoteProtocolError as error:
            error.locate(session=self.session, offset=self.bytes_received)
            self.state = ConnectionState.ENDED
            raise
        self._acknowledge()

    def events(self) -> list[ev.Event]:
        """What has happened since the last call."""
        happened, self._events = self._events, []
        return happened

    def data_to_send(self) -> list[Buffer]:
        """What is to be written, in order. Media payloads are those handed in, not copies."""
        output, self._output = self._output, []
        return output

    def send_ping(self, now: float) -> None:
        """Ask the peer for a sign of life; `round_trip_s` is set when it comes."""
        if self._is_open():
            self._ping_stamp = int(now * 1000) & 0xFFFFFFFF
            payload = messages.user_control(UserControl.PING_REQUEST, self._ping_stamp)
            self._send_control(MessageType.USER_CONTROL, payload)

    def send_media(self, stream_id: int, type_id: int, timestamp_ms: int, payload: Buffer) -> None:
        """One message of audio (8), video (9) or data (18) to the peer. The payload must not change until it
        is written."""
        self.send_media_batch(stream_id, ((type_id, timestamp_ms, payload),))

    def send_media_batch(self, stream_id: int, batch: Sequence[tuple[int, int, Buffer]]) -> None:
        stream = self._streams.get(stream_id)
        if stream is not None and self._is_open():
            self._step_stream(stream, StreamInput.SEND_MEDIA, batch)

    def respond(self, transaction_id: float, value: AmfValue = None, properties: AmfValue = None) -> None:
        """Answer a command with `_result`; not, if it asks for no answer."""
        if transaction_id and self._is_open():
            self._send_command("_result", transaction_id, properties, value)

    def respond_error(self, transaction_id: float, code: str, description: str) -> None:
        if transaction_id and self._is_open():
            information: AmfValue = {"level": "error", "code": code, "description": description}
            self._send_command("_error", transaction_id, None, information)

    def send_status(self, stream_id: int, level: str, code: str, description: str, details: str = "") -> None:
        """`onStatus` on a message stream; `level` is `status`, `warning` or `error`."""
        if self._is_open():
            self._send_status(stream_id, level, code, description, details)

    # State

    def _step(self, trigger: ConnectionInput, *arguments: object) -> Any:
        transition = self._connection_table.get((self.state, trigger))
        if transition is None:
            raise self._not_allowed(trigger, self.state)
        self.state = transition.next_state
        return getattr(self, transition.handler)(*arguments)

    def _step_stream(self, stream: MessageStream, trigger: StreamInput, *arguments: object) -> None:
        transition = self._stream_table.get((stream.state, trigger))
        if transition is None:
            raise self._not_allowed(trigger, stream.state)
        stream.state = transition.next_state
        getattr(self, transition.handler)(stream, *arguments)

    def _not_allowed(
        self, trigger: ConnectionInput | StreamInput, current: ConnectionState | StreamState
    ) -> LocalProtocolError | RemoteProtocolError:
        blamed = LocalProtocolError if trigger in state.CALLS else RemoteProtocolError
        return blamed(f"{trigger.value} in state {current.value!r}", session=self.session)

    def _is_open(self) -> bool:
        return bool(self._step(ConnectionInput.SEND))

    def _is_heard(self) -> bool:
        return True

    def _is_not_heard(self) -> bool:
        return False

    def _too_late(self, *_: object) -> None:
        """What crosses the end of a connection on its way."""

    def _nothing_to_do(self, *_: object) -> None:
        """Allowed, and without effect."""

    def _ended(self) -> None:
        self._events.append(ev.ConnectionEnded(self._parser.is_mid_message))

    # In

    def _receive(self, data: Buffer) -> None:
        self.bytes_received += len(data)
        if self.state is not ConnectionState.HANDSHAKING:
            self._receive_chunks(data)
            return
        with memoryview(data) as view:
            start = self._receive_handshake(view)
            if start < len(view):
                self._receive_chunks(view[start:])

    def _receive_handshake(self, view: memoryview) -> int:
        size_bytes = self._handshake.receive(view)
        self._output += self._handshake.data_to_send()
        if self._handshake.is_complete:
            offset = self.bytes_received - len(view) + size_bytes
            self._parser = ChunkParser(self._limits, session=self.session, offset=offset)
            self._step(ConnectionInput.HANDSHAKE_DONE)
        return size_bytes

    def _receive_chunks(self, data: Buffer) -> None:
        """A fault in a message comes before one in the chunks behind it."""
        fault = None
        try:
            self._parser.receive(data)
        except RemoteProtocolError as error:
            fault = error
        for item in self._parser.take():
            if isinstance(item, MediaRun):
                self._step(ConnectionInput.MEDIA, item.stream_id, item.messages)
            else:
                self._receive_located(item)
        if fault is not None:
            raise fault

    def _receive_located(self, message: Message) -> None:
        try:
            self._receive_message(message)
        except RemoteProtocolError as error:
            data = bytes(message.payload[:32])
            error.locate(session=self.session, offset=message.offset, data=data)
            raise

    def _receive_message(self, message: Message) -> None:
        match message.type_id:
            case MessageType.COMMAND_AMF0 | MessageType.COMMAND_AMF3:
                self._receive_command(
                    parse_command(message, session=self.session, max_bytes=self._limits.max_amf_bytes)
                )
            case MessageType.DATA_AMF0 | MessageType.DATA_AMF3:
                payload = messages.data_payload(message.type_id, message.payload)
                data = (int(MessageType.DATA_AMF0), message.timestamp, payload)
                self._step(ConnectionInput.MEDIA, message.stream_id, [data])
            case MessageType.AGGREGATE:
                parts, is_whole = messages.split_aggregate(message.payload, message.timestamp)
                self.ignored_messages += not is_whole
                self._step(ConnectionInput.MEDIA, message.stream_id, parts)
            case MessageType.USER_CONTROL:
                self._receive_user_control(message)
            case MessageType.ACKNOWLEDGEMENT:
                self.peer_acknowledged_bytes = self._number_in(message)
            case MessageType.WINDOW_ACK_SIZE:
                self._ack_window = max(1, self._number_in(message))
            case MessageType.SET_PEER_BANDWIDTH:
                self._number_in(message)
                self._send_control(MessageType.WINDOW_ACK_SIZE, messages.uint32(WINDOW_ACK_SIZE))
            case _:
                self.ignored_messages += 1

    def _receive_command(self, command: Command) -> None:
        raise NotImplementedError

    def _unknown_command(self, command: Command) -> None:
        self._events.append(
            ev.CommandReceived(
                command.name,
                command.transaction_id,
                command.command_object,
                command.arguments,
                command.stream_id,
            )
        )

    def _number_in(self, message: Message) -> int:
        if len(message.payload) < 4:
            raise RemoteProtocolError(f"a control message of type {message.type_id} that is cut short")
        return int.from_bytes(message.payload[:4], "big")

    def _receive_user_control(self, message: Message) -> None:
        match messages.parse_user_control(message.payload):
            case UserControl.PING_REQUEST, (stamp, *_):
                payload = messages.user_control(UserControl.PING_RESPONSE, stamp)
                self._send_control(MessageType.USER_CONTROL, payload)
            case UserControl.PING_RESPONSE, (stamp, *_) if stamp == self._ping_stamp:
                elapsed_ms = (int(self._now * 1000) - stamp) & 0xFFFFFFFF
                self.round_trip_s = elapsed_ms / 1000
            case UserControl.SET_BUFFER_LENGTH, (stream_id, buffer_ms, *_):
                self._events.append(ev.BufferLengthSet(stream_id, buffer_ms))
            case UserControl.STREAM_EOF, (stream_id, *_):
                self._stream_eof(stream_id)
            case _:
                self.ignored_messages += 1

    def _stream_eof(self, stream_id: int) -> None:
        """Means something to a client only."""

    def _media(self, stream_id: int, batch: list[MediaMessage]) -> None:
        stream = self._stream_of(stream_id)
        if stream is None:
            self.stray_messages += len(batch)
        else:
            self._step_stream(stream, StreamInput.MEDIA, batch)

    def _stream_of(self, stream_id: int) -> MessageStream | None:
        return self._streams.get(stream_id)

    def _deliver(self, stream: MessageStream, batch: list[MediaMessage]) -> None:
        """One event for all media of a stream that nothing else came between."""
        last = self._events[-1] if self._events else None
        if isinstance(last, ev.MediaReceived) and last.stream_id == stream.id:
            last.messages.extend(batch)
        elif batch:
            self._events.append(ev.MediaReceived(stream.id, batch))

    def _stray_media(self, _: MessageStream, batch: list[MediaMessage]) -> None:
        self.stray_messages += len(batch)

    # Out

    def _acknowledge(self) -> None:
        if self.bytes_received - self._acknowledged >= self._ack_window:
            self._acknowledged = self.bytes_received
            self._send_control(MessageType.ACKNOWLEDGEMENT, messages.uint32(self.bytes_received & 0xFFFFFFFF))

    def _send_control(self, type_id: MessageType, payload: bytes) -> None:
        self._serializer.serialize(self._output, CONTROL_CSID, type_id, 0, 0, payload)

    def _send_chunk_size(self) -> None:
        self._send_control(MessageType.SET_CHUNK_SIZE, messages.uint32(OUTPUT_CHUNK_SIZE))
        self._serializer.chunk_size = OUTPUT_CHUNK_SIZE

    def _send_command(self, name: str, transaction_id: float, *values: AmfValue, stream_id: int = 0) -> None:
        payload = amf.serialize(name, transaction_id, *values)
        csid = STATUS_CSID if stream_id else COMMAND_CSID
        self._serializer.serialize(self._output, csid, MessageType.COMMAND_AMF0, 0, stream_id, payload)

    def _send_status(
        self, stream_id: int, level: str, code: str, description: str, details: str = "", tc_url: str = ""
    ) -> None:
        information: dict[str, AmfValue] = {"level": level, "code": code, "description": description}
        if details:
            information["details"] = details
        if tc_url:
            information["tcUrl"] = tc_url
        self._send_command("onStatus", 0.0, None, information, stream_id=stream_id)

    def _write_media(self, stream: MessageStream, batch: Sequence[tuple[int, int, Buffer]]) -> None:
        self._serializer.serialize_all(self._output, stream.id, batch)
