"""Clips: from a recording's name and a range of time to a file of that part.

Theory of operation
    What is meant is a file of the catalogue, or a whole recording: by its id, or by the name of its files
    without the part number. A clip that is kept is sent at once. Else it is cut, in one of a few threads of
    its own, while everybody who asks for the same waits for the same file. Ends behind the end mean the same;
    a whole file is not cut at all.

    A growing recording can be cut up to now. A clip whose end is not there yet is refused, because it would
    be kept under a name that promises more; one without an end is made for the reader who asks, who gets the
    same one for all its requests, and is not kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from aircheck.catalog import Catalog
from aircheck.clip_note import ClipNote, encode_clip_note
from aircheck.clock import Clock
from aircheck.containers.capability import Container
from aircheck.containers.cut import NothingThere, Range, Source, cut
from aircheck.errors import AircheckError, ContainerError
from aircheck.facts import SegmentFacts, SegmentState, TrackFacts
from aircheck.service.clip_range import ClipRange
from aircheck.service.clip_subjects import UNFINISHED, ClipSubject, ClipSubjects
from aircheck.service.content import Content
from aircheck.service.downloads import (
    READER_THREADS,
    RETRY_DELAYS_S,
    Download,
    gone,
    media_type,
    open_regular,
    stable_name,
)
from aircheck.service.errors import Conflict, InvalidRequest, NotFound, NotYetPlayable, OutsideRange, Refused
from aircheck.service.growing import MOVING_POLL_S, SAME_START_S, GrowingFile, GrowingFiles, Reader
from aircheck.service.kept_clips import KeptClip, KeptClips
from aircheck.service.recordings import RecordingService
from aircheck.tasks import TaskGroup

T = TypeVar("T")

CUTTERS = 2
"""Clips that are cut at the same time: more would only take the interpreter from the recorder."""
HELD_FOR_S = 60.0
"""So long after its last request a reader may come back to a clip that is not kept."""
MOST_HELD = 64

_MS = 1000


@dataclass(slots=True)
class ClipCounters:
    """`cut` are those that were made, `reused` requests that a kept one answered."""

    cut: int = 0
    reused: int = 0
    failed: int = 0
    size_bytes: int = 0
    cut_s: float = 0.0


@dataclass(slots=True)
class _Held:
    """A clip that has no name any more, for one reader."""

    fd: int
    made_s: float
    used_s: float


class ClipService:
    """`kept` are the clips' files; `reserve_bytes` stay free on their disk. `open_file` opens recordings."""

    def __init__(
        self,
        catalog: Catalog,
        recordings: RecordingService,
        growing: GrowingFiles,
        kept: KeptClips,
        clock: Clock,
        *,
        open_file: Callable[[str, Reader], Awaitable[Download]],
        reserve_bytes: int = 0,
    ) -> None:
        self.counters = ClipCounters()
        self._subjects = ClipSubjects(catalog, recordings)
        self._growing = growing
        self._kept = kept
        self._clock = clock
        self._open_file = open_file
        self._reserve_bytes = reserve_bytes
        self._tasks = TaskGroup("clips")
        self._running: dict[tuple[str, ...], asyncio.Task[KeptClip | AircheckError | OSError]] = {}
        self._held: OrderedDict[tuple[str, ...], _Held] = OrderedDict()
        self._cutters = ThreadPoolExecutor(CUTTERS, thread_name_prefix="clip-cutter")
        self._readers = ThreadPoolExecutor(READER_THREADS, thread_name_prefix="clip-reader")

    async def start(self) -> None:
        """Raises OSError when the folder of clips cannot be used."""
        await asyncio.to_thread(self._kept.clean)

    async def stop(self) -> None:
        """Clips that are being cut are finished, but kept ones only for others."""
        await self._tasks.join()
        while self._held:
            os.close(self._held.popitem()[1].fd)
        await asyncio.to_thread(self._cutters.shutdown)
        await asyncio.to_thread(self._readers.shutdown)

    async def open(
        self,
        name: str,
        clip: ClipRange,
        container: str | None = None,
        reader: Reader | None = None,
    ) -> Download:
        """A clip of the file or recording of that name. The holder closes its content.

        Raises `NotFound`, `OutsideRange`, `Conflict`, `Refused`, `NotYetPlayable`, `InvalidRequest`, OSError.
        """

        async def look() -> Download:
            subject = await self._subjects.named(name)
            return await self._open(subject, clip, container, reader or Reader())

        return await _patiently(look)

    async def open_recording(
        self,
        recording_id: str,
        clip: ClipRange,
        container: str | None = None,
        reader: Reader | None = None,
    ) -> Download:
        """A clip of a whole recording, over all of its files. Raises as `open` does."""

        async def look() -> Download:
            subject = await self._subjects.recording(recording_id)
            if subject is None:
                raise NotFound(
                    f"there is no recording with the id {recording_id!r}, or it has no files",
                    remedy="GET /api/v1/recordings lists the recordings",
                )
            return await self._open(subject, clip, container, reader or Reader())

        return await _patiently(look)

    # --- kept, held or cut ---

    async def _open(
        self, subject: ClipSubject, clip: ClipRange, container: str | None, reader: Reader
    ) -> Download:
        container = _container(subject, container)
        subject.check(clip)
        if subject.is_growing and clip.end_s is None:
            return await self._open_held(subject, clip, container, reader)
        part = subject.clamped(clip)
        if subject.is_whole(part, container):
            return await self._open_file(stable_name(subject.segments[0]), reader)
        note = _note(subject, part)
        found = await self._read(lambda: self._kept.find(subject.name, part, container, note.of))
        if found is None:
            found = await self._cut_once(subject, part, container, note)
        else:
            self.counters.reused += 1
        if part == clip:
            return await self._read(lambda: self._open_kept(found))
        return await self._read(lambda: self._open_kept(self._kept.link(found, subject.name, clip)))

    async def open_kept(self, name: str) -> Download | None:
        """A clip by its own name, such as `stream-s11-e60.mp4`; None when there is none."""
        found = await self._read(lambda: self._kept.named(name))
        return None if found is None else await self._read(lambda: self._open_kept(found))

    def _open_kept(self, clip: KeptClip) -> Download:
        fd, status = open_regular(clip.path)
        return Download(
            _facts(clip),
            media_type(_facts(clip)),
            Content(fd, status.st_size, self._readers),
            etag=f'"{clip.note.of[:16]}-{status.st_size:x}-{status.st_mtime_ns:x}"',
            modified_ns=status.st_mtime_ns,
        )

    async def _cut_once(
        self, subject: ClipSubject, clip: ClipRange, container: str, note: ClipNote
    ) -> KeptClip:
        """Whoever asks for the same clip at the same time gets the same one; nobody's leaving stops it."""
        key = (subject.name, note.of, clip.start, clip.end, container)
        task = self._running.get(key)
        if task is None:
            task = self._tasks.spawn(self._cut_and_keep(subject, clip, container, note), subject.name)
            self._running[key] = task
            task.add_done_callback(lambda _: self._running.pop(key, None))
        outcome = await asyncio.shield(task)
        if isinstance(outcome, KeptClip):
            return outcome
        raise outcome

    async def _cut_and_keep(
        self, subject: ClipSubject, clip: ClipRange, container: str, note: ClipNote
    ) -> KeptClip | AircheckError | OSError:
        def work() -> KeptClip:
            made = self._cut(sources, clip, container, note)
            try:
                return self._kept.keep(made, subject.name, clip, note)
            finally:
                made.unlink(missing_ok=True)

        sources = self._sources(subject)
        try:
            return await self._run(self._cutters, work)
        except (AircheckError, OSError) as error:
            return error

    def _cut(self, sources: Sequence[_Growable], clip: ClipRange, container: str, note: ClipNote) -> Path:
        """Cut to a temporary file; in a thread. Raises `OutsideRange`, `Conflict`, `Refused`, OSError."""
        begun_s = time.monotonic()
        made = self._kept.temporary(container)
        self._check_room(sources, clip)
        try:
            _cut_still(sources, Range(clip.start_s, clip.end_s), made, encode_clip_note(note))
        except NothingThere as error:
            raise OutsideRange(error.message, remedy=error.remedy) from error
        except ContainerError as error:
            self.counters.failed += 1
            raise Conflict(error.message, remedy=error.remedy) from error
        except OSError as error:
            moved = [one for one in sources if str(one.source.path) == str(error.filename)]
            if isinstance(error, FileNotFoundError) and moved:
                raise _Elsewhere.of(moved[0]) from error
            self.counters.failed += 1
            raise
        self.counters.cut += 1
        self.counters.size_bytes += made.stat().st_size
        self.counters.cut_s += time.monotonic() - begun_s
        return made

    def _check_room(self, sources: Sequence[_Growable], clip: ClipRange) -> None:
        """No clip may take the space that recordings need."""
        room = os.statvfs(self._kept.folder)
        needed = sum(source.size_bytes for source in sources)
        length_s = sum(source.duration_ms for source in sources) / _MS
        if clip.end_s is not None and length_s:
            needed = int(needed * min(1, float(clip.end_s - (clip.start_s or 0)) / length_s))
        if room.f_bavail * room.f_frsize - needed < self._reserve_bytes:
            raise Refused(
                f"there is no room for a clip of about {needed // 1_000_000} MB in {self._kept.folder}",
                remedy="free space on that disk, or set another folder as [clips] dir",
            )

    def _sources(self, subject: ClipSubject) -> list[_Growable]:
        sources = []
        for segment in subject.segments:
            writer = self._growing.growing_file(segment.id) if segment.state in UNFINISHED else None
            if writer is None and segment.state in UNFINISHED and segment.container != Container.MP4:
                raise NotYetPlayable(
                    f"recording {segment.file_name!r} has nothing to cut yet", remedy="try again in a second"
                )
            end_ms = None if segment.state in UNFINISHED else segment.start_pts_ms + segment.duration_ms
            source = Source(
                Path(segment.path),
                segment.start_pts_ms if len(subject.segments) > 1 else None,
                end_ms,
                writer.view if writer is not None else None,
            )
            sources.append(
                _Growable(source, writer, segment.file_name, segment.size_bytes, segment.duration_ms)
            )
        return sources

    async def _open_held(
        self, subject: ClipSubject, clip: ClipRange, container: str, reader: Reader
    ) -> Download:
        """Up to now: the one that this reader has, or a new one if it begins anew."""
        self._let_go()
        key = (reader.name, subject.id, clip.start, container)
        held, now_s = self._held.get(key), self._clock.monotonic_s()
        if held is None or (reader.is_at_start and now_s - held.made_s >= SAME_START_S):
            fd = await self._cut_unnamed(subject, clip, container)
            if (older := self._held.pop(key, None)) is not None:
                os.close(older.fd)
            held = self._held[key] = _Held(fd, now_s, now_s)
        held.used_s = now_s
        self._held.move_to_end(key)
        fd = os.dup(held.fd)
        name = clip.name(subject.name, container)
        facts = replace(subject.segments[0], container=container, file_name=name)
        return Download(facts, media_type(facts), Content(fd, os.fstat(fd).st_size, self._readers))

    async def _cut_unnamed(self, subject: ClipSubject, clip: ClipRange, container: str) -> int:
        def work() -> int:
            made = self._cut(sources, clip, container, _note(subject, clip))
            try:
                return open_regular(made)[0]
            finally:
                made.unlink()

        sources = self._sources(subject)
        return await self._run(self._cutters, work)

    def _let_go(self) -> None:
        oldest_s = self._clock.monotonic_s() - HELD_FOR_S
        while self._held:
            key, held = next(iter(self._held.items()))
            if held.used_s >= oldest_s and len(self._held) < MOST_HELD:
                return
            del self._held[key]
            os.close(held.fd)

    async def _read(self, work: Callable[[], T]) -> T:
        return await self._run(self._readers, work)

    async def _run(self, pool: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(pool, work)


class _Elsewhere(NotFound):
    """A file is not where it was a moment ago: it is becoming final, or it is gone."""

    @classmethod
    def of(cls, source: _Growable) -> _Elsewhere:
        reason = gone(source.file_name)
        return cls(reason.message, remedy=reason.remedy)


async def _patiently(look: Callable[[], Awaitable[T]]) -> T:
    """As downloads do: a file that is becoming final has for a moment neither a view nor its last name."""
    for delay_s in RETRY_DELAYS_S:
        with contextlib.suppress(_Elsewhere, NotYetPlayable):
            return await look()
        await asyncio.sleep(delay_s)
    return await look()


@dataclass(frozen=True, slots=True)
class _Growable:
    """A source, who writes it if it still grows, and about how much there is of it."""

    source: Source
    writer: GrowingFile | None
    file_name: str
    size_bytes: int
    duration_ms: int

    @property
    def epoch(self) -> int:
        return self.writer.epoch if self.writer is not None else 0


def _cut_still(sources: Sequence[_Growable], wanted: Range, target: Path, note: bytes) -> None:
    """A finalize that has to make room moves all media in place: cut anew whenever that happened."""
    while True:
        epochs = [source.epoch for source in sources]
        if any(epoch % 2 for epoch in epochs):
            time.sleep(MOVING_POLL_S)
            continue
        cut([source.source for source in sources], wanted, target, note=note)
        if epochs == [source.epoch for source in sources]:
            _sync(target)
            return
        target.unlink()


def _sync(path: Path) -> None:
    """A name that survives a power cut must not stand for less than the whole clip."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fdatasync(fd)
    finally:
        os.close(fd)


def _container(subject: ClipSubject, wanted: str | None) -> str:
    """The container of the clip: that of the files if no other one is asked for."""
    found = wanted or subject.segments[0].container
    if found not in set(Container):
        raise InvalidRequest(f"there is no format {found!r}", remedy=f"choose one of {', '.join(Container)}")
    return found


def _note(subject: ClipSubject, clip: ClipRange) -> ClipNote:
    """What has its end in the recording stays what it is; the rest changes when more is recorded."""
    is_settled = clip.end_s is not None and clip.end_s * _MS <= subject.duration_ms
    what = (subject.id, clip.start, clip.end, "" if is_settled else str(subject.size_bytes))
    kinds = dict.fromkeys(track.kind for segment in subject.segments for track in segment.tracks)
    return ClipNote(hashlib.sha256("\0".join(what).encode()).hexdigest(), clip.start, clip.end, tuple(kinds))


def _facts(clip: KeptClip) -> SegmentFacts:
    """A clip as downloads want to know it."""
    tracks = tuple(
        TrackFacts(id=number, codec="", kind=kind, timescale=1) for number, kind in enumerate(clip.note.kinds)
    )
    return SegmentFacts(
        id=clip.note.of,
        recording_id="",
        index=1,
        state=SegmentState.COMPLETE,
        container=clip.path.suffix[1:],
        path=str(clip.path),
        file_name=clip.name,
        start_ns=0,
        tracks=tracks,
    )
