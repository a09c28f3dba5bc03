"""FlvDemuxer: RTMP's audio, video and data messages become tracks and packets.

Tracks come from the media itself, sequence headers or first frames, never from onMetaData. Times follow the
policy of `aircheck.media.timeline`. Data messages become packets of `DATA_TRACK`; what comes before the first
audio or video waits for it, so that data alone makes no stream. Whatever a peer sends, `feed` does not raise:
what cannot be used is counted in `counters` and told to `on_notice`. The nanoseconds that Enhanced RTMP may
add to a timestamp are below the resolution of video here; audio has its grid.

`feed` is the hottest loop of an RTMP publisher. Frames of classic H.264 (and H.265) and of classic AAC
are handled right in it, frames of extended messages nearly so; all else goes through `wire.flv` to `_take`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from aircheck.ingest import flv_tracks
from aircheck.ingest.flv_lanes import CLASSIC_HEADS, Lane, Lanes
from aircheck.ingest.flv_metadata import Metadata
from aircheck.ingest.flv_notices import DemuxCounters, NoticeListener, Notices
from aircheck.media import av1, opus
from aircheck.media.bits import BitstreamError
from aircheck.media.packet import Batch, Packet, Payload
from aircheck.media.timeline import FORWARD_JUMP_MS, Timeline
from aircheck.media.track import Codec, Kind, Track
from aircheck.wire import flv
from aircheck.wire.flv import (
    AUDIO_MESSAGE,
    DATA_MESSAGE,
    VIDEO_MESSAGE,
    AudioPacketType,
    VideoPacketType,
)

Message = tuple[int, int, bytes | bytearray]
"""RTMP message type (8, 9 or 18), 32-bit timestamp in milliseconds, body."""

SETTLE_NS = 1_000_000_000
"""How long a stream with one track waits for a second one before it counts as settled."""

MAX_COMPOSITION_TIME_MS = 10_000
"""No encoder reorders pictures over so long a time: beyond it is garbage."""

_CLASSIC_AAC = 0xA0
_AAC_RAW = 1

_EXTENDED_HEAD_BYTES = 5
"""Frame and packet type, FourCC."""
_SHORTEST_EXTENDED_FRAME = _EXTENDED_HEAD_BYTES + 4
"""With a composition time and a byte of a frame; shorter ones are looked at more closely."""

_unpack_frame_head = struct.Struct(">HhB").unpack_from
"""Frame type, codec and packet type; composition time in two pieces."""

_FrameTaker = Callable[[int, Payload, list[Packet]], None]
"""Takes a message's timestamp and body. Raises BitstreamError."""


