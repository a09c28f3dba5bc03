"""The services together, as `app` builds them and hands them to every face."""

from __future__ import annotations

from dataclasses import dataclass

from aircheck.clock import Clock
from aircheck.service.clips import ClipService
from aircheck.service.connections import ConnectionService
from aircheck.service.control import ControlService
from aircheck.service.downloads import DownloadService
from aircheck.service.events import EventService
from aircheck.service.health import HealthService
from aircheck.service.multi_recordings import MultiRecordingService
from aircheck.service.peers import Peers
from aircheck.service.recordings import RecordingService
from aircheck.service.streams import StreamService


@dataclass(frozen=True, slots=True)
class Services:
    streams: StreamService
    recordings: RecordingService
    connections: ConnectionService
    control: ControlService
    multi_recordings: MultiRecordingService
    downloads: DownloadService
    clips: ClipService
    events: EventService
    health: HealthService
    clock: Clock
    peers: Peers | None = None
    """None: no WebRTC."""
