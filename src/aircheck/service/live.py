"""The live side of the node, as the other services ask for it: hub and recorder behind their protocols."""

from __future__ import annotations

import logging
import os
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import cast

from aircheck.facts import EndReason, GapReason, RecordingFacts, SegmentFacts, TrackFacts
from aircheck.hub.registry import Registry
from aircheck.hub.stream import Stream
from aircheck.hub.subscriber import Subscriber
from aircheck.ingest.rtmp_server import RtmpServer
from aircheck.observability import LineWriter
from aircheck.recording.conversion import AudioConversion
from aircheck.recording.hooks import Hooks
from aircheck.recording.move import Move
from aircheck.recording.names import expected_name
from aircheck.recording.recorder import Recorder
from aircheck.recording.recording import Recording
from aircheck.recording.volume import Volume, reserve_told
from aircheck.service.backend import Backend
from aircheck.service.connections import ConnectionStatus
from aircheck.service.growing import GrowingFile
from aircheck.service.health import NodeStatus, VolumeStatus
from aircheck.service.journal import CatalogJournal
from aircheck.service.publications import PublicationService
from aircheck.service.recordings import RecordingHealth
from aircheck.service.streams import StreamStatus
from aircheck.webrtc.peers import Peers
from aircheck.webrtc.status import PeersStatus

_log = logging.getLogger(__name__)

_FAULTS_OF_DISKS = (GapReason.DISK_FULL, GapReason.DISK_ERROR, GapReason.SLOW_DISK)

STALL_S = 5.0
"""A volume whose last sync is so long ago, or that is so long at one write, is failing."""


class LiveHub:
    """Implements `LiveStreams`."""

    def __init__(self, registry: Registry, recorder: Recorder) -> None:
        self._registry = registry
        self._recorder = recorder

    def streams(self) -> Sequence[StreamStatus]:
        recordings: defaultdict[Stream, list[Recording]] = defaultdict(list)
        for recording in self._recorder:
            recordings[recording.stream].append(recording)
        return [_stream_status(stream, recordings[stream]) for stream in self._registry]


def _count(subscriber: Subscriber) -> int:
    """A conversion stands for the recordings behind it."""
    return len(subscriber.recipients) if isinstance(subscriber, AudioConversion) else 1


def _stream_status(stream: Stream, recordings: Sequence[Recording]) -> StreamStatus:
    reasons = Counter(gap.reason.value for recording in recordings for gap in recording.gaps)
    # One that goes on from an earlier publication has counted that one's packets too.
    own = (one for one in recordings if one.facts.media_session_id == stream.id)
    return StreamStatus(
        facts=replace(stream.facts, tracks=_counted(stream.track_facts(), next(own, None))),
        packets=stream.counters.packets,
        size_bytes=stream.counters.size_bytes,
        bitrate_bps=stream.bitrate_bps(),
        gaps=reasons.total(),
        dropped_packets=sum(recording.current_facts().dropped_packets for recording in recordings),
        subscribers=sum(map(_count, stream.subscribers)),
        held_back_ns=stream.counters.held_back_ns,
        gap_reasons=reasons,
        notices=stream.notices(),
        subscriber_errors=stream.counters.subscriber_errors,
    )


def _counted(tracks: Sequence[TrackFacts], recording: Recording | None) -> tuple[TrackFacts, ...]:
    """The tracks with what a recording has written of each."""
    if recording is None:
        return tuple(tracks)
    growing = [segment.current_facts() for segment in recording.segments]
    written = [track for segment in (*recording.completed, *growing) for track in segment.tracks]
    return tuple(
        replace(
            track,
            packets=sum(one.packets for one in written if one.id == track.id),
            size_bytes=sum(one.size_bytes for one in written if one.id == track.id),
            duration_ms=sum(one.duration_ms for one in written if one.id == track.id),
        )
        for track in tracks
    )


def _moves(recording: Recording) -> list[Move]:
    return [segment.move for segment in recording.segments if segment.move is not None]


