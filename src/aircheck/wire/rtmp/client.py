"""The client's end of an RTMP connection, without I/O: to pull from other servers, and to publish in tests.

client = ClientConnection()
client.connect("live", "rtmp://camera/live")      # at any time before or after the handshake
...                                               # Connected: client.play("key") or client.publish("key")
...                                               # Playing, MediaReceived; Published: client.send_media(...)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from aircheck.wire import amf
from aircheck.wire.amf import AmfValue
from aircheck.wire.rtmp import events as ev
from aircheck.wire.rtmp import messages, state
from aircheck.wire.rtmp.adobe_auth import Credentials, next_query
from aircheck.wire.rtmp.base import WINDOW_ACK_SIZE, Connection, MessageStream
from aircheck.wire.rtmp.commands import (
    AUDIO_FOURCCS,
    CAN_DECODE,
    CAPS_MOD_EX,
    CAPS_MULTITRACK,
    CAPS_RECONNECT,
    VIDEO_FOURCCS,
    Command,
)
from aircheck.wire.rtmp.handshake import ClientHandshake, Scheme
from aircheck.wire.rtmp.limits import DEFAULT_LIMITS, Limits
from aircheck.wire.rtmp.messages import Buffer, MessageType, UserControl
from aircheck.wire.rtmp.state import ConnectionInput, StreamInput, StreamState

CLIENT_VERSION = "FMLE/3.0 (compatible; Aircheck)"
BUFFER_MS = 1000
LIVE_OR_RECORDED = -2.0

_AUDIO_CODECS_ALL = 4071.0
_VIDEO_CODECS_ALL = 252.0

_STARTS = frozenset({"NetStream.Publish.Start", "NetStream.Play.Start"})
_ENDS: Mapping[str, ev.CloseReason] = {
    "NetStream.Play.UnpublishNotify": ev.CloseReason.UNPUBLISH_NOTIFY,
    "NetStream.Play.Stop": ev.CloseReason.STREAM_EOF,
    "NetStream.Play.Complete": ev.CloseReason.STREAM_EOF,
}
_ON_META_DATA = amf.serialize("onMetaData")
_SET_DATA_FRAME = amf.serialize("@setDataFrame")


@dataclass(frozen=True, slots=True)
class _Refusal:
    code: str
    description: str


class ClientConnection(Connection):
    """The end that calls. `credentials` answer Adobe's challenge, see `ConnectRejected.retry_query`."""

    _connection_table = state.CLIENT_CONNECTION
    _stream_table = state.CLIENT_STREAM

    def __init__(
        self,
        limits: Limits = DEFAULT_LIMITS,
        *,
        session: str = "",
        credentials: Credentials | None = None,
        scheme: Scheme = Scheme.DIGEST_FIRST,
    ) -> None:
        super().__init__(ClientHandshake(session, scheme=scheme), limits, session)
        self._credentials = credentials
        self._connect_members: dict[str, AmfValue] = {}
        self._transaction_id = 0.0
        self._waiting: dict[float, Callable[[Command], None]] = {}

    # Calls

    def connect(self, app: str, tc_url: str, *, is_enhanced: bool = True) -> None:
        """`app` and `tc_url` with whatever query belongs to them. `is_enhanced` announces Enhanced RTMP."""
        self._connect_members = {
            "app": app,
            "type": "nonprivate",
            "flashVer": CLIENT_VERSION,
            "tcUrl": tc_url,
            "fpad": False,
            "capabilities": 15.0,
            "audioCodecs": _AUDIO_CODECS_ALL,
            "videoCodecs": _VIDEO_CODECS_ALL,
            "videoFunction": 1.0,
            "objectEncoding": 0.0,
            **(_enhanced_members() if is_enhanced else {}),
        }
        self._step(ConnectionInput.ASK_CONNECT)

    def publish(self, name: str, publish_type: str = "live") -> None:
        """Leads to `Published` or `StreamRejected`."""
        if not self._is_open():
            return
        self._call("releaseStream", None, name, then=self._nothing_to_do)
        self._call("FCPublish", None, name, then=self._nothing_to_do)
        self._create_stream(name, publish_type, wants_to_publish=True)

    def play(self, name: str) -> None:
        """Leads to `Playing` or `StreamRejected`."""
        if self._is_open():
            self._create_stream(name, "", wants_to_publish=False)

    def close_stream(self, stream_id: int) -> None:
        """Stop publishing or playing."""
        stream = self._streams.get(stream_id)
        if stream is not None and self._is_open():
            self._step_stream(stream, StreamInput.ASK_CLOSE)

    def call(self, name: str, *arguments: AmfValue, stream_id: int = 0) -> float:
        """Any other command; returns its transaction id. The answer comes as `CommandReceived`."""
        if not self._is_open():
            return 0.0
        return self._call(name, *arguments, stream_id=stream_id)

    def _call(
        self,
        name: str,
        *arguments: AmfValue,
        stream_id: int = 0,
        then: Callable[[Command], None] | None = None,
    ) -> float:
        self._transaction_id += 1
        if then is not None:
            self._waiting[self._transaction_id] = then
        self._send_command(name, self._transaction_id, *arguments, stream_id=stream_id)
        return self._transaction_id

    # NetConnection

    def _handshake_done(self) -> None:
        self._events.append(ev.HandshakeCompleted(self._handshake.scheme, self._handshake.peer_version))
        if self._connect_members:
            self._step(ConnectionInput.ASK_CONNECT)

    def _remember_connect(self) -> None:
        """It goes out when the handshake is over."""

    def _send_connect(self) -> None:
        self._call("connect", self._connect_members, then=self._connect_answered)

    def _connect_answered(self, command: Command) -> None:
        is_result = command.name == "_result"
        self._step(ConnectionInput.RESULT if is_result else ConnectionInput.ERROR, command)

    def _connect_accepted(self, command: Command) -> None:
        self._send_control(MessageType.WINDOW_ACK_SIZE, messages.uint32(WINDOW_ACK_SIZE))
        self._send_chunk_size()
        self._events.append(ev.Connected(command.command_object, _information(command)))

    def _connect_rejected(self, command: Command) -> None:
        information = _information(command)
        description = _text(information, "description")
        retry_query = next_query(description, self._credentials) if self._credentials else ""
        self._events.append(ev.ConnectRejected(_text(information, "code"), description, retry_query))

    def _receive_command(self, command: Command) -> None:
        self._step(ConnectionInput.COMMAND, command)

    def _command(self, command: Command) -> None:
        if command.name == "onStatus":
            self._on_status(command)
        elif command.name in ("_result", "_error") and command.transaction_id in self._waiting:
            self._waiting.pop(command.transaction_id)(command)
        else:
            self._unknown_command(command)

    # NetStream

    def _create_stream(self, name: str, publish_type: str, *, wants_to_publish: bool) -> None:
        stream = MessageStream(0, StreamState.CREATING)
        stream.key, stream.publish_type, stream.wants_to_publish = name, publish_type, wants_to_publish

        def answered(command: Command) -> None:
            number = int(command.number(0, -1.0))
            if command.name == "_result" and number >= 0:
                self._step_stream(stream, StreamInput.CREATED, number)
            else:
                refusal = _refusal(_information(command), "NetConnection.Call.Failed")
                self._step_stream(stream, StreamInput.REFUSED, refusal)

        self._call("createStream", None, then=answered)

    def _stream_created(self, stream: MessageStream, stream_id: int) -> None:
        stream.id = stream_id
        self._streams[stream_id] = stream
        wanted = StreamInput.ASK_PUBLISH if stream.wants_to_publish else StreamInput.ASK_PLAY
        self._step_stream(stream, wanted)

    def _send_publish(self, stream: MessageStream) -> None:
        self._ask(stream, "publish", stream.key, stream.publish_type)

    def _send_play(self, stream: MessageStream) -> None:
        self._ask(stream, "play", stream.key, LIVE_OR_RECORDED)
        length = messages.user_control(UserControl.SET_BUFFER_LENGTH, stream.id, BUFFER_MS)
        self._send_control(MessageType.USER_CONTROL, length)

    def _ask(self, stream: MessageStream, name: str, *arguments: AmfValue) -> None:
        """The answer is an `onStatus`; some servers refuse with `_error` instead."""

        def answered(command: Command) -> None:
            if command.name == "_error":
                refusal = _refusal(_information(command), "NetStream.Failed")
                self._step_stream(stream, StreamInput.REFUSED, refusal)

        self._call(name, None, *arguments, stream_id=stream.id, then=answered)

    def _send_delete(self, stream: MessageStream) -> None:
        if stream.wants_to_publish:
            self._call("FCUnpublish", None, stream.key, then=self._nothing_to_do)
        self._send_command("deleteStream", 0.0, None, float(stream.id))
        self._streams.pop(stream.id, None)

    def _on_status(self, command: Command) -> None:
        information = _information(command)
        code, level = _text(information, "code"), _text(information, "level")
        if code == "NetConnection.Connect.ReconnectRequest":
            tc_url, description = _text(information, "tcUrl"), _text(information, "description")
            self._events.append(ev.ReconnectRequested(tc_url, description))
            return
        stream = self._stream_of(command.stream_id)
        if stream is not None and code in _STARTS:
            self._step_stream(stream, StreamInput.STARTED)
        elif stream is not None and code in _ENDS:
            self._step_stream(stream, StreamInput.CLOSE, _ENDS[code])
        elif stream is not None and level == "error":
            self._step_stream(stream, StreamInput.REFUSED, _refusal(information, code))
        else:
            description = _text(information, "description")
            self._events.append(ev.StatusReceived(command.stream_id, level, code, description, information))

    def _stream_of(self, stream_id: int) -> MessageStream | None:
        """Some servers use message stream 0 for a status, FFmpeg for media: one stream leaves no doubt."""
        if stream_id == 0 and len(self._streams) == 1:
            return next(iter(self._streams.values()))
        return self._streams.get(stream_id)

    def _publish_started(self, stream: MessageStream) -> None:
        self._events.append(ev.Published(stream.id, stream.key))

    def _play_started(self, stream: MessageStream) -> None:
        self._events.append(ev.Playing(stream.id, stream.key))

    def _stream_refused(self, stream: MessageStream, refusal: _Refusal) -> None:
        self._events.append(ev.StreamRejected(stream.key, refusal.code, refusal.description))

    def _stream_eof(self, stream_id: int) -> None:
        stream = self._streams.get(stream_id)
        if stream is not None:
            self._step_stream(stream, StreamInput.CLOSE, ev.CloseReason.STREAM_EOF)

    def _closed(self, stream: MessageStream, reason: ev.CloseReason) -> None:
        self._events.append(ev.StreamClosed(stream.id, reason))

    def _write_media(self, stream: MessageStream, batch: Sequence[tuple[int, int, Buffer]]) -> None:
        super()._write_media(stream, [_to_publish(message) for message in batch])


