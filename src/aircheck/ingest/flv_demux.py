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
from dataclasses import asdict, dataclass
from typing import Any

from aircheck.ingest import flv_tracks
from aircheck.ingest.flv_data import DataLane
from aircheck.media import aac, av1, h264, opus
from aircheck.media.bits import BitstreamError
from aircheck.media.packet import Batch, Packet, Payload
from aircheck.media.timeline import (
    FORWARD_JUMP_MS,
    NEVER,
    FrameGrid,
    Jump,
    Timeline,
    TrackClock,
)
from aircheck.media.track import Codec, Kind, Track
from aircheck.wire import amf, flv
from aircheck.wire.errors import AmfError
from aircheck.wire.flv import (
    AUDIO_MESSAGE,
    DATA_MESSAGE,
    VIDEO_MESSAGE,
    AudioPacketType,
    VideoPacketType,
)

Message = tuple[int, int, bytes | bytearray]
"""RTMP message type (8, 9 or 18), 32-bit timestamp in milliseconds, body."""

NoticeListener = Callable[[str, dict[str, Any]], None]
"""Told the name of a counter and facts; `count` among them says how often so far."""

SETTLE_NS = 1_000_000_000
"""How long a stream with one track waits for a second one before it counts as settled."""

MAX_COMPOSITION_TIME_MS = 10_000
"""No encoder reorders pictures over so long a time: beyond it is garbage."""

_CLASSIC_HEADS = {Codec.H264: (0x1701, 0x2701), Codec.H265: (0x1C01, 0x2C01)}
"""The first two bytes of a key frame and of another frame in a classic tag."""

_CLASSIC_AAC = 0xA0
_AAC_RAW = 1

_EXTENDED_HEAD_BYTES = 5
"""Frame and packet type, FourCC."""
_SHORTEST_EXTENDED_FRAME = _EXTENDED_HEAD_BYTES + 4
"""With a composition time and a byte of a frame; shorter ones are looked at more closely."""

_unpack_frame_head = struct.Struct(">HhB").unpack_from
"""Frame type, codec and packet type; composition time in two pieces."""


@dataclass(slots=True)
class DemuxCounters:
    """What was not as it should be, by name; the names are those of the notices too."""

    empty_frames: int = 0
    """Frames and AAC configurations without a byte in them."""
    frames_before_header: int = 0
    """Dropped: no sequence header (or key frame) had come yet."""
    annex_b_frames: int = 0
    """Dropped: H.264 with start codes and no sequence header."""
    malformed_tags: int = 0
    malformed_headers: int = 0
    """Sequence headers that make no sense; the track goes on with what it had."""
    malformed_metadata: int = 0
    unsupported_frames: int = 0
    """Dropped: nothing of ours understands this codec."""
    ignored_messages: int = 0
    """Of no use to a recorder: seek marks, ends of sequences, empty data, too much data before any media."""
    displaced_data: int = 0
    """Data messages put where the media stood, because their own time was not on its clock."""
    bad_composition_times: int = 0
    early_timestamps: int = 0
    """Packets put one tick after their predecessor."""
    timestamp_jumps: int = 0
    """Backward: the timeline was re-based."""
    timestamp_gaps: int = 0
    """Forward: kept as they are."""
    audio_resyncs: int = 0
    """Audio frames that did not begin where their predecessor ended."""


_FrameTaker = Callable[[int, Payload, list[Packet]], None]
"""Takes a message's timestamp and body. Raises BitstreamError."""

_UNKNOWN = Track(0, Codec.AMF0, 1)
_SET_DATA_FRAME = amf.serialize("@setDataFrame")


