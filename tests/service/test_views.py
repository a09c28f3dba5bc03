"""Which view of a growing file a reader gets."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from aircheck.service import growing
from aircheck.service.growing import Reader, TimedView, Views


@dataclass(frozen=True)
class File:
    header: bytes = b"header"
    path: Path = Path("live.growing")
    start: int = 0
    size_bytes: int = 100


class HandClock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def monotonic_s(self) -> float:
        return self.now_s

    def wall_ns(self) -> int:
        return 0


START, LATER = Reader("phone"), Reader("phone", is_at_start=False)


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def views(clock: HandClock) -> Views:
    return Views(clock)


def hold(
    views: Views, clock: HandClock, reader: Reader = START, segment_id: str = "s", size: int = 6
) -> TimedView:
    view = TimedView(File(bytes(size)), 0, clock.now_s)
    views.hold(segment_id, reader, view)
    return view


def test_reader_keeps_its_view_for_as_long_as_it_goes_on(views: Views, clock: HandClock) -> None:
    view = hold(views, clock)
    for _ in range(5):
        clock.now_s += 300
        assert views.find("s", LATER) is view
        views.hold("s", LATER, view)


def test_reader_that_begins_anew_gets_a_new_view(views: Views, clock: HandClock) -> None:
    view = hold(views, clock)
    clock.now_s += 1
    assert views.find("s", START) is view
    clock.now_s += 2
    assert views.find("s", START) is None


def test_readers_that_begin_together_share_a_view(views: Views, clock: HandClock) -> None:
    view = hold(views, clock)
    clock.now_s += 0.2
    assert views.find("s", Reader("tablet")) is view
    assert views.find("other", Reader("tablet")) is None
    clock.now_s += 1
    assert views.find("s", Reader("tablet")) is None


def test_reader_that_was_silent_for_long_is_forgotten(views: Views, clock: HandClock) -> None:
    hold(views, clock)
    clock.now_s += growing.IDLE_MAX_S + 1
    assert views.find("s", LATER) is None
    assert not views._held
    assert not views._newest


def test_headers_that_are_kept_are_bounded(
    views: Views, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(growing, "HEADERS_MAX_BYTES", 1000)
    for n in range(20):
        clock.now_s += 1
        hold(views, clock, Reader(f"reader {n}"), f"segment {n}", size=300)
    assert [key[0] for key in views._held] == ["segment 17", "segment 18", "segment 19"]
    assert set(views._newest) == {"segment 17", "segment 18", "segment 19"}


def test_view_that_many_share_counts_once(
    views: Views, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(growing, "HEADERS_MAX_BYTES", 1000)
    view = hold(views, clock, size=900)
    for n in range(20):
        views.hold("s", Reader(f"reader {n}"), view)
    assert len(views._held) == 21
