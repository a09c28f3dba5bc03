"""Continuing: a finished file of ours grows on, and its time with it.

`examine` looks whether a file can take in the tracks of a stream, and changes nothing; its answer is a writer
like all others. Packets keep the stream's own times up to it: it puts them behind the end of the file, all
tracks by the same amount, and gives them to the file's own tracks, which are matched by what they are.

A file changes when it gets its first fragment: it is told to grow (durably), and from then on is what any
growing file is. A crash before that leaves the old file, one after it what recovery makes final.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Any, Protocol

from aircheck.containers import flv, matroska, mpegts
from aircheck.containers.appending import AppendingWriter
from aircheck.containers.capability import Container
from aircheck.containers.existing import CannotAppend, Existing
from aircheck.containers.flv import FlvWriter
from aircheck.containers.matroska import MatroskaWriter, WebmWriter
from aircheck.containers.matroska.header import MatroskaHeader, stored_entries
from aircheck.containers.matroska.tracks import track_entry
from aircheck.containers.mp4 import Finalized, Mp4Writer, VirtualFile
from aircheck.containers.mp4.disk import Disk
from aircheck.containers.mp4.existing import ExistingMp4, read_existing
from aircheck.containers.mp4.sample_entry import sample_entry
from aircheck.containers.mp4.scan import DAMAGE
from aircheck.containers.mpegts import TsWriter
from aircheck.containers.remnant import Format
from aircheck.errors import ContainerError
from aircheck.facts import TrackFacts
from aircheck.media.packet import Packet
from aircheck.media.track import DATA_TRACK, Codec, Kind, Track

_FORMATS: Mapping[Container, Format] = {
    Container.MKV: matroska.FORMAT,
    Container.WEBM: matroska.FORMAT,
    Container.TS: mpegts.FORMAT,
    Container.FLV: flv.FORMAT,
}
_WRITERS: Mapping[Container, type[AppendingWriter[Any]]] = {
    Container.MKV: MatroskaWriter,
    Container.WEBM: WebmWriter,
    Container.TS: TsWriter,
    Container.FLV: FlvWriter,
}
_NOT_OURS = "it is no finished recording of this program"

MAX_GAP_S = 12 * 3600
"""Longer ones would not fit into the clocks of MPEG-TS and of MP4."""


class Writer(Protocol):
    """What the writers of all containers can do with a file that exists."""

    path: Path

    @property
    def size_bytes(self) -> int: ...
    @property
    def duration_ms(self) -> int: ...
    @property
    def epoch(self) -> int: ...
    @property
    def end_s(self) -> Fraction: ...
    @property
    def is_untouched(self) -> bool: ...
    def last_dts(self, number: int) -> int | None: ...
    def has_room_for(self, track: Track) -> bool: ...
    def change_track(self, track: Track) -> bool: ...
    def write(self, packets: Sequence[Packet]) -> None: ...
    def flush(self) -> None: ...
    def add_track(self, track: Track) -> bool: ...
    def track_facts(self) -> tuple[TrackFacts, ...]: ...
    def view(self) -> VirtualFile: ...
    def finish(self, ends: Mapping[int, int] | None = None) -> None: ...
    def set_note(self, note: bytes) -> None: ...
    def finalize(self, *, sync: bool = True) -> Finalized: ...
    def close(self) -> None: ...


def examine(path: Path, container: Container, tracks: Sequence[Track]) -> ContinuedFile:
    """A writer that will continue the file with these tracks; nothing is changed yet. Reads all of the file.

    Raises CannotAppend with the reason, OSError (FileNotFoundError) when the file cannot be read.
    """
    disk = Disk.open(path)
    try:
        if container is Container.MP4:
            return _examine_mp4(path, disk, tracks)
        return _examine_appended(path, disk, container, tracks)
    except DAMAGE as error:
        disk.close()
        raise CannotAppend(f"it is damaged: {error}") from error
    except ContainerError as error:
        disk.close()
        raise error if isinstance(error, CannotAppend) else CannotAppend(error.message) from error
    except BaseException:
        disk.close()
        raise


def _examine_mp4(path: Path, disk: Disk, tracks: Sequence[Track]) -> ContinuedFile:
    existing = read_existing(path, disk)
    if existing is None:
        raise CannotAppend(_NOT_OURS)
    facts = [index.facts() for index in existing.contents.tracks]
    pairs = _pair(tracks, facts, lambda number, track: _goes_on_in_mp4(existing, number, track))
    own = _own_tracks(pairs, facts)
    writer = Mp4Writer(path, own, creation_ns=0, existing=existing)
    return ContinuedFile(writer, existing.note, own, pairs, tracks)


def _goes_on_in_mp4(existing: ExistingMp4, number: int, track: Track) -> bool:
    header = existing.contents.tracks[number].header
    return (
        track.codec is header.codec
        and track.timescale == header.timescale
        and sample_entry(track) in header.entries
    )


def _examine_appended(path: Path, disk: Disk, container: Container, tracks: Sequence[Track]) -> ContinuedFile:
    form, writer_of = _FORMATS[container], _WRITERS[container]
    header = form.read_header(disk)
    if header is None or header.record.size_bytes != disk.size_bytes:
        raise CannotAppend(_NOT_OURS)
    if isinstance(header, MatroskaHeader) and header.doc_type != _doc_type(container):
        raise CannotAppend(f"it is no {container}")
    existing = Existing(path, disk, header, disk.read(0, header.size_bytes), form.scan(disk, header, None))
    if existing.scan.end != disk.size_bytes or existing.scan.repairs or not existing.scan.summary().packets:
        raise CannotAppend("it is damaged")
    facts = header.record.tracks
    pairs = _pair(tracks, facts, lambda number, track: _goes_on(existing, number, track))
    own = _own_tracks(pairs, facts)
    if isinstance(header, MatroskaHeader):
        _require_same_entries(existing, header, own)
    writer = writer_of(
        path, own, note=b"", creation_ns=0, fragment_ms=150, preallocate_bytes=8 << 20, existing=existing
    )
    return ContinuedFile(writer, header.record.note, own, pairs, tracks)


def _doc_type(container: Container) -> str:
    return "webm" if container is Container.WEBM else "matroska"


def _goes_on(existing: Existing, number: int, track: Track) -> bool:
    """FLV and MPEG-TS tell a decoder its configuration again; Matroska has one for all of the file."""
    if existing.header.record.tracks[number].codec != track.codec.value:
        return False
    if isinstance(existing.header, MatroskaHeader):
        stored = stored_entries(existing.header, existing.start)
        return number < len(stored) and track_entry(track, number + 1) == stored[number]
    return True


def _require_same_entries(existing: Existing, header: MatroskaHeader, tracks: Sequence[Track]) -> None:
    """Tracks that do not go on have to be described as they are, too."""
    entries = [track_entry(track, number) for number, track in enumerate(tracks, 1)]
    if entries != stored_entries(header, existing.start):
        raise CannotAppend("its tracks are described in another way")


# --- whose track is whose -----------------------------------------------------------------------------------


class _GoesOn(Protocol):
    def __call__(self, number: int, track: Track) -> bool: ...


def _pair(tracks: Sequence[Track], facts: Sequence[TrackFacts], goes_on: _GoesOn) -> dict[int, Track]:
    """By number in the file, the track of the stream that goes on in it.

    Raises CannotAppend when sound or pictures of one of the two have no partner in the other, unless the file
    has none of that kind: then they are a late track. Data never decides.
    """
    pairs: dict[int, Track] = {}
    for track in tracks:
        free = (number for number in range(len(facts)) if number not in pairs)
        number = next((number for number in free if goes_on(number, track)), None)
        if number is not None:
            pairs[number] = track
        elif track.kind is not Kind.DATA and any(one.kind == track.kind.value for one in facts):
            raise CannotAppend(f"its {track.kind} is not the {track.codec} {track.kind} of the stream")
    for number, one in enumerate(facts):
        if number not in pairs and one.kind != Kind.DATA.value:
            raise CannotAppend(f"it has {one.kind} ({one.codec}), and the stream has none like it")
    return pairs


def _own_tracks(pairs: Mapping[int, Track], facts: Sequence[TrackFacts]) -> list[Track]:
    """The tracks of the file, with its own ids."""
    return [
        _numbered(pairs[number], one.id) if number in pairs else _silent_track(one)
        for number, one in enumerate(facts)
    ]


def _numbered(track: Track, track_id: int) -> Track:
    return track if track.id == track_id else replace(track, id=track_id)


def _silent_track(facts: TrackFacts) -> Track:
    """A track that the stream does not have (yet)."""
    if facts.codec == DATA_TRACK.codec.value and facts.id == DATA_TRACK.id:
        return DATA_TRACK
    return Track(
        facts.id,
        Codec(facts.codec),
        facts.timescale,
        width=facts.width,
        height=facts.height,
        sample_rate=facts.sample_rate,
        channels=facts.channels,
    )


# --- the writer ---------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Passage:
    """How packets of one track of the stream get into the file: as whose, and how many ticks later."""

    own: Track
    ticks: int = 0


class ContinuedFile:
    """A writer for packets as the stream has them. `note` is what the file says of itself.

    All but `view` and the properties is called by one thread at a time.
    """

    def __init__(
        self,
        writer: Writer,
        note: bytes,
        own: Sequence[Track],
        pairs: Mapping[int, Track],
        tracks: Sequence[Track],
    ) -> None:
        """`own` are the tracks of the file, `pairs` those of the stream that go on in them, by number.

        Raises CannotAppend when the file has no room for tracks of the stream that it does not have."""
        self.note = note
        self.earlier_size_bytes = writer.size_bytes
        self.earlier_duration_ms = writer.duration_ms
        self.earlier_tracks = writer.track_facts()
        self._writer = writer
        self._silent = [track for number, track in enumerate(own) if number not in pairs]
        self._numbers = {track.id: number for number, track in pairs.items()}
        self._passages = {track.id: _Passage(own[number]) for number, track in pairs.items()}
        """By the id of the stream's track."""
        self._known: dict[int, tuple[Track, _Passage]] = {}
        """By identity of the packets' track; those that are known are kept, so that their ids stay theirs."""
        self._gap_s = Fraction(0)
        self._shift_s: Fraction | None = None
        self._late = [track for track in tracks if track.id not in self._passages]
        for track in self._late:
            if not writer.has_room_for(self._own(track)):
                raise CannotAppend(f"it has no room for {track.codec} {track.kind}")

    @property
    def path(self) -> Path:
        return self._writer.path

    @path.setter
    def path(self, path: Path) -> None:
        """Another name of the same file."""
        self._writer.path = path

    def begin(self, *, gap_ms: int = 0) -> None:
        """Leave so much time empty behind the end, and take in tracks that the file does not have yet.

        Raises OSError, or CannotAppend, when it is too late for anything but another file.
        """
        self._gap_s = Fraction(gap_ms, 1000)
        for track in self._late:
            if not self.add_track(track):
                raise CannotAppend(f"it has no room for {track.codec} {track.kind}")
        self._late = []

    # --- what every writer does ---

    def write(self, packets: Sequence[Packet]) -> None:
        if packets:
            self._writer.write(list(self._moved(packets)))

    def flush(self) -> None:
        self._writer.flush()

    def add_track(self, track: Track) -> bool:
        own = next((one for one in self._silent if _numbered(track, one.id) == one), None)
        is_taken = own is not None
        if own is None:
            own = self._own(track)
            is_taken = self._writer.add_track(own)
        if is_taken:
            self._passages[track.id] = self._passage(own)
        return is_taken

    def change_track(self, track: Track) -> bool:
        passage = self._passages[track.id]
        own = _numbered(track, passage.own.id)
        if not self._writer.change_track(own):
            return False
        self._passages[track.id] = _Passage(own, passage.ticks)
        return True

    def finish(self, ends: Mapping[int, int] | None = None) -> None:
        moved = {}
        for track_id, dts in (ends or {}).items():
            passage = self._passages.get(track_id)
            if passage is not None:
                moved[passage.own.id] = dts + passage.ticks
        self._writer.finish(moved)

    def set_note(self, note: bytes) -> None:
        self._writer.set_note(note)

    def finalize(self, *, sync: bool = True) -> Finalized:
        return self._writer.finalize(sync=sync)

    def close(self) -> None:
        self._writer.close()

    def give_back(self) -> None:
        """End without new media: the file is the final one that it was."""
        if self._writer.is_untouched:
            self._writer.close()
        else:
            self._writer.finish()
            self._writer.finalize()

    @property
    def size_bytes(self) -> int:
        return self._writer.size_bytes

    @property
    def duration_ms(self) -> int:
        return self._writer.duration_ms

    @property
    def epoch(self) -> int:
        return self._writer.epoch

    def track_facts(self) -> tuple[TrackFacts, ...]:
        return self._writer.track_facts()

    def view(self) -> VirtualFile:
        return self._writer.view()

    # --- time ---

    def _moved(self, packets: Sequence[Packet]) -> Iterator[Packet]:
        if self._shift_s is None:
            self._set_shift(packets)
        for packet in packets:
            known = self._known.get(id(packet.track)) or self._recognize(packet.track)
            own, ticks = known[1].own, known[1].ticks
            yield Packet(own, packet.pts + ticks, packet.dts + ticks, packet.is_keyframe, packet.data)

    def _recognize(self, track: Track) -> tuple[Track, _Passage]:
        passage = self._passages.get(track.id)
        if passage is None or _numbered(track, passage.own.id) != passage.own:
            raise ContainerError(
                f"this file has no track {track.id} ({track.codec}) of that configuration",
                remedy="add the track, or begin a new segment when its configuration changed",
            )
        known = self._known[id(track)] = (track, passage)
        return known

    def _set_shift(self, packets: Sequence[Packet]) -> None:
        """The first packets begin where the last track ended, and none is decoded before its predecessor.

        Whole milliseconds: nearly every timescale has those exactly, so that no track moves against another.
        """
        media = [packet for packet in packets if not packet.track.is_data] or packets
        begin_s = min(Fraction(packet.pts, packet.track.timescale) for packet in media)
        shift_s = self._writer.end_s + self._gap_s - begin_s
        firsts = {packet.track.id: packet for packet in reversed(packets)}
        for track_id, packet in firsts.items():
            number = self._numbers.get(track_id)
            last_dts = None if number is None else self._writer.last_dts(number)
            if last_dts is not None:
                shift_s = max(shift_s, Fraction(last_dts + 1 - packet.dts, packet.track.timescale))
        self._shift_s = Fraction(ceil(shift_s * 1000), 1000)
        for passage in self._passages.values():
            passage.ticks = self._ticks(passage.own)

    def _passage(self, own: Track) -> _Passage:
        return _Passage(own, self._ticks(own))

    def _ticks(self, own: Track) -> int:
        return ceil(self._shift_s * own.timescale) if self._shift_s is not None else 0

    def _own(self, track: Track) -> Track:
        """The track as the file would have it, with an id that is free there."""
        taken = {facts.id for facts in self._writer.track_facts()}
        return _numbered(track, track.id if track.id not in taken else max(taken) + 1)