class FlvDemuxer:
    """Demultiplexes one publication."""

    def __init__(self, *, on_notice: NoticeListener | None = None) -> None:
        self.unsupported: str | None = None
        """The name of a codec in the stream that cannot be recorded."""
        self._notices = Notices(on_notice)
        self._count = self._notices.count
        timeline = Timeline(self._notices.jumped)
        self._lanes = Lanes(timeline, self._notices, self._choose_fast_lanes)
        self._metadata = Metadata(timeline, self._notices)
        self._first_media_ns: int | None = None
        self._fast_video: Lane | None = None
        self._fast_audio: Lane | None = None
        self._extended_frames: dict[tuple[int, bytes], _FrameTaker] = {}
        """Takers of extended frames by message type and head."""

    @property
    def tracks(self) -> tuple[Track, ...]:
        """Audio and video known so far, in the order in which they appeared: their ids are 1, 2, ..."""
        return self._lanes.tracks

    @property
    def metadata(self) -> dict[str, Any] | None:
        """The last onMetaData."""
        return self._metadata.on_meta_data

    @property
    def color_info(self) -> dict[str, Any] | None:
        """The last colorInfo of Enhanced RTMP: what HDR video looks like."""
        return self._metadata.color_info

    @property
    def counters(self) -> DemuxCounters:
        counters = self._notices.counters
        counters.early_timestamps = self._lanes.early_timestamps
        counters.audio_resyncs = self._lanes.audio_resyncs
        counters.displaced_data = self._metadata.lane.displaced
        return counters

    def notices(self) -> dict[str, int]:
        """The counters that are not zero, by name."""
        return {name: count for name, count in asdict(self.counters).items() if count}

    def is_settled(self, now_ns: int) -> bool:
        """Whether the tracks are known: audio and video are there, or the second had its time to come."""
        if self._first_media_ns is None:
            return False
        kinds = {track.kind for track in self.tracks}
        return len(kinds) == 2 or now_ns - self._first_media_ns >= SETTLE_NS

    def feed(self, messages: Sequence[Message], arrival_ns: int) -> Batch:
        """The packets in messages, which arrived at that wall-clock time. Never raises.

        Most packets have copies of their own: a view would cost as much here, and more wherever the packet is
        looked at or freed. Others keep views of the bodies: nobody may change these any more.
        """
        packets: list[Packet] = []
        append = packets.append
        size_bytes = 0
        has_keyframe = False
        video, audio, extended = self._fast_video, self._fast_audio, self._extended_frames
        for type_id, timestamp, body in messages:
            body_bytes = len(body)
            if type_id == VIDEO_MESSAGE and video is not None and body_bytes > 5:
                head, composition_high, composition_low = _unpack_frame_head(body)
                composition_ms = composition_high << 8 | composition_low
                is_keyframe = head == video.key_head
                is_frame = is_keyframe or head == video.inter_head
                if is_frame and 0 <= composition_ms <= MAX_COMPOSITION_TIME_MS:
                    clock = video.clock
                    dts = timestamp + clock.offset_ms
                    if 0 < dts - clock.last_ms < FORWARD_JUMP_MS:
                        clock.last_ms = dts
                    else:
                        dts = clock.place(timestamp)
                    append(Packet(video.track, dts + composition_ms, dts, is_keyframe, body[5:]))
                    size_bytes += body_bytes - 5
                    if is_keyframe and video.track is self._lanes.primary_video:
                        has_keyframe = True
                    continue
            elif (
                type_id == AUDIO_MESSAGE
                and audio is not None
                and body_bytes > 2
                and body[0] & 0xF0 == _CLASSIC_AAC
                and body[1] == _AAC_RAW
            ):
                clock = audio.clock
                ms = timestamp + clock.offset_ms
                if 0 < ms - clock.last_ms < FORWARD_JUMP_MS:
                    clock.last_ms = ms
                else:
                    ms = clock.place(timestamp)
                grid = audio.grid
                pts = grid.next
                if -audio.tolerance < ms * grid.sample_rate // 1000 - pts < audio.tolerance:
                    grid.last = pts
                    grid.next = pts + audio.frame_samples
                else:
                    pts = grid.place(ms, audio.frame_samples)
                append(Packet(audio.track, pts, pts, True, body[2:]))
                size_bytes += body_bytes - 2
                continue
            if type_id == DATA_MESSAGE:
                self._metadata.take(timestamp, body, packets)
                continue
            before = len(packets)
            take_frame = extended.get((type_id, bytes(body[:_EXTENDED_HEAD_BYTES])))
            try:
                if take_frame is not None and body_bytes >= _SHORTEST_EXTENDED_FRAME:
                    take_frame(timestamp, body, packets)
                else:
                    self._take(type_id, timestamp, body, packets, arrival_ns)
            except BitstreamError as error:
                head = bytes(body[:16]).hex()
                self._count(
                    "malformed_tags", error=str(error), type_id=type_id, timestamp=timestamp, head=head
                )
            video, audio, extended = self._fast_video, self._fast_audio, self._extended_frames
            for packet in packets[before:]:
                size_bytes += len(packet.data)
                has_keyframe |= packet.is_keyframe and packet.track is self._lanes.primary_video
        tracks_changed = self._lanes.unannounced != [] and self._lanes.announce(packets)
        data_bytes = self._metadata.lane.end_batch(packets)
        return Batch(
            packets, arrival_ns, size_bytes + data_bytes, tracks_changed, has_keyframe, data_bytes > 0
        )

    def _take(
        self, type_id: int, timestamp: int, body: Payload, packets: list[Packet], arrival_ns: int
    ) -> None:
        """One message of audio, video or anything else but data. Raises BitstreamError."""
        if self._first_media_ns is None:
            self._first_media_ns = arrival_ns
        if type_id == VIDEO_MESSAGE:
            self._take_video(flv.parse_video(body), timestamp, packets)
        elif type_id == AUDIO_MESSAGE:
            self._take_audio(flv.parse_audio(body), timestamp, packets)
        else:
            self._count("ignored_messages", type_id=type_id)

    def _take_video(self, tags: Sequence[flv.VideoTag], timestamp: int, packets: list[Packet]) -> None:
        if not tags:
            self._count("ignored_messages", type_id=VIDEO_MESSAGE)
        for tag in tags:
            lane = self._lanes.of(Kind.VIDEO, tag.track_index)
            match tag.packet_type:
                case VideoPacketType.METADATA:
                    self._metadata.take_color_info(tag.body)
                case _ if tag.codec is None:
                    self._refuse(tag.codec_name)
                case VideoPacketType.SEQUENCE_START:
                    self._lanes.take_header(lane, tag.codec, tag.body)
                case VideoPacketType.CODED_FRAMES | VideoPacketType.CODED_FRAMES_X:
                    if self._lanes.is_described(lane, tag.codec, tag.body, 0, is_keyframe=tag.is_keyframe):
                        self._add_picture(
                            lane, tag.is_keyframe, timestamp, tag.composition_time_ms, tag.body, packets
                        )
                case VideoPacketType.SEQUENCE_END:
                    pass  # the usual last word of an encoder
                case _:
                    self._count("ignored_messages", type_id=VIDEO_MESSAGE, packet_type=tag.packet_type.name)

    def _add_picture(
        self,
        lane: Lane,
        is_keyframe: bool,
        timestamp: int,
        composition_ms: int,
        data: memoryview,
        packets: list[Packet],
    ) -> None:
        if lane.track.codec is Codec.AV1:
            data = av1.strip_temporal_delimiters(data)
            if not data:
                self._count("empty_frames", codec=Codec.AV1.value)
                return
        previous = lane.last_dts if lane.lead_ms else lane.clock.last_ms
        placed = lane.clock.place(timestamp)
        if abs(composition_ms) > MAX_COMPOSITION_TIME_MS:
            self._count("bad_composition_times", composition_time_ms=composition_ms, timestamp=timestamp)
            composition_ms = 0
        if -composition_ms > lane.lead_ms:
            lane.lead_ms = -composition_ms
            self._choose_fast_lanes()
        dts = lane.last_dts = max(placed - lane.lead_ms, previous + 1)
        packets.append(Packet(lane.track, max(placed + composition_ms, dts), dts, is_keyframe, data))

    def _take_audio(self, tags: Sequence[flv.AudioTag], timestamp: int, packets: list[Packet]) -> None:
        if not tags:
            self._count("empty_frames", type_id=AUDIO_MESSAGE)
        for tag in tags:
            lane = self._lanes.of(Kind.AUDIO, tag.track_index)
            match tag.packet_type:
                case _ if tag.codec is None:
                    self._refuse(tag.codec_name)
                case AudioPacketType.SEQUENCE_START:
                    self._lanes.take_header(lane, tag.codec, tag.body)
                case AudioPacketType.CODED_FRAMES:
                    channels = tag.channels or lane.channels
                    if self._lanes.is_described(lane, tag.codec, tag.body, channels, is_keyframe=True):
                        self._add_sound(lane, timestamp, tag.body, packets)
                case AudioPacketType.MULTICHANNEL_CONFIG if len(tag.body) > 1:
                    lane.channels = tag.body[1]
                case AudioPacketType.SEQUENCE_END:
                    pass  # the usual last word of an encoder
                case _:
                    self._count("ignored_messages", type_id=AUDIO_MESSAGE, packet_type=tag.packet_type.name)

    def _add_sound(self, lane: Lane, timestamp: int, data: memoryview, packets: list[Packet]) -> None:
        ms = lane.clock.place(timestamp)
        track, grid = lane.track, lane.grid
        for frame, samples in flv_tracks.split_frames(track, data, lane.frame_samples):
            pts = grid.place(ms, samples)
            packets.append(Packet(track, pts, pts, True, frame))
            ms += samples * 1000 // track.timescale

    def _picture_taker(self, lane: Lane, head: flv.FrameHead) -> _FrameTaker:
        """For frames of a known track in extended messages of one track: what `_take_video` does, shorter."""
        track, is_keyframe, place = lane.track, head.is_keyframe, lane.clock.place

        def take_any(timestamp: int, body: Payload, packets: list[Packet]) -> None:
            composition_ms, start = 0, _EXTENDED_HEAD_BYTES
            if head.has_composition_time:
                composition_ms, start = int.from_bytes(body[5:8], "big", signed=True), 8
            data = memoryview(body)[start:]
            self._add_picture(lane, is_keyframe, timestamp, composition_ms, data, packets)

        def take_ordered(timestamp: int, body: Payload, packets: list[Packet]) -> None:
            dts = place(timestamp)
            packets.append(Packet(track, dts, dts, is_keyframe, body[_EXTENDED_HEAD_BYTES:]))

        is_ordered = not head.has_composition_time and not lane.lead_ms
        return take_ordered if is_ordered and track.codec is not Codec.AV1 else take_any

    def _sound_taker(self, lane: Lane) -> _FrameTaker:
        """The same for sound."""
        track, clock, grid = lane.track, lane.clock, lane.grid

        def take_any(timestamp: int, body: Payload, packets: list[Packet]) -> None:
            self._add_sound(lane, timestamp, memoryview(body)[_EXTENDED_HEAD_BYTES:], packets)

        def take_opus(timestamp: int, body: Payload, packets: list[Packet]) -> None:
            data = body[_EXTENDED_HEAD_BYTES:]
            ms, samples = clock.place(timestamp), opus.packet_samples(data)
            pts = grid.place(ms, samples)
            packets.append(Packet(track, pts, pts, True, data))

        return take_opus if track.codec is Codec.OPUS else take_any

    def _choose_fast_lanes(self) -> None:
        """The tracks whose classic frames `feed` takes by itself, and the heads of extended frames that need
        no more parsing: those of known tracks that do not describe themselves anew."""
        video, audio = self._lanes.first(Kind.VIDEO), self._lanes.first(Kind.AUDIO)
        is_fast = video is not None and video.track.codec in CLASSIC_HEADS and not video.lead_ms
        self._fast_video = video if is_fast else None
        is_fast = audio is not None and audio.track.codec is Codec.AAC and not audio.is_adts
        self._fast_audio = audio if is_fast else None
        frames: dict[tuple[int, bytes], _FrameTaker] = {}
        if video is not None and video.is_known:
            for head in flv.video_frame_heads(video.track.codec):
                if not flv_tracks.is_described_by_frame(video.track.codec, is_keyframe=head.is_keyframe):
                    frames[VIDEO_MESSAGE, head.head] = self._picture_taker(video, head)
        if audio is not None and audio.track.codec in flv_tracks.CODECS_WITH_HEADER:
            frames[AUDIO_MESSAGE, flv.audio_frame_head(audio.track.codec)] = self._sound_taker(audio)
        self._extended_frames = frames

    def _refuse(self, codec_name: str) -> None:
        self.unsupported = codec_name
        self._count("unsupported_frames", codec=codec_name)
