"""The server's end of an RTMP connection, without I/O; `base` says how it is fed and drained."""

from __future__ import annotations

from collections.abc import Mapping

from aircheck.wire.amf import AmfValue
from aircheck.wire.errors import LocalProtocolError, RemoteProtocolError
from aircheck.wire.rtmp import events as ev
from aircheck.wire.rtmp import messages, state
from aircheck.wire.rtmp.base import WINDOW_ACK_SIZE, Connection, MessageStream
from aircheck.wire.rtmp.commands import (
    CAPS_RECONNECT,
    Command,
    ConnectParameters,
    StreamTarget,
    enhanced_answer,
    parse_connect,
    parse_target,
)
from aircheck.wire.rtmp.handshake import ServerHandshake
from aircheck.wire.rtmp.limits import DEFAULT_LIMITS, Limits
from aircheck.wire.rtmp.messages import MessageType, UserControl
from aircheck.wire.rtmp.state import ConnectionInput, StreamInput, StreamState

__all__ = ["Limits", "ServerConnection"]

PEER_BANDWIDTH_DYNAMIC = 2
SERVER_VERSION = "FMS/3,0,1,123"
SERVER_CAPABILITIES = 31.0


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
        getattr(self, _SERVER_COMMANDS.get(command.name, "_unknown_command"))(command)

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
        stream = self._streams.get(int(command.number(0, command.stream_id)))
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

    def _target(self, key: str) -> StreamTarget:
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
