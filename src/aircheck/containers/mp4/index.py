"""The sample index: what is known of every sample on disk, 8 to 16 bytes each.

The writer fills it fragment by fragment, the scanner from a file; the final `moov`, the view of a growing
file and clips are made from it. Arrays are only ever appended to, by C-speed extends.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from aircheck.containers.mp4.sample_entry import parse_sample_entry, sample_entry, shown_size
from aircheck.facts import TrackFacts
from aircheck.media.track import Codec, Kind, Track

_REORDER_WINDOW = 64
"""No codec shows a picture later than this many samples after its decoding order says."""


@dataclass(frozen=True, slots=True)
class TrackHeader:
    """What a `trak` says of a track apart from its samples.

    `entries` are the sample entry boxes of `stsd`, in the order in which the track came to need them: more
    than one when its pictures changed. `width` and `height` are as `shown_size` has them.
    """

    id: int
    codec: Codec
    timescale: int
    entries: tuple[bytes, ...]
    width: int = 0
    height: int = 0
    sample_rate: int = 0
    channels: int = 0

    @classmethod
    def of(cls, track: Track) -> TrackHeader:
        """Raises ContainerError when MP4 cannot hold the track."""
        return cls(
            track.id,
            track.codec,
            track.timescale,
            (sample_entry(track),),
            track.width,
            track.height,
            track.sample_rate,
            track.channels,
        )

    @classmethod
    def parse(cls, number: int, timescale: int, entries: Sequence[bytes]) -> TrackHeader:
        """From a file. Raises ValueError when the sample entries (one at least) are not ours, or mixed."""
        facts = parse_sample_entry(entries[0])
        if any(parse_sample_entry(entry).codec is not facts.codec for entry in entries):
            raise ValueError("a track of several codecs")
        rate = facts.sample_rate or (timescale if facts.codec.kind is Kind.AUDIO else 0)
        width, height = shown_size(entries)
        return cls(number - 1, facts.codec, timescale, tuple(entries), width, height, rate, facts.channels)

    def with_entries(self, entries: Sequence[bytes]) -> TrackHeader:
        """The same track of pictures, encoded otherwise."""
        width, height = shown_size(entries)
        return replace(self, entries=tuple(entries), width=width, height=height)

    @property
    def number(self) -> int:
        """The file's track_ID, which must not be 0."""
        return self.id + 1

    def origin_ticks(self, origin_ms: int) -> int:
        """The dts that is written as tfdt 0, in a file whose tfdt begin at `origin_ms` of the stream."""
        return origin_ms * self.timescale // 1000

    @property
    def kind(self) -> Kind:
        return self.codec.kind

    @property
    def is_video(self) -> bool:
        return self.codec.kind is Kind.VIDEO


@dataclass(slots=True)
class Run:
    """One track's samples of one fragment: a `trun`, and a chunk of the final file.

    `deltas` are the dts differences between these samples (one fewer than samples), `last_duration` that of
    the last one as far as it is known. `composition` is pts - dts, None when it is 0 throughout. `sync`
    holds the positions of the key frames within the run (video only). `entry` tells which one of the track's
    `entries` they were encoded by.
    """

    first_dts: int
    deltas: array[int]
    last_duration: int
    sizes: array[int]
    composition: array[int] | None
    sync: Sequence[int]
    size_bytes: int
    entry: int = 0

    @property
    def last_dts(self) -> int:
        return self.first_dts + sum(self.deltas)


