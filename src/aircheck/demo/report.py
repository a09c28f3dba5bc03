"""What the demo tells: each step as it is done, then every promise beside what was found in the file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from aircheck.containers.test_pattern import EncodedPattern, Pattern
from aircheck.containers.verify import FileVerdict, TrackVerdict

SYNC_TOLERANCE_MS = 5.0
"""RTMP counts in milliseconds; anybody hears or sees a difference from some 40 ms on."""

LENGTH_TOLERANCE_S = 0.1
_PIPED_WIDTH = 160


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must hold of the file."""

    what: str
    expected: str
    found: str
    is_good: bool


def judge(pattern: Pattern, encoded: EncodedPattern, verdict: FileVerdict) -> list[Check]:
    """What was sent beside what libavformat and libavcodec found."""
    video = verdict.track("video") or TrackVerdict("video", "none")
    audio = verdict.track("audio") or TrackVerdict("audio", "none")
    return [
        _equal("video packets", encoded.packets_of(encoded.video), video.packets),
        _equal("audio packets", encoded.packets_of(encoded.audio), audio.packets),
        _equal("pictures that decode", pattern.frames, video.decoded_frames),
        _equal("decoding errors", 0, len(verdict.errors)),
        _length(pattern, video.duration_s),
        _equal("flashes seen", pattern.duration_s, len(verdict.flashes_s)),
        _equal("beeps heard", pattern.duration_s, len(verdict.beeps_s)),
        _sync(verdict.worst_skew_ms),
    ]


def _equal(what: str, expected: int, found: int) -> Check:
    return Check(what, str(expected), str(found), found == expected)


def _length(pattern: Pattern, found_s: float) -> Check:
    is_good = abs(found_s - pattern.duration_s) <= LENGTH_TOLERANCE_S
    return Check("length of the picture", f"{pattern.duration_s:.2f} s", f"{found_s:.2f} s", is_good)


def _sync(skew_ms: float | None) -> Check:
    found = "unknown" if skew_ms is None else f"{skew_ms:+.1f} ms"
    is_good = skew_ms is not None and abs(skew_ms) <= SYNC_TOLERANCE_MS
    return Check("sound against picture, at worst", f"within {SYNC_TOLERANCE_MS:g} ms", found, is_good)


class Report:
    """Prints to a terminal or, in whole lines and without animation, into a pipe."""

    def __init__(self, console: Console | None = None) -> None:
        shown = console or Console(highlight=False)
        self._is_quiet = not shown.is_terminal
        is_piped = console is None and not shown.is_terminal
        self._console = Console(highlight=False, width=_PIPED_WIDTH) if is_piped else shown

    def server(self, address: str, is_own: bool) -> None:
        self._done(f"Server at {address}: {'started for this demo' if is_own else 'already running'}")

    def encoded(self, pattern: Pattern, encoded: EncodedPattern) -> None:
        self._done(
            f"Test pattern of {pattern.duration_s} s: H.264 {pattern.width}x{pattern.height} with B-frames, "
            f"{pattern.frames_per_second} frames/s, AAC at {pattern.sample_rate // 1000} kHz; "
            f"a flash and a beep each second"
        )

    def published(self, target: str, encoded: EncodedPattern) -> None:
        size_kb = sum(len(packet.data) for packet in encoded.packets) // 1000
        self._done(f"Published to {target}: {len(encoded.packets)} packets, {size_kb} KB")

    def recorded(self, recording: dict[str, Any], waited_s: float) -> None:
        self._done(
            f"Recording {recording['state']}, {waited_s * 1000:.0f} ms after the stream ended: "
            f"{recording['size_bytes'] // 1000} KB, {recording['gap_count']} gaps"
        )

    def result(self, checks: Sequence[Check], path: Path, url: str, is_own: bool) -> None:
        table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 3, 0, 0))
        for column in ("", "what", "sent", "in the file"):
            table.add_column(column)
        for check in checks:
            mark = "[green]✓[/]" if check.is_good else "[bold red]✗[/]"
            table.add_row(mark, check.what, check.expected, check.found)
        for line in ("", table, ""):
            self._console.print(line)
        if all(check.is_good for check in checks):
            self._console.print("All of it is in the file.", style="bold green")
        else:
            self._console.print("The file is not what was sent.", style="bold red")
        self._console.print(f"  file  {path}", soft_wrap=True, markup=False)
        if not is_own:
            self._console.print(f"  watch {url}", soft_wrap=True, markup=False)

    @contextmanager
    def working(self, what: str) -> Iterator[None]:
        with self._console.status(f"{escape(what)} …"):
            yield

    @contextmanager
    def progress(self, what: str, total_s: float) -> Iterator[Callable[[float], None]]:
        """Yields what is to be called with the seconds done."""
        columns = (TextColumn(escape(what)), BarColumn(), TextColumn("{task.completed:.1f} s"))
        with Progress(*columns, console=self._console, transient=True, disable=self._is_quiet) as bar:
            task = bar.add_task("", total=total_s)
            yield lambda done_s: bar.update(task, completed=done_s)

    def _done(self, what: str) -> None:
        self._console.print(f"[green]✓[/] {escape(what)}")