class _Lane:
    """One track of a publication, with its clock."""

    __slots__ = (
        "channels",
        "clock",
        "codec",
        "config",
        "frame_samples",
        "grid",
        "inter_head",
        "is_adts",
        "key_head",
        "last_dts",
        "lead_ms",
        "tolerance",
        "track",
    )

    def __init__(self, clock: TrackClock) -> None:
        self.clock = clock
        self.track = _UNKNOWN
        self.codec: Codec | None = None
        """The codec of the last sequence header, or of the track."""
        self.config = b""
        self.key_head, self.inter_head = -1, -1
        self.lead_ms = 0
        """How much earlier than its timestamp video is decoded: the most negative composition time."""
        self.last_dts = NEVER
        """Kept while `lead_ms` is not 0; else the clock knows."""
        self.grid = FrameGrid(1)
        self.frame_samples = 0
        """Of each audio frame; 0 where they differ."""
        self.tolerance = 0
        self.channels = 0
        self.is_adts = False
        """AAC frames carry ADTS headers, because no configuration came with them."""

    @property
    def is_known(self) -> bool:
        return self.track is not _UNKNOWN

    def take_track(self, track: Track) -> None:
        self.track = track
        self.key_head, self.inter_head = _CLASSIC_HEADS.get(track.codec, (-1, -1))
        if track.is_audio:
            self.frame_samples = flv_tracks.fixed_frame_samples(track)
            self.grid.change_rate(track.timescale)
            self.tolerance = self.grid.tolerance(self.frame_samples)


