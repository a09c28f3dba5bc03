"""Prometheus metrics, made from live objects at each scrape.

Nothing is kept between scrapes, so a stream's labels vanish with the stream and nothing can go stale. Every
metric is declared in `METRICS`, from which the reference page is made.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from aircheck import __version__
from aircheck.service.health import VolumeStatus
from aircheck.service.services import Services

Row = tuple[Sequence[str], float]


@dataclass(frozen=True, slots=True)
class MetricSpec:
    """A metric as it is documented. Counters get `_total` behind their name when they are exposed."""

    name: str
    kind: Literal["counter", "gauge"]
    help: str
    labels: tuple[str, ...] = ()

    @property
    def exposed_name(self) -> str:
        return f"{self.name}_total" if self.kind == "counter" else self.name

    def family(self, rows: Iterable[Row]) -> Metric:
        family: CounterMetricFamily | GaugeMetricFamily
        if self.kind == "counter":
            family = CounterMetricFamily(self.name, self.help, labels=self.labels)
        else:
            family = GaugeMetricFamily(self.name, self.help, labels=self.labels)
        for labels, value in rows:
            family.add_metric(labels, value)
        return family


def _gauge(name: str, help: str, labels: tuple[str, ...] = ()) -> MetricSpec:
    return MetricSpec(name, "gauge", help, labels)


def _counter(name: str, help: str, labels: tuple[str, ...] = ()) -> MetricSpec:
    return MetricSpec(name, "counter", help, labels)


_STREAM = ("app", "stream")
_TRACK = (*_STREAM, "track", "kind", "codec")
_RECORDING = (*_STREAM, "recording")
_VOLUME = ("path",)

METRICS = {
    spec.name: spec
    for spec in (
        _gauge("aircheck_build_info", "Always 1; the label is the running version.", ("version",)),
        _gauge("aircheck_uptime_seconds", "Time since this node was started."),
        _gauge("aircheck_streams", "Streams that are being published now."),
        _gauge(
            "aircheck_recordings_active",
            "Running recordings.",
            ("state",),
        ),
        _gauge("aircheck_connections", "Open connections.", ("protocol",)),
        _counter("aircheck_connections_refused", "Connections that were turned away.", ("reason",)),
        _counter("aircheck_errors", "Errors since this node was started.", ("kind",)),
        _gauge("aircheck_catalog_late_rows", "Rows and events that wait for a catalogue in trouble."),
        _counter("aircheck_catalog_write_errors", "Groups of rows that it did not take.", ("trouble",)),
        _gauge("aircheck_catalog_commit_seconds", "The last transaction."),
        _gauge("aircheck_catalog_commit_max_seconds", "The slowest transaction."),
        _counter(
            "aircheck_backend_calls",
            "Questions to the backend (asked, refused), news for it (told, dropped), and calls that failed.",
            ("outcome",),
        ),
        _counter("aircheck_log_records", "What was logged; an error is worth a look at the log.", ("level",)),
        _counter("aircheck_log_lines_dropped", "Lines of the log that nobody took in time."),
        _counter("aircheck_rtmp_viewer_dropped_packets", "Packets that slow viewers by RTMP missed."),
        _gauge("aircheck_event_loop_lag_seconds", "How late the event loop ran its last timer."),
        _gauge("aircheck_event_loop_lag_max_seconds", "The largest lag since this node was started."),
        _counter("aircheck_stream_received_bytes", "Media received since the publication.", _STREAM),
        _counter("aircheck_stream_received_packets", "Packets received since the publication.", _STREAM),
        _counter("aircheck_stream_track_received_bytes", "Media of one track that is recorded.", _TRACK),
        _counter("aircheck_stream_track_received_packets", "Packets of such a track.", _TRACK),
        _gauge("aircheck_stream_bitrate_bits_per_second", "Media received per second, now.", _STREAM),
        _counter("aircheck_stream_gaps", "Holes in the stream or its recordings.", _STREAM),
        _counter("aircheck_stream_dropped_packets", "Packets that were not recorded.", _STREAM),
        _gauge("aircheck_stream_subscribers", "Recordings and viewers of a stream.", _STREAM),
        _counter(
            "aircheck_stream_subscriber_errors",
            "Recordings and viewers of it that a fault of the program ended; the log has each.",
            _STREAM,
        ),
        _counter(
            "aircheck_stream_held_back_seconds",
            "Time that its publisher, faster than real time, had to wait until it could be recorded.",
            _STREAM,
        ),
        _gauge("aircheck_stream_uptime_seconds", "Time since the publication.", _STREAM),
        _gauge("aircheck_recording_bytes", "Size of a running recording's files.", _RECORDING),
        _gauge("aircheck_recording_duration_seconds", "Media in a running recording.", _RECORDING),
        _counter("aircheck_recording_gaps", "Holes in a running recording.", _RECORDING),
        _counter("aircheck_recording_dropped_packets", "Packets that it lost.", _RECORDING),
        _gauge("aircheck_recording_queued_bytes", "Media that waits for the disk.", _RECORDING),
        _gauge(
            "aircheck_recording_moved_bytes",
            "Of its finished files on their way to another disk.",
            _RECORDING,
        ),
        _gauge("aircheck_recording_unmoved_bytes", "What of these is not there yet.", _RECORDING),
        _gauge("aircheck_recording_write_latency_seconds", "The last write.", _RECORDING),
        _gauge("aircheck_recording_write_latency_max_seconds", "The slowest write.", _RECORDING),
        _gauge("aircheck_recording_unsynced_seconds", "Time since the last sync.", _RECORDING),
        _gauge("aircheck_volume_size_bytes", "Size of the file system.", _VOLUME),
        _gauge("aircheck_volume_free_bytes", "Space that recordings can still use.", _VOLUME),
        _gauge("aircheck_volume_is_failing", "1 while the volume cannot be written.", _VOLUME),
        _gauge("aircheck_volume_queued_bytes", "Media that waits for the volume.", _VOLUME),
        _counter("aircheck_volume_write_errors", "Writes that the volume refused.", _VOLUME),
        _counter("aircheck_volume_sync_errors", "Syncs that the volume refused.", _VOLUME),
        _gauge("aircheck_volume_write_latency_seconds", "The last write.", _VOLUME),
        _gauge("aircheck_volume_write_latency_max_seconds", "The slowest write.", _VOLUME),
        _gauge("aircheck_volume_unsynced_seconds", "Time since the last sync.", _VOLUME),
        _gauge("aircheck_hooks_waiting", "Hooks whose turn has not come."),
        _gauge("aircheck_hooks_running", "Hooks that run now."),
        _counter("aircheck_hooks", "Hooks that are over; kept: could not be started yet.", ("outcome",)),
        _counter(
            "aircheck_transcoded_packets",
            "Packets of audio that a container could not hold; failed and dropped ones are silence.",
            ("outcome",),
        ),
        _gauge("aircheck_webrtc_peers", "WebRTC peers that publish or play.", ("kind", "state")),
        _counter("aircheck_webrtc_peers_ended", "WebRTC peers that are over, by why.", ("info",)),
        _counter("aircheck_webrtc_received_packets", "Datagrams that came in at the WebRTC port."),
        _counter("aircheck_webrtc_received_bytes", "What they held."),
        _counter("aircheck_webrtc_sent_packets", "RTP packets sent to viewers."),
        _counter(
            "aircheck_webrtc_dropped_packets",
            "Packets that were garbage, forged, replayed, of nobody, came too early, or faster than taken.",
            ("reason",),
        ),
        _counter(
            "aircheck_webrtc_media",
            "What was not as it should be in WebRTC media, and what was done about it.",
            ("kind",),
        ),
        _counter("aircheck_http_responses", "Answers over HTTP, by status.", ("code",)),
        _counter("aircheck_http_downloads", "Recorded files that were asked for."),
        _gauge("aircheck_http_downloads_active", "Files that are being sent now."),
        _counter("aircheck_http_downloads_aborted", "Downloads whose client went away."),
        _counter("aircheck_http_downloads_failed", "Downloads that a disk error broke off."),
        _counter("aircheck_http_download_bytes", "Bytes of recorded files that were sent."),
        _counter(
            "aircheck_clips", "Clips that were asked for; reused ones were kept from before.", ("outcome",)
        ),
        _counter("aircheck_clip_cut_bytes", "Bytes of clips that were cut."),
        _counter("aircheck_clip_cut_seconds", "Time that cutting them took."),
    )
}


class NodeCollector(Collector):
    """Turns what the services know into metric families.

    `refresh` belongs to the loop, as the services do; `collect` then only hands out what was found, so that
    the text can be made in a thread: 200 streams are 300 KB of it.
    """

    def __init__(self, services: Services, responses: Counter[int], errors: Counter[str]) -> None:
        self._families: list[Metric] = []
        self._volumes: tuple[VolumeStatus, ...] = ()
        self._services = services
        self._responses = responses
        self._errors = errors

    def refresh(self, volumes: tuple[VolumeStatus, ...]) -> None:
        self._volumes = volumes
        self._families = [METRICS[name].family(rows) for name, rows in self._rows()]

    def collect(self) -> Iterable[Metric]:
        return self._families

    def _rows(self) -> Iterator[tuple[str, Iterable[Row]]]:
        yield from self._node_rows()
        yield from self._stream_rows()
        yield from self._track_rows()
        yield from self._recording_rows()
        yield from self._volume_rows()
        yield from self._hook_rows()
        yield from self._webrtc_rows()
        yield from self._http_rows()

    def _node_rows(self) -> Iterator[tuple[str, Iterable[Row]]]:
        node = self._services.health.node()
        states = Counter(recording.state.value for recording in self._services.recordings.active())
        # Kinds that are 0 as well: an alarm needs to see the first one come.
        errors = Counter(node.errors)
        errors.update(self._errors)
        yield "aircheck_build_info", _one(1, __version__)
        yield "aircheck_uptime_seconds", _one(self._services.health.uptime_s)
        yield "aircheck_streams", _one(len(self._services.streams.list()))
        yield "aircheck_recordings_active", _by_key(states)
        yield "aircheck_connections", _by_key(node.connections)
        yield "aircheck_connections_refused", _by_key(node.refused)
        yield "aircheck_errors", _by_key(errors)
        yield "aircheck_catalog_late_rows", _one(node.catalog.late_rows)
        yield "aircheck_catalog_write_errors", _by_key(node.catalog.write_errors)
        yield "aircheck_catalog_commit_seconds", _one(node.catalog.last_commit_s)
        yield "aircheck_catalog_commit_max_seconds", _one(node.catalog.max_commit_s)
        yield "aircheck_backend_calls", _by_key(node.backend_calls)
        yield "aircheck_log_records", _by_key(node.log_records)
        yield "aircheck_log_lines_dropped", _one(node.dropped_log_lines)
        yield "aircheck_rtmp_viewer_dropped_packets", _one(node.viewer_dropped_packets)
        yield "aircheck_event_loop_lag_seconds", _one(node.loop_lag_s)
        yield "aircheck_event_loop_lag_max_seconds", _one(node.max_loop_lag_s)

    def _stream_rows(self) -> Iterator[tuple[str, Iterable[Row]]]:
        uptime_ms = self._services.streams.uptime_ms
        streams = [
            ((stream.facts.app, stream.facts.name), stream) for stream in self._services.streams.list()
        ]
        yield "aircheck_stream_received_bytes", [(key, s.size_bytes) for key, s in streams]
        yield "aircheck_stream_received_packets", [(key, s.packets) for key, s in streams]
        yield "aircheck_stream_bitrate_bits_per_second", [(key, s.bitrate_bps) for key, s in streams]
        yield "aircheck_stream_gaps", [(key, s.gaps) for key, s in streams]
        yield "aircheck_stream_dropped_packets", [(key, s.dropped_packets) for key, s in streams]
        yield "aircheck_stream_subscribers", [(key, s.subscribers) for key, s in streams]
        yield "aircheck_stream_subscriber_errors", [(key, s.subscriber_errors) for key, s in streams]
        yield "aircheck_stream_held_back_seconds", [(key, s.held_back_ns / 1e9) for key, s in streams]
        yield "aircheck_stream_uptime_seconds", [(key, uptime_ms(s) / 1000) for key, s in streams]

    def _track_rows(self) -> Iterator[tuple[str, Iterable[Row]]]:
        tracks = [
            ((stream.facts.app, stream.facts.name, str(track.id), track.kind, track.codec), track)
            for stream in self._services.streams.list()
            for track in stream.facts.tracks
            if track.packets
        ]
        yield "aircheck_stream_track_received_bytes", [(key, t.size_bytes) for key, t in tracks]
        yield "aircheck_stream_track_received_packets", [(key, t.packets) for key, t in tracks]

    def _recording_rows(self) -> Iterator[tuple[str, Iterable[Row]]]:
        active = self._services.recordings.active()
        facts = [((r.app, r.stream_name, r.id), r) for r in active]
        health = [(key, h) for key, r in facts if (h := self._services.recordings.health(r.id))]
        yield "aircheck_recording_bytes", [(key, r.size_bytes) for key, r in facts]
        yield "aircheck_recording_duration_seconds", [(key, r.duration_ms / 1000) for key, r in facts]
        yield "aircheck_recording_gaps", [(key, r.gaps) for key, r in facts]
        yield "aircheck_recording_dropped_packets", [(key, r.dropped_packets) for key, r in facts]
        yield "aircheck_recording_queued_bytes", [(key, h.queued_bytes) for key, h in health]
        yield "aircheck_recording_moved_bytes", [(key, h.moved_bytes) for key, h in health]
        yield "aircheck_recording_unmoved_bytes", [(key, h.unmoved_bytes) for key, h in health]
        yield "aircheck_recording_write_latency_seconds", [(key, h.write_latency_s) for key, h in health]
        yield (
            "aircheck_recording_write_latency_max_seconds",
            [(key, h.max_write_latency_s) for key, h in health],
        )
        yield "aircheck_recording_unsynced_seconds", [(key, h.since_sync_s) for key, h in health]

    def _volume_rows(self) -> Iterator[tuple[str, Iterable[Row]]]:
        volumes = [((volume.path,), volume) for volume in self._volumes]
        yield "aircheck_volume_size_bytes", [(key, v.size_bytes) for key, v in volumes]
        yield "aircheck_volume_free_bytes", [(key, v.free_bytes) for key, v in volumes]
        yield "aircheck_volume_is_failing", [(key, float(v.is_failing)) for key, v in volumes]
        yield "aircheck_volume_queued_bytes", [(key, v.queued_bytes) for key, v in volumes]
        yield "aircheck_volume_write_errors", [(key, v.write_errors) for key, v in volumes]
        yield "aircheck_volume_sync_errors", [(key, v.sync_errors) for key, v in volumes]
        yield "aircheck_volume_write_latency_seconds", [(key, v.write_latency_s) for key, v in volumes]
        yield (
            "aircheck_volume_write_latency_max_seconds",
            [(key, v.max_write_latency_s) for key, v in volumes],
        )
        yield "aircheck_volume_unsynced_seconds", [(key, v.since_sync_s) for key, v in volumes]

    def _hook_rows(self) -> Iterator[tuple[str, Iterable[Row]]]:
        node = self._services.health.node()
        hooks = node.hooks
        yield "aircheck_hooks_waiting", _one(hooks.waiting)
        yield "aircheck_hooks_running", _one(hooks.running)
        outcomes = ("done", "failed", "refused", "kept")
        yield "aircheck_hooks", [((outcome,), getattr(hooks, outcome)) for outcome in outcomes]
        yield "aircheck_transcoded_packets", [((name,), count) for name, count in node.transcoded.items()]

    def _webrtc_rows(self) -> Iterator[tuple[str, Iterable[Row]]]:
        webrtc = self._services.health.node().webrtc
        yield "aircheck_webrtc_peers", list(webrtc.peers.items())
        yield "aircheck_webrtc_peers_ended", _by_key(webrtc.ended)
        yield "aircheck_webrtc_received_packets", _one(webrtc.received_packets)
        yield "aircheck_webrtc_received_bytes", _one(webrtc.received_bytes)
        yield "aircheck_webrtc_sent_packets", _one(webrtc.sent_packets)
        yield "aircheck_webrtc_dropped_packets", _by_key(webrtc.dropped)
        yield "aircheck_webrtc_media", _by_key(webrtc.media)

    def _http_rows(self) -> Iterator[tuple[str, Iterable[Row]]]:
        downloads = self._services.downloads.counters
        yield (
            "aircheck_http_responses",
            _by_key({str(code): n for code, n in self._responses.items()}),
        )
        clips = self._services.clips.counters
        yield "aircheck_clips", [((name,), getattr(clips, name)) for name in ("cut", "reused", "failed")]
        yield "aircheck_clip_cut_bytes", _one(clips.size_bytes)
        yield "aircheck_clip_cut_seconds", _one(clips.cut_s)
        yield "aircheck_http_downloads", _one(downloads.opened)
        yield "aircheck_http_downloads_active", _one(downloads.active)
        yield "aircheck_http_downloads_aborted", _one(downloads.aborted)
        yield "aircheck_http_downloads_failed", _one(downloads.failed)
        yield "aircheck_http_download_bytes", _one(downloads.size_bytes)


def make_registry(collector: NodeCollector) -> CollectorRegistry:
    """A registry of our own: our metrics, and CPU, memory and descriptors of the process."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)
    ProcessCollector(registry=registry)
    return registry


def _one(value: float, *labels: str) -> list[Row]:
    return [(labels, value)]


def _by_key(values: Mapping[str, int]) -> list[Row]:
    return [((key,), value) for key, value in values.items()]
