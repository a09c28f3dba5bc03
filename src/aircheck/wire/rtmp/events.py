"""What the peer has done, in the order in which it did it.

An event that asks for something is answered by handing it back: `accept_publish(event)`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from aircheck.wire.amf import AmfValue
from aircheck.wire.rtmp.handshake import Scheme
from aircheck.wire.rtmp.messages import MediaMessage


@dataclass(frozen=True, slots=True)
class HandshakeCompleted:
    scheme: Scheme
    peer_version: tuple[int, int, int, int]
    """As in the handshake; zeros from most encoders."""


@dataclass(frozen=True, slots=True)
class MediaReceived:
    """Audio, video and data of one message stream, as they came in one read.

    Data messages are AMF0 as in an FLV script tag, without `@setDataFrame`, however the peer wrapped them.
    """

    stream_id: int
    messages: list[MediaMessage]


class CloseReason(StrEnum):
    CLOSE_STREAM = "closeStream"
    DELETE_STREAM = "deleteStream"
    FC_UNPUBLISH = "FCUnpublish"
    PLAY = "play"
    """A viewer turns to something else."""
    UNPUBLISH_NOTIFY = "UnpublishNotify"
    """To a client: what it plays is not published any more."""
    STREAM_EOF = "StreamEOF"
    """To a client: what it plays has ended."""


@dataclass(frozen=True, slots=True)
class StreamClosed:
    """A message stream that was published or played, or was about to be, is so no longer."""

    stream_id: int
    reason: CloseReason


@dataclass(frozen=True, slots=True)
class CommandReceived:
    """A command that the protocol itself has no use for. If `transaction_id` is not 0 the peer waits for
    `respond` or `respond_error`."""

    name: str
    transaction_id: float
    command_object: Mapping[str, AmfValue]
    """Empty when the peer sent null."""
    arguments: tuple[AmfValue, ...]
    stream_id: int


@dataclass(frozen=True, slots=True)
class ConnectionEnded:
    """The peer has closed; nothing follows."""

    is_mid_message: bool
    """Whether that was in the middle of a message."""


# To a server


@dataclass(frozen=True, slots=True)
class ConnectRequested:
    """Answer with `accept_connect` or `reject_connect`."""

    app: str
    """Without its query."""
    tc_url: str
    query: Mapping[str, str]
    """Of the URL and the application."""
    flash_version: str
    """What the client says it is, for instance `FMLE/3.0 (compatible; FMSc/1.0)`."""
    object_encoding: int
    fourccs: tuple[str, ...]
    """Enhanced RTMP codecs of the client; `*` stands for all."""
    caps_ex: int
    command_object: Mapping[str, AmfValue]
    arguments: tuple[AmfValue, ...]


@dataclass(frozen=True, slots=True)
class PublishRequested:
    """Answer with `accept_publish` or `reject_publish`. Media may follow at once: encoders need not wait."""

    request: int
    """Unique within the connection."""
    stream_id: int
    app: str
    """The first part of the joined path of URL and key."""
    name: str
    """The rest of that path, without the query."""
    query: Mapping[str, str]
    """Of URL, application and key; the key's win."""
    publish_type: str
    """`live`, `record`, `append`, `appendWithGap`; `live` when the client says nothing."""
    key: str
    """The stream key as it came."""


@dataclass(frozen=True, slots=True)
class PlayRequested:
    """Answer with `accept_play` or `reject_play`."""

    request: int
    """Unique within the connection."""
    stream_id: int
    app: str
    name: str
    query: Mapping[str, str]
    start_s: float
    """Seconds into a recording; -1 live only, -2 live, else recorded (7.2.2.1)."""
    duration_s: float
    """-1: to the end."""
    reset: bool
    """Whether an earlier playlist of this stream ends."""
    key: str


@dataclass(frozen=True, slots=True)
class PauseRequested:
    """Already answered."""

    stream_id: int
    is_paused: bool
    position_ms: float


@dataclass(frozen=True, slots=True)
class SeekRequested:
    stream_id: int
    position_ms: float


@dataclass(frozen=True, slots=True)
class BufferLengthSet:
    stream_id: int
    buffer_ms: int


# To a client


@dataclass(frozen=True, slots=True)
class Connected:
    properties: Mapping[str, AmfValue]
    information: Mapping[str, AmfValue]


@dataclass(frozen=True, slots=True)
class ConnectRejected:
    code: str
    description: str
    retry_query: str
    """Not empty: connect anew, on a new connection, with this behind application and URL."""


@dataclass(frozen=True, slots=True)
class Published:
    stream_id: int
    name: str


@dataclass(frozen=True, slots=True)
class Playing:
    stream_id: int
    name: str


@dataclass(frozen=True, slots=True)
class StreamRejected:
    """The server refuses to let us publish or play."""

    name: str
    code: str
    description: str


@dataclass(frozen=True, slots=True)
class StatusReceived:
    """Any `onStatus` that has no event of its own."""

    stream_id: int
    level: str
    code: str
    description: str
    information: Mapping[str, AmfValue]


@dataclass(frozen=True, slots=True)
class ReconnectRequested:
    """The server is about to leave: connect anew, to `tc_url` unless it is empty."""

    tc_url: str
    description: str


Event: TypeAlias = (
    HandshakeCompleted
    | MediaReceived
    | StreamClosed
    | CommandReceived
    | ConnectionEnded
    | ConnectRequested
    | PublishRequested
    | PlayRequested
    | PauseRequested
    | SeekRequested
    | BufferLengthSet
    | Connected
    | ConnectRejected
    | Published
    | Playing
    | StreamRejected
    | StatusReceived
    | ReconnectRequested
)
