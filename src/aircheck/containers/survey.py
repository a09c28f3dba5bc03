"""Surveying a media file packet by packet: what it holds, how its time runs, where it jumps.

Our own MP4 files are surveyed by their sample index, growing or finished, without reading the media; all
others, whoever wrote them, by libavformat, which reads the whole file. Times are milliseconds from the file's
time 0.
"""

from __future__ import annotations

import contextlib
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import accumulate, pairwise
from operator import sub
from pathlib import Path
from statistics import median_low
from typing import Any

import av

from aircheck.containers.libav_packets import read_packets
from aircheck.containers.mp4 import timeline
from aircheck.containers.mp4.disk import Disk
from aircheck.containers.mp4.index import TrackIndex
from aircheck.containers.mp4.sample_entry import picture_size
from aircheck.containers.mp4.scan import DAMAGE, Condition, Contents, outline, read_contents, reopened
from aircheck.containers.recover import FileFacts, ForeignFileError, inspect_file, scan_appended
from aircheck.errors import ContainerError
from aircheck.facts import TrackFacts
from aircheck.media.track import Kind

Progress = Callable[[int, int], None]
"""Called now and then with the bytes looked at and the bytes there are."""

JUMP_MIN_MS = 500
JUMP_MIN_PACKETS = 5
"""Timestamps jump when the next packet is more than both of these later than usual, or is earlier."""

_CODECS = {"hevc": "h265", "pcm_alaw": "pcma", "pcm_mulaw": "pcmu", "mp3float": "mp3"}
"""Codecs that libavcodec calls otherwise than we do."""
_FORMATS = "mov,matroska,flv,mpegts,mpeg,avi,ogg,wav,w64,mp3,aac,ac3,flac,amr,caf,asf,mxf,ivf,h264,hevc"
"""Containers that are looked into: none that leads to other files, as playlists do, and no plain text."""
_PROGRESS_PACKETS = 5000


@dataclass(frozen=True, slots=True)
class Interval:
    """From one key frame to the next."""

    min_ms: int
    median_ms: int
    max_ms: int


@dataclass(frozen=True, slots=True)
class Jump:
    """A place where timestamps do not go on as before: `by_ms` later than due, or earlier if negative."""

    at_ms: int
    by_ms: int


@dataclass(frozen=True, slots=True)
class PictureChange:
    """A place from which on pictures are encoded otherwise, and their size there."""

    at_ms: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class TrackSurvey:
    """One track. `start_ms` and `end_ms` are where it is shown first and last; key frames are of video."""

    facts: TrackFacts
    start_ms: int
    end_ms: int
    keyframes: int
    key_interval: Interval | None
    jumps: tuple[Jump, ...]
    picture_changes: tuple[PictureChange, ...] = ()
    """In an MP4 of ours; other files do not say it outside of their pictures."""

    @property
    def bitrate_bps(self) -> int:
        return self.facts.size_bytes * 8000 // self.facts.duration_ms if self.facts.duration_ms else 0


@dataclass(frozen=True, slots=True)
class Survey:
    """A file. `own` is what a file of ours says of itself; None for those of others."""

    path: Path
    container: str
    size_bytes: int
    duration_ms: int
    tracks: tuple[TrackSurvey, ...]
    own: FileFacts | None
    skipped_bytes: int = 0
    """Damage between fragments that are whole."""

    @property
    def bitrate_bps(self) -> int:
        return self.size_bytes * 8000 // self.duration_ms if self.duration_ms else 0

    @property
    def skew_ms(self) -> tuple[int, int] | None:
        """How much later than the picture the sound begins and ends; None without one of them."""
        first = {kind: self._first(kind) for kind in ("video", "audio")}
        video, audio = first["video"], first["audio"]
        if video is None or audio is None:
            return None
        return audio.start_ms - video.start_ms, audio.end_ms - video.end_ms

    def _first(self, kind: str) -> TrackSurvey | None:
        return next((one for one in self.tracks if one.facts.kind == kind and one.facts.packets), None)


def survey_file(path: Path, *, progress: Progress | None = None) -> Survey:
    """Survey a file that is finished, growing or torn. Blocking.

    Raises ContainerError for what no reader understands, OSError when the file cannot be read.
    """
    own = None
    with contextlib.suppress(ForeignFileError):
        own = inspect_file(path)
    indexed = _read_index(path, progress)
    if own is not None and indexed is not None:
        return _of_index(path, own, indexed)
    survey = _of_demuxer(path, own, progress)
    if own is not None and any(track.kind == Kind.DATA for track in own.tracks):
        survey = replace(survey, tracks=(*survey.tracks, *_data_tracks(path)))
    return survey


