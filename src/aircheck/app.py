"""The composition root: builds the node from its settings, starts it, watches over it and stops it.

Start: folder lock → catalogue → what a crash left is listed → recorder → listeners → ready → recovery
beside the live server. Stop: nobody new → publishers end → files become final → HTTP ends → catalogue
closes.
"""

from __future__ import annotations

import asyncio
import gc
import ipaddress
import logging
import os
import signal
import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from aircheck.catalog import Catalog
from aircheck.certificates import Certificate
from aircheck.clock import Clock, SystemClock
from aircheck.descriptors import allowed_connections, raise_limit
from aircheck.errors import ConfigError
from aircheck.faces.api.app import create_app
from aircheck.faces.http_server import HttpListeners
from aircheck.faces.wcs.app import WcsOptions
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
from aircheck.observability import configure_logging
from aircheck.playback.rtmp_play import RtmpViewer
from aircheck.recording import recovery
from aircheck.recording.folder_lock import FolderLock
from aircheck.recording.hooks import HookPlan, Hooks
from aircheck.recording.naming import NameTemplate, OnConflict
from aircheck.recording.plan import AudioPlan, Mp4Audio, RecordingPlan
from aircheck.recording.recorder import Recorder
from aircheck.recording.rotation import RotationRule
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
from aircheck.settings import Listen, RecordSettings, Settings, WcsSettings, WebRtcSettings
from aircheck.settings.model import HIDDEN_FOLDER
from aircheck.systemd import Notifier, watchdog_interval_s
from aircheck.tasks import TaskGroup
from aircheck.webrtc.negotiate import CODEC_NAMES, Preferences
from aircheck.webrtc.peers import PeerRules, Peers
from aircheck.webrtc.states import PeerTimeouts
from aircheck.wire.rtmp.connection import Limits

_log = logging.getLogger(__name__)

LAG_INTERVAL_S = 0.5
BACKEND_STOP_S = 5.0
"""For the backend to be told of the streams that end with the server."""
BACK_BUFFER_BYTES = 16 * 1024 * 1024
"""Of one stream's recent past, at the most."""


