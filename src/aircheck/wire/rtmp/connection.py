"""An RTMP connection without I/O: what both ends share, and the server's end.

    connection.receive(data, now)               # b"" is the end; raises RemoteProtocolError
    for event in connection.events(): ...       # also after the error: what came before it
    transport.writelines(connection.data_to_send())

Which input is allowed when, and what it leads to, is written in `state`. Control messages are dealt with in
here: chunk sizes, acknowledgements, pings. So are those commands that need no decision.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TypeVar

from aircheck.wire import amf
from aircheck.wire.amf import AmfValue
from aircheck.wire.errors import LocalProtocolError, RemoteProtocolError
from aircheck.wire.rtmp import events as ev
from aircheck.wire.rtmp import messages, state
from aircheck.wire.rtmp.chunks import (
    COMMAND_CSID,
    CONTROL_CSID,
    STATUS_CSID,
    ChunkParser,
    ChunkSerializer,
)
from aircheck.wire.rtmp.commands import (
    CAPS_RECONNECT,
    Command,
    ConnectParameters,
    enhanced_answer,
    parse_command,
    parse_connect,
    parse_target,
)
from aircheck.wire.rtmp.handshake import ClientHandshake, ServerHandshake
from aircheck.wire.rtmp.limits import DEFAULT_LIMITS, Limits
from aircheck.wire.rtmp.messages import Buffer, MediaMessage, MediaRun, Message, MessageType, UserControl
from aircheck.wire.rtmp.state import ConnectionInput, ConnectionState, StreamInput, StreamState

__all__ = ["Connection", "Limits", "MessageStream", "ServerConnection"]

WINDOW_ACK_SIZE = 2_500_000
PEER_BANDWIDTH_DYNAMIC = 2
OUTPUT_CHUNK_SIZE = 65_536
SERVER_VERSION = "FMS/3,0,1,123"
SERVER_CAPABILITIES = 31.0

_StateT = TypeVar("_StateT", ConnectionState, StreamState)


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
            error.session = self.session
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
            stamp = int(now * 1000) & 0xFFFFFFFF
            self._send_control(
                MessageType.USER_CONTROL, messages.user_control(UserControl.PING_REQUEST, stamp)
            )

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
        start = 0
        with memoryview(data) as view:
            self.bytes_received += len(view)
            if self.state is ConnectionState.HANDSHAKING:
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

    def _receive_chunks(self, view: memoryview) -> None:
        """A fault in a message comes before one in the chunks behind it."""
        fault = None
        try:
            self._parser.receive(view)
        except RemoteProtocolError as error:
            fault = error
        for item in self._parser.take():
            if isinstance(item, MediaRun):
                self._step(ConnectionInput.MEDIA, item.stream_id, item.messages)
            else:
                self._receive_message(item)
        if fault is not None:
            raise fault

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

    def _number_in(self, message: Message) -> int:
        if len(message.payload) < 4:
            raise RemoteProtocolError(
                f"a control message of type {message.type_id} that is cut short",
                offset=message.offset,
                data=bytes(message.payload),
            )
        return int.from_bytes(message.payload[:4], "big")

    def _receive_user_control(self, message: Message) -> None:
        match messages.parse_user_control(message.payload):
            case UserControl.PING_REQUEST, (stamp, *_):
                payload = messages.user_control(UserControl.PING_RESPONSE, stamp)
                self._send_control(MessageType.USER_CONTROL, payload)
            case UserControl.PING_RESPONSE, (stamp, *_):
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
        stream = self._streams.get(stream_id)
        if stream is None:
            self.stray_messages += len(batch)
        else:
            self._step_stream(stream, StreamInput.MEDIA, batch)

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


class ServerConnection(Connection):
    """The end that listens. Every request waits for one call that accepts or rejects it.

    An answer to a stream that its client has closed meanwhile is sent all the same; one to a client that has
    gone is dropped. Neither is an error, for nobody can know.
    """

    _connection_table = state.SERVER_CONNECTION
    _stream_table = state.SERVER_STREAM

    def __init__(self, limits: Limits = DEFAULT_LIMITS, *, session: str = "") -> None:
        super().__init__(ServerHandshake(session), limits, session)
        self.connect_parameters = ConnectParameters()
        """What the client has said in `connect`."""
        self._connect = Command("connect", 0.0, {}, ())
        self._requests: dict[int, MessageStream] = {}
        self._last_request = 0
        self._last_stream_id = 0

    # Answers

    def accept_connect(self, asked: ev.ConnectRequested) -> None:
        self._step(ConnectionInput.ACCEPT)

    def reject_connect(
        self,
        asked: ev.ConnectRequested,
        code: str = "NetConnection.Connect.Rejected",
        description: str = "",
    ) -> None:
        """The caller closes once what is to be sent has been."""
        self._step(ConnectionInput.REJECT, code, description)

    def accept_publish(
        self, asked: ev.PublishRequested, description: str = "Publishing.", details: str = ""
    ) -> None:
        stream = self._answered(asked.request)
        self.send_status(stream.id, "status", "NetStream.Publish.Start", description, details)

    def reject_publish(
        self, asked: ev.PublishRequested, code: str = "NetStream.Publish.BadName", description: str = ""
    ) -> None:
        """Codes: `NetStream.Publish.BadName` (in use), `NetStream.Publish.Unauthorized`, …"""
        stream = self._answered(asked.request, StreamInput.REJECT)
        self.send_status(stream.id, "error", code, description)

    def accept_play(self, asked: ev.PlayRequested, description: str = "Playing.", details: str = "") -> None:
        stream = self._answered(asked.request)
        if not self._is_open():
            return
        begin = messages.user_control(UserControl.STREAM_BEGIN, stream.id)
        self._send_control(MessageType.USER_CONTROL, begin)
        self._send_status(stream.id, "status", "NetStream.Play.Reset", description, details)
        self._send_status(stream.id, "status", "NetStream.Play.Start", description, details)

    def reject_play(
        self, asked: ev.PlayRequested, code: str = "NetStream.Play.StreamNotFound", description: str = ""
    ) -> None:
        stream = self._answered(asked.request, StreamInput.REJECT)
        self.send_status(stream.id, "error", code, description)

    def end_play(self, stream_id: int, description: str = "The stream has ended.") -> None:
        """Tell a viewer that no more comes."""
        stream = self._streams.get(stream_id)
        if stream is not None and self._is_open():
            self._step_stream(stream, StreamInput.ASK_CLOSE, description)

    def request_reconnect(self, description: str = "", tc_url: str = "") -> bool:
        """Ask the client to connect anew (to `tc_url` unless empty), as before a restart. Returns False, and
        sends nothing, if the client has not said that it understands."""
        if not self.connect_parameters.caps_ex & CAPS_RECONNECT or not self._is_open():
            return False
        code = "NetConnection.Connect.ReconnectRequest"
        self._send_status(0, "status", code, description, tc_url=tc_url)
        return True

    def _answered(self, request: int, verdict: StreamInput = StreamInput.ACCEPT) -> MessageStream:
        """The stream of a request; it changes state unless it has moved on since."""
        stream = self._requests.pop(request, None)
        if stream is None:
            raise LocalProtocolError(f"request {request} is not waiting for an answer", session=self.session)
        if stream.request == request:
            self._step_stream(stream, verdict)
        return stream

    def _accepted(self, stream: MessageStream) -> None:
        stream.request = 0

    def _rejected(self, stream: MessageStream) -> None:
        stream.request = 0

    # NetConnection

    def _handshake_done(self) -> None:
        self._events.append(ev.HandshakeCompleted(self._handshake.scheme, self._handshake.peer_version))

    def _receive_command(self, command: Command) -> None:
        is_connect = command.name == "connect"
        self._step(ConnectionInput.CONNECT if is_connect else ConnectionInput.COMMAND, command)

    def _connect_asked(self, command: Command) -> None:
        self._connect = command
        self.connect_parameters = said = parse_connect(command.command_object)
        self._events.append(
            ev.ConnectRequested(
                app=said.app,
                tc_url=said.tc_url,
                query=said.query,
                flash_version=said.flash_version,
                object_encoding=said.object_encoding,
                fourccs=said.fourccs,
                caps_ex=said.caps_ex,
                command_object=command.command_object,
                arguments=command.arguments,
            )
        )

    def _connect_accepted(self) -> None:
        self._send_control(MessageType.WINDOW_ACK_SIZE, messages.uint32(WINDOW_ACK_SIZE))
        bandwidth = messages.set_peer_bandwidth(WINDOW_ACK_SIZE, PEER_BANDWIDTH_DYNAMIC)
        self._send_control(MessageType.SET_PEER_BANDWIDTH, bandwidth)
        self._send_chunk_size()
        properties: dict[str, AmfValue] = {"fmsVer": SERVER_VERSION, "capabilities": SERVER_CAPABILITIES}
        properties |= enhanced_answer(self._connect.command_object)
        information: AmfValue = {
            "level": "status",
            "code": "NetConnection.Connect.Success",
            "description": "Connection succeeded.",
            "objectEncoding": 0.0,
        }
        self._send_command("_result", self._connect.transaction_id, properties, information)

    def _connect_rejected(self, code: str, description: str) -> None:
        information: AmfValue = {"level": "error", "code": code, "description": description}
        self._send_command("_error", self._connect.transaction_id, None, information)

    def _command(self, command: Command) -> None:
        handler = _SERVER_COMMANDS.get(command.name)
        if handler is not None:
            getattr(self, handler)(command)
            return
        self._events.append(
            ev.CommandReceived(
                command.name,
                command.transaction_id,
                command.command_object,
                command.arguments,
                command.stream_id,
            )
        )

    def _answer_null(self, command: Command) -> None:
        self.respond(command.transaction_id)

    def _create_stream(self, command: Command) -> None:
        self._last_stream_id += 1
        while self._last_stream_id in self._streams:
            self._last_stream_id += 1
        if len(self._streams) >= self._limits.max_message_streams:
            allowed = self._limits.max_message_streams
            self.respond_error(
                command.transaction_id, "NetConnection.Call.Failed", f"No more than {allowed} streams."
            )
            return
        self._stream(self._last_stream_id)
        self.respond(command.transaction_id, float(self._last_stream_id))

    def _stream(self, stream_id: int) -> MessageStream:
        """Created if need be: there are encoders that publish without having asked for a stream."""
        stream = self._streams.get(stream_id)
        if stream is None:
            if len(self._streams) >= self._limits.max_message_streams:
                raise RemoteProtocolError(f"more than {self._limits.max_message_streams} message streams")
            stream = self._streams[stream_id] = MessageStream(stream_id, StreamState.IDLE)
        return stream

    def _delete_stream(self, command: Command) -> None:
        stream = self._streams.get(int(command.number(0)))
        if stream is not None:
            self._step_stream(stream, StreamInput.CLOSE, ev.CloseReason.DELETE_STREAM)
            del self._streams[stream.id]

    def _close_stream(self, command: Command) -> None:
        stream = self._streams.get(command.stream_id)
        if stream is not None:
            self._step_stream(stream, StreamInput.CLOSE, ev.CloseReason.CLOSE_STREAM)

    def _fc_unpublish(self, command: Command) -> None:
        """Names the stream by its key; what has only one stream cannot be mistaken."""
        self.respond(command.transaction_id)
        publishing = [
            stream
            for stream in self._streams.values()
            if stream.state in (StreamState.PUBLISH_ASKED, StreamState.PUBLISHING)
        ]
        named = [stream for stream in publishing if stream.key == command.text(0)]
        for stream in named or publishing[: len(publishing) == 1]:
            self._step_stream(stream, StreamInput.CLOSE, ev.CloseReason.FC_UNPUBLISH)

    # NetStream

    def _publish(self, command: Command) -> None:
        if command.argument(0) is False:
            self._close_stream(command)
        else:
            self._step_stream(self._stream(command.stream_id), StreamInput.PUBLISH, command)

    def _publish_asked(self, stream: MessageStream, command: Command) -> None:
        target = self._target(command.text(0))
        self._events.append(
            ev.PublishRequested(
                request=self._new_request(stream, command),
                stream_id=stream.id,
                app=target.app,
                name=target.name,
                query=target.query,
                publish_type=command.text(1) or "live",
                key=stream.key,
            )
        )

    def _target(self, key: str) -> Any:
        said = self.connect_parameters
        return parse_target(said.tc_url, said.app, key)

    def _new_request(self, stream: MessageStream, command: Command) -> int:
        self._last_request += 1
        self._requests[self._last_request] = stream
        stream.request = self._last_request
        stream.key = command.text(0)
        return self._last_request

    def _stream_in_use(self, stream: MessageStream, command: Command) -> None:
        description = f"Stream {stream.id} is {stream.state.value}."
        code = "NetStream.Publish.BadName" if command.name == "publish" else "NetStream.Play.Failed"
        self.send_status(stream.id, "error", code, description)

    def _play(self, command: Command) -> None:
        if command.argument(0) is False:
            self._close_stream(command)
        else:
            self._step_stream(self._stream(command.stream_id), StreamInput.PLAY, command)

    def _play_asked(self, stream: MessageStream, command: Command) -> None:
        target = self._target(command.text(0))
        self._events.append(
            ev.PlayRequested(
                request=self._new_request(stream, command),
                stream_id=stream.id,
                app=target.app,
                name=target.name,
                query=target.query,
                start_s=command.number(1, -2.0),
                duration_s=command.number(2, -1.0),
                reset=command.argument(3) is not False,
                key=stream.key,
            )
        )

    def _play_again(self, stream: MessageStream, command: Command) -> None:
        self._events.append(ev.StreamClosed(stream.id, ev.CloseReason.PLAY))
        self._play_asked(stream, command)

    def _pause(self, command: Command) -> None:
        self._step_stream(self._stream(command.stream_id), StreamInput.PAUSE, command)

    def _pause_asked(self, stream: MessageStream, command: Command) -> None:
        is_paused = bool(command.argument(0))
        code = "NetStream.Pause.Notify" if is_paused else "NetStream.Unpause.Notify"
        self.send_status(stream.id, "status", code, "Paused." if is_paused else "Playing.")
        self._events.append(ev.PauseRequested(stream.id, is_paused, command.number(1)))

    def _seek(self, command: Command) -> None:
        self._step_stream(self._stream(command.stream_id), StreamInput.SEEK, command)

    def _seek_asked(self, stream: MessageStream, command: Command) -> None:
        self._events.append(ev.SeekRequested(stream.id, command.number(0)))

    def _closed(self, stream: MessageStream, reason: ev.CloseReason) -> None:
        stream.request = 0
        self._events.append(ev.StreamClosed(stream.id, reason))

    def _send_play_end(self, stream: MessageStream, description: str) -> None:
        self._send_status(stream.id, "status", "NetStream.Play.UnpublishNotify", description)
        end = messages.user_control(UserControl.STREAM_EOF, stream.id)
        self._send_control(MessageType.USER_CONTROL, end)


_SERVER_COMMANDS: Mapping[str, str] = {
    "createStream": "_create_stream",
    "releaseStream": "_answer_null",
    "FCPublish": "_answer_null",
    "FCUnpublish": "_fc_unpublish",
    "_checkbw": "_answer_null",
    "getStreamLength": "_answer_null",
    "publish": "_publish",
    "play": "_play",
    "pause": "_pause",
    "seek": "_seek",
    "closeStream": "_close_stream",
    "deleteStream": "_delete_stream",
}