@dataclass(slots=True)
class TrackIndex:
    """All samples of one track. dts and pts are on the stream's own timeline, in the track's timescale."""

    header: TrackHeader
    sizes: array[int] = field(default_factory=lambda: array("I"))
    deltas: array[int] = field(default_factory=lambda: array("I"))
    composition: array[int] = field(default_factory=lambda: array("I"))
    """pts - dts, as long as `sizes`; empty as long as it was 0 throughout."""
    sync: array[int] = field(default_factory=lambda: array("I"))
    """Numbers of the key frames, from 1; video only."""
    chunk_offsets: array[int] = field(default_factory=lambda: array("Q"))
    chunk_samples: array[int] = field(default_factory=lambda: array("I"))
    chunk_entries: array[int] = field(default_factory=lambda: array("I"))
    """`Run.entry` of each chunk; empty as long as it was 0 throughout."""
    first_dts: int = 0
    first_pts: int = 0
    first_key_pts: int | None = None
    last_dts: int = 0
    last_duration: int = 0
    size_bytes: int = 0

    @property
    def samples(self) -> int:
        return len(self.sizes)

    def append(self, run: Run, offset: int) -> None:
        """Add a run whose bytes begin at `offset` in the file. dts must follow the last one."""
        count = len(self.sizes)
        if count:
            self.deltas.append(run.first_dts - self.last_dts)
        else:
            self.first_dts = run.first_dts
            self.first_pts = run.first_dts + (run.composition[0] if run.composition else 0)
        if run.sync:
            self._append_sync(run, count)
        if run.composition is not None or self.composition:
            self._append_composition(run, count)
        if run.entry or self.chunk_entries:
            self._append_entry(run)
        self.deltas.extend(run.deltas)
        self.sizes.extend(run.sizes)
        self.chunk_offsets.append(offset)
        self.chunk_samples.append(len(run.sizes))
        self.last_dts = run.last_dts
        self.last_duration = run.last_duration
        self.size_bytes += run.size_bytes

    def _append_sync(self, run: Run, count: int) -> None:
        if self.first_key_pts is None:
            first = run.sync[0]
            composition = run.composition[first] if run.composition else 0
            self.first_key_pts = run.first_dts + sum(run.deltas[:first]) + composition
        self.sync.extend(count + 1 + position for position in run.sync)

    def _append_composition(self, run: Run, count: int) -> None:
        if not self.composition:
            self.composition = array("I", bytes(4 * count))
        self.composition.extend(run.composition or array("I", bytes(4 * len(run.sizes))))

    def _append_entry(self, run: Run) -> None:
        if not self.chunk_entries:
            self.chunk_entries = array("I", bytes(4 * len(self.chunk_offsets)))
        self.chunk_entries.append(run.entry)

    def copy(self) -> TrackIndex:
        """A snapshot that other threads may read while this one grows."""
        return TrackIndex(
            self.header,
            self.sizes[:],
            self.deltas[:],
            self.composition[:],
            self.sync[:],
            self.chunk_offsets[:],
            self.chunk_samples[:],
            self.chunk_entries[:],
            self.first_dts,
            self.first_pts,
            self.first_key_pts,
            self.last_dts,
            self.last_duration,
            self.size_bytes,
        )

    @property
    def end_dts(self) -> int:
        return self.last_dts + self.last_duration

    @property
    def end_pts(self) -> int:
        """Where the presentation ends: the greatest pts + duration."""
        if not self.composition:
            return self.end_dts
        durations = [*self.deltas[-_REORDER_WINDOW:], self.last_duration]
        dts, end = self.end_dts, self.end_dts
        for duration, composition in zip(reversed(durations), reversed(self.composition), strict=False):
            end = max(end, dts + composition)
            dts -= duration
        return end

    @property
    def duration_ms(self) -> int:
        """How long the track is shown, without what comes before or between its samples."""
        if not self.sizes:
            return 0
        return max(0, (self.end_pts - self.first_pts) * 1000 // self.header.timescale)

    def facts(self) -> TrackFacts:
        header = self.header
        return TrackFacts(
            id=header.id,
            codec=header.codec.value,
            kind=header.codec.kind.value,
            timescale=header.timescale,
            width=header.width,
            height=header.height,
            sample_rate=header.sample_rate,
            channels=header.channels,
            packets=self.samples,
            size_bytes=self.size_bytes,
            duration_ms=self.duration_ms,
        )