class Node:
    """A complete server. `async with Node(settings) as node`: up on entry, everything final on exit."""

    def __init__(self, settings: Settings, clock: Clock | None = None) -> None:
        self.settings = settings
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
        self._lock = FolderLock(_own_folders(settings.record), settings.catalog.path)
        settings.catalog_path.parent.mkdir(parents=True, exist_ok=True)
        self.catalog = await Catalog.open(settings.catalog_path)
        self.journal = CatalogJournal(self.catalog)
        interval_s = settings.record.durability_interval_ms / 1000
        self.hooks = Hooks(_hook_plan(settings), self.journal, self.clock)
        self.recorder = Recorder(
            self.journal, self.clock, durability_interval_s=interval_s, finished_files=self.hooks
        )
        plan = recording_plan(settings.record)
        unfinished = await recovery.find_unfinished(self.journal, plan.growing_dir)
        abandoned = await self.journal.live_streams()
        self.recorder.continuations.awaited_files = unfinished.names
        self.recorder.start()
        self.recorder.volume_of(plan.growing_dir).reserve_bytes = plan.min_free_bytes
        self.publications = PublicationService(
            self.registry,
            self.recorder,
            self.journal,
            plan if settings.record.enabled else None,
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
            node_id=_node_id(self.settings.wcs),
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
                f"cannot listen for RTMP on {listen}: {error.strerror}",
                remedy="stop the program that has this port, or set another one as [rtmp] listen",
            ) from error

    async def _start_webrtc(self) -> None:
        listen = self.settings.webrtc.listen
        if listen is None:
            return
        self.peers = Peers(
            self.registry, self.rtmp.gatekeeper, self.clock, rules=_peer_rules(self.settings.webrtc)
        )
        try:
            self.webrtc_address = await self.peers.listen(listen.host, listen.port)
        except OSError as error:
            raise ConfigError(
                f"cannot listen for WebRTC media on {listen}: {error.strerror}",
                remedy="stop the program that has this port, or set another one as [webrtc] listen",
            ) from error

    async def _start_http(self) -> None:
        live = LiveRecorder(self.recorder)
        clips = ClipService(
            self.catalog,
            RecordingService(self.catalog, live),
            live,
            KeptClips(self.settings.clips.dir or self.settings.record.dir),
            self.clock,
            reserve_bytes=self.settings.record.min_free_bytes,
        )
        await clips.start()
        self.services = Services(
            streams=StreamService(LiveHub(self.registry, self.recorder), self.clock),
            recordings=RecordingService(self.catalog, live),
            connections=ConnectionService(RtmpConnections(self.rtmp)),
            control=self.control,
            multi_recordings=self.multi_recordings,
            downloads=DownloadService(
                self.catalog,
                live,
                [self.settings.record.dir],
                self.clock,
                as_attachment=self.settings.http.disposition == "attachment",
                elsewhere=clips.open_kept,
            ),
            clips=clips,
            events=EventService(self.catalog),
            health=HealthService(
                LiveState(
                    self.recorder,
                    self.rtmp,
                    self.access,
                    self.journal,
                    self.hooks,
                    backend=self.backend,
                    peers=self.peers,
                    refused_pages=lambda: {} if self.websdk is None else self.websdk.refused,
                    http_connections=self._http_connections,
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
            wcs=_wcs_options(settings.wcs),
            whip=self._whip_options(),
            client2_dir=settings.websdk.client2_dir,
        )
        self.http = HttpListeners(app)
        self.http_address = await self.http.listen(settings.http.listen.host, settings.http.listen.port)
        if tls is not None and (listen := settings.https.listen) is not None:
            self.https_address = await self.http.listen(listen.host, listen.port, tls=tls)
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
        )
        self.websdk = WebSdkApp(streams, self.clock)
        self.services.connections.add_source(self.websdk)
        if self.wcs_hooks is not None:
            self.websdk.on_session_ended.append(self.wcs_hooks.session_ended)
        self.websdk_listeners = listeners = HttpListeners(self.websdk)
        if (listen := settings.websdk.listen) is not None:
            self.websdk_urls.append(_url("ws", await listeners.listen(listen.host, listen.port)))
        if tls is not None and (listen := settings.websdk.listen_tls) is not None:
            self.websdk_urls.append(_url("wss", await listeners.listen(listen.host, listen.port, tls=tls)))

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


def serve(settings: Settings) -> int:
    """Run a node until SIGTERM or SIGINT; returns the exit code. Raises ConfigError, CatalogError."""
    writer = configure_logging(settings.log.level, settings.log.format)
    raise_limit()
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(_serve(settings))
    finally:
        writer.close()


async def _serve(settings: Settings) -> int:
    stop = _stop_on_signals()
    notifier = Notifier()
    async with Node(settings) as node:
        for line in _greeting(node):
            print(line, flush=True)
        if node.access.is_open and not _is_loopback(settings.rtmp.listen.host):
            _log.warning("everybody who reaches the RTMP port may publish: set rules in [access]")
        _calm_collector()
        notifier.ready("recording")
        keep_alive = node.tasks.spawn(_feed_watchdog(notifier), "watchdog")
        await stop.wait()
        keep_alive.cancel()
        notifier.stopping()
        _log.info("stopping streams=%d", len(node.registry))
    _log.info("stopped")
    return 0


def _calm_collector() -> None:
    """Packets are freed by their reference counts; the collector only has rare cycles to find.

    What lives now lives as long as the process, so it need not be looked at again, and with the default
    thresholds the packets of a hundred streams would be walked through several times a second, for a
    seventh of all CPU.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(200_000, 20, 20)


def _connections(wanted: int) -> int:
    """As many as leave descriptors for files: a flood of peers must not end recordings."""
    allowed = allowed_connections(wanted)
    if allowed < wanted:
        _log.warning(
            "fewer connections than set: open files are limited wanted=%d allowed=%d remedy='ulimit -n'",
            wanted,
            allowed,
        )
    return allowed


def _stop_on_signals() -> asyncio.Event:
    """The first signal asks to stop in good order, the second one ends the process at once."""
    stop = asyncio.Event()

    def on_signal() -> None:
        if stop.is_set():
            os._exit(1)
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    return stop


async def _feed_watchdog(notifier: Notifier) -> None:
    interval_s = watchdog_interval_s()
    while interval_s is not None:
        notifier.alive()
        await asyncio.sleep(interval_s)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def _is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address; a name other than localhost counts as reachable."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _new_viewer(stream: Stream, session: RtmpSession, stream_id: int) -> RtmpViewer:
    return RtmpViewer(stream, session, stream_id)


def recording_plan(record: RecordSettings) -> RecordingPlan:
    """The recording that every stream gets."""
    return RecordingPlan(
        record_dir=record.dir.absolute(),
        growing_dir=record.growing_dir.absolute(),
        template=NameTemplate.parse(
            record.name, encoding=record.name_encoding, excluded_characters=record.name_exclude_characters
        ),
        container=record.format,
        vp9_to_webm=record.vp9_to_webm,
        audio=AudioPlan(
            sample_rate=record.audio_sample_rate,
            channels=record.audio_channels,
            bitrate_mode=record.audio_bitrate_mode,
            mp4=Mp4Audio(record.mp4_audio),
        ),
        keeps_data=record.data,
        rotation=_rotation(record),
        has_rotation_index=record.rotation_index,
        pre_roll_ms=round(record.pre_roll_s * 1000),
        max_duration_ms=round(record.max_duration_s * 1000) or None,
        reconnect_s=record.reconnect_s,
        splits_at_reconnect=record.splits_at_reconnect,
        on_conflict=OnConflict(record.on_conflict),
        queue_max_bytes=record.queue_max_bytes,
        reserve_bytes=record.reserve_kb * 1024,
        settle_s=record.settle_s,
        min_free_bytes=record.min_free_bytes,
    )


def _peer_rules(webrtc: WebRtcSettings) -> PeerRules:
    return PeerRules(
        preferences=Preferences(
            tuple(CODEC_NAMES[name] for name in webrtc.codecs), webrtc.start_bitrate_kbps
        ),
        timeouts=PeerTimeouts(webrtc.connect_timeout_s, webrtc.idle_timeout_s, webrtc.media_timeout_s),
        public_addresses=webrtc.public_addresses,
        max_peers=webrtc.max_peers,
        back_buffer_bytes=BACK_BUFFER_BYTES,
    )


def _hook_plan(settings: Settings) -> HookPlan:
    hooks = settings.hooks
    several = hooks.on_multiple_record
    return HookPlan(
        script=hooks.on_record.absolute() if hooks.on_record is not None else None,
        script_for_several=several.absolute() if several is not None else None,
        waiting_dir=settings.record.dir.absolute() / HIDDEN_FOLDER / "hooks",
        timeout_s=hooks.timeout_s,
        max_parallel=hooks.max_parallel,
    )


def _rotation(record: RecordSettings) -> RotationRule:
    return replace(
        record.rotation,
        is_aligned=record.rotation_aligned,
        utc_offset_ms=round(record.rotation_utc_offset.total_seconds() * 1000),
        waits_for_keyframe=record.rotation_waits_for_keyframe,
    )


def _own_folders(record: RecordSettings) -> list[Path]:
    """The folders in which no other server may write."""
    folders = [record.dir / HIDDEN_FOLDER]
    return folders if record.tmp_dir is None else [*folders, record.tmp_dir]


def _wcs_options(wcs: WcsSettings) -> WcsOptions | None:
    if not wcs.enabled:
        return None
    return WcsOptions(allowed_origin=wcs.allow_origin, node_id=_node_id(wcs))


def _node_id(wcs: WcsSettings) -> str:
    return wcs.node_id or socket.gethostname()


def _greeting(node: Node) -> list[str]:
    """What listens where, and how to publish: the first thing a person sees."""
    record_dir = Path(node.settings.record.dir).absolute()
    lines = ["Aircheck is up."]
    if node.rtmp_address is not None:
        host, port = node.rtmp_address
        lines += [
            f"  publish     rtmp://{_shown(host)}:{port}/live/NAME",
            f"              ffmpeg -re -i FILE -c copy -f flv rtmp://{_shown(host)}:{port}/live/NAME",
            f"              OBS: server rtmp://{_shown(host)}:{port}/live, stream key NAME",
        ]
    if node.rtmps_address is not None:
        host, port = node.rtmps_address
        lines.append(f"  publish     rtmps://{_shown(host)}:{port}/live/NAME")
    if node.http_address is not None:
        host, port = node.http_address
        lines.append(f"  look        http://{_shown(host)}:{port}/   API: /docs   metrics: /metrics")
    if node.https_address is not None:
        lines.append(f"              {_url('https', node.https_address)}/")
    if node.webrtc_address is not None:
        host, port = node.webrtc_address
        lines.append(
            f"  WebRTC      page /record/, WHIP /whip/NAME; media by {_shown(host)}:{port}, UDP and TCP"
        )
        lines.extend(f"  WebSDK      {url}" for url in node.websdk_urls)
    return [*lines, f"  recordings  {record_dir}"]


def _url(scheme: str, address: tuple[str, int]) -> str:
    return f"{scheme}://{_shown(address[0])}:{address[1]}"


def _shown(host: str) -> str:
    """A host that can be typed: the machine itself where every address is meant."""
    if host in ("0.0.0.0", "::", ""):
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host
