"""The composition root: builds the node from its settings, starts it, watches over it and stops it.

Start: folder lock → catalogue → what a crash left is listed → recorder → listeners → ready → recovery
beside the live server. Stop: nobody new → publishers end → files become final → HTTP ends → catalogue
closes.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path

from aircheck.app.plans import (
    BACK_BUFFER_BYTES,
    hook_plan,
    modes_plan,
    node_id_of,
    peer_rules,
    recording_plan,
    wcs_options,
)
from aircheck.app.urls import url_of
from aircheck.catalog import Catalog
from aircheck.certificates import Certificate
from aircheck.clock import Clock, SystemClock
from aircheck.descriptors import allowed_connections
from aircheck.errors import ConfigError, reason_of
from aircheck.faces.api.app import create_app
from aircheck.faces.http_server import HttpListeners, ListenError
from aircheck.faces.wcs.hooks import WcsHooks
from aircheck.faces.websdk.app import WebSdkApp
from aircheck.faces.websdk.streams import SdkStreams
from aircheck.faces.whip.ice_servers import IceServer
from aircheck.faces.whip.routes import WhipOptions
from aircheck.facts import EndReason, StreamFacts
from aircheck.hub.gatekeeper import Gatekeeper
from aircheck.hub.registry import Registry
from aircheck.hub.stream import Stream
from aircheck.ingest.pump import Pump
from aircheck.ingest.rtmp_server import RtmpServer, Timeouts
from aircheck.ingest.rtmp_session import RtmpSession
from aircheck.observability import LineWriter
from aircheck.playback.rtmp_play import RtmpViewer
from aircheck.recording import recovery
from aircheck.recording.folder_lock import FolderLock
from aircheck.recording.hooks import Hooks
from aircheck.recording.plan import RecordingPlan
from aircheck.recording.recorder import Recorder
from aircheck.recording.second_tries import SecondTries
from aircheck.service.access import AccessService
from aircheck.service.backend import Backend, BackendPlan
from aircheck.service.clips import ClipService
from aircheck.service.connections import ConnectionService
from aircheck.service.control import ControlService
from aircheck.service.downloads import DownloadService
from aircheck.service.events import EventService
from aircheck.service.health import HealthService
from aircheck.service.journal import CatalogJournal
from aircheck.service.kept_clips import KeptClips
from aircheck.service.live import LiveHub, LiveRecorder, LiveState, RtmpConnections
from aircheck.service.multi_recordings import MultiRecordingService
from aircheck.service.publications import PublicationService, close_abandoned
from aircheck.service.recorded_names import RecordedNames
from aircheck.service.recordings import RecordingService
from aircheck.service.services import Services
from aircheck.service.streams import StreamService
from aircheck.settings import Listen, Settings
from aircheck.tasks import TaskGroup
from aircheck.webrtc.peers import Peers
from aircheck.wire.rtmp.connection import Limits

_log = logging.getLogger(__name__)

_NO_SUCH_HOST = (socket.EAI_NONAME, socket.EAI_AGAIN)

LAG_INTERVAL_S = 0.5
BACKEND_STOP_S = 5.0
"""For the backend to be told of the streams that end with the server."""


class Node:
    """A complete server. `async with Node(settings) as node`: up on entry, everything final on exit."""

    def __init__(
        self, settings: Settings, clock: Clock | None = None, *, log: LineWriter | None = None
    ) -> None:
        """`log` is where the process logs, for the metrics."""
        self.settings = settings
        self._log = log
        self.clock = clock or SystemClock()
        self.registry = Registry()
        self.rtmp_address: tuple[str, int] | None = None
        self.rtmps_address: tuple[str, int] | None = None
        self.http_address: tuple[str, int] | None = None
        self.https_address: tuple[str, int] | None = None
        self.webrtc_address: tuple[str, int] | None = None
        self.websdk_urls: list[str] = []
        self.peers: Peers | None = None
        self.websdk: WebSdkApp | None = None
        self.websdk_listeners: HttpListeners | None = None
        self.tasks = TaskGroup("app")
        self.backend: Backend | None = None
        self._certificates: dict[tuple[Path, Path], Certificate] = {}
        self.lag_s = self.max_lag_s = 0.0
        self._lock: FolderLock | None = None
        self._closers: list[Callable[[], object]] = []

    async def __aenter__(self) -> Node:
        try:
            await self._start()
        except BaseException:
            await self._release()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stop()

    async def _start(self) -> None:
        settings = self.settings
        self._lock = FolderLock(settings.record.own_folders, settings.catalog.path)
        settings.catalog_path.parent.mkdir(parents=True, exist_ok=True)
        self.catalog = await Catalog.open(settings.catalog_path)
        self.journal = CatalogJournal(self.catalog)
        interval_s = settings.record.durability_interval_ms / 1000
        self.hooks = Hooks(hook_plan(settings), self.journal, self.clock)
        self.recorder = Recorder(
            self.journal, self.clock, durability_interval_s=interval_s, finished_files=self.hooks
        )
        plan = recording_plan(settings.record)
        unfinished = await recovery.find_unfinished(self.journal, plan.growing_dir)
        abandoned = await self.journal.live_streams()
        self.recorder.continuations.awaited_files = unfinished.names
        self.recorder.start()
        self.recorder.look_for_room(plan)
        self.publications = PublicationService(
            self.registry,
            self.recorder,
            self.journal,
            plan if settings.record.enabled else None,
            modes_plan=modes_plan(settings.rtmp, plan),
            keep_past_ms=plan.pre_roll_ms,
            unrecorded_protocols=() if settings.record.rtmp_streams else ("rtmp", "rtmps"),
        )
        self.control = ControlService(
            self.registry,
            self.recorder,
            self.journal,
            plan,
            stop_timeout_s=settings.record.stop_timeout_s,
        )
        self.multi_recordings = MultiRecordingService(
            self.registry,
            self.recorder,
            self.control,
            self.journal,
            plan,
            self.clock,
            stop_timeout_s=settings.record.stop_timeout_s,
        )
        self._start_rtmp()
        await self._start_webrtc()
        await self._start_http()
        await self.hooks.start()
        self.tasks.spawn(self._recover(unfinished, abandoned, plan), "recovery")
        second_tries = SecondTries(self.recorder, self.journal, plan, self.clock, self.hooks)
        self.tasks.spawn(second_tries.run(), "second tries")
        self.tasks.spawn(self._watch_loop(), "loop lag")

    async def _stop(self) -> None:
        self.rtmp.stop_listening()
        if self.peers is not None:
            self.peers.stop_taking()
        await self.tasks.close()
        await self.rtmp.stop(EndReason.SHUTDOWN)
        if self.peers is not None:
            await self.peers.stop(EndReason.SHUTDOWN)
        await self.recorder.stop(EndReason.SHUTDOWN)
        await self.multi_recordings.close()
        await self.publications.tasks.join()
        await self._stop_backend(BACKEND_STOP_S)
        await self.hooks.stop(self.settings.hooks.stop_timeout_s)
        if self.websdk_listeners is not None:
            await self.websdk_listeners.stop()
        await self.http.stop()
        await self.services.downloads.stop()
        await self.services.clips.stop()
        self.services.health.stop()
        await self.rtmp.until_gone()
        await self._release()

    async def _release(self) -> None:
        """What a start that failed half-way has taken goes back too."""
        await self.tasks.close()
        if pump := getattr(self, "pump", None):
            pump.close()
        if self.peers is not None:
            await self.peers.stop(EndReason.SHUTDOWN)
        await self._stop_backend(0)
        if journal := getattr(self, "journal", None):
            await journal.close()
        if catalog := getattr(self, "catalog", None):
            await catalog.close()
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    async def _stop_backend(self, timeout_s: float) -> None:
        if self.backend is not None:
            await self.backend.stop(timeout_s)
            self.backend = None

    def _start_rtmp(self) -> None:
        settings = self.settings
        self.access = AccessService(
            users={user: secret.get_secret_value() for user, secret in settings.access.publish_users.items()},
            tokens=[secret.get_secret_value() for secret in settings.access.publish_tokens],
            keys=[secret.get_secret_value() for secret in settings.access.publish_keys],
        )
        self.wcs_hooks = self._start_hooks_of_wcs()
        self.gatekeeper: Gatekeeper = self.wcs_hooks or self.access
        self.pump = Pump(asyncio.get_running_loop(), interval_s=settings.pump.interval_ms / 1000)
        self.rtmp = RtmpServer(
            self.pump,
            self.registry,
            self.gatekeeper,
            self.clock,
            new_viewer=_new_viewer,
            limits=Limits(max_message_bytes=settings.rtmp.max_message_bytes),
            timeouts=Timeouts(settings.rtmp.handshake_timeout_s, settings.rtmp.idle_timeout_s),
            max_connections=_connections(settings.rtmp.max_connections),
            back_buffer_bytes=BACK_BUFFER_BYTES,
            keeps_past=settings.rtmp.first_viewer_at_once,
            asks_for_login=settings.access.adobe_challenge,
        )
        if self.wcs_hooks is not None:
            self.rtmp.on_session_ended.append(self.wcs_hooks.session_ended)
        self.rtmp_address = self._listen(settings.rtmp.listen, None)
        if settings.rtmps.listen is not None:
            if settings.rtmps_certificate is None:
                raise ConfigError("[rtmps] listens without a certificate", remedy="set cert and key in [tls]")
            tls = self._tls_context(settings.rtmps_certificate)
            self.rtmps_address = self._listen(settings.rtmps.listen, tls)

    def _tls_context(self, files: tuple[Path, Path]) -> ssl.SSLContext:
        """For listeners; the files are looked at for as long as the node runs, once however many use them."""
        if files not in self._certificates:
            certificate = self._certificates[files] = Certificate(*files)
            self.tasks.spawn(certificate.watch(), f"certificate {files[0]}")
        return self._certificates[files].context

    def _start_hooks_of_wcs(self) -> WcsHooks | None:
        """The backend that lets peers in, if there is one: asked after our own rules."""
        settings = self.settings.backend_hooks
        if not settings.is_on:
            return None
        self.backend = Backend(
            BackendPlan(settings.url, settings.urls, settings.secret.get_secret_value(), settings.timeout_s)
        )
        self.backend.start()
        names = RecordedNames(self.recorder)
        return WcsHooks(
            self.access,
            self.registry,
            self.backend,
            self.clock,
            node_id=node_id_of(self.settings.wcs),
            methods=settings.methods,
            refuses_on_error=settings.on_error == "refuse",
            record_name=lambda media_session_id: (
                None if (file := names.find(media_session_id)) is None else file.name
            ),
        )

    def _listen(self, listen: Listen, tls: ssl.SSLContext | None) -> tuple[str, int]:
        try:
            return self.rtmp.listen(listen.host, listen.port, tls=tls)
        except OSError as error:
            raise ConfigError(
                f"cannot listen for RTMP on {listen}: {reason_of(error)}",
                remedy=_remedy_for(error, "[rtmp] listen"),
            ) from error

    async def _start_webrtc(self) -> None:
        listen = self.settings.webrtc.listen
        if listen is None:
            return
        self.peers = Peers(
            self.registry, self.rtmp.gatekeeper, self.clock, rules=peer_rules(self.settings.webrtc)
        )
        try:
            self.webrtc_address = await self.peers.listen(listen.host, listen.port)
        except OSError as error:
            raise ConfigError(
                f"cannot listen for WebRTC media on {listen}: {reason_of(error)}",
                remedy=_remedy_for(error, "[webrtc] listen"),
            ) from error

    async def _start_http(self) -> None:
        live = LiveRecorder(self.recorder)
        clips = ClipService(
            self.catalog,
            RecordingService(self.catalog, live),
            live,
            KeptClips(self.settings.clips.dir or self.settings.record.dir),
            self.clock,
            open_file=lambda name, reader: downloads.open(name, reader),
            reserve_bytes=self.settings.record.min_free_bytes,
        )
        downloads = DownloadService(
            self.catalog,
            live,
            [self.settings.record.dir],
            self.clock,
            as_attachment=self.settings.http.disposition == "attachment",
            elsewhere=clips.open_kept,
        )
        await clips.start()
        self.services = Services(
            streams=StreamService(LiveHub(self.registry, self.recorder), self.clock),
            recordings=RecordingService(self.catalog, live),
            connections=ConnectionService(RtmpConnections(self.rtmp)),
            control=self.control,
            multi_recordings=self.multi_recordings,
            downloads=downloads,
            clips=clips,
            events=EventService(self.catalog),
            health=HealthService(
                LiveState(
                    self.recorder,
                    self.rtmp,
                    self.publications,
                    self.journal,
                    self.hooks,
                    backend=self.backend,
                    peers=self.peers,
                    refused_pages=lambda: {} if self.websdk is None else self.websdk.refused,
                    http_connections=self._http_connections,
                    log=self._log,
                    loop_lag=lambda: (self.lag_s, self.max_lag_s),
                ),
                self.clock,
            ),
            clock=self.clock,
            peers=self.peers,
        )
        settings = self.settings
        tls = None if settings.certificate is None else self._tls_context(settings.certificate)
        app = create_app(
            self.services,
            wcs=wcs_options(settings.wcs),
            whip=self._whip_options(),
            client2_dir=settings.websdk.client2_dir,
            publish_address=self.rtmp_address,
        )
        self.http = HttpListeners(app)
        self.http_address = await _serve(self.http, settings.http.listen, "[http] listen")
        if tls is not None and (listen := settings.https.listen) is not None:
            self.https_address = await _serve(self.http, listen, "[https] listen", tls)
        if self.peers is not None:
            await self._start_websdk(self.peers, tls)

    def _http_connections(self) -> int:
        listeners = (self.http, self.websdk_listeners)
        return sum(one.connections for one in listeners if one is not None)

    def _whip_options(self) -> WhipOptions:
        servers = self.settings.webrtc.ice_servers
        hooks = self.wcs_hooks
        return WhipOptions(
            ice_servers=[IceServer.parse(server.get_secret_value()) for server in servers],
            on_session_ended=hooks.session_ended if hooks is not None else lambda session_id: None,
        )

    async def _start_websdk(self, peers: Peers, tls: ssl.SSLContext | None) -> None:
        settings = self.settings
        streams = SdkStreams(
            peers=peers,
            registry=self.registry,
            names=RecordedNames(self.recorder),
            record_stop_timeout_s=settings.record.stop_timeout_s,
            may_connect=self.wcs_hooks.may_connect if self.wcs_hooks is not None else None,
        )
        self.websdk = WebSdkApp(streams, self.clock)
        self.services.connections.add_source(self.websdk)
        if self.wcs_hooks is not None:
            self.websdk.on_session_ended.append(self.wcs_hooks.session_ended)
        self.websdk_listeners = listeners = HttpListeners(self.websdk)
        if (listen := settings.websdk.listen) is not None:
            address = await _serve(listeners, listen, '[websdk] listen ("" for none)')
            self.websdk_urls.append(url_of("ws", address))
        if tls is not None and (listen := settings.websdk.listen_tls) is not None:
            address = await _serve(listeners, listen, '[websdk] listen_tls ("" for none)', tls)
            self.websdk_urls.append(url_of("wss", address))

    async def _recover(
        self, unfinished: recovery.Unfinished, abandoned: Sequence[StreamFacts], plan: RecordingPlan
    ) -> None:
        if unfinished.segments or unfinished.recordings:
            await self._make_whole(unfinished, plan)
        if abandoned:
            _log.warning("streams were live at a crash streams=%d", len(abandoned))
            await close_abandoned(abandoned, self.journal)

    async def _make_whole(self, unfinished: recovery.Unfinished, plan: RecordingPlan) -> None:
        _log.warning("recovering after a crash files=%d", len(unfinished))
        report = await recovery.recover(unfinished, self.journal, plan, self.clock, self.hooks)
        self.recorder.left_behind += report.left
        _log.info(
            "recovery done recovered=%d empty=%d missing=%d failed=%d cut_bytes=%d",
            report.recovered,
            report.empty,
            report.missing,
            report.failed,
            report.cut_bytes,
        )

    async def _watch_loop(self) -> None:
        """How late the loop is: what every promise of promptness rests on."""
        loop = asyncio.get_running_loop()
        while True:
            before_s = loop.time()
            await asyncio.sleep(LAG_INTERVAL_S)
            self.lag_s = max(0.0, loop.time() - before_s - LAG_INTERVAL_S)
            self.max_lag_s = max(self.max_lag_s, self.lag_s)


async def _serve(
    listeners: HttpListeners, listen: Listen, setting: str, tls: ssl.SSLContext | None = None
) -> tuple[str, int]:
    try:
        return await listeners.listen(listen.host, listen.port, tls=tls)
    except ListenError as error:
        raise ListenError(str(error), remedy=_remedy_for(error.__cause__, setting)) from error


def _remedy_for(error: BaseException | None, setting: str) -> str:
    if isinstance(error, OSError) and error.errno in (errno.EADDRNOTAVAIL, *_NO_SUCH_HOST):
        return f"give an address of this machine, or 0.0.0.0 for all of them, as {setting}"
    if isinstance(error, OSError) and error.errno == errno.EACCES:
        return f"set a port from 1024 on as {setting}, or allow the server to use this one"
    return f"stop the program that has this port, or set another one as {setting}"


def _connections(wanted: int) -> int:
    """As many as leave descriptors for files: a flood of peers must not end recordings."""
    allowed = allowed_connections(wanted)
    if allowed < wanted:
        _log.warning(
            "fewer connections than set: open files are limited wanted=%d allowed=%d remedy=%s",
            wanted,
            allowed,
            "ulimit -n",
        )
    return allowed


def _new_viewer(stream: Stream, session: RtmpSession, stream_id: int) -> RtmpViewer:
    return RtmpViewer(stream, session, stream_id)
