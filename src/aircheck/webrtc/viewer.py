"""Viewer: a stream of the hub becomes RTP for one peer that watches.

Pictures are passed through, and Opus and G.711; what the browser cannot take is transcoded once for all
viewers (see `transcoding`), H.264 with B-frames too as soon as one is seen.

A viewer begins at a key frame: a WebRTC publisher is asked for one; of other streams the back buffer holds
the last, and what followed it is sent to be decoded but not waited for: its pictures all belong to the
instant at which the viewer came, so that nobody watches late for having come in the middle.

A viewer whose path takes less than the stream needs is sent no more pictures until the next key frame, and
nothing of the past again; sound goes on. A publisher is asked for that key frame ever less often, as each
costs all who watch and record a large picture.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from aircheck.clock import Clock
from aircheck.containers.audio_codecs import can_decode
from aircheck.containers.video_transcode import can_decode_video
from aircheck.errors import AircheckError
from aircheck.facts import EndReason
from aircheck.hub.stream import Stream
from aircheck.media.bits import BitstreamError
from aircheck.media.packet import Batch, Packet
from aircheck.media.track import Codec, Kind, Track
from aircheck.webrtc.errors import NoCommonCodecs
from aircheck.webrtc.media import MediaLine
from aircheck.webrtc.negotiate import Wanted
from aircheck.webrtc.pacer import Pacer
from aircheck.webrtc.path_losses import PathLosses
from aircheck.webrtc.send_track import SendTrack
from aircheck.webrtc.transcoding import Transcoding
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

QUEUE_MAX_PACKETS = 8192
"""What may wait for its turn before the viewer is dropped to the next key frame: 10 MB."""
KEYFRAME_INTERVAL_S = 0.5
"""The soonest a publisher is asked again for the sake of one viewer."""
KEYFRAME_PATIENCE_S = 8.0
"""The longest a viewer waits to whom key frame after key frame was of no use."""
REPORT_INTERVAL_S = 1.0
SOUND_WAITS_S = 1.0
"""Sound before the first picture would be heard alone; but pictures may take long, or never come."""
_CATCH_UP_S = 0.001
"""Between pictures that belong to the past: timestamps must differ."""
_CNAME = "aircheck"
_NTP_EPOCH_S = 2_208_988_800

_PASSED_SOUND = (Codec.OPUS, Codec.PCMA, Codec.PCMU)
_TARGETS = (Codec.H264, Codec.OPUS)
"""What transcoding makes."""


class ViewerTransport(Protocol):
    """The viewer's peer."""

    unsent_packets: int

    def send_rtp(self, packets: Sequence[bytes]) -> None: ...
    def send_rtcp(self, packet: bytes) -> None: ...


def wanted_of(
    stream: Stream, transcoding: Transcoding, promised: Sequence[Track] = ()
) -> Mapping[Kind, Wanted]:
    """What a viewer can be sent of a stream's first tracks: as they are, or as what they can become.

    Of tracks that are only `promised` no more than the codec is known.
    """
    wanted: dict[Kind, Wanted] = {}
    for track in stream.tracks:
        if track.is_video and Kind.VIDEO not in wanted:
            profile = track.config[1] if track.codec is Codec.H264 and len(track.config) > 1 else 0
            others = _transcoded_from(track)
            is_passed = not transcoding.has_b_frames(stream)
            own = (track.codec,) if is_passed else ()
            wanted[Kind.VIDEO] = Wanted((*own, *others), h264_profile=profile if is_passed else 0)
        elif track.is_audio and Kind.AUDIO not in wanted:
            own = (track.codec,) if track.codec in _PASSED_SOUND else ()
            wanted[Kind.AUDIO] = Wanted((*own, *((Codec.OPUS,) if can_decode(track.codec) else ())))
    for track in promised:
        wanted.setdefault(track.kind, Wanted((track.codec, *_transcoded_from(track))))
    return wanted


def _transcoded_from(pictures: Track) -> tuple[Codec, ...]:
    return (Codec.H264,) if can_decode_video(pictures.codec) else ()


