"""A progressive MP4 put together of samples that lie in other files: clips and joins.

Nothing is decoded and no sample is looked at: its place and size are known. What lies together in a source is
copied together, inside the kernel where it can, with the few hundred bytes of `moof` between two fragments.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from aircheck.containers.mp4.boxes import HEADER64, U32_MAX
from aircheck.containers.mp4.disk import Disk
from aircheck.containers.mp4.index import Run, TrackHeader, TrackIndex
from aircheck.containers.mp4.layout import FTYP, free_header
from aircheck.containers.mp4.movie import Movie, MovieFacts, roll_distance
from aircheck.containers.mp4.sample_entry import stored_config
from aircheck.containers.mp4.seek import Fragment, FragmentReader
from aircheck.containers.mp4.timeline import ticks_at
from aircheck.errors import ContainerError
from aircheck.media.in_band import carries_configuration
from aircheck.media.track import Track

Progress = Callable[[int, int], None]
"""Called now and then with the bytes copied and the bytes in all."""

FOR_UNLIKE = "put only what is encoded alike into one file; clips of each part and ffmpeg help with the rest"
"""What to do about media that one file cannot describe."""

_COPIED_ALONG_BYTES = 4096
"""What may lie between two samples and is copied with them: fewer, larger copies."""
_COPY_BYTES = 64 << 20
_MARGIN_S = Fraction(1)
"""Tracks lie so far apart in a file at most: sound that was transcoded comes a little later."""
_LOOK_BACK_S = 4
_MAX_PICTURE_S = Fraction(1, 5)

Placed = tuple[TrackHeader, Run, int]
"""Samples of a track, and the place of the first in their file."""


@dataclass(slots=True)
class Part:
    """What is taken of one source. Times of the runs are those of the file that is made."""

    disk: Disk
    runs: list[Placed]


# --- choosing -----------------------------------------------------------------------------------------------


def select(reader: FragmentReader, start_s: Fraction | None, end_s: Fraction | None) -> list[Placed]:
    """The samples that are needed to show [start_s, end_s) of a file; None is its beginning, its end.

    Pictures from the key frame at `start_s` or before, sound from the frame that is heard then, and what its
    decoder needs before that.
    """
    fragments = reader.walk() if start_s is None else _fragments_from(reader, start_s)
    tracks: dict[int, list[Placed]] = {header.id: [] for header in reader.headers}
    for fragment in fragments:
        if end_s is not None and fragment.first_s > end_s + _MARGIN_S:
            break
        for header, run, offset in fragment.runs:
            tracks[header.id].append((header, run, offset))
    chosen = [placed for runs in tracks.values() for placed in _cut_track(runs, start_s, end_s)]
    return sorted(chosen, key=lambda placed: placed[2])


def _fragments_from(reader: FragmentReader, start_s: Fraction) -> Iterable[Fragment]:
    """From a fragment on that comes before all that is needed for `start_s`."""
    look_back_s = Fraction(0)
    while True:
        place = reader.find(start_s - look_back_s - _MARGIN_S)
        if look_back_s > start_s - reader.zero_s or _has_keys(reader, place, start_s):
            # A little earlier still: sound may lie before the picture that it belongs to.
            return reader.walk(reader.find(start_s - look_back_s - 2 * _MARGIN_S))
        look_back_s = 2 * look_back_s or Fraction(_LOOK_BACK_S)


def _has_keys(reader: FragmentReader, place: int, start_s: Fraction) -> bool:
    """Whether every track of pictures has a key frame between `place` and `start_s`."""
    missing = {header.id for header in reader.headers if header.is_video}
    for fragment in reader.walk(place):
        if not missing or fragment.first_s > start_s:
            break
        for header, run, _ in fragment.runs:
            if header.id in missing and _first_key(run, ticks_at(start_s, header.timescale)) is not None:
                missing.discard(header.id)
    return not missing


def _first_key(run: Run, latest: int) -> int | None:
    """The first key frame that is shown at `latest` or before."""
    return next((key for key in run.sync if _pts(run, key) <= latest), None)


def _pts(run: Run, position: int) -> int:
    composition = run.composition[position] if run.composition else 0
    return run.first_dts + sum(run.deltas[:position]) + composition


def _cut_track(runs: list[Placed], start_s: Fraction | None, end_s: Fraction | None) -> list[Placed]:
    if not runs:
        return runs
    header = runs[0][0]
    if end_s is not None:
        runs = _until(runs, ticks_at(end_s, header.timescale))
    if start_s is None or not runs:
        return runs
    start = ticks_at(start_s, header.timescale)
    return _from_key(runs, start) if header.is_video else _from_frame(runs, start)


def _until(runs: list[Placed], end: int) -> list[Placed]:
    """Up to the last sample, in the order of decoding, that is shown before `end`."""
    for number in range(len(runs) - 1, -1, -1):
        header, run, offset = runs[number]
        shown = [position for position, pts in enumerate(_all_pts(run)) if pts < end]
        if shown:
            return [*runs[:number], (header, slice_run(run, 0, shown[-1] + 1)[0], offset)]
    return []


def _all_pts(run: Run) -> list[int]:
    times, dts = [run.first_dts], run.first_dts
    for delta in run.deltas:
        dts += delta
        times.append(dts)
    if run.composition is None:
        return times
    return [dts + composition for dts, composition in zip(times, run.composition, strict=True)]


def _from_key(runs: list[Placed], start: int) -> list[Placed]:
    """From the last key frame shown at `start` or before; from the first one if all are later."""
    first: tuple[int, int] | None = None
    for number, (_, run, _) in enumerate(runs):
        if run.first_dts > start and first is not None:
            break
        for key in run.sync:
            if first is None or _pts(run, key) <= start:
                first = (number, key)
    return [] if first is None else _from(runs, *first)


def _from_frame(runs: list[Placed], start: int) -> list[Placed]:
    """From the last frame that begins at `start` or before, and what its decoder wants to hear before it."""
    found = (0, 0)
    for number, (_, run, _) in enumerate(runs):
        if run.first_dts > start:
            break
        earlier = sum(pts <= start for pts in _all_pts(run))
        found = (number, max(0, earlier - 1))
    number, position = found
    header, run, _ = runs[number]
    missing = roll_distance(header, run.deltas[0] if run.deltas else run.last_duration) - position
    while missing > 0 and number > 0:
        number -= 1
        position = len(runs[number][1].sizes)
        missing -= position
    return _from(runs, number, max(0, -missing))


def _from(runs: list[Placed], number: int, position: int) -> list[Placed]:
    header, run, offset = runs[number]
    rest, skipped = slice_run(run, position, len(run.sizes))
    return [(header, rest, offset + skipped), *runs[number + 1 :]]


def slice_run(run: Run, begin: int, end: int) -> tuple[Run, int]:
    """The samples [begin, end) of a run (at least one), and the bytes before them."""
    count = len(run.sizes)
    sizes = run.sizes[begin:end]
    part = Run(
        run.first_dts + sum(run.deltas[:begin]),
        run.deltas[begin : end - 1],
        run.last_duration if end == count else run.deltas[end - 1],
        sizes,
        run.composition[begin:end] if run.composition is not None else None,
        [key - begin for key in run.sync if begin <= key < end],
        sum(sizes),
        run.entry,
    )
    return part, sum(run.sizes[:begin])


def moved(runs: Sequence[Placed], by_s: Fraction) -> list[Placed]:
    """The same samples at another time."""
    return [
        (header, replace(run, first_dts=run.first_dts + ticks_at(by_s, header.timescale)), offset)
        for header, run, offset in runs
    ]


def without_lead(runs: Sequence[Placed], zero_s: Fraction) -> list[Placed]:
    """Without the sound before time 0, such as the priming of an encoder."""
    kept: list[Placed] = []
    for header, run, offset in runs:
        zero = ticks_at(zero_s, header.timescale)
        early = 0 if header.is_video or run.first_dts >= zero else sum(pts < zero for pts in _all_pts(run))
        if early < len(run.sizes):
            rest, skipped = slice_run(run, early, len(run.sizes))
            kept.append((header, rest, offset + skipped))
    return kept


def picture_on(parts: Sequence[Part], time_s: Fraction) -> Fraction:
    """When the picture came that is on at `time_s`; `time_s` itself if none is, or one for long already.

    An edit list could begin in the midst of a picture, but libavformat, and so most players, would show the
    next one too early then, and the sound of it too late.
    """
    track = min((header.id for part in parts for header, _, _ in part.runs if header.is_video), default=None)
    latest = time_s - _MAX_PICTURE_S
    for part in parts:
        for header, run, _ in part.runs:
            if header.id == track and Fraction(run.first_dts, header.timescale) <= time_s:
                shown = (Fraction(pts, header.timescale) for pts in _all_pts(run))
                latest = max((one for one in shown if latest < one <= time_s), default=latest)
    return latest if latest > time_s - _MAX_PICTURE_S else time_s


# --- putting together ---------------------------------------------------------------------------------------


def _encoded_otherwise(header: TrackHeader) -> ContainerError:
    return ContainerError(
        f"track {header.id} ({header.codec}) is encoded otherwise in one part than in another",
        remedy=FOR_UNLIKE,
    )


def _carries_configuration(header: TrackHeader, entry: bytes, run: Run, disk: Disk, offset: int) -> bool:
    """Whether a run that begins with a key frame has in it what its sample entry says."""
    if not run.sync or run.sync[0]:
        return False
    track = Track(header.id, header.codec, header.timescale, stored_config(entry))
    return carries_configuration(track, disk.read(offset, run.sizes[0]))


@dataclass(frozen=True, slots=True)
class _Copy:
    """source[start:end] goes to byte `target` of the media."""

    disk: Disk
    start: int
    end: int
    target: int


class Assembly:
    """The file that parts make. `shown` is as `Movie` has it; `facts` too.

    Raises ContainerError when the parts' tracks differ, or when there is nothing in them.
    """

    def __init__(
        self, parts: Sequence[Part], facts: MovieFacts, shown: tuple[Fraction | None, Fraction | None]
    ) -> None:
        self._copies: list[_Copy] = []
        self._tracks: dict[int, TrackIndex] = {}
        for part in parts:
            self._add(part)
        tracks = [self._tracks[number] for number in sorted(self._tracks)]
        if not tracks:
            raise ContainerError("there is nothing in that range", remedy="ask for another one")
        self.movie = Movie(tracks, facts, shown)

    def _add(self, part: Part) -> None:
        for header, run, offset in part.runs:
            copy = self._copies[-1] if self._copies else None
            if (
                copy is None
                or copy.disk is not part.disk
                or not 0 <= offset - copy.end <= _COPIED_ALONG_BYTES
            ):
                target = copy.target + copy.end - copy.start if copy else 0
                copy = _Copy(part.disk, offset, offset, target)
                self._copies.append(copy)
            place = copy.target + offset - copy.start
            self._copies[-1] = replace(copy, end=offset + run.size_bytes)
            track = self._track(header)
            run = replace(run, entry=self._entry_of(track, header, run, part.disk, offset))
            if track.samples and not 0 < run.first_dts - track.last_dts <= U32_MAX:
                raise ContainerError(
                    f"the times of track {header.id} ({header.codec}) do not follow each other",
                    remedy="name the files in the order in which they were recorded",
                )
            track.append(run, place)

    def _track(self, header: TrackHeader) -> TrackIndex:
        track = self._tracks.get(header.id)
        if track is None:
            track = self._tracks[header.id] = TrackIndex(replace(header, entries=()))
        known = track.header
        if (known.codec, known.timescale) != (header.codec, header.timescale):
            raise _encoded_otherwise(header)
        return track

    @staticmethod
    def _entry_of(track: TrackIndex, header: TrackHeader, run: Run, disk: Disk, offset: int) -> int:
        """Which sample entry of the track that is made a run is encoded by; it may be a new one.

        The parts' key frames are not changed: those behind a new sample entry have to carry what it says.
        """
        entry, known = header.entries[run.entry], track.header.entries
        if entry not in known:
            if known and not (header.is_video and _carries_configuration(header, entry, run, disk, offset)):
                raise _encoded_otherwise(header)
            track.header = track.header.with_entries((*known, entry))
        return track.header.entries.index(entry)

    @property
    def media_bytes(self) -> int:
        return sum(copy.end - copy.start for copy in self._copies)

    def write(self, disk: Disk, progress: Progress | None = None) -> None:
        """Raises OSError."""
        header = self._header()
        disk.write(header, 0)
        done, total = 0, self.media_bytes
        for copy in self._copies:
            for start in range(copy.start, copy.end, _COPY_BYTES):
                end = min(copy.end, start + _COPY_BYTES)
                disk.copy_from(copy.disk, start, len(header) + copy.target + start - copy.start, end)
                done += end - start
                if progress is not None:
                    progress(done, total)

    def _header(self) -> bytes:
        """All before the media. Chunk offsets become longer when they do not fit into 32 bits."""
        front, shift = FTYP + free_header(8), 0
        while True:
            moov = self.movie.serialize(shift)
            size = len(front) + len(moov) + HEADER64.size
            if size == shift:
                return front + moov + HEADER64.pack(1, b"mdat", self.media_bytes + HEADER64.size)
            shift = size
