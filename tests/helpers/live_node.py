"""A node without listeners: hub, recorder, catalogue and services as the app wires them, streams by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import httpx
from helpers.packets import av_batches, stream_facts
from helpers.patience import PATIENCE_S
from helpers.recorder_rig import feed, make_plan

from aircheck.catalog import Catalog
from aircheck.clock import SystemClock
from aircheck.faces.api.app import create_app
from aircheck.facts import EndReason, EventKind
from aircheck.hub.registry import Registry
from aircheck.hub.stream import Stream
from aircheck.media.packet import Batch
from aircheck.recording.recorder import Recorder
from aircheck.service.clips import ClipService
from aircheck.service.connections import ConnectionService
from aircheck.service.control import ControlService
from aircheck.service.downloads import DownloadService
from aircheck.service.events import EventService
from aircheck.service.health import HealthService, NodeStatus, VolumeStatus
from aircheck.service.journal import CatalogJournal
from aircheck.service.kept_clips import KeptClips
from aircheck.service.live import LiveHub, LiveRecorder
from aircheck.service.multi_recordings import MultiRecordingService
from aircheck.service.publications import PublicationService
from aircheck.service.recordings import RecordingService
from aircheck.service.services import Services
from aircheck.service.streams import StreamService


class LiveNode:
    """`async with LiveNode.opened(folder) as node`: up, nothing recorded but on request; leaving stops it."""

    def __init__(self, folder: Path, catalog: Catalog, *, stop_timeout_s: float, **plan: object) -> None:
        self.record_dir = folder / "records"
        self.catalog = catalog
        self.clock = SystemClock()
        self.registry = Registry()
        self.journal = CatalogJournal(catalog)
        self.recorder = Recorder(self.journal, self.clock, durability_interval_s=0.1)
        self.plan = make_plan(self.record_dir, **plan)
        self.publications = PublicationService(self.registry, self.recorder, self.journal, None)
        self.control = ControlService(
            self.registry, self.recorder, self.journal, self.plan, stop_timeout_s=stop_timeout_s
        )
        self.multi_recordings = MultiRecordingService(
            self.registry, self.recorder, self.control, self.journal, self.plan, self.clock
        )
        live = LiveRecorder(self.recorder)
        recordings, kept = RecordingService(catalog, live), KeptClips(self.record_dir)
        self.clips = ClipService(
            catalog,
            recordings,
            live,
            kept,
            self.clock,
            open_file=lambda name, reader: self.services.downloads.open(name, reader),
        )
        self.services = Services(
            streams=StreamService(LiveHub(self.registry, self.recorder), self.clock),
            recordings=RecordingService(catalog, live),
            connections=ConnectionService(),
            control=self.control,
            multi_recordings=self.multi_recordings,
            downloads=DownloadService(
                catalog, live, [self.record_dir], self.clock, elsewhere=self.clips.open_kept
            ),
            clips=self.clips,
            events=EventService(catalog),
            health=HealthService(_NoVolumes(), self.clock),
            clock=self.clock,
        )

    @classmethod
    @asynccontextmanager
    async def opened(
        cls, folder: Path, *, stop_timeout_s: float = 10.0, **plan: object
    ) -> AsyncIterator[LiveNode]:
        catalog = await Catalog.open(folder / "catalog.db")
        node = cls(folder, catalog, stop_timeout_s=stop_timeout_s, **plan)
        node.recorder.start()
        try:
            yield node
        finally:
            async with asyncio.timeout(PATIENCE_S):
                for stream in node.registry:
                    node.unpublish(stream, EndReason.SHUTDOWN)
                await node.recorder.stop(EndReason.SHUTDOWN)
                await node.publications.tasks.join()
                await node.services.downloads.stop()
                await node.clips.stop()
                node.services.health.stop()
                await catalog.close()

    @asynccontextmanager
    async def client(self) -> AsyncIterator[httpx.AsyncClient]:
        """A client that speaks to the application without a socket."""
        transport = httpx.ASGITransport(create_app(self.services), raise_app_exceptions=True)
        async with httpx.AsyncClient(transport=transport, base_url="http://recorder") as client:
            yield client

    def publish(
        self, name: str = "cam", app: str = "live", stream_id: str = "media-1", protocol: str = "rtmp"
    ) -> Stream:
        """A stream that ends when its publisher is asked to go."""
        facts = replace(stream_facts(name, app, stream_id), protocol=protocol)
        stream = Stream(facts, on_close=lambda reason: self.unpublish(stream, reason))
        self.registry.publish(stream)
        return stream

    def unpublish(self, stream: Stream, reason: EndReason = EndReason.UNPUBLISHED) -> None:
        self.registry.end(stream, reason, self.clock.wall_ns())

    async def publish_media(self, name: str = "cam", duration_ms: int = 1000) -> Stream:
        """A stream through which so much media has passed."""
        stream = self.publish(name)
        await self.feed(stream, av_batches(duration_ms))
        return stream

    async def feed(self, stream: Stream, batches: Iterable[Batch]) -> None:
        await feed(stream, batches)

    async def told(self, recording_id: str | None = None) -> list[EventKind]:
        """The events so far, in order."""
        return [event.kind for event in await self.catalog.events(recording_id=recording_id)]


class _NoVolumes:
    def status(self) -> NodeStatus:
        return NodeStatus()

    def volumes(self) -> tuple[VolumeStatus, ...]:
        return ()
