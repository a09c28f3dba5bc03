"""Files made packet by packet: from any container that can be read to one of ours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from aircheck.containers.appending import AppendingWriter
from aircheck.containers.capability import Container, can_hold, index_bytes
from aircheck.containers.cut.demux import Demuxer, seconds
from aircheck.containers.cut.place import Timeline
from aircheck.containers.cut.source import Made, NothingThere, Progress, Range, Source
from aircheck.containers.flv import FlvWriter
from aircheck.containers.matroska import MatroskaWriter, WebmWriter
from aircheck.containers.mp4 import Mp4Writer
from aircheck.containers.mp4.assemble import FOR_UNLIKE
from aircheck.containers.mpegts import TsWriter
from aircheck.errors import ContainerError
from aircheck.media.packet import Packet
from aircheck.media.track import Track


class _NewWriter(Protocol):
    def __call__(
        self, path: Path, tracks: Sequence[Track], *, note: bytes, creation_ns: int, reserve_bytes: int
    ) -> Mp4Writer | AppendingWriter[Any]: ...


_WRITERS: Mapping[Container, _NewWriter] = {
    Container.MP4: Mp4Writer,
    Container.MKV: MatroskaWriter,
    Container.WEBM: WebmWriter,
    Container.TS: TsWriter,
    Container.FLV: FlvWriter,
}
_BATCH = 64
_MIN_RESERVE_BYTES = 16 * 1024
_UNKNOWN_S = 600
_NS = 1_000_000_000


def copy_packets(
    sources: Sequence[Source],
    wanted: Range,
    target: Path,
    note: bytes,
    *,
    is_one_timeline: bool,
    progress: Progress | None,
) -> Made:
    """As `cut`."""
    with ExitStack() as stack:
        timeline = Timeline[Demuxer]()
        for source in sources:
            _place(timeline, stack.enter_context(Demuxer.open(source)), source, is_one_timeline)
        writer = _open_writer(timeline.first, sources[0], wanted, target, note)
        try:
            duration_ms = _copy(timeline, wanted, writer, progress)
        finally:
            writer.close()
    if not duration_ms:
        raise NothingThere("there is nothing in that range", remedy="ask for another one")
    return Made(target.stat().st_size, duration_ms)


def _place(timeline: Timeline[Demuxer], reader: Demuxer, source: Source, is_one_timeline: bool) -> None:
    def end_s() -> Fraction:
        if reader.end_s is None:
            raise ContainerError(
                f"{source.path} does not say how long it is", remedy="`aircheck recover` makes it whole"
            )
        return reader.end_s

    by_s = None
    if is_one_timeline and reader.own is not None:
        first = timeline.first.own if timeline else reader.own
        by_s = Fraction(reader.own.start_us - first.start_us, 1_000_000) if first is not None else None
    timeline.add(reader, Fraction(0), end_s, by_s)
    _check_alike(timeline.first, reader, source)


def _check_alike(first: Demuxer, other: Demuxer, source: Source) -> None:
    if [_kind(track) for track in first.tracks] != [_kind(track) for track in other.tracks]:
        raise ContainerError(
            f"{source.path.name} is encoded otherwise than what is before it: {_difference(first, other)}",
            remedy=FOR_UNLIKE,
        )


def _difference(first: Demuxer, other: Demuxer) -> str:
    before, after = (", ".join(map(_told, file.tracks)) for file in (first, other))
    return f"{after} after {before}" if before != after else f"both are {after}, by encoders set differently"


def _told(track: Track) -> str:
    """What people know a track by: `h264 1280x720`, `aac 48000 Hz`."""
    return (
        f"{track.codec} {track.width}x{track.height}"
        if track.is_video
        else f"{track.codec} {track.sample_rate} Hz"
    )


def _kind(track: Track) -> tuple[str, bytes, int, int]:
    return track.codec, track.config, track.timescale, track.channels


def _open_writer(
    first: Demuxer, source: Source, wanted: Range, target: Path, note: bytes
) -> Mp4Writer | AppendingWriter[Any]:
    container = Container(target.suffix[1:])
    for track in first.tracks:
        if not can_hold(container, track.codec):
            raise ContainerError(
                f"{container} cannot hold {track.codec}", remedy="choose mkv, which holds everything"
            )
    created_ns = source.path.stat().st_mtime_ns if first.own is None else first.own.creation_ns
    end_s = wanted.end_s or first.end_s or Fraction(_UNKNOWN_S)
    length_s = max(1, int(end_s - (wanted.start_s or 0)))
    return _WRITERS[container](
        target,
        first.tracks,
        note=note,
        creation_ns=created_ns + int((wanted.start_s or 0) * _NS),
        reserve_bytes=max(_MIN_RESERVE_BYTES, index_bytes(container, length_s)),
    )


def _copy(
    timeline: Timeline[Demuxer],
    wanted: Range,
    writer: Mp4Writer | AppendingWriter[Any],
    progress: Progress | None,
) -> int:
    """The length of what was written, in milliseconds; 0 without a packet."""
    count = 0
    begin_s = timeline.begin_s + (wanted.start_s or 0)
    end_s = None if wanted.end_s is None else timeline.begin_s + wanted.end_s
    for packets in _batches(_packets(timeline, wanted)):
        writer.write(packets)
        count += len(packets)
        if progress is not None:
            last = packets[-1]
            done_s = seconds(last.track, last.dts) - begin_s
            progress(max(0, int(done_s * 1000)), int((end_s - begin_s) * 1000) if end_s is not None else 0)
    if not count:
        return 0
    writer.finish()
    if isinstance(writer, Mp4Writer):
        return writer.finalize(sync=False, shown=(begin_s, end_s)).duration_ms
    return writer.finalize(sync=False).duration_ms


def _packets(timeline: Timeline[Demuxer], wanted: Range) -> Iterator[Packet]:
    """All pieces with the first one's tracks, on the timeline."""
    tracks = timeline.first.tracks
    for piece in timeline.pieces(wanted):
        shifts = [round(piece.by_s * track.timescale) for track in tracks]
        for packet in piece.reader.packets(piece.start_s, piece.end_s):
            number = packet.track.id
            track, shift = tracks[number], shifts[number]
            if piece.is_tail and track.is_video:
                continue
            if piece.hides_lead and not track.is_video and packet.pts < 0:
                continue
            if shift or track is not packet.track:
                packet = Packet(
                    track, packet.pts + shift, packet.dts + shift, packet.is_keyframe, packet.data
                )
            yield packet


def _batches(packets: Iterator[Packet]) -> Iterator[list[Packet]]:
    while batch := list(islice(packets, _BATCH)):
        yield batch
