"""Publisher: what a browser sends becomes a stream of the hub, without decoding.

Frames go to the hub once a drain. The first ones are held until it is known which pictures and which sound
belong together: by sender reports, or a fraction of a second after all tracks have shown themselves, for
`HOLD_S` at most; where somebody watches for `SHOW_S` at most, and not at all where there is one track alone.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence

from aircheck.clock import Clock
from aircheck.facts import EndReason
from aircheck.hub.registry import Registry
from aircheck.hub.stream import Stream
from aircheck.media.packet import Batch, Packet
from aircheck.media.track import Track
from aircheck.webrtc.feedback import Feedback
from aircheck.webrtc.media import MediaLine, MediaTransport
from aircheck.webrtc.receive_track import Frame, ReceiveTrack
from aircheck.webrtc.sources import Sources
from aircheck.webrtc.sync import LipSync
from aircheck.wire.rtp import transport_feedback
from aircheck.wire.rtp.errors import RtpError
from aircheck.wire.rtp.packet import HEAD, MARKER, find_extension, payload_bounds
from aircheck.wire.rtp.reorder import RoundTrip
from aircheck.wire.rtp.rtcp import Goodbye, SenderReport, parse_compound
from aircheck.wire.rtp.rtx import OSN_BYTES, original_sequence_number

_log = logging.getLogger(__name__)

HOLD_S = 3.0
"""For tracks that were agreed on and have not shown themselves: who comes later begins a new file."""

SETTLE_S = 0.2
SETTLE_BY_ARRIVAL_S = 0.5
"""How long the packets that waited the least are looked for, once there are frames of all tracks: where
headers tell when they were captured, and where only their arrival does."""

SHOW_S = 1.0
HELD_MAX_BYTES = 8 * 1024 * 1024


def promised_tracks(lines: Sequence[MediaLine]) -> tuple[Track, ...]:
    """What a peer has agreed to send, as its tracks will be numbered; nothing else is known of them yet."""
    return tuple(
        Track(number, line.formats[0].codec, line.formats[0].clock_rate)
        for number, line in enumerate(lines, 1)
        if line.formats
    )


class Publisher:
    """One publishing peer: a `MediaSink` that feeds a stream.

    The stream is in the registry already (a name in use is found out before the offer is answered); the
    publisher takes it out when the peer goes. Tracks have the numbers of their lines, from 1.
    """

    def __init__(
        self,
        lines: Sequence[MediaLine],
        transport: MediaTransport,
        stream: Stream,
        registry: Registry,
        clock: Clock,
        *,
        hold_s: float = HOLD_S,
        max_bitrate_bps: int = 0,
    ) -> None:
        """`max_bitrate_bps` is told to peers that want to be told (REMB); 0 stands for no limit."""
        self.stream = stream
        self._registry = registry
        self._clock = clock
        self._sync = LipSync()
        round_trip = RoundTrip()
        self.tracks = [
            ReceiveTrack(number, line, self._sync, round_trip, self)
            for number, line in enumerate(lines, 1)
            if line.formats
        ]
        self._sources = Sources(self.tracks)
        self._feedback = Feedback(self.tracks, transport, max_bitrate_bps=max_bitrate_bps)
        self._twcc_id = _transport_wide_id(lines)
        self._pictures_tell_for_sound = any(
            not track.is_video and not track.tells_sending for track in self.tracks
        )
        self._hold_s = hold_s
        self._held: list[Frame] | None = [] if len(self.tracks) > 1 and hold_s > 0 else None
        self._held_since_s = 0.0
        self._held_bytes = 0
        self._shown: set[int] = set()
        """Tracks of which there are frames."""
        self._packets: list[Packet] = []
        self._known_tracks: dict[int, Track] = {}
        self._tracks_changed = False
        self._has_video_keyframe = False
        self._now_s = 0.0
        self._is_closed = False
        self.counters: Counter[str] = Counter()
        stream.notices = self.notices
        stream.on_keyframe_wanted = self.request_keyframe
        stream.on_flush = self.flush

    # what the peer calls

    def receive_rtp(self, packets: Sequence[bytes], arrival_ns: int, now_s: float) -> None:
        if self._is_closed:
            return
        self._now_s = now_s
        for packet in packets:
            try:
                self._receive(packet, now_s)
            except RtpError:
                self.counters["malformed_rtp_packets"] += 1
        self._feedback.after_packets(now_s)
        self._publish(arrival_ns)

    def _receive(self, packet: bytes, now_s: float) -> None:
        extension_at, start, end = payload_bounds(packet)
        _, second, sequence_number, timestamp, ssrc = HEAD.unpack_from(packet)
        if extension_at != start and self._twcc_id:
            at = find_extension(packet, self._twcc_id, extension_at, start)
            if at:
                self._feedback.arrivals.add(packet[at] << 8 | packet[at + 1], now_s)
        payload_type = second & 0x7F
        source = self._sources.find(ssrc, payload_type, packet, extension_at, start, now_s)
        if source is None:
            self.counters["stray_rtp_packets"] += 1
            return
        track, original_type = source.track, source.original_types.get(payload_type)
        if original_type is None:
            if extension_at != start and (
                track.clock.offset_s is None
                or not track.is_video
                or (self._pictures_tell_for_sound and second & MARKER)
            ):
                track.note_capture(timestamp, packet, extension_at, start, now_s)
            track.receive(
                sequence_number, (timestamp, second & MARKER, payload_type, packet, start, end), now_s
            )
        elif end - start >= OSN_BYTES:
            track.receive(
                original_sequence_number(packet, start),
                (timestamp, second & MARKER, original_type, packet, start + OSN_BYTES, end),
                now_s,
                is_retransmission=True,
            )

    def receive_rtcp(self, packet: bytes, arrival_ns: int, now_s: float) -> None:
        if self._is_closed:
            return
        try:
            reports = parse_compound(packet)
        except RtpError:
            self.counters["malformed_rtcp_packets"] += 1
            return
        for report in reports:
            match report:
                case SenderReport():
                    self._take_report(report, now_s)
                case Goodbye():
                    self._sources.forget(report.ssrcs)
                case _:
                    pass

    def _take_report(self, report: SenderReport, now_s: float) -> None:
        for track in self.tracks:
            if track.ssrc == report.ssrc:
                track.reception.sender_reported(report.ntp, now_s)
                self._sync.reported(track.clock, report.ntp, report.rtp_timestamp)

    def tick(self, now_s: float) -> None:
        if self._is_closed:
            return
        self._now_s = now_s
        self._feedback.tick(now_s)
        self._publish(self._clock.wall_ns())

    def close(self, reason: EndReason) -> None:
        if self._is_closed:
            return
        for track in self.tracks:
            track.finish()
        self._release()
        self._publish(self._clock.wall_ns())
        self._is_closed = True
        self._registry.end(self.stream, reason, self._clock.wall_ns())
        _log.info(
            "unpublished stream=%s session=%s reason=%s notices=%s",
            self.stream.name,
            self.stream.facts.session_id,
            reason,
            " ".join(f"{name}={count}" for name, count in self.notices().items() if count),
        )

    # what the stream calls

    def request_keyframe(self) -> None:
        """Ask for a key frame of every video track, unless that has just been done."""
        self._feedback.ask_for_keyframes(self._clock.monotonic_s())

    def flush(self) -> None:
        """Hand over what is held."""
        if self._held:
            self._release()
        self._publish(self._clock.wall_ns())

    def notices(self) -> Mapping[str, int]:
        """What was not as it should be, by name."""
        counts = Counter(self.counters)
        for track in self.tracks:
            counts.update(track.notices())
            counts["early_timestamps"] += track.clock.early_timestamps
            counts["clock_standstills"] += track.clock.standstills
        counts["ignored_sender_reports"] += self._sync.ignored_reports
        return counts

    # what the tracks call

    def take_frame(self, frame: Frame) -> None:
        if self._held is None:
            self._place(frame)
            return
        if not self._held:
            self._held_since_s = self._now_s
        if frame.source.id not in self._shown:
            self._shown.add(frame.source.id)
            self.stream.announce(frame.track)
        self._held.append(frame)
        self._held_bytes += len(frame.data)

    def clock_changes(self) -> None:
        self._release()

    # to the hub

    def _place(self, frame: Frame) -> None:
        source, track, ticks, is_keyframe, data = frame
        clock = source.clock
        if clock.offset_s is None:
            self._sync.place(clock)
        pts = clock.pts(ticks)
        if self._known_tracks.get(source.id) is not track:
            self._known_tracks[source.id] = track
            self._tracks_changed = True
        if is_keyframe and source.is_video:
            self._has_video_keyframe = True
        self._packets.append(Packet(track, pts, pts, is_keyframe, data))

    def _release(self) -> None:
        """Hold nothing any more."""
        held, self._held = self._held, None
        for frame in held or ():
            self._place(frame)

    def _may_release(self) -> bool:
        held_s = self._now_s - self._held_since_s
        has_all = len(self._shown) == len(self.tracks)
        if self.stream.is_watched and (has_all or held_s >= SHOW_S):
            return True
        if has_all and held_s >= SETTLE_S and (held_s >= SETTLE_BY_ARRIVAL_S or self._sync.knows_captures):
            return True
        return (
            held_s >= self._hold_s
            or self._held_bytes > HELD_MAX_BYTES
            or all(track.clock.report_skew_s is not None for track in self.tracks)
        )

    def _publish(self, arrival_ns: int) -> None:
        if self._held and self._may_release():
            self._release()
        packets = self._packets
        if not packets:
            return
        self._packets = []
        batch = Batch(
            packets,
            arrival_ns,
            sum(len(packet.data) for packet in packets),
            self._tracks_changed,
            self._has_video_keyframe,
        )
        self._tracks_changed = self._has_video_keyframe = False
        self.stream.publish(batch)


def _transport_wide_id(lines: Sequence[MediaLine]) -> int:
    """The id of the transport-wide sequence number, the same on all lines of a bundle; 0 for none."""
    ids = (line.extensions.get(transport_feedback.EXTENSION_URI, 0) for line in lines)
    return next((one for one in ids if one), 0)