class Viewer:
    """One watching peer: a `MediaSink`, and a live subscriber of the stream.

    `promised` are tracks that the publisher has agreed to send: there may be nothing of them yet.
    `on_ended` is called once when the publication is over.
    """

    is_live = True
    backlog_ratio = 0.0

    def __init__(
        self,
        lines: Sequence[MediaLine],
        transport: ViewerTransport,
        stream: Stream,
        clock: Clock,
        transcoding: Transcoding,
        *,
        promised: Sequence[Track] = (),
        on_ended: Callable[[EndReason], None],
    ) -> None:
        self.stream = stream
        self.dropped_frames = self.keyframe_requests = self.nacks = self.pauses = 0
        self._transport = transport
        self._clock = clock
        self._transcoding = transcoding
        self._on_ended = on_ended
        self._pacer = Pacer(transport.send_rtp)
        self._senders: dict[Kind, SendTrack] = {}
        self._sources: dict[Kind, Track] = {}
        self._transcoded: set[Kind] = set()
        for line in lines:
            self._take_line(line, (*stream.tracks, *promised))
        self._by_ssrc = {sender.ssrc: sender for sender in self._senders.values()}
        self._needs_key = Kind.VIDEO in self._senders
        self._sound_waits_until_s = clock.monotonic_s() + SOUND_WAITS_S
        self._origin: tuple[float, float] | None = None
        """Media time of the first packet, and the clock's time when it was sent."""
        self._last_pts = -(1 << 62)
        self._reported_s = 0.0
        self._may_ask_from_s = self._key_sent_s = float("-inf")
        self._has_asked = self._is_slow = False
        self._patience_s = KEYFRAME_INTERVAL_S
        self._losses = PathLosses()
        self._unsent_packets = 0
        self._is_closed = False

    def _take_line(self, line: MediaLine, tracks: Sequence[Track]) -> None:
        source = next((track for track in tracks if track.kind is line.kind), None)
        if source is None:
            return
        self._sources[line.kind] = source
        self._senders[line.kind] = SendTrack(line, source)
        has_b_frames = line.kind is Kind.VIDEO and self._transcoding.has_b_frames(self.stream)
        if has_b_frames or line.formats[0].codec is not source.codec:
            self._transcoded.add(line.kind)

    def start(self) -> None:
        """Begin with what is there already, and subscribe."""
        past = self.stream.back_buffer.packets()
        self.stream.subscribe(self)
        for kind in self._transcoded:
            self._listen(kind)
        if self.stream.on_keyframe_wanted is None and past and Kind.VIDEO not in self._transcoded:
            self._catch_up(past)
        else:
            self._ask_for_keyframe()

    # what the stream calls

    def deliver(self, batch: Batch) -> None:
        if self._is_closed:
            return
        self._send_frames([packet for packet in batch.packets if self._is_passed(packet)])

    def take_transcoded(self, packets: Sequence[Packet]) -> None:
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
        if now_s - self._reported_s >= REPORT_INTERVAL_S and self._origin is not None:
            self._reported_s = now_s
            self._report(*self._origin)
        if self._needs_key and self.stream.primary_video is not None:
            self._ask_for_keyframe()

    def notices(self) -> Mapping[str, int]:
        return {
            "viewer_dropped_frames": self.dropped_frames,
            "viewer_keyframe_requests": self.keyframe_requests,
            "viewer_pauses": self.pauses,
            "viewer_nacked_packets": self.nacks,
            "viewer_resent_packets": sum(sender.resent_packets for sender in self._senders.values()),
        }

    def close(self, reason: EndReason) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        self._pacer.clear()
        self._transcoding.leave(self.stream, self.take_transcoded)
        self.stream.unsubscribe(self)

    # frames

    def _is_passed(self, packet: Packet) -> bool:
        """Whether a packet of the stream is for this viewer as it is."""
        source = self._sources.get(packet.track.kind)
        if source is None or packet.track.id != source.id or packet.track.kind in self._transcoded:
            return False
        if packet.track.codec is not source.codec:
            # The publisher has begun to send another codec than was agreed on.
            self._transcode(packet.track)
            return False
        if packet.track.codec is Codec.H264 and self._is_b_frame(packet):
            self._transcoding.note_b_frames(self.stream)
            self._transcode(packet.track)
            return False
        return True

    def _is_b_frame(self, packet: Packet) -> bool:
        """Shown before one that came earlier, which no WebRTC publisher does."""
        before, self._last_pts = self._last_pts, max(self._last_pts, packet.pts)
        return before > packet.pts > before - packet.track.timescale

    def _transcode(self, track: Track) -> None:
        self._transcoded.add(track.kind)
        if track.is_video:
            self._needs_key = True
        self._listen(track.kind, track)

    def _listen(self, kind: Kind, track: Track | None = None) -> None:
        try:
            if self._senders[kind].codec not in _TARGETS:
                raise NoCommonCodecs("the stream has changed its codec", remedy="watch it anew")
            self._transcoding.listen(self.stream, track or self._sources[kind], self.take_transcoded)
        except AircheckError as error:
            _log.error("viewer goes without stream=%s kind=%s error=%s", self.stream.name, kind, error)
            del self._senders[kind]
            self._needs_key = self._needs_key and kind is not Kind.VIDEO

    def _send_frames(self, frames: Sequence[Packet]) -> None:
        if not self._needs_key and self._is_behind():
            self._fall_behind()
        packets: list[bytes] = []
        for frame in frames:
            if self._may_send(frame):
                packets += self._packetize(frame)
        self._pacer.send(packets)

    def _may_send(self, packet: Packet) -> bool:
        """A viewer who waits for a key frame gets no other pictures, and at first no sound either."""
        if not self._needs_key and not self._has_asked:
            return True
        if packet.track.is_video and packet.is_keyframe:
            self._begin()
        if not self._needs_key:
            return True
        if packet.track.is_audio and not self._does_sound_wait():
            return True
        self.dropped_frames += 1
        return False

    def _does_sound_wait(self) -> bool:
        return self.stream.primary_video is not None and (
            self._clock.monotonic_s() < self._sound_waits_until_s
        )

    def _packetize(self, packet: Packet, *, at_s: float | None = None) -> list[bytes]:
        if self._origin is None:
            media_s = packet.pts / packet.track.timescale if at_s is None else at_s
            self._origin = media_s, self._clock.monotonic_s()
        sender = self._senders.get(packet.track.kind)
        if sender is None:
            return []
        try:
            return sender.packetize(packet, at_s=at_s)
        except (BitstreamError, RtpError):
            self.dropped_frames += 1
            return []

    def _catch_up(self, past: Sequence[Packet]) -> None:
        """Pictures from the last key frame on, all for now: decoded at once, and shown as fast."""
        pictures = [packet for packet in past if packet.track.is_video and self._is_passed(packet)]
        if not pictures or not pictures[0].is_keyframe or Kind.VIDEO in self._transcoded:
            return
        self._begin()
        last = pictures[-1]
        now_s = last.pts / last.track.timescale
        packets: list[bytes] = []
        for i, picture in enumerate(pictures):
            packets += self._packetize(picture, at_s=now_s - (len(pictures) - 1 - i) * _CATCH_UP_S)
        self._pacer.send(packets)

    # on the way

    def _begin(self) -> None:
        """A key frame goes out that was waited for. The one before was in vain if it did not last."""
        now_s = self._clock.monotonic_s()
        lasted_s = now_s - self._key_sent_s
        was_in_vain = lasted_s < 4 * self._patience_s
        self._patience_s = (
            min(2 * self._patience_s, KEYFRAME_PATIENCE_S) if was_in_vain else KEYFRAME_INTERVAL_S
        )
        self._is_slow = self._is_slow and lasted_s < 4 * KEYFRAME_PATIENCE_S
        self._key_sent_s, self._may_ask_from_s = now_s, now_s + self._patience_s
        self._needs_key = self._has_asked = False
        self._unsent_packets = self._transport.unsent_packets
        sender = self._senders[Kind.VIDEO]
        self._losses.begin(sender.sent_packets, sender.lost_packets, now_s)

    def _is_behind(self) -> bool:
        """Whether packets are not taken: by our queue, by a TCP connection that is full, or by the path."""
        before, self._unsent_packets = self._unsent_packets, self._transport.unsent_packets
        if self._unsent_packets > before or len(self._pacer) > QUEUE_MAX_PACKETS:
            return True
        sender = self._senders.get(Kind.VIDEO)
        return sender is not None and self._losses.are_too_many(
            sender.sent_packets, sender.lost_packets, self._clock.monotonic_s()
        )

    def _fall_behind(self) -> None:
        """Until the next key frame."""
        self._pacer.clear()
        sender = self._senders.get(Kind.VIDEO)
        if sender is None:
            return
        self._needs_key = True
        self._sound_waits_until_s = 0.0
        self.pauses += 1
        sender.forget()
        if not self._is_slow:
            self._is_slow = True
            _log.info("viewer is slow stream=%s", self.stream.name)

    def _resend(self, nack: Nack, now_s: float) -> None:
        self.nacks += len(nack.sequence_numbers)
        sender = self._by_ssrc.get(nack.media_ssrc)
        if sender is not None:
            self._pacer.send(sender.resend(nack.sequence_numbers, now_s))

    def _ask_for_keyframe(self) -> None:
        now_s = self._clock.monotonic_s()
        if now_s < self._may_ask_from_s:
            return
        if Kind.VIDEO in self._transcoded:
            ask: Callable[[], None] | None = self._ask_transcoder
        else:
            ask = self.stream.on_keyframe_wanted
        if ask is not None:
            self._may_ask_from_s, self._has_asked = now_s + KEYFRAME_INTERVAL_S, True
            self.keyframe_requests += 1
            ask()

    def _ask_transcoder(self) -> None:
        self._transcoding.want_keyframe(self.stream)

    def _report(self, origin_s: float, sent_s: float) -> None:
        """The same instant on every line's clock, so that sound and pictures meet again at the viewer."""
        media_s = origin_s + self._clock.monotonic_s() - sent_s
        ntp = (self._clock.wall_ns() + _NTP_EPOCH_S * 1_000_000_000 << 32) // 1_000_000_000
        for sender in self._senders.values():
            report = sender.report(media_s, ntp & 0xFFFFFFFFFFFFFFFF)
            if report is not None:
                name = SourceDescription(((sender.ssrc, _CNAME),))
                self._transport.send_rtcp(serialize_compound((report, name)))
