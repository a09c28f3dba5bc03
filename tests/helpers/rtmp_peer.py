"""An RTMP client on a real socket, for tests of the server: what it asked for and everything it was told."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Sequence
from typing import TypeVar

from helpers.patience import PATIENCE_S

from aircheck.media.packet import Batch
from aircheck.playback.flv_mux import FlvMuxer
from aircheck.wire.rtmp import events as ev
from aircheck.wire.rtmp.adobe_auth import Credentials
from aircheck.wire.rtmp.client import ClientConnection

_Event = TypeVar("_Event")


class Peer:
    """`async with Peer(address, …) as peer`: connected at TCP (and TLS); the rest is asked for."""

    def __init__(
        self,
        address: tuple[str, int],
        *,
        app: str = "live",
        tls: ssl.SSLContext | None = None,
        credentials: Credentials | None = None,
    ) -> None:
        self.address = address
        self.app = app
        self.events: list[ev.Event] = []
        self.is_closed = False
        self.connection = ClientConnection(session="peer", credentials=credentials)
        self._tls = tls
        self._news = asyncio.Condition()

    async def __aenter__(self) -> Peer:
        self._reader, self._writer = await asyncio.open_connection(*self.address, ssl=self._tls)
        self._listener = asyncio.create_task(self._listen())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.vanish()

    async def vanish(self) -> None:
        """Hang up without a word."""
        self._listener.cancel()
        self._writer.close()
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await self._writer.wait_closed()

    async def flush(self) -> None:
        self._writer.writelines(self.connection.data_to_send())
        with contextlib.suppress(OSError):
            await self._writer.drain()

    async def get(self, kind: type[_Event], timeout_s: float = PATIENCE_S) -> _Event:
        """The first event of that kind, now or to come."""
        async with asyncio.timeout(timeout_s), self._news:
            while True:
                for event in self.events:
                    if isinstance(event, kind):
                        self.events.remove(event)
                        return event
                await self._news.wait()

    async def closed(self, timeout_s: float = PATIENCE_S) -> None:
        async with asyncio.timeout(timeout_s), self._news:
            while not self.is_closed:
                await self._news.wait()

    async def connect(self, query: str = "") -> None:
        host, port = self.address
        app = self.app + query
        self.connection.connect(app, f"rtmp://{host}:{port}/{app}")
        await self.flush()

    async def publish(self, key: str, query: str = "", *, publish_type: str = "live") -> int:
        """Connect and publish; returns the message stream's number."""
        await self.connect(query)
        await self.get(ev.Connected)
        self.connection.publish(key, publish_type)
        await self.flush()
        return (await self.get(ev.Published)).stream_id

    async def play(self, key: str) -> int:
        await self.connect()
        await self.get(ev.Connected)
        self.connection.play(key)
        await self.flush()
        return (await self.get(ev.Playing)).stream_id

    async def refused(self, key: str, query: str = "") -> str:
        """Try to publish; returns the code of the refusal."""
        await self.connect(query)
        await self.get(ev.Connected)
        self.connection.publish(key)
        await self.flush()
        return (await self.get(ev.StreamRejected)).code

    @property
    def socket(self) -> asyncio.trsock.TransportSocket:
        found: asyncio.trsock.TransportSocket = self._writer.get_extra_info("socket")
        return found

    async def send(self, stream_id: int, batches: Sequence[Batch]) -> None:
        self._send(stream_id, batches)
        await self.flush()

    def wire_of(self, stream_id: int, batches: Sequence[Batch]) -> bytes:
        """What `send` would put on the wire, for tests that write to the socket themselves."""
        self._send(stream_id, batches)
        return b"".join(self.connection.data_to_send())

    def _send(self, stream_id: int, batches: Sequence[Batch]) -> None:
        packets = [packet for batch in batches for packet in batch.packets]
        tracks = {packet.track.id: packet.track for packet in packets}
        muxer = FlvMuxer(tuple(tracks.values()))
        self.connection.send_media_batch(stream_id, muxer.header_messages(is_publishing=True))
        self.connection.send_media_batch(stream_id, muxer.to_messages(packets))

    async def unpublish(self, stream_id: int) -> None:
        self.connection.close_stream(stream_id)
        await self.flush()

    async def _listen(self) -> None:
        with contextlib.suppress(OSError):
            while data := await self._reader.read(65536):
                self.connection.receive(data, 0.0)
                await self._tell(self.connection.events())
                await self.flush()
        self.is_closed = True
        await self._tell([])

    async def _tell(self, events: Sequence[ev.Event]) -> None:
        async with self._news:
            self.events.extend(events)
            self._news.notify_all()