def _data_tracks(path: Path) -> Iterator[TrackSurvey]:
    """Data of our FLV, MPEG-TS and Matroska: libavformat shows it in many ways, or not at all."""
    scan = scan_appended(path)
    if scan is None:
        return
    begun = [track for track in scan.tracks if track.packets]
    zero = min((track.first_pts for track in begun if track.facts.kind != Kind.DATA), default=0)
    for track in begun:
        if track.facts.kind == Kind.DATA:
            start_ms, end_ms = (
                (t - zero) * 1000 // scan.clock_rate for t in (track.first_pts, track.end_pts)
            )
            facts = replace(
                track.facts,
                packets=track.packets,
                size_bytes=track.size_bytes,
                duration_ms=end_ms - start_ms,
            )
            yield TrackSurvey(facts, start_ms, end_ms, 0, None, ())


# --- our MP4 ------------------------------------------------------------------------------------------------


def _read_index(path: Path, progress: Progress | None) -> Contents | None:
    """The index of all fragments; those of a finished file are still there inside `mdat`."""
    disk = Disk.open(path, writable=False)
    try:
        file = outline(disk)
        if file.condition is Condition.FINAL:
            file = reopened(disk, file)
        return None if file.moov is None else read_contents(disk, file, progress)
    except DAMAGE:
        return None
    finally:
        disk.close()


def _of_index(path: Path, own: FileFacts, contents: Contents) -> Survey:
    zero_s = timeline.zero_time_s(contents.tracks)
    tracks = tuple(_of_index_track(index, zero_s) for index in contents.tracks)
    duration_ms = timeline.duration_ms(contents.tracks)
    return Survey(path, "mp4", own.size_bytes, duration_ms, tracks, own, contents.skipped)


def _of_index_track(index: TrackIndex, zero_s: Fraction) -> TrackSurvey:
    samples = _Samples.of_index(index)
    changes = tuple(_picture_changes(index, samples.dts, zero_s))
    return replace(_of_samples(samples, zero_s), picture_changes=changes)


def _picture_changes(index: TrackIndex, dts: Sequence[int], zero_s: Fraction) -> Iterator[PictureChange]:
    firsts = accumulate(index.chunk_samples, initial=0)
    entries = zip(firsts, pairwise([0, *index.chunk_entries]), strict=False)
    for first, (before, entry) in entries:
        if entry != before:
            shift = index.composition[first] if index.composition else 0
            at_s = Fraction(dts[first] + shift, index.header.timescale) - zero_s
            yield PictureChange(round(at_s * 1000), *picture_size(index.header.entries[entry]))


# --- what libavformat reads ---------------------------------------------------------------------------------


def _of_demuxer(path: Path, own: FileFacts | None, progress: Progress | None) -> Survey:
    try:
        container: Any = av.open(str(path), options={"format_whitelist": _FORMATS})
    except (av.FFmpegError, ValueError) as error:
        raise ContainerError(
            f"{path} is no media file that can be read: {getattr(error, 'strerror', None) or error}",
            remedy="name a media file; `aircheck recover` makes a recording whole that a crash tore",
        ) from error
    size_bytes = path.stat().st_size
    with container:
        watched = [stream for stream in container.streams if stream.type in ("video", "audio")]
        if not watched:
            raise ContainerError(f"{path} has neither picture nor sound", remedy="name a media file")
        found = {stream.index: _Samples.of_stream(number, stream) for number, stream in enumerate(watched)}
        # A growing or torn file ends in the middle of something; all before that has been counted.
        with contextlib.suppress(av.FFmpegError):
            for number, packet in enumerate(read_packets(container, watched)):
                found[packet.stream.index].add_packet(packet)
                if progress is not None and number % _PROGRESS_PACKETS == 0 and packet.pos:
                    progress(packet.pos, size_bytes)
        format_name = container.format.name.partition(",")[0]
    samples = [each for each in found.values() if each.packets]
    zero_s = min((each.start_s for each in samples), default=Fraction(0))
    end_s = max((each.end_s for each in samples), default=zero_s)
    tracks = tuple(_of_samples(each, zero_s) for each in found.values())
    return Survey(path, path.suffix[1:] or format_name, size_bytes, int((end_s - zero_s) * 1000), tracks, own)


