"""The tracks of a publication: made known by sequence headers or first frames, each with its clock."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from aircheck.ingest import flv_tracks
from aircheck.ingest.flv_notices import Notices
from aircheck.media import aac, h264
from aircheck.media.bits import BitstreamError
from aircheck.media.packet import Packet
from aircheck.media.timeline import NEVER, FrameGrid, Timeline, TrackClock
from aircheck.media.track import Codec, Kind, Track

CLASSIC_HEADS = {Codec.H264: (0x1701, 0x2701), Codec.H265: (0x1C01, 0x2C01)}
"""The first two bytes of a key frame and of another frame in a classic tag."""

UNKNOWN = Track(0, Codec.AMF0, 1)


class Lane:
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
        self.track = UNKNOWN
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
        return self.track is not UNKNOWN

    def take_track(self, track: Track) -> None:
        self.track = track
        self.key_head, self.inter_head = CLASSIC_HEADS.get(track.codec, (-1, -1))
        if track.is_audio:
            self.frame_samples = flv_tracks.fixed_frame_samples(track)
            self.grid.change_rate(track.timescale)
            self.tolerance = self.grid.tolerance(self.frame_samples)


class Lanes:
    """All tracks of a publication. `on_change` is called when one is known, or is another than before."""

    def __init__(self, timeline: Timeline, notices: Notices, on_change: Callable[[], None]) -> None:
        self.primary_video = UNKNOWN
        self.unannounced: list[Track] = []
        """Tracks of which no packet went out yet."""
        self._timeline = timeline
        self._count = notices.count
        self._on_change = on_change
        self._lanes: dict[tuple[Kind, int], Lane] = {}

    @property
    def tracks(self) -> tuple[Track, ...]:
        """Audio and video known so far, in the order in which they appeared: their ids are 1, 2, ..."""
        tracks = (lane.track for lane in self._lanes.values() if lane.is_known)
        return tuple(sorted(tracks, key=lambda track: track.id))

    @property
    def early_timestamps(self) -> int:
        return sum(lane.clock.bumps for lane in self._lanes.values())

    @property
    def audio_resyncs(self) -> int:
        return sum(lane.grid.resyncs for lane in self._lanes.values())

    def first(self, kind: Kind) -> Lane | None:
        """The one that classic messages are of."""
        return self._lanes.get((kind, 0))

    def of(self, kind: Kind, index: int) -> Lane:
        lane = self._lanes.get((kind, index))
        if lane is None:
            lane = self._lanes[kind, index] = Lane(self._timeline.new_clock())
        return lane

    def take_header(self, lane: Lane, codec: Codec, body: memoryview) -> None:
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

    def is_described(
        self, lane: Lane, codec: Codec, frame: memoryview, channels: int, *, is_keyframe: bool
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
        is_annex_b = codec in CLASSIC_HEADS and h264.is_annex_b(frame)
        self._count("annex_b_frames" if is_annex_b else "frames_before_header", codec=codec.value)
        return False

    def announce(self, packets: Sequence[Packet]) -> bool:
        """Whether the packets have a track that is new to whoever gets them."""
        present = {id(packet.track) for packet in packets}
        waiting = [track for track in self.unannounced if id(track) not in present]
        has_new = len(waiting) < len(self.unannounced)
        self.unannounced = waiting
        return has_new

    def _track_id(self, lane: Lane) -> int:
        return lane.track.id or 1 + sum(other.is_known for other in self._lanes.values())

    def _set_track(self, lane: Lane, track: Track) -> None:
        if self.primary_video in (UNKNOWN, lane.track) and track.is_video:
            self.primary_video = track
        self.unannounced = [other for other in self.unannounced if other is not lane.track]
        self.unannounced.append(track)
        lane.take_track(track)
        self._on_change()
