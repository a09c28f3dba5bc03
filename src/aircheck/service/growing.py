"""Growing files as readers see them: each reader a file that holds still.

Theory of operation
    A view of a growing file is a header made for what is in it now, and behind that the file's own bytes. The
    bytes never change, but the next view has another header and another size. A player that fetches a file in
    several requests must not get one half of one header and the other half of the next. So a reader that
    begins at the start gets the newest view, and keeps getting that one until it begins anew.

    Readers are told apart by address and program, which is all that HTTP tells. Views are shared by readers
    that begin at nearly the same time: making one costs about 20 ms per recorded hour.
"""

from __future__ import annotations

import os
import time
from collections import OrderedDict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

from aircheck.clock import Clock
from aircheck.containers.cut.source import View
from aircheck.facts import SegmentFacts
from aircheck.service.content import Content

SHARED_FOR_S = 0.5
"""A view younger than this is as good as a new one, for anybody."""
SAME_START_S = 2.0
"""A reader that asks for the start again so soon is still looking what the file is: it keeps its view."""
IDLE_MAX_S = 600.0
"""A reader that asks for nothing for so long has gone."""
HEADERS_MAX_BYTES = 64 * 1024 * 1024
"""All headers that are kept; beyond that the reader that was silent the longest loses its view."""
MOVING_POLL_S = 0.005


class GrowingFile(Protocol):
    """Who writes a file, as its readers see it; of use to them even after the file became final.

    `epoch` is odd while media bytes are being moved inside the file, and another one afterwards.
    """

    @property
    def epoch(self) -> int: ...

    def view(self) -> View:
        """The file as it is now. Takes its time: called in a thread."""
        ...


class GrowingFiles(Protocol):
    """What the downloads ask of the recorder."""

    def growing_file(self, segment_id: str) -> GrowingFile | None:
        """None when there is nothing to play yet, or when the file is not growing any more."""
        ...

    def growing_segments(self) -> Iterable[SegmentFacts]:
        """All that grow now; the catalogue learns of them a moment later."""
        ...


@dataclass(frozen=True, slots=True)
class Reader:
    """Who asks, as far as that can be told, and whether it begins at the start of the file."""

    name: str = ""
    is_at_start: bool = True


@dataclass(frozen=True, slots=True)
class TimedView:
    """A view, the writer's epoch when it was made, and when that was."""

    file: View
    epoch: int
    made_s: float

    @classmethod
    def make(cls, growing: GrowingFile, now_s: float) -> TimedView:
        epoch = growing.epoch
        return cls(growing.view(), epoch, now_s)


class Views:
    """Which reader has which view of which segment."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._held: OrderedDict[tuple[str, str], tuple[TimedView, float]] = OrderedDict()
        """By segment and reader, with the time of its last request; the one silent the longest is first."""
        self._newest: dict[str, TimedView] = {}

    def find(self, segment_id: str, reader: Reader) -> TimedView | None:
        """The view that this request must be answered from; None: from a new one."""
        now_s = self._clock.monotonic_s()
        self._forget_idle(now_s)
        held = self._held.get((segment_id, reader.name))
        if held is not None and (not reader.is_at_start or now_s - held[0].made_s < SAME_START_S):
            return held[0]
        newest = self._newest.get(segment_id)
        return newest if newest is not None and now_s - newest.made_s < SHARED_FOR_S else None

    def hold(self, segment_id: str, reader: Reader, view: TimedView) -> None:
        """The reader gets this one from now on."""
        key = (segment_id, reader.name)
        self._held[key] = (view, self._clock.monotonic_s())
        self._held.move_to_end(key)
        self._newest[segment_id] = view
        while len(self._held) > 1 and self._size_bytes() > HEADERS_MAX_BYTES:
            self._forget_first()

    def _size_bytes(self) -> int:
        different = {id(view): len(view.file.header) for view, _ in self._held.values()}
        return sum(different.values())

    def _forget_idle(self, now_s: float) -> None:
        while self._held and now_s - next(iter(self._held.values()))[1] > IDLE_MAX_S:
            self._forget_first()

    def _forget_first(self) -> None:
        (segment_id, _), _ = self._held.popitem(last=False)
        if all(key[0] != segment_id for key in self._held):
            del self._newest[segment_id]


class GrowingContent(Content):
    """The bytes of a view: its header from memory, the rest from where the media is at that moment."""

    def __init__(self, fd: int, pool: ThreadPoolExecutor, growing: GrowingFile, view: TimedView) -> None:
        super().__init__(fd, view.file.size_bytes, pool)
        self._growing = growing
        self._epoch = view.epoch
        self._header = view.file.header
        self._start = view.file.start

    def is_at_hand(self, offset: int, size: int) -> bool:
        """See `Content`. Never: it may have to wait for bytes that are being moved."""
        return False

    def send(self, sock: int, offset: int, size: int) -> int:
        """See `Content`. The kernel could not tell that bytes are being moved under its hands."""
        return self._send_copy(sock, offset, size)

    def _read(self, offset: int, size: int) -> bytes:
        """A finalize that has to make room moves all media in place: look again whenever that happened."""
        if offset < len(self._header):
            return self._header[offset : offset + size]
        while True:
            epoch = self._growing.epoch
            if epoch % 2:
                time.sleep(MOVING_POLL_S)
                continue
            if epoch != self._epoch:
                self._start, self._epoch = self._growing.view().start, epoch
            data = os.pread(self._fd, size, offset - len(self._header) + self._start)
            if self._growing.epoch == epoch:
                return data
