"""Viewer: a stream of the hub becomes RTP for one peer that watches.

Pictures are passed through, and Opus; other sound is made Opus once for all viewers.

A viewer begins at a key frame: a WebRTC publisher is asked for one; of other streams the back buffer holds
the last, and what followed it is sent to be decoded but not waited for: its pictures all belong to the
instant at which the viewer came, so that nobody watches late for having come in the middle. Large frames are
spread over some milliseconds, because what bursts is lost on the way.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from aircheck.clock import Clock
from aircheck.facts import EndReason
from aircheck.hub.stream import Stream
from aircheck.media.bits import BitstreamError
from aircheck.media.packet import Batch, Packet
from aircheck.media.track import Codec, Kind, Track
from aircheck.webrtc.media import MediaLine
from aircheck.webrtc.negotiate import Wanted
from aircheck.webrtc.send_track import SendTrack
from aircheck.webrtc.sound import Sounds, can_become_opus
from aircheck.wire.rtp.errors import RtpError
from aircheck.wire.rtp.rtcp import (
    FullIntraRequest,
    Nack,
    PictureLossIndication,
    SourceDescription,
    parse_compound,
    serialize_compound,
)

_log = logging.getLogger(__name__)

BURST_PACKETS = 64
PACE_S = 0.004
"""At most a burst each so often: 150 Mbit/s."""
QUEUE_MAX_PACKETS = 8192
"""What may wait for its turn before the viewer is dropped to the next key frame: 10 MB."""
KEYFRAME_INTERVAL_S = 0.5
"""The soonest a publisher is asked again for the sake of one viewer."""
REPORT_INTERVAL_S = 1.0
_CATCH_UP_S = 0.001
"""Between pictures that belong to the past: timestamps must differ."""
_CNAME = "aircheck"
_NTP_EPOCH_S = 2_208_988_800

_PASSED_SOUND = (Codec.OPUS, Codec.PCMA, Codec.PCMU)


class ViewerTransport(Protocol):
    """The viewer's peer."""

    unsent_packets: int

    def send_rtp(self, packets: Sequence[bytes]) -> None: ...
    def send_rtcp(self, packet: bytes) -> None: ...


def wanted_of(stream: Stream) -> Mapping[Kind, Wanted]:
    """What a viewer of a stream can be sent: its pictures as they are, its sound as it is or as Opus."""
    wanted: dict[Kind, Wanted] = {}
    for track in stream.tracks:
        if track.is_video and Kind.VIDEO not in wanted:
            profile = track.config[1] if track.codec is Codec.H264 and len(track.config) > 1 else 0
            wanted[Kind.VIDEO] = Wanted((track.codec,), h264_profile=profile)
        elif track.is_audio and Kind.AUDIO not in wanted:
            if track.codec in _PASSED_SOUND:
                wanted[Kind.AUDIO] = Wanted((track.codec, Codec.OPUS))
            elif can_become_opus(track.codec):
                wanted[Kind.AUDIO] = Wanted((Codec.OPUS,))
    return wanted


