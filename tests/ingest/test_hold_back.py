"""A publisher that sends faster than real time waits for a full queue; one in real time never does."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from helpers.packets import av_batches
from helpers.patience import until
from helpers.rtmp_peer import Peer

from aircheck.clock import SystemClock
from aircheck.facts import EndReason
from aircheck.hub.registry import Registry
from aircheck.hub.stream import Stream
from aircheck.ingest import hold_back, rtmp_server
from aircheck.ingest.pump import Pump
from aircheck.ingest.rtmp_server import RtmpServer, Timeouts
from aircheck.media.packet import Batch
from aircheck.playback.rtmp_play import RtmpViewer
from aircheck.service.access import AccessService

REPLAY = list(av_batches(300_000))
"""Two megabytes: some reads of a socket."""
PACKETS = sum(len(one.packets) for one in REPLAY)


class Queue:
    """A subscriber that is as full as the test says."""

    is_live = False

    def __init__(self) -> None:
        self.backlog_ratio = 0.0
        self.packets = 0
        self.reason: EndReason | None = None

    def deliver(self, batch: Batch) -> None:
        self.packets += len(batch.packets)

    def ended(self, reason: EndReason) -> None:
        self.reason = reason


class Rig:
    """A server whose every stream is drained by one queue."""

    def __init__(self, *, idle_s: float) -> None:
        self.queue = Queue()
        self.registry = Registry()
        self.registry.listen(published=self._published)
        self.pump = Pump(asyncio.get_running_loop(), interval_s=0.05)
        self.server = RtmpServer(
            self.pump,
            self.registry,
            AccessService(),
            SystemClock(),
            new_viewer=lambda stream, session, number: RtmpViewer(stream, session, number),
            timeouts=Timeouts(idle_s=idle_s),
        )
        self.address = self.server.listen("127.0.0.1", 0)
        self.streams: list[Stream] = []

    def _published(self, stream: Stream) -> None:
        self.streams.append(stream)
        stream.subscribe(self.queue)

    @property
    def is_holding(self) -> bool:
        """Whether the publisher is made to wait at this moment."""
        publications = (one for s in self.server.sessions.values() for one in s.publications.values())
        return any(one.hold_back.is_holding for one in publications)

    async def is_held_for(self, seconds: float) -> bool:
        """Whether nothing is taken from the publisher for so long, though it is held back all the time."""
        packets = self.queue.packets
        for _ in range(round(seconds / 0.05)):
            await asyncio.sleep(0.05)
            if not self.is_holding or self.queue.packets != packets:
                return False
        return True


@asynccontextmanager
async def running(*, idle_s: float = 30.0) -> AsyncIterator[Rig]:
    rig = Rig(idle_s=idle_s)
    try:
        yield rig
    finally:
        await rig.server.stop(EndReason.SHUTDOWN)
        rig.pump.close()


@asynccontextmanager
async def replaying(rig: Rig) -> AsyncIterator[Peer]:
    """A publisher that sends five minutes at once, and unpublishes if it gets to it."""
    async with Peer(rig.address) as peer:
        number = await peer.publish("cam")

        async def send() -> None:
            await peer.send(number, REPLAY)
            await peer.unpublish(number)

        sending = asyncio.create_task(send())
        try:
            yield peer
        finally:
            sending.cancel()
            with suppress(asyncio.CancelledError):
                await sending


async def test_a_replay_waits_for_a_full_queue_and_goes_on_when_it_has_drained(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    async with running() as rig:
        rig.queue.backlog_ratio = 1.0
        async with replaying(rig):
            await until(lambda: rig.is_holding)
            assert await rig.is_held_for(0.3)
            rig.queue.backlog_ratio = (hold_back.BEGIN_RATIO + hold_back.END_RATIO) / 2
            assert await rig.is_held_for(0.2), "it goes on for a while once it goes on"
            rig.queue.backlog_ratio = 0.0
            await until(lambda: rig.queue.reason)
    assert rig.queue.packets >= PACKETS
    assert rig.queue.reason is EndReason.UNPUBLISHED
    assert rig.streams[0].counters.held_back_ns > 400_000_000
    assert caplog.text.count("is held back stream=cam") == 1


async def test_a_publisher_in_real_time_is_read_whatever_waits() -> None:
    async with running() as rig, Peer(rig.address) as peer:
        rig.queue.backlog_ratio = 5.0
        number = await peer.publish("cam")
        for one in av_batches(1000):
            await peer.send(number, [one])
            await asyncio.sleep(0.2)
        await peer.unpublish(number)
        await until(lambda: rig.queue.reason)
    assert rig.streams[0].counters.held_back_ns == 0


async def test_a_replay_is_not_held_back_where_nothing_waits() -> None:
    async with running() as rig, replaying(rig):
        await until(lambda: rig.queue.reason)
    assert rig.streams[0].pace.is_ahead
    assert rig.streams[0].counters.held_back_ns == 0


async def test_a_replay_waits_no_longer_than_it_is_ahead() -> None:
    async with running() as rig:
        rig.queue.backlog_ratio = 1.0
        async with replaying(rig):
            await until(lambda: rig.is_holding)
            packets = rig.queue.packets
            rig.streams[0].pace.wait(rig.server.clock.wall_ns() + rig.streams[0].pace.lead_ns)
            await until(lambda: rig.queue.packets > packets)


async def test_who_is_held_back_is_not_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rtmp_server, "SWEEP_S", 0.05)
    async with running(idle_s=0.2) as rig:
        rig.queue.backlog_ratio = 1.0
        async with replaying(rig):
            await until(lambda: rig.is_holding)
            assert await rig.is_held_for(0.6)
            rig.queue.backlog_ratio = 0.0
            await until(lambda: rig.queue.reason)
    assert rig.queue.reason is EndReason.UNPUBLISHED


async def test_a_queue_that_does_not_drain_is_not_waited_for_until_it_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """TCP tells of a hang-up behind all that was sent before."""
    monkeypatch.setattr(hold_back, "HOLD_MAX_S", 0.2)
    async with running() as rig:
        rig.queue.backlog_ratio = 1.0
        async with Peer(rig.address) as peer:
            number = await peer.publish("cam")
            await peer.send(number, REPLAY)
            await until(lambda: rig.is_holding)
            await until(lambda: rig.queue.packets >= PACKETS)
            held_ns = rig.streams[0].counters.held_back_ns
            await peer.send(number, REPLAY)
            await until(lambda: rig.queue.packets >= 2 * PACKETS)
            assert rig.streams[0].counters.held_back_ns == held_ns >= 200_000_000
            rig.queue.backlog_ratio = 0.0
            await peer.send(number, REPLAY)
            await until(lambda: rig.queue.packets >= 3 * PACKETS)
            rig.queue.backlog_ratio = 1.0
            await peer.send(number, REPLAY)
            await until(lambda: rig.is_holding)


async def test_who_is_known_to_have_hung_up_waits_less_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hold_back, "GONE_MAX_S", 0.1)
    async with running() as rig:
        rig.queue.backlog_ratio = 1.0
        async with Peer(rig.address) as peer:
            number = await peer.publish("cam")
            sending = asyncio.create_task(peer.send(number, REPLAY))
            await until(lambda: rig.is_holding)
            sending.cancel()
            peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            peer._writer.transport.abort()
            await until(lambda: rig.queue.reason)
    assert rig.queue.reason is EndReason.DISCONNECTED


async def test_who_hung_up_is_recorded_to_its_last_word_when_the_queue_drains_in_time() -> None:
    async with running() as rig:
        rig.queue.backlog_ratio = 1.0
        async with Peer(rig.address) as peer:
            number = await peer.publish("cam")
            sending = asyncio.create_task(peer.send(number, REPLAY))
            await until(lambda: rig.is_holding)
            rig.queue.backlog_ratio = 0.0
            await sending
            rig.queue.backlog_ratio = 1.0
            await peer.vanish()
        rig.queue.backlog_ratio = 0.0
        await until(lambda: rig.queue.reason)
    assert rig.queue.packets >= PACKETS


async def test_who_is_held_back_can_be_sent_away() -> None:
    async with running() as rig:
        rig.queue.backlog_ratio = 1.0
        async with replaying(rig) as peer:
            await until(lambda: rig.is_holding)
            rig.streams[0].close(EndReason.STOPPED)
            await peer.closed()
    assert rig.queue.reason is EndReason.STOPPED
    assert not rig.server.sessions


async def test_the_server_stops_while_a_publisher_is_held_back() -> None:
    async with running() as rig:
        rig.queue.backlog_ratio = 1.0
        async with replaying(rig):
            await until(lambda: rig.is_holding)
            async with asyncio.timeout(5):
                await rig.server.stop(EndReason.SHUTDOWN)
    assert rig.queue.reason is EndReason.SHUTDOWN
