"""A small RTMP publisher: packets over a real connection, in real time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from aircheck.errors import AircheckError
from aircheck.media.packet import Packet
from aircheck.media.track import Track
from aircheck.playback.flv_mux import FlvMuxer, Message
from aircheck.wire.rtmp import events as ev
from aircheck.wire.rtmp.client import ClientConnection

_ANSWER_TIMEOUT_S = 10.0
_READ_BYTES = 65536


class PublishError(AircheckError):
    """The server cannot be reached, refuses the stream, or hangs up."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where to publish: the server's address, and the stream's name with what lets us in (`?token=…`)."""

    host: str
    port: int
    app: str
    name: str
    query: str = ""

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"rtmp://{host}:{self.port}/{self.app}/{self.name}"


class Publisher:
    """`async with await Publisher.connect(target) as publisher:` publishes, and ends in good order."""

    def __init__(self, target: Target, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._target = target
        self._reader = reader
        self._writer = writer
        self._connection = ClientConnection(session="demo")
        self._stream_id = 0
        self._has_server_left = False
        self._is_leaving = False

    @classmethod
    async def connect(cls, target: Target) -> Publisher:
        """Open the connection. Raises PublishError."""
        try:
            reader, writer = await asyncio.open_connection(target.host, target.port)
        except OSError as error:
            raise PublishError(
                f"nobody answers at {target}: {error.strerror or error}",
                remedy="start the server, or set its address as [rtmp] listen",
            ) from error
        return cls(target, reader, writer)

    async def __aenter__(self) -> Publisher:
        try:
            async with asyncio.timeout(_ANSWER_TIMEOUT_S):
                await self._publish()
        except TimeoutError:
            self._writer.close()
            raise PublishError(f"{self._target} does not answer within {_ANSWER_TIMEOUT_S:g} s") from None
        except BaseException:
            self._writer.close()
            raise
        self._listener = asyncio.create_task(self._listen(), name="demo publisher")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._connection.close_stream(self._stream_id)
        try:
            await self._flush()
            self._is_leaving = True
            self._writer.write_eof()
            async with asyncio.timeout(_ANSWER_TIMEOUT_S):
                await self._listener
        except (OSError, TimeoutError):
            self._listener.cancel()
        finally:
            self._writer.close()

    async def send(
        self, tracks: Sequence[Track], packets: Sequence[Packet], progress: Callable[[float], None]
    ) -> None:
        """Send packets, sorted by dts, each when its time has come; `progress` is told seconds of the stream.

        Raises PublishError when the server hangs up.
        """
        muxer = FlvMuxer(tracks)
        loop = asyncio.get_running_loop()
        start_s, due_s = loop.time(), 0.0
        self._queue(muxer.header_messages(is_publishing=True))
        for packet in packets:
            due_s = packet.dts / packet.track.timescale
            if (wait_s := start_s + due_s - loop.time()) > 0:
                await self._put(due_s, progress)
                await asyncio.sleep(wait_s)
            self._queue(muxer.to_messages((packet,)))
        await self._put(due_s, progress)

    def _queue(self, messages: Sequence[Message]) -> None:
        self._connection.send_media_batch(self._stream_id, messages)

    async def _put(self, at_s: float, progress: Callable[[float], None]) -> None:
        try:
            await self._flush()
        except OSError:
            self._has_server_left = True
        if self._has_server_left:
            raise PublishError(
                f"the server hung up after {at_s:.1f} s of the stream", remedy="its log says why"
            )
        progress(at_s)

    async def _publish(self) -> None:
        url = str(self._target).removesuffix(f"/{self._target.name}")
        self._connection.connect(self._target.app, url)
        while not self._stream_id:
            await self._flush()
            await self._receive()
            for event in self._connection.events():
                self._answered(event)

    def _answered(self, event: ev.Event) -> None:
        match event:
            case ev.Connected():
                self._connection.publish(self._target.name + self._target.query)
            case ev.Published():
                self._stream_id = event.stream_id
            case ev.ConnectRejected() | ev.StreamRejected():
                raise PublishError(
                    f"the server refuses the stream: {event.code} {event.description}",
                    remedy="the demo uses the first rule of [access]: is the running server another one?",
                )
            case ev.ConnectionEnded():
                raise PublishError("the server hung up before the stream was published")

    async def _listen(self) -> None:
        """Answer pings until the server closes."""
        try:
            while not self._reader.at_eof():
                await self._receive()
                self._connection.events()
                if not self._is_leaving:
                    await self._flush()
        finally:
            self._has_server_left = True

    async def _receive(self) -> None:
        data = await self._reader.read(_READ_BYTES)
        self._connection.receive(data, asyncio.get_running_loop().time())

    async def _flush(self) -> None:
        self._writer.writelines(self._connection.data_to_send())
        await self._writer.drain()
