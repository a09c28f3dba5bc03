"""An independent WebRTC client (aiortc) against a port of ours, without the HTTP between them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import av
from aiortc import (
    MediaStreamTrack,
    RTCConfiguration,
    RTCPeerConnection,
    RTCRtpCodecCapability,
    RTCRtpSender,
    RTCSessionDescription,
)
from aiortc.mediastreams import AudioStreamTrack, VideoStreamTrack
from helpers.patience import until

Signal = Callable[[str], Awaitable[str]]
"""An offer's text to an answer's."""


class Picture(VideoStreamTrack):
    """Small pictures that change, 30 a second. The first one comes once `begins` is set."""

    def __init__(self, width: int = 160, height: int = 120, begins: asyncio.Event | None = None) -> None:
        super().__init__()
        self._size = (width, height)
        self._begins = begins
        self._count = 0

    async def recv(self) -> av.VideoFrame:
        if self._begins is not None:
            await self._begins.wait()
        pts, time_base = await self.next_timestamp()
        self._count += 1
        frame = av.VideoFrame(*self._size, "yuv420p")
        for plane in frame.planes:
            plane.update(bytes([self._count * 5 % 256]) * plane.buffer_size)
        frame.pts, frame.time_base = pts, time_base
        return frame


def codecs(kind: str, *names: str) -> list[RTCRtpCodecCapability]:
    """Those of aiortc's capabilities that have one of the names, with what repairs them."""
    wanted = {f"{kind}/{name}".lower() for name in (*names, "rtx")}
    capabilities = RTCRtpSender.getCapabilities(kind)
    return [one for one in capabilities.codecs if one.mimeType.lower() in wanted]


class RtcClient:
    """One peer connection. `async with` closes it."""

    def __init__(self) -> None:
        self.connection = RTCPeerConnection(RTCConfiguration(iceServers=[], bundlePolicy=None))
        self.answer = ""
        self.received: dict[str, MediaStreamTrack] = {}
        self.connection.on("track", self._take_track)

    async def __aenter__(self) -> RtcClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.connection.close()

    def _take_track(self, track: MediaStreamTrack) -> None:
        self.received[track.kind] = track

    async def publish(
        self,
        signal: Signal,
        *,
        video_codecs: Sequence[str] = ("VP8",),
        has_video: bool = True,
        has_audio: bool = True,
        pictures_begin: asyncio.Event | None = None,
    ) -> None:
        if has_audio:
            self.connection.addTransceiver(AudioStreamTrack(), direction="sendonly")
        if has_video:
            video = self.connection.addTransceiver(Picture(begins=pictures_begin), direction="sendonly")
            video.setCodecPreferences(codecs("video", *video_codecs))
        await self._exchange(signal)

    async def play(
        self,
        signal: Signal,
        *,
        kinds: Sequence[str] = ("audio", "video"),
        video_codecs: Sequence[str] = ("VP8", "H264"),
    ) -> None:
        for kind in kinds:
            transceiver = self.connection.addTransceiver(kind, direction="recvonly")
            if kind == "video":
                transceiver.setCodecPreferences(codecs("video", *video_codecs))
        await self._exchange(signal)

    async def vanish(self) -> None:
        """Be gone without a word, as a browser whose machine loses power."""
        for transceiver in self.connection.getTransceivers():
            await transceiver.sender.transport.transport._connection.close()

    async def _exchange(self, signal: Signal) -> None:
        await self.connection.setLocalDescription(await self.connection.createOffer())
        self.answer = await signal(self.connection.localDescription.sdp)
        await self.connection.setRemoteDescription(RTCSessionDescription(self.answer, "answer"))

    async def connected(self) -> None:
        """Wait for DTLS to be done."""
        await until(lambda: self.connection.connectionState == "connected")
