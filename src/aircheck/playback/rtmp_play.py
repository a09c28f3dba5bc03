"""RTMP play: a live stream to ffplay, VLC, rtmpdump or another server.

A viewer gets the stream's metadata and sequence headers, then what the back buffer holds from the last
key frame on (nothing for the first viewer of a stream, who waits for the next one), then each batch as it
comes. Timestamps begin at zero for each viewer. A viewer that cannot
keep up is dropped to the next key frame; it disturbs nobody else.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Protocol

from aircheck.facts import EndReason
from aircheck.hub.stream import Stream
from aircheck.media.packet import Batch, Packet
from aircheck.media.track import Track
from aircheck.playback.flv_mux import FlvMuxer

_log = logging.getLogger(__name__)

BACKLOG_MAX_BYTES = 4 * 1024 * 1024
"""What may wait in memory for one viewer before it is dropped to the next key frame."""

FlvMessage = tuple[int, int, bytes | bytearray | memoryview]


class RtmpSink(Protocol):
    """The viewer's connection, as ingest offers it."""

    @property
    def session_id(self) -> str: ...

    @property
    def pending_bytes(self) -> int: ...

    def send_messages(self, stream_id: int, messages: Sequence[FlvMessage]) -> None: ...

    def play_ended(self, stream_id: int, reason: EndReason) -> None: ...


class RtmpViewer:
    """One viewer of one stream; a subscriber of the hub."""

    is_live = True
    backlog_ratio = 0.0

    def __init__(self, stream: Stream, sink: RtmpSink, stream_id: int) -> None:
        self.dropped_packets = 0
        """What it missed because it is slow."""
        self.is_paused = False
        self._stream = stream
        self._sink = sink
        self._stream_id = stream_id
        self._muxer: FlvMuxer | None = None
        self._needs_key = True
        self._is_slow = False
        self._origin_ms: int | None = None

    def start(self) -> None:
        """Send what is there already and subscribe."""
        self._send(self._stream.back_buffer.packets())
        self._stream.subscribe(self)

    def stop(self) -> None:
        self._stream.unsubscribe(self)

    def pause(self, is_paused: bool) -> None:
        """A paused viewer misses what passes and goes on at a key frame."""
        self.is_paused = is_paused
        self._needs_key = True

    def deliver(self, batch: Batch) -> None:
        if self.is_paused:
            return
        if self._sink.pending_bytes > BACKLOG_MAX_BYTES and not self._needs_key:
            self._needs_key = self._is_slow = True
            _log.info("viewer is slow stream=%s session=%s", self._stream.name, self._sink.session_id)
        if batch.tracks_changed:
            self._muxer = None
        self._send(batch.packets)

    def ended(self, reason: EndReason) -> None:
        self._sink.play_ended(self._stream_id, reason)

    def _send(self, packets: Sequence[Packet]) -> None:
        if self._needs_key:
            packets = self._from_key(packets)
        if not packets:
            return
        if self._origin_ms is None:
            self._origin_ms = min(p.dts * 1000 // p.track.timescale for p in packets)
        if self._muxer is None:
            self._muxer = FlvMuxer(self._stream.tracks, origin_ms=self._origin_ms)
            self._sink.send_messages(self._stream_id, self._muxer.header_messages())
        self._sink.send_messages(self._stream_id, self._muxer.to_messages(packets))

    def _from_key(self, packets: Sequence[Packet]) -> Sequence[Packet]:
        """What may be sent to a viewer that waits for a key frame: all from one on."""
        start = self._first_key(packets)
        if self._is_slow:
            self.dropped_packets += start
        if start < len(packets):
            self._needs_key = self._is_slow = False
        return packets[start:]

    def _first_key(self, packets: Sequence[Packet]) -> int:
        """Where a viewer may begin; behind the last packet if nowhere."""
        if self._sink.pending_bytes > BACKLOG_MAX_BYTES // 2:
            return len(packets)
        video = self._stream.primary_video
        keys = (i for i, packet in enumerate(packets) if _is_entry(packet, video))
        return next(keys, len(packets))


def _is_entry(packet: Packet, video: Track | None) -> bool:
    return video is None or (packet.is_keyframe and packet.track.id == video.id)
