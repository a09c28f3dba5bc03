"""ReceiveTrack: the RTP packets of one media line become frames, in order, whole, with their clock.

Pictures that cannot be decoded never leave: after a hole or a bad frame all up to the next key frame is
dropped, and a key frame is asked for. Sound has no such needs: what is missing is missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple, Protocol

from aircheck.media import opus
from aircheck.media.bits import BitstreamError
from aircheck.media.track import Codec, Kind, Track
from aircheck.webrtc.media import Format, MediaLine
from aircheck.webrtc.pictures import Pictures, pictures_of
from aircheck.webrtc.sync import LipSync
from aircheck.wire.rtp.formats import DEPACKETIZERS
from aircheck.wire.rtp.frames import FrameAssembler
from aircheck.wire.rtp.packet import find_extension
from aircheck.wire.rtp.reception import Reception
from aircheck.wire.rtp.reorder import ReorderBuffer, RoundTrip
from aircheck.wire.rtp.rtcp import ReportBlock
from aircheck.wire.rtp.send_times import (
    ABS_SEND_TIME_URI,
    SIZE_BYTES,
    TRANSMISSION_OFFSET_URI,
    read_abs_send_time_s,
    read_transmission_offset,
)

KEYFRAME_RETRY_S = 0.4
"""A request, or the key frame that it brought, may be lost."""

FIRST_KEYFRAME_S = 0.2
"""Sources begin with a key frame; one that has not come by then is asked for."""

SOURCE_SILENT_S = 1.0
"""Another source may take over a line when its last one has said nothing for so long."""

SOUND_FRAME_S = 0.02
"""Sound is sent when a frame of it is full, as long as nearly all are."""

Item = tuple[int, int, int, bytes, int, int]
"""Timestamp, marker bit (0x80), payload type; a packet and where in it the payload begins and ends."""


class Frame(NamedTuple):
    """What came of one track. `clock` is its timestamp, counted on."""

    source: ReceiveTrack
    track: Track
    clock: int
    is_keyframe: bool
    data: bytes


class FrameTaker(Protocol):
    """Who gets the frames. Called while packets are handled."""

    def take_frame(self, frame: Frame) -> None: ...
    def clock_changes(self) -> None:
        """The clock of a track is about to be set anew: frames so far belong to the old one."""
        ...


@dataclass(slots=True)
class TrackCounters:
    """What was not as it should be, by name."""

    rtp_packets_lost: int = 0
    """Never came, or too late."""
    rtp_packets_recovered: int = 0
    """Came when they were asked for again."""
    bad_frames: int = 0
    """Dropped: something of them was missing or made no sense."""
    truncated_frames: int = 0
    """Of those, the ones that the sender itself left unfinished."""
    frames_awaiting_key: int = 0
    """Dropped: they need a picture that is missing."""
    malformed_payloads: int = 0
    keyframe_requests: int = 0
    retransmission_requests: int = 0
    timestamp_jumps: int = 0
    source_changes: int = 0


class ReceiveTrack:
    """One media line. `taker` is given each frame as it is complete.

    `ssrc` is the source that feeds it at the moment; None before the first packet.
    """

    def __init__(
        self, track_id: int, line: MediaLine, sync: LipSync, round_trip: RoundTrip, taker: FrameTaker
    ) -> None:
        self.id = track_id
        self.line = line
        self.ssrc: int | None = None
        self.is_video = line.kind is Kind.VIDEO
        self.clock = sync.add(line.formats[0].clock_rate, is_sound=not self.is_video)
        self.reception = Reception(self.clock.clock_rate)
        self.last_packet_s = 0.0
        self.needs_key = self.is_video
        self.keyframe_asked_s = float("-inf")
        self.counters = TrackCounters()
        self._sender = sync.sender
        self._send_time_id = line.extensions.get(ABS_SEND_TIME_URI, 0)
        self._sent_after_id = line.extensions.get(TRANSMISSION_OFFSET_URI, 0)
        self._formats = {one.payload_type: one for one in line.formats}
        self._round_trip = round_trip
        self._taker = taker
        self._reorder = self._new_reorder()
        self._lost_before = 0
        """Counts of sources that were replaced."""
        self._payload_type: int | None = None
        self._codec: Codec | None = None
        self._assembler: FrameAssembler | None = None
        self._pictures: Pictures | None = None
        self._sound: Track | None = None
        self._jitter_timestamp: int | None = None
        self._now_s = 0.0

    def _new_reorder(self) -> ReorderBuffer[Item]:
        has_rtx = all(one.rtx_payload_type is not None for one in self.line.formats)
        return ReorderBuffer(self._round_trip, knows_answers=has_rtx)

    # packets

    def receive(
        self, sequence_number: int, item: Item, now_s: float, *, is_retransmission: bool = False
    ) -> None:
        """One packet of the current source, or one that was sent again."""
        self._now_s = now_s
        if not is_retransmission:
            self.last_packet_s = now_s
            self.reception.received += 1
            if item[0] != self._jitter_timestamp:
                self._jitter_timestamp = item[0]
                self.reception.arrived(item[0], now_s)
        push = self._reorder.push_again if is_retransmission else self._reorder.push
        for one in push(sequence_number, item, now_s):
            self._next(one)

    def note_capture(
        self, timestamp: int, packet: bytes, extension_at: int, start: int, now_s: float
    ) -> None:
        """When this was captured by the sender's clock, if header extensions tell, of this or of pictures."""
        at = find_extension(packet, self._send_time_id, extension_at, start) if self._send_time_id else 0
        sent_s: float | None = None
        if at and at + SIZE_BYTES <= start:
            sent_s = read_abs_send_time_s(packet, at)
        if self.is_video:
            self._note_picture(timestamp, packet, extension_at, start, sent_s, now_s)
            return
        if sent_s is None:
            sent_s = self._sender.at(now_s)
        if sent_s is not None:
            self.clock.captured(timestamp, sent_s - SOUND_FRAME_S)

    def _note_picture(
        self, timestamp: int, packet: bytes, extension_at: int, start: int, sent_s: float | None, now_s: float
    ) -> None:
        if sent_s is None:
            return
        self._sender.told(sent_s, now_s)
        if self.clock.offset_s is not None:
            return
        if self._sent_after_id and (at := find_extension(packet, self._sent_after_id, extension_at, start)):
            sent_s -= read_transmission_offset(packet, at) / self.clock.clock_rate
        self.clock.captured(timestamp, sent_s)

    @property
    def tells_sending(self) -> bool:
        """Whether header extensions tell when packets were sent."""
        return bool(self._send_time_id)

    def follow(self, ssrc: int, now_s: float) -> None:
        """From now on the line is fed by this source."""
        if self.ssrc is not None:
            self.counters.source_changes += 1
            self.finish()
            self._renew_clock(self.clock.clock_rate)
            self.reception = Reception(self.clock.clock_rate)
            self._break()
        self.ssrc = ssrc
        self.last_packet_s = now_s
        self.keyframe_asked_s = now_s - self._retry_s + FIRST_KEYFRAME_S

    def may_follow(self, now_s: float) -> bool:
        """Whether a source other than the present one may take over."""
        return self.ssrc is None or now_s - self.last_packet_s > SOURCE_SILENT_S

    def give_up(self, now_s: float) -> None:
        """Go on after holes that were waited for long enough."""
        self._now_s = now_s
        for item in self._reorder.expire(now_s):
            self._next(item)

    def finish(self) -> None:
        """The source has gone: what waited for missing packets is all that there will be."""
        for item in self._reorder.flush():
            self._next(item)
        self._lost_before += self._reorder.lost
        self.counters.rtp_packets_recovered += self._reorder.recovered
        self._reorder = self._new_reorder()

    def wanted(self, now_s: float) -> tuple[int, ...]:
        """Sequence numbers to ask for now."""
        numbers = self._reorder.wanted(now_s)
        self.counters.retransmission_requests += len(numbers)
        return numbers

    def report(self, now_s: float) -> ReportBlock | None:
        reorder = self._reorder
        if self.ssrc is None or reorder.highest < 0:
            return None
        return self.reception.block(self.ssrc, reorder.first, reorder.highest, now_s)

    def wants_key(self, now_s: float) -> bool:
        """Whether a key frame is to be asked for now: one is missing, and its source is there to send it."""
        return (
            self.needs_key
            and self.ssrc is not None
            and now_s - self.last_packet_s < SOURCE_SILENT_S
            and self.may_ask(now_s)
        )

    def may_ask(self, now_s: float) -> bool:
        """Whether the last request for a key frame was long enough ago."""
        return now_s - self.keyframe_asked_s >= self._retry_s

    def key_asked(self, now_s: float) -> None:
        self.keyframe_asked_s = now_s
        self.counters.keyframe_requests += 1

    @property
    def _retry_s(self) -> float:
        return max(KEYFRAME_RETRY_S, 2 * self._round_trip.seconds)

    def notices(self) -> dict[str, int]:
        counters = asdict(self.counters)
        reorder, assembler = self._reorder, self._assembler
        counters["rtp_packets_lost"] = self._lost_before + reorder.lost
        counters["rtp_packets_recovered"] += reorder.recovered
        if assembler is not None:
            counters["bad_frames"] += assembler.bad_frames
            counters["truncated_frames"] += assembler.truncated
            counters["malformed_payloads"] += assembler.malformed
        return counters

    # frames

    def _next(self, item: Item | None) -> None:
        if item is None:
            if self._assembler is not None:
                self._assembler.lose()
                self._break()
            return
        timestamp, marker, payload_type, packet, start, end = item
        if payload_type != self._payload_type and not self._change_format(payload_type):
            return
        assembler = self._assembler
        if assembler is None:
            self._take_sound(timestamp, packet, start, end)
            return
        parts = assembler.push(timestamp, marker, packet, start, end)
        if assembler.is_broken:
            assembler.is_broken = False
            self._break()
        if parts is not None:
            self._take_picture(timestamp, parts)

    def _break(self) -> None:
        """What follows refers to pictures that are missing."""
        self.needs_key = self.is_video

    def _change_format(self, payload_type: int) -> bool:
        """Senders may change to any format that was agreed on, at any packet; others are passed over."""
        wanted = self._formats.get(payload_type)
        if wanted is None:
            return False
        self._payload_type = payload_type
        if wanted.codec is not self._codec:
            self._begin_codec(wanted)
        return True

    def _begin_codec(self, wanted: Format) -> None:
        self._codec = wanted.codec
        self._keep_counts()
        if wanted.clock_rate != self.clock.clock_rate:
            self._renew_clock(wanted.clock_rate)
            self.reception.clock_rate = wanted.clock_rate
        if self.is_video:
            self._assembler = FrameAssembler(DEPACKETIZERS[wanted.codec]())
            self._pictures = pictures_of(wanted.codec, self.id, wanted.fmtp)
            self._break()
        else:
            self._sound = sound_track(self.id, wanted)

    def _keep_counts(self) -> None:
        if self._assembler is not None:
            self.counters.bad_frames += self._assembler.bad_frames
            self.counters.truncated_frames += self._assembler.truncated
            self.counters.malformed_payloads += self._assembler.malformed

    def _take_picture(self, timestamp: int, parts: Sequence[bytes]) -> None:
        pictures = self._pictures
        assert pictures is not None
        try:
            data, is_keyframe = pictures.make(list(parts))
        except BitstreamError:
            self.counters.malformed_payloads += 1
            self._break()
            return
        if is_keyframe:
            self.needs_key = False
        elif self.needs_key:
            self.counters.frames_awaiting_key += 1
            return
        assert pictures.track is not None
        self._emit(pictures.track, timestamp, is_keyframe, data)

    def _take_sound(self, timestamp: int, packet: bytes, start: int, end: int) -> None:
        track = self._sound
        assert track is not None
        if start >= end:
            return
        data = packet[start:end]
        if track.codec is Codec.OPUS:
            try:
                opus.packet_samples(data)
            except BitstreamError:
                self.counters.malformed_payloads += 1
                return
        self._emit(track, timestamp, True, data)

    def _emit(self, track: Track, timestamp: int, is_keyframe: bool, data: bytes) -> None:
        if self.clock.is_jump(timestamp, self._now_s):
            self.counters.timestamp_jumps += 1
            self._renew_clock(self.clock.clock_rate)
        clock = self.clock.arrived(timestamp, self._now_s)
        self._taker.take_frame(Frame(self, track, clock, is_keyframe, data))

    def _renew_clock(self, clock_rate: int) -> None:
        self._taker.clock_changes()
        self.clock.restart(clock_rate)


def sound_track(track_id: int, wanted: Format) -> Track:
    """Opus always has two channels in RTP, whatever is in its packets (RFC 7587, 7)."""
    rate, channels = wanted.clock_rate, wanted.channels
    config = opus.build_head(2 if channels > 1 else 1) if wanted.codec is Codec.OPUS else b""
    return Track(track_id, wanted.codec, rate, config, sample_rate=rate, channels=channels)
