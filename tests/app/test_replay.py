"""A replay that is faster than the disk, or than its sound is transcoded, waits, and none of it is lost."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from helpers.packets import av_batches
from helpers.patience import PATIENCE_S, until
from helpers.recorder_rig import Rig, make_plan, payloads, sent
from helpers.rtmp_peer import Peer
from helpers.sound import g711_batches

from aircheck.clock import SystemClock
from aircheck.containers.mp4 import Mp4Writer
from aircheck.containers.transcode import AudioTranscoder
from aircheck.facts import EndReason, RecordingFacts, SegmentFacts
from aircheck.hub.registry import Registry
from aircheck.ingest import pump
from aircheck.ingest.pump import Pump
from aircheck.ingest.rtmp_server import RtmpServer
from aircheck.media.packet import Batch
from aircheck.playback.rtmp_play import RtmpViewer
from aircheck.recording import conversion_jobs
from aircheck.recording.plan import RecordingPlan
from aircheck.recording.recording import Recording
from aircheck.service.access import AccessService

MIB = 1024 * 1024


class Node:
    """An RTMP server whose every stream is recorded."""

    def __init__(self, rig: Rig, plan: RecordingPlan) -> None:
        self.rig = rig
        self.recordings: list[Recording] = []
        registry = Registry()
        registry.listen(
            published=lambda stream: self.recordings.append(
                rig.recorder.record(stream, plan, requested_by="test")
            )
        )
        self.pump = Pump(asyncio.get_running_loop(), interval_s=0.05)
        self.rtmp = RtmpServer(
            self.pump,
            registry,
            AccessService(),
            SystemClock(),
            new_viewer=lambda stream, session, number: RtmpViewer(stream, session, number),
        )
        self.address = self.rtmp.listen("127.0.0.1", 0)

    @property
    def recording(self) -> Recording:
        (recording,) = self.recordings
        return recording

    @property
    def held_back_ns(self) -> int:
        return self.recording.stream.counters.held_back_ns if self.recordings else 0

    async def replay(self, batches: Sequence[Batch]) -> None:
        async with Peer(self.address) as peer:
            number = await peer.publish("cam")
            await peer.send(number, batches)
            await peer.unpublish(number)
            await until(lambda: not self.recording.stream.is_live)

    async def finished(self) -> tuple[RecordingFacts, list[SegmentFacts]]:
        async with asyncio.timeout(60):
            facts = await self.rig.recorder.until_done(self.recording)
        return facts, list(await self.rig.journal.segments(facts.id))


@asynccontextmanager
async def running(folder: Path, plan: RecordingPlan) -> AsyncIterator[Node]:
    async with Rig(folder) as rig:
        node = Node(rig, plan)
        try:
            yield node
        finally:
            await node.rtmp.stop(EndReason.SHUTDOWN)
            node.pump.close()


async def test_a_replay_waits_for_a_disk_that_stands_still_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = threading.Event()
    write = Mp4Writer.write

    def stalled_write(writer: Mp4Writer, packets: list) -> None:
        go.wait(PATIENCE_S)
        write(writer, packets)

    monkeypatch.setattr(Mp4Writer, "write", stalled_write)
    batches = list(av_batches(900_000))
    async with running(tmp_path, make_plan(tmp_path, queue_max_bytes=MIB)) as node:
        replaying = asyncio.create_task(node.replay(batches))
        try:
            await until(lambda: node.held_back_ns > 200_000_000)
            assert MIB // 2 < node.recording.queued_bytes < 2 * MIB
        finally:
            go.set()
        await replaying
        facts, (segment,) = await node.finished()
    assert (facts.gaps, facts.dropped_packets) == (0, 0)
    assert payloads(segment.path) == sent(batches)


async def test_a_replay_waits_for_its_sound_to_be_transcoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pump, "READ_SIZE_BYTES", 32 * 1024)
    monkeypatch.setattr(conversion_jobs, "QUEUE_MAX_BYTES", 256 * 1024)
    go = threading.Event()
    feed = AudioTranscoder.feed

    def stalled_feed(transcoder: AudioTranscoder, packets: list) -> list:
        go.wait(PATIENCE_S)
        return feed(transcoder, packets)

    monkeypatch.setattr(AudioTranscoder, "feed", stalled_feed)
    batches = g711_batches(40, tmp_path)
    async with running(tmp_path, make_plan(tmp_path)) as node:
        replaying = asyncio.create_task(node.replay(batches))
        await until(lambda: node.held_back_ns > 200_000_000)
        go.set()
        await replaying
        facts, (segment,) = await node.finished()
    assert facts.gaps == 0
    assert node.rig.recorder.audio.counters.dropped_packets == 0
    assert segment.duration_ms == pytest.approx(40_000, abs=200)