# --- one track ----------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Samples:
    """A track's packets: decoding times, and presentation times of the key frames, in ticks of `tick_s`.

    `dts` lacks those that a reader cannot know, such as the first ones in Matroska.
    """

    facts: TrackFacts
    tick_s: Fraction
    packets: int = 0
    dts: array[int] = field(default_factory=lambda: array("q"))
    key_pts: array[int] = field(default_factory=lambda: array("q"))
    size_bytes: int = 0
    first_pts: int = 0
    end_pts: int = 0

    @classmethod
    def of_index(cls, index: TrackIndex) -> _Samples:
        samples = cls(index.facts(), Fraction(1, index.header.timescale), index.samples)
        samples.size_bytes = index.size_bytes
        if index.samples:
            samples.dts.extend(accumulate(index.deltas, initial=index.first_dts))
            shifts = index.composition or array("I", bytes(4 * index.samples))
            samples.key_pts.extend(samples.dts[key - 1] + shifts[key - 1] for key in index.sync)
            samples.first_pts, samples.end_pts = index.first_pts, index.end_pts
        return samples

    @classmethod
    def of_stream(cls, number: int, stream: Any) -> _Samples:
        codec, is_video = stream.codec_context, stream.type == "video"
        facts = TrackFacts(
            id=number,
            codec=_CODECS.get(codec.name, codec.name),
            kind=stream.type,
            timescale=round(1 / stream.time_base),
            width=codec.width if is_video else 0,
            height=codec.height if is_video else 0,
            sample_rate=0 if is_video else codec.sample_rate,
            channels=0 if is_video else codec.channels,
        )
        return cls(facts, Fraction(stream.time_base))

    def add_packet(self, packet: Any) -> None:
        """The demuxer ends with an empty packet per stream; one without any time is of no use here."""
        pts = packet.pts if packet.pts is not None else packet.dts
        if not packet.size or pts is None:
            return
        if not self.packets:
            self.first_pts = self.end_pts = pts
        self.packets += 1
        self.size_bytes += packet.size
        self.first_pts = min(self.first_pts, pts)
        self.end_pts = max(self.end_pts, pts + (packet.duration or 0))
        if packet.dts is not None:
            self.dts.append(packet.dts)
        if self.facts.kind == "video" and packet.is_keyframe:
            self.key_pts.append(pts)

    @property
    def start_s(self) -> Fraction:
        return self.first_pts * self.tick_s

    @property
    def end_s(self) -> Fraction:
        return self.end_pts * self.tick_s


def _of_samples(samples: _Samples, zero_s: Fraction) -> TrackSurvey:
    is_data = samples.facts.kind == Kind.DATA  # messages come when they come
    return TrackSurvey(
        facts=replace(
            samples.facts,
            packets=samples.packets,
            size_bytes=samples.size_bytes,
            duration_ms=max(0, int((samples.end_s - samples.start_s) * 1000)),
        ),
        start_ms=round((samples.start_s - zero_s) * 1000) if samples.packets else 0,
        end_ms=round((samples.end_s - zero_s) * 1000) if samples.packets else 0,
        keyframes=len(samples.key_pts),
        key_interval=_interval(samples.key_pts, samples.tick_s),
        jumps=() if is_data else tuple(_jumps(samples.dts, samples.tick_s, zero_s)),
    )


def _interval(key_pts: Sequence[int], tick_s: Fraction) -> Interval | None:
    ticks = [later - earlier for earlier, later in pairwise(key_pts)]
    if not ticks:
        return None
    low, middle, high = (round(each * tick_s * 1000) for each in (min(ticks), median_low(ticks), max(ticks)))
    return Interval(low, middle, high)


def _jumps(dts: array[int], tick_s: Fraction, zero_s: Fraction) -> list[Jump]:
    if len(dts) < 3:
        return []
    deltas = list(map(sub, dts[1:], dts))
    usual = median_low(deltas)
    limit = usual + max(JUMP_MIN_PACKETS * usual, int(JUMP_MIN_MS / 1000 / tick_s))
    return [
        Jump(round((dts[i] * tick_s - zero_s) * 1000), round((delta - usual) * tick_s * 1000))
        for i, delta in enumerate(deltas)
        if delta < 0 or delta > limit
    ]