class FlvDemuxer:
    """Demultiplexes one publication."""

    def __init__(self, *, on_notice: NoticeListener | None = None) -> None:
        self.metadata: dict[str, Any] | None = None
        """The last onMetaData."""
        self.color_info: dict[str, Any] | None = None
        """The last colorInfo of Enhanced RTMP: what HDR video looks like."""
        self.unsupported: str | None = None
        """The name of a codec in the stream that cannot be recorded."""
        self._on_notice = on_notice or (lambda name, facts: None)
        self._counters = DemuxCounters()
        self._timeline = Timeline(self._on_jump)
        self._lanes: dict[tuple[Kind, int], _Lane] = {}
        self._unannounced: list[Track] = []
        """Tracks of which no packet went out yet."""
        self._data = DataLane(self._timeline)
        self._first_media_ns: int | None = None
        self._primary_video = _UNKNOWN
        self._fast_video: _Lane | None = None
        self._fast_audio: _Lane | None = None
        self._extended_frames: dict[tuple[int, bytes], _FrameTaker] = {}
        """Takers of extended frames by message type and head."""

    @property
    def tracks(self) -> tuple[Track, ...]:
        """Audio and video known so far, in the order in which they appeared: their ids are 1, 2, ..."""
        tracks = (lane.track for lane in self._lanes.values() if lane.is_known)
        return tuple(sorted(tracks, key=lambda track: track.id))

    @property
    def counters(self) -> DemuxCounters:
        lanes = self._lanes.values()
        self._counters.early_timestamps = sum(lane.clock.bumps for lane in lanes)
        self._counters.audio_resyncs = sum(lane.grid.resyncs for lane in lanes)
        self._counters.displaced_data = self._data.displaced
        return self._counters

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
                    if is_keyframe and video.track is self._primary_video:
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
                self._take_data(timestamp, body, packets)
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
                has_keyframe |= packet.is_keyframe and packet.track is self._primary_video
        tracks_changed = self._unannounced != [] and self._announce(packets)
        data_bytes = self._data.end_batch(packets)
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

    # -------------------------------------------------------------------------------------------- tags

    def _take_video(self, tags: Sequence[flv.VideoTag], timestamp: int, packets: list[Packet]) -> None:
        if not tags:
            self._count("ignored_messages", type_id=VIDEO_MESSAGE)
        for tag in tags:
            lane = self._lane(Kind.VIDEO, tag.track_index)
            match tag.packet_type:
                case VideoPacketType.METADATA:
                    self._take_color_info(tag.body)
                case _ if tag.codec is None:
                    self._refuse(tag.codec_name)
                case VideoPacketType.SEQUENCE_START:
                    self._take_header(lane, tag.codec, tag.body)
                case VideoPacketType.CODED_FRAMES | VideoPacketType.CODED_FRAMES_X:
                    if self._is_described(lane, tag.codec, tag.body, 0, is_keyframe=tag.is_keyframe):
                        self._add_picture(
                            lane, tag.is_keyframe, timestamp, tag.composition_time_ms, tag.body, packets
                        )
                case VideoPacketType.SEQUENCE_END:
                    pass  # the usual last word of an encoder
                case _:
                    self._count("ignored_messages", type_id=VIDEO_MESSAGE, packet_type=tag.packet_type.name)

    def _add_picture(
        self,
        lane: _Lane,
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
            lane = self._lane(Kind.AUDIO, tag.track_index)
            match tag.packet_type:
                case _ if tag.codec is None:
                    self._refuse(tag.codec_name)
                case AudioPacketType.SEQUENCE_START:
                    self._take_header(lane, tag.codec, tag.body)
                case AudioPacketType.CODED_FRAMES:
                    channels = tag.channels or lane.channels
                    if self._is_described(lane, tag.codec, tag.body, channels, is_keyframe=True):
                        self._add_sound(lane, timestamp, tag.body, packets)
                case AudioPacketType.MULTICHANNEL_CONFIG if len(tag.body) > 1:
                    lane.channels = tag.body[1]
                case AudioPacketType.SEQUENCE_END:
                    pass  # the usual last word of an encoder
                case _:
                    self._count("ignored_messages", type_id=AUDIO_MESSAGE, packet_type=tag.packet_type.name)

    def _add_sound(self, lane: _Lane, timestamp: int, data: memoryview, packets: list[Packet]) -> None:
        ms = lane.clock.place(timestamp)
        track, grid = lane.track, lane.grid
        for frame, samples in flv_tracks.split_frames(track, data, lane.frame_samples):
            pts = grid.place(ms, samples)
            packets.append(Packet(track, pts, pts, True, frame))
            ms += samples * 1000 // track.timescale

    def _picture_taker(self, lane: _Lane, head: flv.FrameHead) -> _FrameTaker:
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

    def _sound_taker(self, lane: _Lane) -> _FrameTaker:
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

    # ------------------------------------------------------------------------------------------ tracks

    def _lane(self, kind: Kind, index: int) -> _Lane:
        lane = self._lanes.get((kind, index))
        if lane is None:
            lane = self._lanes[kind, index] = _Lane(self._timeline.new_clock())
        return lane

    def _take_header(self, lane: _Lane, codec: Codec, body: memoryview) -> None:
        """A sequence header. One that says nothing new changes nothing.

        An empty one is an error where a header is needed; Opus may leave it empty (Enhanced RTMP,
        ExAudioTagBody) and FFmpeg sends one for AC-3.
        """
        if not body:
            if codec in flv_tracks.CODECS_WITH_HEADER and codec is not Codec.OPUS:
                self._count("empty_frames", codec=codec.value)
            return
        try:
            config = flv_tracks.config_of_header(codec, body)
            if codec is lane.codec and config == lane.config:
                return
            if codec in flv_tracks.CODECS_WITH_HEADER:
                track = flv_tracks.describe(self._track_id(lane), codec, config, b"", 0)
                if track.is_video and not track.width:
                    self._count("malformed_headers", codec=codec.value, error="no size in it")
                lane.is_adts = False
                self._set_track(lane, track)
        except BitstreamError as error:
            self._count("malformed_headers", codec=codec.value, error=str(error), head=bytes(body[:16]).hex())
            return
        lane.codec, lane.config = codec, config

    def _is_described(
        self, lane: _Lane, codec: Codec, frame: memoryview, channels: int, *, is_keyframe: bool
    ) -> bool:
        """Whether a frame can be used: its track is known, or the frame itself makes it known."""
        if not frame:
            self._count("empty_frames", codec=codec.value)
            return False
        is_known = lane.is_known and lane.track.codec is codec
        if is_known and not flv_tracks.is_described_by_frame(codec, is_keyframe=is_keyframe):
            return True
        config = lane.config if lane.codec is codec else b""
        config = config or flv_tracks.config_of_frame(codec, frame, channels)
        if is_keyframe and (config or codec not in flv_tracks.CODECS_WITH_HEADER):
            track = flv_tracks.describe(self._track_id(lane), codec, config, frame, channels)
            if track != lane.track:
                lane.is_adts = codec is Codec.AAC and aac.is_adts(frame)
                self._set_track(lane, track)
            lane.codec, lane.config = codec, config
            return True
        is_annex_b = codec in _CLASSIC_HEADS and h264.is_annex_b(frame)
        self._count("annex_b_frames" if is_annex_b else "frames_before_header", codec=codec.value)
        return False

    def _track_id(self, lane: _Lane) -> int:
        return lane.track.id or 1 + sum(other.is_known for other in self._lanes.values())

    def _set_track(self, lane: _Lane, track: Track) -> None:
        if self._primary_video in (_UNKNOWN, lane.track) and track.is_video:
            self._primary_video = track
        self._unannounced = [other for other in self._unannounced if other is not lane.track]
        self._unannounced.append(track)
        lane.take_track(track)
        self._choose_fast_lanes()

    def _choose_fast_lanes(self) -> None:
        """The tracks whose classic frames `feed` takes by itself, and the heads of extended frames that need
        no more parsing: those of known tracks that do not describe themselves anew."""
        video, audio = self._lanes.get((Kind.VIDEO, 0)), self._lanes.get((Kind.AUDIO, 0))
        is_fast = video is not None and video.track.codec in _CLASSIC_HEADS and not video.lead_ms
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

    def _announce(self, packets: Sequence[Packet]) -> bool:
        """Whether the packets have a track that is new to whoever gets them."""
        present = {id(packet.track) for packet in packets}
        waiting = [track for track in self._unannounced if id(track) not in present]
        has_new = len(waiting) < len(self._unannounced)
        self._unannounced = waiting
        return has_new

    # ---------------------------------------------------------------------------------------- metadata

    def _take_data(self, timestamp: int, body: Payload, packets: list[Packet]) -> None:
        plain = bytes(body).removeprefix(_SET_DATA_FRAME)
        if self._is_data(plain) and not self._data.take(timestamp, plain, packets):
            self._count("ignored_messages", type_id=DATA_MESSAGE)

    def _is_data(self, body: bytes) -> bool:
        """Whether this is a message that means something; onMetaData is kept here, too."""
        try:
            values = amf.parse(body)
        except AmfError as error:
            self._count("malformed_metadata", error=str(error))
            return False
        match values:
            case ["onMetaData", dict() as members, *_]:
                self.metadata = dict(members)
            case ["onMetaData", *_]:
                self.metadata = {}
            case [] | ["@clearDataFrame", *_]:
                self._count("ignored_messages", type_id=DATA_MESSAGE)
                return False
        return True

    def _take_color_info(self, body: memoryview) -> None:
        try:
            values = amf.parse(body)
        except AmfError as error:
            self._count("malformed_metadata", error=str(error))
            return
        match values:
            case ["colorInfo", dict() as members, *_] if members:
                self.color_info = dict(members)
            case ["colorInfo", *_]:
                self.color_info = None
            case _:
                self._count("ignored_messages", type_id=VIDEO_MESSAGE)

    # ----------------------------------------------------------------------------------------- notices

    def _refuse(self, codec_name: str) -> None:
        self.unsupported = codec_name
        self._count("unsupported_frames", codec=codec_name)

    def _on_jump(self, jump: Jump) -> None:
        name = "timestamp_gaps" if jump.is_gap else "timestamp_jumps"
        count = getattr(self._counters, name) + 1
        setattr(self._counters, name, count)
        self._on_notice(name, {"count": count, **asdict(jump)})

    def _count(self, name: str, **facts: Any) -> None:
        """Count; tell of the first, the tenth, the hundredth: a flood of garbage is not one of notices."""
        count = getattr(self._counters, name) + 1
        setattr(self._counters, name, count)
        if str(count).strip("0") == "1":
            self._on_notice(name, {"count": count, **facts})