def _to_publish(message: tuple[int, int, Buffer]) -> tuple[int, int, Buffer]:
    """Metadata must be wrapped for the server to keep it for viewers who come later."""
    type_id, timestamp, payload = message
    if type_id == MessageType.DATA_AMF0 and bytes(payload[: len(_ON_META_DATA)]) == _ON_META_DATA:
        return type_id, timestamp, _SET_DATA_FRAME + bytes(payload)
    return message


def _enhanced_members() -> dict[str, AmfValue]:
    return {
        "fourCcList": [*VIDEO_FOURCCS, *AUDIO_FOURCCS],
        "videoFourCcInfoMap": {name: float(CAN_DECODE) for name in VIDEO_FOURCCS},
        "audioFourCcInfoMap": {name: float(CAN_DECODE) for name in AUDIO_FOURCCS},
        "capsEx": float(CAPS_RECONNECT | CAPS_MULTITRACK | CAPS_MOD_EX),
    }


def _information(command: Command) -> Mapping[str, AmfValue]:
    """The information object of an answer or a status."""
    value = command.argument(0)
    return value if isinstance(value, dict) else {}


def _text(members: Mapping[str, AmfValue], key: str) -> str:
    value = members.get(key)
    return value if isinstance(value, str) else ""


def _refusal(information: Mapping[str, AmfValue], code: str) -> _Refusal:
    return _Refusal(_text(information, "code") or code, _text(information, "description"))
