"""Two RTMP connections that talk to each other without a socket, and ways to feed one with bytes."""

from __future__ import annotations

from collections.abc import Iterable

from aircheck.wire.amf import AmfValue, serialize
from aircheck.wire.rtmp import events as ev
from aircheck.wire.rtmp.adobe_auth import Credentials
from aircheck.wire.rtmp.base import Connection
from aircheck.wire.rtmp.chunk_serializer import ChunkSerializer
from aircheck.wire.rtmp.client import ClientConnection
from aircheck.wire.rtmp.connection import ServerConnection
from aircheck.wire.rtmp.handshake import Scheme
from aircheck.wire.rtmp.limits import DEFAULT_LIMITS, Limits
from aircheck.wire.rtmp.messages import Buffer, MessageType

TC_URL = "rtmp://host/live"


class ConnectionPair:
    """A client and a server. `pump` carries bytes until neither has more to say; what the server is asked is
    accepted unless `accepts` is false."""

    def __init__(
        self,
        *,
        app: str = "live",
        tc_url: str = TC_URL,
        scheme: Scheme = Scheme.DIGEST_FIRST,
        limits: Limits = DEFAULT_LIMITS,
        credentials: Credentials | None = None,
        accepts: bool = True,
    ) -> None:
        self.client = ClientConnection(scheme=scheme, session="client", credentials=credentials)
        self.server = ServerConnection(limits, session="server")
        self.client_events: list[ev.Event] = []
        self.server_events: list[ev.Event] = []
        self.to_server = bytearray()
        self.to_client = bytearray()
        self._accepts = accepts
        self.client.connect(app, tc_url)

    def pump(self) -> ConnectionPair:
        while self._carry(self.client, self.server, self.to_server) or self._carry(
            self.server, self.client, self.to_client
        ):
            self.client_events += self.client.events()
            for event in self.server.events():
                self.server_events.append(event)
                if self._accepts:
                    accept(self.server, event)
        return self

    @staticmethod
    def _carry(source: Connection, target: Connection, record: bytearray) -> bool:
        data = b"".join(source.data_to_send())
        if data:
            record += data
            target.receive(data, 0.0)
        return bool(data)

    def published(self, name: str = "cam", publish_type: str = "live") -> int:
        """Publish; returns the message stream's id."""
        self.pump()
        self.client.publish(name, publish_type)
        self.pump()
        return next(e.stream_id for e in self.client_events if isinstance(e, ev.Published))

    def playing(self, name: str = "cam") -> int:
        self.pump()
        self.client.play(name)
        self.pump()
        return next(e.stream_id for e in self.client_events if isinstance(e, ev.Playing))


def accept(server: ServerConnection, event: ev.Event) -> None:
    match event:
        case ev.ConnectRequested():
            server.accept_connect(event)
        case ev.PublishRequested():
            server.accept_publish(event)
        case ev.PlayRequested():
            server.accept_play(event)


class RawClient:
    """Writes what a peer may send, right or wrong, to a server; keeps its events."""

    def __init__(self, server: ServerConnection | None = None) -> None:
        self.server = server or ServerConnection(session="raw")
        self.serializer = ChunkSerializer()
        self.events: list[ev.Event] = []
        self.replies: list[bytes] = []

    def shake_hands(self) -> RawClient:
        self.send(b"\x03" + bytes(2 * 1536))
        return self

    def connect(self, **members: AmfValue) -> RawClient:
        self.shake_hands()
        self.command("connect", 1.0, {"app": "live", "tcUrl": TC_URL} | members)
        return self

    def publish(self, key: str = "cam", publish_type: str = "live", **members: AmfValue) -> RawClient:
        self.connect(**members)
        self.command("createStream", 2.0, None)
        self.command("publish", 3.0, None, key, publish_type, stream_id=1)
        return self

    def command(self, *values: AmfValue, stream_id: int = 0, csid: int = 3) -> None:
        self.message(MessageType.COMMAND_AMF0, serialize(*values), stream_id=stream_id, csid=csid)

    def message(
        self, type_id: int, payload: Buffer, *, timestamp: int = 0, stream_id: int = 0, csid: int = 8
    ) -> None:
        out: list[Buffer] = []
        self.serializer.serialize(out, csid, type_id, timestamp, stream_id, payload)
        self.send(b"".join(out))

    def send(self, data: Buffer) -> None:
        try:
            self.server.receive(data, 0.0)
        finally:
            for event in self.server.events():
                self.events.append(event)
                accept(self.server, event)
            self.replies += [bytes(buffer) for buffer in self.server.data_to_send()]

    def last(self, kind: type[ev.Event]) -> ev.Event:
        return [event for event in self.events if isinstance(event, kind)][-1]


def flattened(happened: Iterable[ev.Event]) -> list[object]:
    """Events with each media message on its own, for comparing what different splits of bytes bring."""
    flat: list[object] = []
    for event in happened:
        if isinstance(event, ev.MediaReceived):
            flat += [(event.stream_id, type_id, ts, bytes(data)) for type_id, ts, data in event.messages]
        else:
            flat.append(event)
    return flat


def pieces(data: bytes, sizes: Iterable[int]) -> list[bytes]:
    """`data` cut into pieces of these sizes; the rest is the last one."""
    cut, position = [], 0
    for size in sizes:
        cut.append(data[position : position + size])
        position += size
    return [piece for piece in [*cut, data[position:]] if piece]
