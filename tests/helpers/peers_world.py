"""The WebRTC room with a hub, without the rest of a node."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aircheck.clock import SystemClock
from aircheck.facts import EndReason
from aircheck.hub.gatekeeper import Attempt
from aircheck.hub.registry import Registry
from aircheck.hub.stream import Stream
from aircheck.media.packet import Batch
from aircheck.service.access import AccessService
from aircheck.webrtc.peer import Peer
from aircheck.webrtc.peers import PeerRules, Peers


class Listener:
    """A subscriber that counts packets by codec."""

    is_live = False
    backlog_ratio = 0.0

    def __init__(self) -> None:
        self.packets: Counter[str] = Counter()
        self.end_reason: EndReason | None = None

    def deliver(self, batch: Batch) -> None:
        self.packets.update(packet.track.codec.value for packet in batch.packets)

    def ended(self, reason: EndReason) -> None:
        self.end_reason = reason


class PeersWorld:
    """`async with PeersWorld.opened() as world`: a port on loopback; `signal`s take the place of HTTP."""

    def __init__(self, peers: Peers, registry: Registry) -> None:
        self.peers = peers
        self.registry = registry
        self.listeners: dict[str, Listener] = {}
        self.taken: list[Peer] = []
        registry.listen(published=self._listen)

    @classmethod
    @asynccontextmanager
    async def opened(
        cls,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        public_addresses: tuple[str, ...] = ("127.0.0.1",),
        access: AccessService | None = None,
        **rules: object,
    ) -> AsyncIterator[PeersWorld]:
        registry = Registry()
        peers = Peers(
            registry,
            access or AccessService(),
            SystemClock(),
            rules=PeerRules(
                back_buffer_bytes=1 << 24,
                public_addresses=public_addresses if host == "127.0.0.1" else (),
                **rules,  # type: ignore[arg-type]
            ),
        )
        await peers.listen(host, port)
        try:
            yield cls(peers, registry)
        finally:
            await peers.stop(EndReason.SHUTDOWN)

    def _listen(self, stream: Stream) -> None:
        listener = self.listeners[stream.name] = Listener()
        stream.subscribe(listener)

    @property
    def address(self) -> tuple[str, int]:
        return self.peers.port.address

    async def publish(self, offer: str, *, name: str = "cam", **options: object) -> str:
        peer = await self.peers.publish(offer, attempt("whip", name), **options)  # type: ignore[arg-type]
        self.taken.append(peer)
        return peer.answer

    async def play(self, offer: str, *, name: str = "cam", **options: object) -> str:
        peer = await self.peers.play(offer, attempt("whep", name), **options)  # type: ignore[arg-type]
        self.taken.append(peer)
        return peer.answer


def attempt(protocol: str = "whip", name: str = "cam", **query: str) -> Attempt:
    return Attempt(protocol, "session-1", "127.0.0.1:9", "live", name, query)