class Viewer:
    """One watching peer: a `MediaSink`, and a live subscriber of the stream.

    `on_ended` is called once when the publication is over.
    """

    is_live = True

    def __init__(
        self,
        lines: Sequence[MediaLine],
        transport: ViewerTransport,
        stream: Stream,
        clock: Clock,
        sounds: Sounds,
        *,
        on_ended: Callable[[EndReason], None],
    ) -> None:
        self.stream = stream
        self.dropped_frames = self.keyframe_requests = self.nacks = 0
        self._lines = {line.kind: line for line in lines}
        self._transport = transport
        self._clock = clock
        self._sounds = sounds
        self._on_ended = on_ended
        self._loop = asyncio.get_running_loop()
        self._tracks: dict[tuple[int, Codec], SendTrack | None] = {}
        """By number and codec of the stream's track; None for those that no line takes."""
        self._by_ssrc: dict[int, SendTrack] = {}
        self._needs_key = Kind.VIDEO in self._lines
        self._origin_s: float | None = None
        self._wall_of_origin_s = 0.0
        self._queue: deque[bytes] = deque()
        self._pacer: asyncio.TimerHandle | None = None
        self._reported_s = 0.0
        self._asked_s = 0.0
        self._unsent_packets = 0
        self._is_closed = False

    def start(self) -> None:
        """Begin with what is there already, and subscribe."""
        past = self.stream.back_buffer.packets()
        self.stream.subscribe(self)
        self._listen()
        if self.stream.on_keyframe_wanted is None and past:
            self._catch_up(past)
        else:
            self._ask_for_keyframe()

    # what the stream calls

    def deliver(self, batch: Batch) -> None:
        if self._is_closed:
            return
        if len(self._queue) > QUEUE_MAX_PACKETS or self._is_losing():
            self._fall_behind()
        self._send_frames(batch.packets)

    def take_sound(self, packets: Sequence[Packet]) -> None:
        """Sound that was made Opus."""
        if not self._is_closed:
            self._send_frames(packets)

    def ended(self, reason: EndReason) -> None:
        if not self._is_closed:
            self._on_ended(reason)

    # what the peer calls

    def receive_rtp(self, packets: Sequence[bytes], arrival_ns: int, now_s: float) -> None:
        """Nothing is expected from somebody who watches."""

    def receive_rtcp(self, packet: bytes, arrival_ns: int, now_s: float) -> None:
        try:
            reports = parse_compound(packet)
        except RtpError:
            return
        for report in reports:
            match report:
                case Nack():
                    self._resend(report, now_s)
                case PictureLossIndication() | FullIntraRequest():
                    self._ask_for_keyframe()
                case _:
                    pass

    def tick(self, now_s: float) -> None:
        if now_s - self._reported_s >= REPORT_INTERVAL_S and self._origin_s is not None:
            self._reported_s = now_s
            self._report()
        if self._needs_key:
            self._ask_for_keyframe()

    def notices(self) -> Mapping[str, int]:
        return {
            "viewer_dropped_frames": self.dropped_frames,
            "viewer_keyframe_requests": self.keyframe_requests,
            "viewer_nacked_packets": self.nacks,
            "viewer_resent_packets": sum(track.resent_packets for track in self._by_ssrc.values()),
        }

    def close(self, reason: EndReason) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        self._queue.clear()
        if self._pacer is not None:
            self._pacer.cancel()
        self._sounds.leave(self.stream, self.take_sound)
        self.stream.unsubscribe(self)

    # frames

    def _listen(self) -> None:
        """Have the sound made Opus, if that is what was agreed on and the stream has another codec."""
        line = self._lines.get(Kind.AUDIO)
        track = next((track for track in self.stream.tracks if track.is_audio), None)
        if line is not None and track is not None and line.formats[0].codec is not track.codec:
            self._sounds.listen(self.stream, track, self.take_sound)

    def _send_frames(self, frames: Sequence[Packet]) -> None:
        packets: list[bytes] = []
        for frame in frames:
            if self._may_send(frame):
                packets += self._packetize(frame)
        self._send(packets)

    def _may_send(self, packet: Packet) -> bool:
        """A viewer who waits for a key frame gets nothing else, sound neither: it would come first."""
        if not self._needs_key:
            return True
        if packet.track.is_video and packet.is_keyframe and self._track_of(packet.track) is not None:
            self._needs_key = False
            return True
        self.dropped_frames += 1
        return False

    def _packetize(self, packet: Packet, *, at_s: float | None = None) -> list[bytes]:
        if self._origin_s is None:
            self._origin_s = packet.pts / packet.track.timescale if at_s is None else at_s
            self._wall_of_origin_s = self._clock.monotonic_s()
        track = self._track_of(packet.track)
        if track is None:
            return []
        try:
            return track.packetize(packet, at_s=at_s)
        except (BitstreamError, RtpError):
            self.dropped_frames += 1
            return []

    def _track_of(self, track: Track) -> SendTrack | None:
        key = (track.id, track.codec)
        if key not in self._tracks:
            self._tracks[key] = self._new_track(track)
        return self._tracks[key]

    def _new_track(self, track: Track) -> SendTrack | None:
        line = self._lines.get(track.kind)
        if line is None or line.formats[0].codec is not track.codec:
            return None
        if any(one is not None and one.kind is track.kind for one in self._tracks.values()):
            return None
        made = SendTrack(line, track)
        self._by_ssrc[made.ssrc] = made
        return made

    def _catch_up(self, past: Sequence[Packet]) -> None:
        """Pictures from the last key frame on, all for now: decoded at once, and shown as fast."""
        pictures = [packet for packet in past if packet.track.is_video and self._track_of(packet.track)]
        if not pictures or not pictures[0].is_keyframe:
            return
        self._needs_key = False
        last = pictures[-1]
        now_s = last.pts / last.track.timescale
        packets: list[bytes] = []
        for i, picture in enumerate(pictures):
            packets += self._packetize(picture, at_s=now_s - (len(pictures) - 1 - i) * _CATCH_UP_S)
        self._send(packets)

    # on the way

    def _send(self, packets: Sequence[bytes]) -> None:
        if not self._queue and len(packets) <= BURST_PACKETS:
            if packets:
                self._transport.send_rtp(packets)
            return
        self._queue.extend(packets)
        if self._pacer is None:
            self._pace()

    def _pace(self) -> None:
        self._pacer = None
        queue = self._queue
        burst = [queue.popleft() for _ in range(min(BURST_PACKETS, len(queue)))]
        if burst:
            self._transport.send_rtp(burst)
        if queue:
            self._pacer = self._loop.call_later(PACE_S, self._pace)

    def _is_losing(self) -> bool:
        """Whether packets were not taken since the last look: a TCP connection that is full."""
        before, self._unsent_packets = self._unsent_packets, self._transport.unsent_packets
        return self._unsent_packets > before

    def _fall_behind(self) -> None:
        self._queue.clear()
        if Kind.VIDEO in self._lines and not self._needs_key:
            self._needs_key = True
            _log.info("viewer is slow stream=%s", self.stream.name)

    def _resend(self, nack: Nack, now_s: float) -> None:
        self.nacks += len(nack.sequence_numbers)
        track = self._by_ssrc.get(nack.media_ssrc)
        if track is not None:
            self._send(track.resend(nack.sequence_numbers, now_s))

    def _ask_for_keyframe(self) -> None:
        ask = self.stream.on_keyframe_wanted
        now_s = self._clock.monotonic_s()
        if ask is not None and now_s - self._asked_s >= KEYFRAME_INTERVAL_S:
            self._asked_s = now_s
            self.keyframe_requests += 1
            ask()

    def _report(self) -> None:
        """The same instant on every line's clock, so that sound and pictures meet again at the viewer."""
        assert self._origin_s is not None
        media_s = self._origin_s + self._clock.monotonic_s() - self._wall_of_origin_s
        ntp = (self._clock.wall_ns() + _NTP_EPOCH_S * 1_000_000_000 << 32) // 1_000_000_000
        for track in self._by_ssrc.values():
            report = track.report(media_s, ntp & 0xFFFFFFFFFFFFFFFF)
            if report is not None:
                name = SourceDescription(((track.ssrc, _CNAME),))
                self._transport.send_rtcp(serialize_compound((report, name)))
