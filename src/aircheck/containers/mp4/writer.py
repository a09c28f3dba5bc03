"""Mp4Writer: packets to a fragmented MP4 that survives anything, and at once to a progressive one."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from operator import attrgetter
from pathlib import Path

from aircheck.containers.mp4 import timeline
from aircheck.containers.mp4.disk import BLOCK, Disk
from aircheck.containers.mp4.existing import ExistingMp4
from aircheck.containers.mp4.finalize import Method, Target, finalize
from aircheck.containers.mp4.fragment import TrackQueue, chunk_offsets, serialize_head
from aircheck.containers.mp4.index import Run, TrackHeader, TrackIndex
from aircheck.containers.mp4.layout import (
    FREE_OFFSET,
    FTYP,
    VirtualFile,
    compose_header,
    free_header,
    header_area,
    init_area,
    padded_init,
)
from aircheck.containers.mp4.movie import Movie, MovieFacts, init_moov
from aircheck.containers.mp4.sample_entry import sample_entry
from aircheck.errors import ContainerError
from aircheck.facts import TrackFacts
from aircheck.media.packet import Packet, Payload
from aircheck.media.track import Kind, Track

_MAX_PENDING_PACKETS = 2000
_KEEP_CACHED_BYTES = 128 << 20
_DROP_BYTES = 32 << 20
"""What lies further back than the first leaves the page cache in such pieces. A stop would have to drop it
all at once, and other programs have more use for the memory."""

_ORIGIN_MARGIN_MS = 500
"""A track that turns up late may begin this much before the first fragment."""


class WriteError(ContainerError):
    """The disk refused a fragment: `dropped_packets` of `dropped_bytes` are lost, all before them is safe.

    The file was cut back to its last whole fragment. The writer goes on working: it may be written to again
    (after a key frame, please), and finished and finalized in space it already has. `__cause__` is the
    OSError, `errno` its number.
    """

    def __init__(self, cause: OSError, dropped_packets: int, dropped_bytes: int) -> None:
        super().__init__(
            f"{dropped_packets} packets ({dropped_bytes} bytes) cannot be written: {cause.strerror}",
            remedy="free space on the recordings' disk, or look at its health",
        )
        self.errno = cause.errno
        self.dropped_packets = dropped_packets
        self.dropped_bytes = dropped_bytes


@dataclass(frozen=True, slots=True)
class Finalized:
    """What became of a file. `how` is `fragmented` when there was no space to make it progressive."""

    how: Method
    size_bytes: int
    duration_ms: int
    tracks: tuple[TrackFacts, ...]


class Mp4Writer:
    """Writes one MP4 file.

    One thread at a time calls the writer. `view`, `track_facts` and the properties may be called by any
    thread at any time: a short lock guards the index, and is never held during I/O.
    """

    extension = "mp4"

    def __init__(
        self,
        path: Path,
        tracks: Sequence[Track],
        *,
        note: bytes = b"",
        creation_ns: int,
        reserve_bytes: int = 512 * 1024,
        init_bytes: int = 0,
        fragment_ms: int = 150,
        preallocate_bytes: int = 8 * 1024 * 1024,
        existing: ExistingMp4 | None = None,
    ) -> None:
        """Create `path` with an init segment for `tracks`, or go on with `existing`, whose tracks these are.

        `note` is kept in the file for whoever recovers it (see `read_note`). `reserve_bytes` is the space
        for the final `moov`, allocated at once: about 1 KB per second. `init_bytes`, at most 256 KiB, is room
        for tracks that turn up late, some 2 KB each; without it there is room for a few. Raises
        FileExistsError, any other OSError, or ContainerError for tracks that MP4 cannot hold; then there is
        no file. To one that exists nothing is done before it gets its first fragment.
        """
        self.path = path
        self._queues = [TrackQueue(track) for track in tracks]
        _check_ids(tracks)
        self._facts = MovieFacts(creation_ns, note)
        self._fragment_ms = fragment_ms
        self._preallocate_bytes = preallocate_bytes
        self._lock = threading.Lock()
        self._sequence = 0
        self._has_origin = False
        self._zero = (0, 0)
        """How many tracks have begun, and the file's time 0 (ms) that follows from their beginnings."""
        self._allocated_to = 0
        self._dropped_to = 0
        self._epoch = 0
        self._moved = 0
        self.error: OSError | None = None
        """The latest failure of the disk; None again as soon as a fragment is written."""
        self.dropped_packets = 0
        self._is_committed = False
        """The file is final, from an earlier recording: nothing may be written before it is told to grow."""
        if existing is not None:
            self._resume(existing)
            return
        self._area = header_area(reserve_bytes)
        moov = init_moov(self._indexes(), self._facts)
        self._init_size = init_area(len(moov), init_bytes)
        self._moov_offset, self._moov_size = self._area, len(moov)
        self._end = self._area + self._init_size
        self._disk = Disk.create(path)
        try:
            self._lay_out(moov)
        except BaseException:
            self._disk.close()
            path.unlink(missing_ok=True)
            raise

    def _resume(self, existing: ExistingMp4) -> None:
        """Know what the writer knew that left the file."""
        file, contents = existing.file, existing.contents
        assert file.moov is not None
        for queue, index in zip(self._queues, contents.tracks, strict=True):
            index.last_duration = index.last_duration or queue.index.last_duration
            queue.index = index
            self._go_on_by_entry(queue)
        self._facts = replace(contents.facts, note=existing.note)
        self._has_origin = True
        self._sequence = max(len(index.chunk_offsets) for index in contents.tracks)
        self._area, self._init_size = file.area, file.media - file.area
        self._moov_offset, self._moov_size = file.init, len(file.moov.data)
        self._end, self._disk = contents.end, existing.disk
        self._is_committed = existing.is_final

    def _begin_to_grow(self) -> None:
        """One `free` box for the whole header area again: players see the fragments, not the old index."""
        if self._is_committed:
            self._disk.write(free_header(self._area - FREE_OFFSET), FREE_OFFSET)
            self._is_committed = False
            self._disk.sync()

    @property
    def is_untouched(self) -> bool:
        """Whether the file is the final one of an earlier recording still."""
        return self._is_committed

    @property
    def end_s(self) -> Fraction:
        """Where the last track ends, on the stream's timeline."""
        begun = [index for index in self._indexes() if index.samples]
        media = [index for index in begun if index.header.kind is not Kind.DATA] or begun
        return max(Fraction(index.end_pts, index.header.timescale) for index in media)

    def last_dts(self, number: int) -> int | None:
        """The dts that must be exceeded in the track of that number (from 0); None without any."""
        index = self._queues[number].index
        return index.last_dts if index.samples else None

    def _lay_out(self, moov: bytes) -> None:
        self._disk.write(FTYP + free_header(self._area - FREE_OFFSET), 0)
        # Real blocks, so that finalizing needs no space on a full disk.
        self._disk.allocate(0, self._end)
        self._disk.write(padded_init(moov, self._init_size), self._area)

    # --- writing ---

    def write(self, packets: Sequence[Packet]) -> None:
        """Take packets in any interleaving, dts not going back within a track.

        They are on disk when this returns, once `fragment_ms` of media is pending. Raises WriteError when the
        disk refuses them, ContainerError for a packet of a track that the file does not have (nothing of the
        batch is taken then).
        """
        if not packets:
            return
        groups = [[packet for packet in packets if packet.track is queue.track] for queue in self._queues]
        if sum(map(len, groups)) != len(packets):
            groups = self._group_by_equal_track(packets)
        pending = 0
        for queue, group in zip(self._queues, groups, strict=True):
            if group:
                queue.pending += group
            pending += len(queue.pending)
        if pending > _MAX_PENDING_PACKETS or self._pending_ms() >= self._fragment_ms:
            self._cut()

    def _group_by_equal_track(self, packets: Sequence[Packet]) -> list[list[Packet]]:
        """A publisher that came back has new `Track` objects: equal ones are as good."""
        known = [queue.track for queue in self._queues]
        for packet in packets:
            if packet.track not in known:
                raise ContainerError(
                    f"this file has no track {packet.track.id} ({packet.track.codec}) of that configuration",
                    remedy="add the track, or begin a new segment when its configuration changed",
                )
        groups = [[packet for packet in packets if packet.track == track] for track in known]
        for queue, group in zip(self._queues, groups, strict=True):
            if group:
                queue.track = group[-1].track
        return groups

    def _pending_ms(self) -> int:
        """How much media waits in the track that has most; a dts that goes back counts as much."""
        longest = 0
        for queue in self._queues:
            if queue.pending:
                span = queue.pending[-1].dts - queue.pending[0].dts + queue.index.last_duration
                longest = max(longest, abs(span) * 1000 // queue.track.timescale)
        return longest

    def flush(self) -> None:
        """Put what is pending on disk now. Raises WriteError."""
        self._cut()

    def _cut(self, ends: Mapping[int, int] | None = None) -> None:
        """One fragment of all that is pending, by one pwritev."""
        queues = [queue for queue in self._queues if queue.pending]
        if not queues:
            return
        self._set_origin(queues)
        runs: list[tuple[TrackHeader, Run]] = []
        buffers: list[Payload] = [b""]
        for queue in queues:
            header = queue.index.header
            end = ends.get(header.id) if ends else None
            run, payloads = queue.take(header.origin_ticks(self._facts.origin_ms), end)
            runs.append((header, run))
            buffers += payloads
        buffers[0] = head = serialize_head(self._sequence + 1, self._facts.origin_ms, runs)
        size = len(head) + sum(run.size_bytes for _, run in runs)
        self._put(buffers, size, runs)
        self._drop_old_pages()
        offsets = chunk_offsets(self._end, head, runs)
        with self._lock:
            for queue, (_, run), offset in zip(queues, runs, offsets, strict=True):
                queue.index.append(run, offset)
            self._end += size
            self._sequence += 1

    def _put(self, buffers: list[Payload], size: int, runs: list[tuple[TrackHeader, Run]]) -> None:
        try:
            self._begin_to_grow()
            self._begin_timeline(runs)
            self._preallocate(size)
            self._disk.write_all(buffers, self._end)
        except OSError as error:
            with suppress(OSError):
                self._disk.truncate(self._end)
            self.error, self._allocated_to = error, 0
            packets = len(buffers) - 1
            self.dropped_packets += packets
            raise WriteError(error, packets, sum(run.size_bytes for _, run in runs)) from error
        self.error = None

    def _preallocate(self, size: int) -> None:
        """Blocks ahead make writing cheaper; where there are none to have, writing itself will tell."""
        if self._preallocate_bytes and self._end + size > self._allocated_to:
            with suppress(OSError):
                self._disk.allocate(self._end, size + self._preallocate_bytes, keep_size=True)
            self._allocated_to = self._end + size + self._preallocate_bytes

    def _drop_old_pages(self) -> None:
        old = self._end - _KEEP_CACHED_BYTES
        if old - self._dropped_to >= _DROP_BYTES:
            with suppress(OSError):
                self._disk.drop_cache(self._dropped_to, old - self._dropped_to)
            self._dropped_to = old

    # --- the init segment ---

    def _set_origin(self, queues: Sequence[TrackQueue]) -> None:
        """tfdt cannot be negative: its 0 lies a little before the first packet, for all tracks alike."""
        if self._has_origin:
            return
        first_ms = min(queue.pending[0].dts * 1000 // queue.track.timescale for queue in queues)
        self._facts = replace(self._facts, origin_ms=first_ms - _ORIGIN_MARGIN_MS)
        self._has_origin = True

    def _begin_timeline(self, runs: Sequence[tuple[TrackHeader, Run]]) -> None:
        """Now that the tracks' beginnings are known, the init `moov` can say where time 0 is.

        That is for whoever plays the fragments themselves; the final `moov` is made from the index.
        """
        if self._sequence:
            return
        indexes = {index.header.id: TrackIndex(index.header) for index in self._indexes()}
        for header, run in runs:
            indexes[header.id].append(run, 0)
        self._replace_init(init_moov(list(indexes.values()), self._facts))

    def add_track(self, track: Track) -> bool:
        """A track that turned up late. False when the init area has no room: begin a new segment then.

        Raises ContainerError when MP4 cannot hold the track, OSError when the disk fails.
        """
        _check_ids([*(queue.track for queue in self._queues), track])
        queue = TrackQueue(track)
        self._begin_to_grow()
        moov = init_moov([*self._indexes(), queue.index], self._facts)
        if not self._replace_init(moov):
            return False
        with self._lock:
            self._queues = [*self._queues, queue]
        return True

    def change_track(self, track: Track) -> bool:
        """The track of video of that id goes on with another decoder configuration, from a key frame on.

        False when the file cannot have both, for want of room or because more is different than that: begin a
        new segment then. Raises WriteError for what was pending, OSError when the disk fails.
        """
        queue = self._queue_to_change(track)
        if queue is None:
            return False
        self._cut()
        header = self._changed_header(queue, track)
        if header != queue.index.header:
            self._begin_to_grow()
            if not self._replace_init(self._changed_moov(queue, header)):
                return False
            with self._lock:
                queue.index.header = header
        queue.track = track
        self._go_on_by_entry(queue)
        return True

    def _queue_to_change(self, track: Track) -> TrackQueue | None:
        for queue in self._queues:
            header = queue.index.header
            if header.id == track.id:
                is_alike = (header.codec, header.timescale) == (track.codec, track.timescale)
                return queue if is_alike and track.is_video else None
        return None

    @staticmethod
    def _changed_header(queue: TrackQueue, track: Track) -> TrackHeader:
        """The header of the track with this configuration among its sample entries."""
        header, entry = queue.index.header, sample_entry(track)
        if entry in header.entries:
            return header
        return header.with_entries((*header.entries, entry) if queue.index.samples else (entry,))

    def _changed_moov(self, queue: TrackQueue, header: TrackHeader) -> bytes:
        changed = replace(queue.index, header=header)
        indexes = [changed if other is queue else other.index for other in self._queues]
        return init_moov(indexes, self._facts)

    @staticmethod
    def _go_on_by_entry(queue: TrackQueue) -> None:
        """Know by which sample entry the queue's packets are encoded."""
        entries, entry = queue.index.header.entries, sample_entry(queue.track)
        queue.entry = entries.index(entry) if entry in entries else 0

    def has_room_for(self, track: Track) -> bool:
        """Whether `add_track` will find room. Raises ContainerError when MP4 cannot hold the track."""
        moov = init_moov([*self._indexes(), TrackQueue(track).index], self._facts)
        return self._place_of_init(moov) is not None

    def _replace_init(self, moov: bytes) -> bool:
        """Put a new init `moov` where nobody looks yet; then one write of 8 bytes makes it the only one."""
        offset = self._place_of_init(moov)
        if offset is None:
            return False
        free_offset, free_size = self._moov_offset, offset - self._moov_offset
        if free_size < 0:
            # What older versions left is one `free` box first: the new one grows inside it and ends it early.
            free_offset, free_size = self._area, 8
            self._disk.write(free_header(self._moov_offset - self._area), self._area)
        rest = self._area + self._init_size - offset - len(moov)
        self._disk.write(moov + free_header(rest), offset)
        if self._sequence:
            self._disk.sync()
        self._disk.write(free_header(free_size), free_offset)
        if self._sequence:
            # No fragment that the older version does not know outlives a power cut that this one does not.
            self._disk.sync()
        self._moov_offset, self._moov_size = offset, len(moov)
        return True

    def _place_of_init(self, moov: bytes) -> int | None:
        """Where a new init `moov` has room: behind the present one, else in front of it; None: nowhere.

        It leaves no `free` box of whole blocks, which are for the header area: recovery tells them by that.
        """
        offset = -(-(self._moov_offset + self._moov_size + 8) // 8) * 8
        while (offset - self._moov_offset) % BLOCK == 0 or (offset - self._area) % BLOCK == 0:
            offset += 8
        if offset + len(moov) + 8 <= self._area + self._init_size:
            return offset
        offset = self._area + 8
        return offset if offset + len(moov) + 8 <= self._moov_offset else None

    def set_note(self, note: bytes) -> None:
        """Replace the note in the file that `finalize` will make."""
        self._facts = replace(self._facts, note=note)

    # --- the end ---

    def finish(self, ends: Mapping[int, int] | None = None) -> None:
        """Write what is pending and give back preallocated space.

        `ends` tells, per track id, the dts at which the track's last packet ends (its successor's dts in the
        next segment). Raises WriteError; the writer can be finalized all the same.
        """
        try:
            self._cut(ends)
        finally:
            self._set_ends(ends or {})
            with suppress(OSError):
                self._disk.truncate(self._end)

    def _set_ends(self, ends: Mapping[int, int]) -> None:
        with self._lock:
            for queue in self._queues:
                index = queue.index
                end = ends.get(index.header.id, 0)
                if index.samples and end > index.last_dts:
                    index.last_duration = min(end - index.last_dts, 0xFFFFFFFF)

    def finalize(
        self, *, sync: bool = True, shown: tuple[Fraction | None, Fraction | None] = (None, None)
    ) -> Finalized:
        """Make the file progressive, and close it; `finish` came before. May run on another thread.

        `shown` is as `Movie` has it: a part of what was written may be hidden.
        Without `sync`, a power cut soon after may cost the whole file; a crash of the program cannot.
        Raises OSError when the disk fails for another reason than space: `recover_file` can try again.
        """
        try:
            indexes = self._indexes()
            target = Target(self.path, self._disk, self._area, self._end, self._on_move)
            movie = Movie(indexes, self._facts, shown)
            how = finalize(target, movie, sync=sync)
            return Finalized(how, self._disk.size_bytes, int(movie.duration_s * 1000), self.track_facts())
        finally:
            self._disk.close()

    def _on_move(self, size: int) -> None:
        with self._lock:
            self._epoch += 1
            self._moved += size

    def close(self) -> None:
        """Leave the file as it is: every fragment written is in it, and recovery will find it."""
        self._disk.close()

    # --- looking ---

    @property
    def size_bytes(self) -> int:
        """What has been written so far, reserve included."""
        return self._end + self._moved

    @property
    def duration_ms(self) -> int:
        """From the file's time 0 to the end of the longest track on disk, within a frame; cheap."""
        begun = [index for index in self._indexes() if index.samples]
        if not begun:
            return 0
        if self._zero[0] != len(begun):
            self._zero = (len(begun), int(timeline.zero_time_s(begun) * 1000))
        return max(index.end_dts * 1000 // index.header.timescale for index in begun) - self._zero[1]

    @property
    def nudged_packets(self) -> int:
        """Packets whose timestamps had to be moved, because dts did not grow or pts lay before it."""
        return sum(queue.nudged for queue in self._queues)

    @property
    def epoch(self) -> int:
        """Odd while finalizing moves media bytes inside the file, greater than before when it has.

        Whoever reads through a `VirtualFile` compares its `epoch` with this one after each read; when they
        differ, the bytes are not to be trusted and `view` is to be asked again.
        """
        return self._epoch

    def track_facts(self) -> tuple[TrackFacts, ...]:
        with self._lock:
            return tuple(index.facts() for index in self._indexes())

    def view(self) -> VirtualFile:
        """The file as the progressive one it will be. About 20 ms per recorded hour: call it off the loop."""
        with self._lock:
            indexes = [index.copy() for index in self._indexes()]
            end, moved, epoch, facts = self._end, self._moved, self._epoch, self._facts
        header = compose_header(Movie(indexes, facts), self._area, end)
        start = self._area + moved
        return VirtualFile(header.serialize(), self.path, start, end + moved, f"h{header.size}", epoch)

    def _indexes(self) -> list[TrackIndex]:
        return [queue.index for queue in self._queues]


_track_id = attrgetter("id")


def _check_ids(tracks: Sequence[Track]) -> None:
    ids = list(map(_track_id, tracks))
    if len(set(ids)) != len(ids) or min(ids, default=0) < 0 or max(ids, default=0) >= 0x7FFFFFFF:
        raise ContainerError(f"track ids must be different and not negative: {ids}")