class LiveRecorder:
    """Implements `LiveRecordings` and `GrowingFiles`."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def recordings(self) -> Sequence[RecordingFacts]:
        return [recording.current_facts() for recording in self._recorder]

    def segments(self, recording_id: str) -> Sequence[SegmentFacts]:
        recording = self._recorder.get(recording_id)
        if recording is None:
            return ()
        return [*recording.completed, *(segment.current_facts() for segment in recording.segments)]

    def current_file_name(self, recording_id: str) -> str | None:
        recording = self._recorder.get(recording_id)
        if recording is None:
            return None
        growing = [segment.facts.file_name for segment in recording.segments]
        if growing:
            return growing[-1]
        return expected_name(recording.facts, recording.plan, recording.stream.tracks)

    def health(self, recording_id: str) -> RecordingHealth | None:
        recording = self._recorder.get(recording_id)
        if recording is None:
            return None
        volume = recording.volume
        return RecordingHealth(
            write_latency_s=volume.last_write_latency_s,
            max_write_latency_s=volume.max_write_latency_s,
            since_sync_s=time.monotonic() - volume.last_sync_s,
            queued_bytes=recording.queued_bytes,
            moved_bytes=sum(move.moved_bytes for move in _moves(recording)),
            unmoved_bytes=sum(move.size_bytes - move.moved_bytes for move in _moves(recording)),
        )

    def moved_percent(self, recording_id: str) -> Mapping[str, int]:
        recording = self._recorder.get(recording_id)
        segments = recording.segments if recording is not None else ()
        return {
            segment.facts.id: segment.move.percent
            for segment in segments
            if segment.move is not None and segment.move.percent is not None
        }

    def growing_file(self, segment_id: str) -> GrowingFile | None:
        for recording in self._recorder:
            for segment in recording.segments:
                if segment.facts.id == segment_id and segment.duration_ms and segment.writer is not None:
                    return cast(GrowingFile, segment.writer)
        return None

    def growing_segments(self) -> Iterable[SegmentFacts]:
        return (segment.current_facts() for recording in self._recorder for segment in recording.segments)


class RtmpConnections:
    """Implements `ConnectionSource`."""

    def __init__(self, rtmp: RtmpServer) -> None:
        self._rtmp = rtmp

    def connections(self) -> Sequence[ConnectionStatus]:
        return [
            ConnectionStatus(
                session_id=session.session_id,
                protocol=session.protocol,
                app=session.app,
                remote_address=session.remote_address,
                client=session.client,
                login=session.login,
                connected_ns=session.connected_ns,
            )
            for session in self._rtmp.sessions.values()
            if session.is_connected
        ]

    def close_connection(self, session_id: str) -> bool:
        session = self._rtmp.sessions.get(session_id)
        if session is None:
            return False
        _log.info("peer asked to go session=%s address=%s", session_id, session.remote_address)
        session.dismiss(EndReason.STOPPED)
        return True


class LiveState:
    """Implements `LiveNode`: what the whole node is doing. `loop_lag` gives the last and the largest."""

    def __init__(
        self,
        recorder: Recorder,
        rtmp: RtmpServer,
        publications: PublicationService,
        journal: CatalogJournal,
        hooks: Hooks,
        *,
        backend: Backend | None = None,
        peers: Peers | None = None,
        refused_pages: Callable[[], Mapping[str, int]] = dict,
        http_connections: Callable[[], int],
        log: LineWriter | None = None,
        loop_lag: Callable[[], tuple[float, float]],
    ) -> None:
        self._peers = peers
        self._refused_pages = refused_pages
        self._recorder = recorder
        self._rtmp = rtmp
        self._publications = publications
        self._journal = journal
        self._hooks = hooks
        self._backend = backend
        self._http_connections = http_connections
        self._log = log
        self._loop_lag = loop_lag

    def status(self) -> NodeStatus:
        protocols = Counter(session.protocol for session in self._rtmp.sessions.values())
        webrtc = self._peers.status() if self._peers is not None else PeersStatus()
        protocols.update(peer.attempt.protocol for peer in self._peers or ())
        lag_s, max_lag_s = self._loop_lag()
        calls = {} if self._backend is None else asdict(self._backend.counters)
        return NodeStatus(
            connections={**protocols, "http": self._http_connections()},
            refused={**self._rtmp.refused, **webrtc.refused, **self._refused_pages()},
            webrtc=webrtc,
            errors={
                **self._rtmp.notices,
                "catalog": self._journal.errors,
                "catalog_rows_forgotten": self._journal.forgotten_rows,
                "record": self._publications.failed_starts,
                "finalize": self._recorder.failed_segments,
                **{f"backend_{kind}": calls[kind] for kind in ("failed", "dropped") if kind in calls},
            },
            catalog=self._journal.status(),
            backend_calls=calls,
            log_records={} if self._log is None else dict(self._log.records),
            dropped_log_lines=0 if self._log is None else self._log.dropped_lines,
            viewer_dropped_packets=self._rtmp.viewer_dropped_packets,
            hooks=self._hooks.status(),
            transcoded=self._recorder.audio.counters.by_outcome(),
            loop_lag_s=lag_s,
            max_loop_lag_s=max_lag_s,
        )

    def volumes(self) -> Sequence[VolumeStatus]:
        losing = {r.volume for r in self._recorder if r.gap_log.reason in _FAULTS_OF_DISKS}
        return [_volume_status(volume, volume in losing) for volume in self._recorder.volumes()]


def _volume_status(volume: Volume, is_losing: bool) -> VolumeStatus:
    """Asks the disk; called in a thread. `is_losing`: media is being lost for this disk's sake."""
    health = volume.health()
    try:
        stat = os.statvfs(volume.directory)
    except OSError as error:
        return VolumeStatus(str(volume.directory), is_failing=True, last_error=str(error))
    since_sync_s = time.monotonic() - health.last_sync_s
    free_bytes = stat.f_bavail * stat.f_frsize
    is_full = volume.refuses_with(free_bytes)
    is_stalled = max(since_sync_s, volume.stalled_s) > STALL_S
    return VolumeStatus(
        path=str(volume.directory),
        size_bytes=stat.f_blocks * stat.f_frsize,
        free_bytes=free_bytes,
        is_failing=is_losing or is_full or is_stalled or volume.is_refusing,
        last_error=_no_room(free_bytes, volume) if is_full else health.last_error,
        queued_bytes=health.queued_bytes,
        write_errors=health.write_errors,
        sync_errors=health.sync_errors,
        write_latency_s=health.last_write_latency_s,
        max_write_latency_s=health.max_write_latency_s,
        since_sync_s=since_sync_s,
    )


def _no_room(free_bytes: int, volume: Volume) -> str:
    return f"no recording can begin: {reserve_told(free_bytes, volume.reserve_bytes)}"
