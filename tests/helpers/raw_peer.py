"""A peer of our own parts turned round, for what no browser does: TCP, halves of handshakes, odd offers."""

from __future__ import annotations

import asyncio
import os
import re
from collections import Counter
from typing import Any

from helpers.patience import PATIENCE_S

from aircheck.webrtc.dtls import DtlsSession, Identity
from aircheck.webrtc.srtp import SrtpSession
from aircheck.wire import stun
from aircheck.wire.rtp.packet import RtpPacket

IDENTITY = Identity()

OPUS = 111
VP8 = 96


def offer(
    *,
    direction: str = "sendonly",
    setup: str = "actpass",
    fingerprint: str = IDENTITY.fingerprint,
    lines: tuple[str, ...] = (),
) -> str:
    """Opus alone, bundled, without candidates. `lines` follow."""
    return "\r\n".join(
        (
            "v=0",
            "o=- 1 1 IN IP4 127.0.0.1",
            "s=-",
            "t=0 0",
            "a=group:BUNDLE 0",
            f"m=audio 9 UDP/TLS/RTP/SAVPF {OPUS}",
            "c=IN IP4 0.0.0.0",
            "a=mid:0",
            f"a={direction}",
            "a=rtcp-mux",
            "a=ice-ufrag:raw1",
            "a=ice-pwd:aaaabbbbccccddddeeeeffff",
            f"a=fingerprint:{fingerprint}",
            f"a=setup:{setup}",
            f"a=rtpmap:{OPUS} opus/48000/2",
            f"a=fmtp:{OPUS} minptime=10;useinbandfec=1",
            *lines,
            "",
        )
    )


class RawPeer(asyncio.DatagramProtocol):
    """`await RawPeer.to(answer, address)`, then `check`, `shake`, `send`."""

    def __init__(self, answer: str) -> None:
        self.ufrag = re.findall("a=ice-ufrag:(.*)\r", answer)[-1]
        self.password = re.findall("a=ice-pwd:(.*)\r", answer)[-1]
        fingerprint = re.findall("a=fingerprint:(.*)\r", answer)[-1].split()
        self.is_client = "a=setup:passive" in answer
        self.dtls = DtlsSession(IDENTITY, (fingerprint[0], fingerprint[1]), is_client=self.is_client)
        self.srtp: SrtpSession | None = None
        self.received: asyncio.Queue[bytes] = asyncio.Queue()
        self.transport: Any = None
        self.sequence = 1

    @classmethod
    async def to(cls, answer: str, address: tuple[str, int]) -> RawPeer:
        peer = cls(answer)
        loop = asyncio.get_running_loop()
        await loop.create_datagram_endpoint(lambda: peer, remote_addr=address)
        return peer

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.received.put_nowait(data)

    def put(self, datagram: bytes) -> None:
        self.transport.sendto(datagram)

    def close(self) -> None:
        self.transport.close()

    async def get(self, timeout_s: float = PATIENCE_S) -> bytes:
        async with asyncio.timeout(timeout_s):
            return await self.received.get()

    def request(self, *, key: str | None = None, extra: tuple[tuple[int, bytes], ...] = ()) -> bytes:
        """A check that nominates."""
        attributes = (
            (stun.Attribute.USERNAME, f"{self.ufrag}:raw1".encode()),
            (stun.Attribute.PRIORITY, bytes(4)),
            (stun.Attribute.ICE_CONTROLLING, bytes(8)),
            (stun.Attribute.USE_CANDIDATE, b""),
            *extra,
        )
        kind = stun.Type.BINDING_REQUEST
        secret = (key if key is not None else self.password).encode()
        return stun.serialize(kind, os.urandom(12), attributes, key=secret)

    async def check(self) -> stun.Message:
        """One check and its answer."""
        self.put(self.request())
        return stun.parse(await self.get())

    async def shake(self) -> None:
        """The whole DTLS handshake."""
        for datagram in self.dtls.begin() if self.is_client else ():
            self.put(datagram)
        while not self.dtls.is_connected:
            for datagram in self.dtls.receive(await self.get()):
                self.put(datagram)
        assert self.dtls.keys is not None
        self.srtp = SrtpSession(self.dtls.keys, Counter())

    async def connect(self) -> None:
        await self.check()
        await self.shake()

    def rtp(self, payload: bytes = b"\xfc\xff\xfe", *, ssrc: int = 7) -> bytes:
        """The next packet of Opus, protected."""
        assert self.srtp is not None
        self.sequence += 1
        packet = RtpPacket(OPUS, self.sequence & 0xFFFF, 960 * self.sequence, ssrc, payload)
        return self.srtp.protect(packet.serialize())


class TcpRawPeer(RawPeer, asyncio.Protocol):
    """The same over ICE-TCP."""

    def __init__(self, answer: str) -> None:
        super().__init__(answer)
        self._buffer = b""
        self.is_lost = asyncio.Event()

    @classmethod
    async def to(cls, answer: str, address: tuple[str, int]) -> TcpRawPeer:
        peer = cls(answer)
        await asyncio.get_running_loop().create_connection(lambda: peer, *address)
        return peer

    def put(self, datagram: bytes) -> None:
        self.transport.write(len(datagram).to_bytes(2, "big") + datagram)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while len(self._buffer) >= 2 and len(self._buffer) >= 2 + int.from_bytes(self._buffer[:2], "big"):
            size = int.from_bytes(self._buffer[:2], "big")
            self.received.put_nowait(self._buffer[2 : 2 + size])
            self._buffer = self._buffer[2 + size :]

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost.set()
