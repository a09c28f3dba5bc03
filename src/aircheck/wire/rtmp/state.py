"""All transitions of a connection and of its message streams: (state, input) → (handler, next state).

Theory of operation
-------------------
A **connection** goes HANDSHAKING → READY → CONNECTING → CONNECTED and ends in ENDED from anywhere. In
CONNECTING the server's application has been asked, or a client waits for the answer. A client that is sure of
itself sends its next commands without waiting, so a server takes them in CONNECTING as well.

A **message stream** (NetStream) belongs to a connection. On a server it is IDLE, then PUBLISH_ASKED and
PUBLISHING, or PLAY_ASKED and PLAYING, and IDLE again. Media counts from PUBLISH_ASKED on, for the same
reason. On a client it begins in CREATING, until the server has given it a number.

An input that has no entry is a fault: the peer's if the input came from the peer (`RemoteProtocolError`),
ours if it was a call (`LocalProtocolError`). Handlers are names of methods; they run after the state has
changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Generic, NamedTuple, TypeAlias, TypeVar


class _Key(StrEnum):
    """The tables are looked up for every read: str hashes without a call into Python, Enum does not."""

    __hash__ = str.__hash__


class ConnectionState(_Key):
    HANDSHAKING = "handshaking"
    READY = "ready"
    CONNECTING = "connecting"
    CONNECTED = "connected"
    REJECTED = "rejected"
    ENDED = "ended"


class ConnectionInput(_Key):
    """The value says it in the words of an error message."""

    HANDSHAKE_DONE = "end of the handshake"
    CONNECT = "connect"
    COMMAND = "a command"
    MEDIA = "media"
    RESULT = "the answer to connect"
    ERROR = "the refusal of connect"
    END = "the end"
    # Calls
    ASK_CONNECT = "a call of connect"
    ACCEPT = "a call of accept_connect"
    REJECT = "a call of reject_connect"
    SEND = "a call that sends"


class StreamState(_Key):
    CREATING = "creating"
    IDLE = "idle"
    PUBLISH_ASKED = "publish asked"
    PUBLISHING = "publishing"
    PLAY_ASKED = "play asked"
    PLAYING = "playing"


class StreamInput(_Key):
    PUBLISH = "publish"
    PLAY = "play"
    PAUSE = "pause"
    SEEK = "seek"
    CLOSE = "the end of a stream"
    MEDIA = "media"
    CREATED = "the number of a stream"
    REFUSED = "the refusal of a stream"
    STARTED = "the start of a stream"
    # Calls
    ASK_PUBLISH = "a call of publish"
    ASK_PLAY = "a call of play"
    ACCEPT = "a call that accepts"
    REJECT = "a call that rejects"
    SEND_MEDIA = "a call of send_media"
    ASK_CLOSE = "a call that ends a stream"


S = TypeVar("S", ConnectionState, StreamState)


class Transition(NamedTuple, Generic[S]):
    handler: str
    next_state: S


ConnectionTable: TypeAlias = Mapping[tuple[ConnectionState, ConnectionInput], Transition[ConnectionState]]
StreamTable: TypeAlias = Mapping[tuple[StreamState, StreamInput], Transition[StreamState]]

_C, _CI = ConnectionState, ConnectionInput
_S, _SI = StreamState, StreamInput

_ENDS: ConnectionTable = {
    (state, _CI.END): Transition("_ended", _C.ENDED) for state in _C if state is not _C.ENDED
}

# Whoever answers cannot know that the peer left right behind its question: an answer to nobody is no fault.
_SENDS: ConnectionTable = {
    (_C.CONNECTING, _CI.SEND): Transition("_is_heard", _C.CONNECTING),
    (_C.CONNECTED, _CI.SEND): Transition("_is_heard", _C.CONNECTED),
    (_C.REJECTED, _CI.SEND): Transition("_is_not_heard", _C.REJECTED),
    (_C.ENDED, _CI.SEND): Transition("_is_not_heard", _C.ENDED),
}

SERVER_CONNECTION: ConnectionTable = {
    (_C.HANDSHAKING, _CI.HANDSHAKE_DONE): Transition("_handshake_done", _C.READY),
    (_C.READY, _CI.CONNECT): Transition("_connect_asked", _C.CONNECTING),
    (_C.CONNECTING, _CI.COMMAND): Transition("_command", _C.CONNECTING),
    (_C.CONNECTING, _CI.MEDIA): Transition("_media", _C.CONNECTING),
    (_C.CONNECTING, _CI.ACCEPT): Transition("_connect_accepted", _C.CONNECTED),
    (_C.CONNECTING, _CI.REJECT): Transition("_connect_rejected", _C.REJECTED),
    (_C.CONNECTED, _CI.COMMAND): Transition("_command", _C.CONNECTED),
    (_C.CONNECTED, _CI.MEDIA): Transition("_media", _C.CONNECTED),
    # What was on its way when the refusal was sent is no fault.
    (_C.REJECTED, _CI.CONNECT): Transition("_too_late", _C.REJECTED),
    (_C.REJECTED, _CI.COMMAND): Transition("_too_late", _C.REJECTED),
    (_C.REJECTED, _CI.MEDIA): Transition("_too_late", _C.REJECTED),
    (_C.ENDED, _CI.ACCEPT): Transition("_too_late", _C.ENDED),
    (_C.ENDED, _CI.REJECT): Transition("_too_late", _C.ENDED),
    **_SENDS,
    **_ENDS,
}

CLIENT_CONNECTION: ConnectionTable = {
    (_C.HANDSHAKING, _CI.HANDSHAKE_DONE): Transition("_handshake_done", _C.READY),
    (_C.HANDSHAKING, _CI.ASK_CONNECT): Transition("_remember_connect", _C.HANDSHAKING),
    (_C.READY, _CI.ASK_CONNECT): Transition("_send_connect", _C.CONNECTING),
    # Wowza and others speak of bandwidth before they answer.
    (_C.READY, _CI.COMMAND): Transition("_command", _C.READY),
    (_C.CONNECTING, _CI.COMMAND): Transition("_command", _C.CONNECTING),
    (_C.CONNECTING, _CI.RESULT): Transition("_connect_accepted", _C.CONNECTED),
    (_C.CONNECTING, _CI.ERROR): Transition("_connect_rejected", _C.REJECTED),
    (_C.CONNECTED, _CI.COMMAND): Transition("_command", _C.CONNECTED),
    (_C.CONNECTED, _CI.MEDIA): Transition("_media", _C.CONNECTED),
    (_C.REJECTED, _CI.COMMAND): Transition("_too_late", _C.REJECTED),
    (_C.REJECTED, _CI.ERROR): Transition("_too_late", _C.REJECTED),
    (_C.REJECTED, _CI.MEDIA): Transition("_too_late", _C.REJECTED),
    **_SENDS,
    **_ENDS,
}

# A viewer's stream may have been closed, or turned to something else, before its feeder here knows.
_FEEDS: StreamTable = {
    (state, call): Transition("_nothing_to_do", state)
    for state in _S
    for call in (_SI.SEND_MEDIA, _SI.ASK_CLOSE)
}

SERVER_STREAM: StreamTable = {
    **_FEEDS,
    (_S.IDLE, _SI.PUBLISH): Transition("_publish_asked", _S.PUBLISH_ASKED),
    (_S.IDLE, _SI.PLAY): Transition("_play_asked", _S.PLAY_ASKED),
    (_S.IDLE, _SI.PAUSE): Transition("_nothing_to_do", _S.IDLE),
    (_S.IDLE, _SI.SEEK): Transition("_nothing_to_do", _S.IDLE),
    (_S.IDLE, _SI.CLOSE): Transition("_nothing_to_do", _S.IDLE),
    (_S.IDLE, _SI.MEDIA): Transition("_stray_media", _S.IDLE),
    (_S.PUBLISH_ASKED, _SI.PUBLISH): Transition("_stream_in_use", _S.PUBLISH_ASKED),
    (_S.PUBLISH_ASKED, _SI.PLAY): Transition("_stream_in_use", _S.PUBLISH_ASKED),
    (_S.PUBLISH_ASKED, _SI.PAUSE): Transition("_nothing_to_do", _S.PUBLISH_ASKED),
    (_S.PUBLISH_ASKED, _SI.SEEK): Transition("_nothing_to_do", _S.PUBLISH_ASKED),
    (_S.PUBLISH_ASKED, _SI.MEDIA): Transition("_deliver", _S.PUBLISH_ASKED),
    (_S.PUBLISH_ASKED, _SI.CLOSE): Transition("_closed", _S.IDLE),
    (_S.PUBLISH_ASKED, _SI.ACCEPT): Transition("_accepted", _S.PUBLISHING),
    (_S.PUBLISH_ASKED, _SI.REJECT): Transition("_rejected", _S.IDLE),
    (_S.PUBLISHING, _SI.PUBLISH): Transition("_stream_in_use", _S.PUBLISHING),
    (_S.PUBLISHING, _SI.PLAY): Transition("_stream_in_use", _S.PUBLISHING),
    (_S.PUBLISHING, _SI.PAUSE): Transition("_nothing_to_do", _S.PUBLISHING),
    (_S.PUBLISHING, _SI.SEEK): Transition("_nothing_to_do", _S.PUBLISHING),
    (_S.PUBLISHING, _SI.MEDIA): Transition("_deliver", _S.PUBLISHING),
    (_S.PUBLISHING, _SI.CLOSE): Transition("_closed", _S.IDLE),
    (_S.PLAY_ASKED, _SI.PUBLISH): Transition("_stream_in_use", _S.PLAY_ASKED),
    (_S.PLAY_ASKED, _SI.PLAY): Transition("_play_again", _S.PLAY_ASKED),
    (_S.PLAY_ASKED, _SI.PAUSE): Transition("_pause_asked", _S.PLAY_ASKED),
    (_S.PLAY_ASKED, _SI.SEEK): Transition("_seek_asked", _S.PLAY_ASKED),
    (_S.PLAY_ASKED, _SI.MEDIA): Transition("_stray_media", _S.PLAY_ASKED),
    (_S.PLAY_ASKED, _SI.CLOSE): Transition("_closed", _S.IDLE),
    (_S.PLAY_ASKED, _SI.ACCEPT): Transition("_accepted", _S.PLAYING),
    (_S.PLAY_ASKED, _SI.REJECT): Transition("_rejected", _S.IDLE),
    (_S.PLAYING, _SI.PUBLISH): Transition("_stream_in_use", _S.PLAYING),
    (_S.PLAYING, _SI.PLAY): Transition("_play_again", _S.PLAY_ASKED),
    (_S.PLAYING, _SI.PAUSE): Transition("_pause_asked", _S.PLAYING),
    (_S.PLAYING, _SI.SEEK): Transition("_seek_asked", _S.PLAYING),
    (_S.PLAYING, _SI.MEDIA): Transition("_stray_media", _S.PLAYING),
    (_S.PLAYING, _SI.CLOSE): Transition("_closed", _S.IDLE),
    (_S.PLAYING, _SI.SEND_MEDIA): Transition("_write_media", _S.PLAYING),
    (_S.PLAYING, _SI.ASK_CLOSE): Transition("_send_play_end", _S.IDLE),
}

CLIENT_STREAM: StreamTable = {
    (_S.CREATING, _SI.CREATED): Transition("_stream_created", _S.IDLE),
    (_S.CREATING, _SI.REFUSED): Transition("_stream_refused", _S.IDLE),
    (_S.IDLE, _SI.ASK_PUBLISH): Transition("_send_publish", _S.PUBLISH_ASKED),
    (_S.IDLE, _SI.ASK_PLAY): Transition("_send_play", _S.PLAY_ASKED),
    (_S.IDLE, _SI.MEDIA): Transition("_stray_media", _S.IDLE),
    (_S.IDLE, _SI.SEND_MEDIA): Transition("_nothing_to_do", _S.IDLE),
    (_S.IDLE, _SI.STARTED): Transition("_nothing_to_do", _S.IDLE),
    (_S.IDLE, _SI.REFUSED): Transition("_nothing_to_do", _S.IDLE),
    (_S.IDLE, _SI.CLOSE): Transition("_nothing_to_do", _S.IDLE),
    (_S.IDLE, _SI.ASK_CLOSE): Transition("_send_delete", _S.IDLE),
    (_S.PUBLISH_ASKED, _SI.STARTED): Transition("_publish_started", _S.PUBLISHING),
    (_S.PUBLISH_ASKED, _SI.REFUSED): Transition("_stream_refused", _S.IDLE),
    (_S.PUBLISH_ASKED, _SI.MEDIA): Transition("_stray_media", _S.PUBLISH_ASKED),
    (_S.PUBLISH_ASKED, _SI.CLOSE): Transition("_nothing_to_do", _S.PUBLISH_ASKED),
    (_S.PUBLISH_ASKED, _SI.ASK_CLOSE): Transition("_send_delete", _S.IDLE),
    (_S.PUBLISHING, _SI.STARTED): Transition("_nothing_to_do", _S.PUBLISHING),
    (_S.PUBLISHING, _SI.REFUSED): Transition("_stream_refused", _S.IDLE),
    (_S.PUBLISHING, _SI.MEDIA): Transition("_stray_media", _S.PUBLISHING),
    (_S.PUBLISHING, _SI.CLOSE): Transition("_nothing_to_do", _S.PUBLISHING),
    (_S.PUBLISHING, _SI.SEND_MEDIA): Transition("_write_media", _S.PUBLISHING),
    (_S.PUBLISHING, _SI.ASK_CLOSE): Transition("_send_delete", _S.IDLE),
    (_S.PLAY_ASKED, _SI.STARTED): Transition("_play_started", _S.PLAYING),
    (_S.PLAY_ASKED, _SI.REFUSED): Transition("_stream_refused", _S.IDLE),
    # Media without a word before it has been seen from servers that are short of words.
    (_S.PLAY_ASKED, _SI.MEDIA): Transition("_deliver", _S.PLAY_ASKED),
    (_S.PLAY_ASKED, _SI.CLOSE): Transition("_closed", _S.IDLE),
    (_S.PLAY_ASKED, _SI.ASK_CLOSE): Transition("_send_delete", _S.IDLE),
    (_S.PLAYING, _SI.STARTED): Transition("_nothing_to_do", _S.PLAYING),
    (_S.PLAYING, _SI.REFUSED): Transition("_stream_refused", _S.IDLE),
    (_S.PLAYING, _SI.MEDIA): Transition("_deliver", _S.PLAYING),
    (_S.PLAYING, _SI.CLOSE): Transition("_closed", _S.IDLE),
    (_S.PLAYING, _SI.ASK_CLOSE): Transition("_send_delete", _S.IDLE),
}

CALLS = frozenset(
    {
        _CI.ASK_CONNECT,
        _CI.ACCEPT,
        _CI.REJECT,
        _CI.SEND,
        _SI.ASK_PUBLISH,
        _SI.ASK_PLAY,
        _SI.ACCEPT,
        _SI.REJECT,
        _SI.SEND_MEDIA,
        _SI.ASK_CLOSE,
    }
)
"""Inputs that are calls of ours: an input in a wrong state is then our fault."""
