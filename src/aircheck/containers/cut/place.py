"""Where files lie on the timeline of what is made, and which of them a range touches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Generic, TypeVar

from aircheck.containers.cut.source import Range, Source

R = TypeVar("R")

_CERTAINLY_MS = 5000
"""What is known of a file from outside is exact to this, and its tracks overlap the next one's by less."""
_OVERLAP_S = Fraction(1)


@dataclass(frozen=True, slots=True)
class _Placed(Generic[R]):
    """`zero_s` is a reader's time 0 in its own time, to which `by_s` is added to have the timeline's."""

    reader: R
    zero_s: Fraction
    by_s: Fraction
    end_s: Callable[[], Fraction]
    is_behind: bool
    """Put behind the one before, whatever its own time was."""

    @property
    def begin_s(self) -> Fraction:
        return self.zero_s + self.by_s


@dataclass(frozen=True, slots=True)
class Piece(Generic[R]):
    """[start_s, end_s) of one reader in its own time; `by_s` is to be added to it.

    `is_tail`: the pictures of that time are the next reader's, only sound may still be here. `hides_lead`:
    sound before the reader's time 0 has no place, as another reader's is there.
    """

    reader: R
    start_s: Fraction | None
    end_s: Fraction | None
    by_s: Fraction
    is_tail: bool
    hides_lead: bool


class Timeline(Generic[R]):
    """Readers in their order; the first one's time 0 is where the timeline begins."""

    def __init__(self) -> None:
        self._placed: list[_Placed[R]] = []

    def __len__(self) -> int:
        return len(self._placed)

    @property
    def first(self) -> R:
        return self._placed[0].reader

    @property
    def begin_s(self) -> Fraction:
        return self._placed[0].begin_s

    def add(
        self, reader: R, zero_s: Fraction, end_s: Callable[[], Fraction], by_s: Fraction | None = None
    ) -> None:
        """`by_s` None: behind the one before."""
        last = self._placed[-1] if self._placed else None
        is_behind = by_s is None and last is not None
        if by_s is None:
            by_s = last.end_s() + last.by_s - zero_s if last is not None else Fraction(0)
        self._placed.append(_Placed(reader, zero_s, by_s, end_s, is_behind))

    def pieces(self, wanted: Range) -> Iterator[Piece[R]]:
        start_s = None if wanted.start_s is None else self.begin_s + wanted.start_s
        end_s = None if wanted.end_s is None else self.begin_s + wanted.end_s
        for placed, following in zip(self._placed, [*self._placed[1:], None], strict=True):
            if end_s is not None and end_s <= placed.begin_s:
                return
            late_s = Fraction(-1) if start_s is None or following is None else start_s - following.begin_s
            if late_s >= _OVERLAP_S:
                continue
            yield Piece(
                placed.reader,
                None if start_s is None or start_s <= placed.begin_s else start_s - placed.by_s,
                None if end_s is None else end_s - placed.by_s,
                placed.by_s,
                late_s >= 0,
                placed.is_behind,
            )


def touched(sources: Sequence[Source], wanted: Range) -> Sequence[Source]:
    """The first source, where time begins, and those that are not certainly outside of the range."""
    first = sources[0]
    if first.begin_ms is None:
        return sources
    start_ms = first.begin_ms + int((wanted.start_s or 0) * 1000) - _CERTAINLY_MS
    end_ms = None if wanted.end_s is None else first.begin_ms + int(wanted.end_s * 1000) + _CERTAINLY_MS
    return [first, *(source for source in sources[1:] if _touches(source, start_ms, end_ms))]


def _touches(source: Source, start_ms: int, end_ms: int | None) -> bool:
    is_before = source.end_ms is not None and source.end_ms < start_ms
    is_behind = source.begin_ms is not None and end_ms is not None and source.begin_ms > end_ms
    return not is_before and not is_behind
