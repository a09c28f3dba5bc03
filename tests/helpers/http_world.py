"""A small world behind the HTTP faces: lists for a hub and a recorder; a real catalogue, real files."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx
from helpers.clocks import MovableClock
from helpers.recorder_rig import make_plan

from aircheck.catalog import Catalog
from aircheck.faces.api.app import create_app
from aircheck.facts import (
    RecordingFacts,
    RecordingState,
    SegmentFacts,
    SegmentState,
    StreamFacts,
    TrackFacts,
)
from aircheck.hub.registry import Registry
from aircheck.recording.recorder import Recorder
from aircheck.service.clips import ClipService
from aircheck.service.connections import ConnectionService
from aircheck.service.control import ControlService
from aircheck.service.downloads import DownloadService
from aircheck.service.events import EventService
from aircheck.service.growing import GrowingFile
from aircheck.service.health import HealthService, NodeStatus, VolumeStatus
from aircheck.service.journal import CatalogJournal
from aircheck.service.kept_clips import KeptClips
from aircheck.service.multi_recordings import MultiRecordingService
from aircheck.service.recordings import RecordingHealth, RecordingService
from aircheck.service.services import Services
from aircheck.service.streams import StreamService, StreamStatus

EPOCH_NS = 1_795_239_600_123_000_000
"""2026-11-21T05:40:00.123Z"""

VIDEO = TrackFacts(
    1, "h264", "video", 1000, width=1280, height=720, packets=90, size_bytes=9000, duration_ms=3000
)
AUDIO = TrackFacts(2, "aac", "audio", 48000, sample_rate=48000, channels=2, packets=140, size_bytes=900)


@dataclass
class World:
    """What the services ask: change its lists and the answers change."""

    record_dir: Path
    catalog: Catalog
    clock: MovableClock = field(default_factory=MovableClock)
    live_streams: list[StreamStatus] = field(default_factory=list)
    live_recordings: list[RecordingFacts] = field(default_factory=list)
    live_segments: list[SegmentFacts] = field(default_factory=list)
    recording_health: dict[str, RecordingHealth] = field(default_factory=dict)
    writers: dict[str, GrowingFile] = field(default_factory=dict)
    node: NodeStatus = field(default_factory=NodeStatus)
    disks: list[VolumeStatus] = field(default_factory=list)
    clips_dir: Path | None = None

    @classmethod
    @asynccontextmanager
    async def opened(cls, folder: Path) -> AsyncIterator[World]:
        """A world with one recording, `rec-1`, in a new catalogue."""
        catalog = await Catalog.open(folder / "catalog.db")
        try:
            await catalog.put_recording(make_recording())
            yield cls(folder / "records", catalog)
        finally:
            await catalog.close()

    @asynccontextmanager
    async def serving(self, *, as_attachment: bool = False) -> AsyncIterator[Services]:
        """The services of this world."""
        clock = self.clock
        control, multi_recordings = self._commands()
        roots = [self.record_dir]
        recordings = RecordingService(self.catalog, _LiveRecordings(self))
        kept = KeptClips(self.clips_dir or self.record_dir)
        clips = ClipService(
            self.catalog,
            recordings,
            self,
            kept,
            clock,
            open_file=lambda name, reader: downloads.open(name, reader),
        )
        downloads = DownloadService(
            self.catalog, self, roots, clock, as_attachment=as_attachment, elsewhere=clips.open_kept
        )
        health = HealthService(self, clock, patience_s=0.2)
        try:
            yield Services(
                streams=StreamService(_LiveStreams(self), clock),
                recordings=RecordingService(self.catalog, _LiveRecordings(self)),
                connections=ConnectionService(),
                control=control,
                multi_recordings=multi_recordings,
                downloads=downloads,
                clips=clips,
                events=EventService(self.catalog),
                health=health,
                clock=clock,
            )
        finally:
            await downloads.stop()
            await clips.stop()
            health.stop()

    @asynccontextmanager
    async def client(self, *, as_attachment: bool = False) -> AsyncIterator[httpx.AsyncClient]:
        """A client that speaks to the application without a socket."""
        async with self.serving(as_attachment=as_attachment) as services:
            transport = httpx.ASGITransport(create_app(services), raise_app_exceptions=True)
            async with httpx.AsyncClient(transport=transport, base_url="http://recorder") as client:
                yield client

    def _commands(self) -> tuple[ControlService, MultiRecordingService]:
        """Of a hub without streams: what is published and recorded by hand is in `live_node`."""
        journal, registry, plan = CatalogJournal(self.catalog), Registry(), make_plan(self.record_dir)
        recorder = Recorder(journal, self.clock)
        control = ControlService(registry, recorder, journal, plan)
        return control, MultiRecordingService(registry, recorder, control, journal, plan, self.clock)

    async def add_file(self, file_name: str, content: bytes, **changes: object) -> SegmentFacts:
        """A finished file with its row."""
        path = self.record_dir / file_name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        segment = make_segment(file_name, path=str(path), size_bytes=len(content), **changes)
        await self.catalog.put_segment(segment)
        return segment

    # what `GrowingFiles` and `LiveNode` ask

    def growing_file(self, segment_id: str) -> GrowingFile | None:
        return self.writers.get(segment_id)

    def growing_segments(self) -> Sequence[SegmentFacts]:
        return self.live_segments

    def status(self) -> NodeStatus:
        return self.node

    def volumes(self) -> Sequence[VolumeStatus]:
        return self.disks


class _LiveStreams:
    def __init__(self, world: World) -> None:
        self._world = world

    def streams(self) -> Sequence[StreamStatus]:
        return self._world.live_streams


class _LiveRecordings:
    def __init__(self, world: World) -> None:
        self._world = world

    def recordings(self) -> Sequence[RecordingFacts]:
        return self._world.live_recordings

    def segments(self, recording_id: str) -> Sequence[SegmentFacts]:
        return [segment for segment in self._world.live_segments if segment.recording_id == recording_id]

    def current_file_name(self, recording_id: str) -> str | None:
        return next((segment.file_name for segment in self.segments(recording_id)), None)

    def health(self, recording_id: str) -> RecordingHealth | None:
        return self._world.recording_health.get(recording_id)

    def moved_percent(self, recording_id: str) -> Mapping[str, int]:
        return {}


def make_segment(file_name: str, **changes: object) -> SegmentFacts:
    segment = SegmentFacts(
        id=f"seg-{zlib.crc32(file_name.encode()):08x}",
        recording_id="rec-1",
        index=1,
        state=SegmentState.COMPLETE,
        container=file_name.rpartition(".")[2],
        path="",
        file_name=file_name,
        start_ns=EPOCH_NS,
        tracks=(VIDEO, AUDIO),
    )
    return replace(segment, **changes)


def make_recording(recording_id: str = "rec-1", **changes: object) -> RecordingFacts:
    recording = RecordingFacts(
        id=recording_id,
        stream_name="studio",
        app="live",
        media_session_id="media-1",
        session_id="session-1",
        login="anna",
        requested_by="settings",
        container="mp4",
        name_template="{stream}",
        state=RecordingState.COMPLETE,
        start_ns=EPOCH_NS,
        end_ns=EPOCH_NS + 3_000_000_000,
        segment_count=1,
        size_bytes=9900,
        duration_ms=3000,
    )
    return replace(recording, **changes)


def make_stream(stream_id: str = "media-1", **changes: object) -> StreamStatus:
    facts = StreamFacts(
        id=stream_id,
        name="studio",
        app="live",
        session_id="session-1",
        protocol="rtmp",
        remote_address="192.0.2.7:41000",
        login="anna",
        client="FMLE/3.0",
        published_ns=EPOCH_NS,
        tracks=(VIDEO, AUDIO),
    )
    counters = {name: changes.pop(name) for name in tuple(changes) if name in _COUNTERS}
    return StreamStatus(replace(facts, **changes), **counters)


_COUNTERS = {
    "packets",
    "size_bytes",
    "bitrate_bps",
    "gaps",
    "dropped_packets",
    "subscribers",
    "held_back_ns",
    "subscriber_errors",
}
