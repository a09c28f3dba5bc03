"""MP4 out of MP4s of ours: put together by their index, exact to a tick."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from aircheck.containers.cut.place import Piece, Timeline
from aircheck.containers.cut.source import Made, NothingThere, Progress, Range, Source
from aircheck.containers.mp4.assemble import Assembly, Part, moved, picture_on, select, without_lead
from aircheck.containers.mp4.disk import Disk
from aircheck.containers.mp4.movie import MovieFacts
from aircheck.containers.mp4.seek import FragmentReader

_NS = 1_000_000_000


def cut_by_index(
    sources: Sequence[Source],
    wanted: Range,
    target: Path,
    note: bytes,
    *,
    is_one_timeline: bool,
    progress: Progress | None,
) -> Made | None:
    """None when one of the sources does not consist of fragments of ours; else as `cut`."""
    with ExitStack() as stack:
        timeline = Timeline[FragmentReader]()
        for source in sources:
            reader = stack.enter_context(FragmentReader.open(source.path))
            if reader is None:
                return None
            by_s = Fraction(0) if is_one_timeline else None
            timeline.add(reader, reader.zero_s, reader.find_end, by_s)
        assembly = _assemble(timeline, wanted, note)
        disk = Disk.create(target)
        try:
            assembly.write(disk, progress)
            return Made(disk.size_bytes, int(assembly.movie.duration_s * 1000))
        finally:
            disk.close()


def _assemble(timeline: Timeline[FragmentReader], wanted: Range, note: bytes) -> Assembly:
    begin_s = timeline.begin_s + (wanted.start_s or 0)
    end_s = None if wanted.end_s is None else timeline.begin_s + wanted.end_s
    parts = [part for piece in timeline.pieces(wanted) if (part := _part(piece)).runs]
    begin_s = picture_on(parts, begin_s)
    assembly = Assembly(parts, _facts(timeline, begin_s, note), (begin_s, end_s)) if parts else None
    if assembly is None or not assembly.movie.duration_s:
        raise NothingThere("there is nothing in that range", remedy="ask for another one")
    return assembly


def _part(piece: Piece[FragmentReader]) -> Part:
    runs = select(piece.reader, piece.start_s, piece.end_s)
    if piece.is_tail:
        runs = [placed for placed in runs if not placed[0].is_video]
    if piece.hides_lead:
        runs = without_lead(runs, piece.reader.zero_s)
    return Part(piece.reader.disk, moved(runs, piece.by_s))


def _facts(timeline: Timeline[FragmentReader], begin_s: Fraction, note: bytes) -> MovieFacts:
    """Created when what it begins with was recorded."""
    facts = timeline.first.facts
    return replace(facts, note=note, creation_ns=facts.creation_ns + int((begin_s - timeline.begin_s) * _NS))
