"""How an inspection looks: a headline, the tracks, a bar for each file, and what is missing where."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from aircheck.cli.inspection import Inspection, Part
from aircheck.cli.views import STATE_STYLES, console, local_time
from aircheck.containers.survey import Interval, Jump, TrackSurvey
from aircheck.facts import GapFacts, SegmentState, TrackFacts
from aircheck.words import clock_time, file_size

_BAR_MAX = 64
_BAR_MIN = 12
_TOLD_MAX = 20
"""Gaps, jumps and changes that are listed; `--json` has all."""
_SAME_PLACE_MS = 1000
_STEADY_MS = 60_000
"""From this length on a drift can be told as a rate."""
_CHANNELS = {1: "mono", 2: "stereo"}


def show_inspection(found: Inspection) -> None:
    out = console()
    out.print(_headline(found))
    out.print()
    out.print(_tracks(found))
    for line in _skews(found):
        out.print(line)
    out.print()
    out.print(_files(found))
    for table in (_gaps(found), _jumps(found), _picture_changes(found)):
        if table is not None:
            out.print()
            out.print(table)


# --- headline -----------------------------------------------------------------------------------------------


def _headline(found: Inspection) -> Text:
    recording = found.recording
    text = Text()
    if recording is None:
        text.append(str(found.parts[0].path), "bold")
    else:
        text.append(recording.stream_name, "bold").append(f"  {recording.app}  ", "dim")
        text.append(recording.state, STATE_STYLES.get(recording.state, ""))
        text.append(f" ({recording.end_reason})" if recording.end_reason is not None else "")
        text.append(f"  {recording.id}", "dim")
    return text.append("\n").append(_sums(found))


def _sums(found: Inspection) -> Text:
    parts = [clock_time_ms(found.duration_ms), file_size(found.size_bytes)]
    if found.duration_ms:
        parts.append(bit_rate(found.size_bytes * 8000 // found.duration_ms))
    if len(found.parts) > 1:
        parts.append(f"{len(found.parts)} files")
    recording, wall_ms = found.recording, found.wall_clock_ms
    if recording is not None:
        parts.insert(0, local_time(recording.start_ns))
    if wall_ms is not None:
        parts.append(f"received in {clock_time_ms(wall_ms)}")
    text = Text(" · ".join(parts))
    if recording is not None and recording.gaps:
        lost = f", {recording.dropped_packets} packets lost" if recording.dropped_packets else ""
        text.append(" · ").append(_plural(recording.gaps, "gap") + lost, "red")
    if recording is not None and recording.error:
        text.append(f"\n{recording.error}", "red")
    return text


# --- tracks -------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _TrackSum:
    """A track over all files that have it."""

    facts: TrackFacts
    packets: int = 0
    size_bytes: int = 0
    duration_ms: int = 0
    keyframes: int = 0
    intervals: tuple[Interval, ...] = ()

    def add(self, track: TrackSurvey) -> None:
        self.packets += track.facts.packets
        self.size_bytes += track.facts.size_bytes
        self.duration_ms += track.facts.duration_ms
        self.keyframes += track.keyframes
        if track.key_interval is not None:
            self.intervals += (track.key_interval,)


def _tracks(found: Inspection) -> Table:
    table = _table("track", "format")
    for column in ("packets", "size", "bit rate"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("key frames every", no_wrap=True)
    for track in _track_sums(found):
        rate_bps = track.size_bytes * 8000 // track.duration_ms if track.duration_ms else 0
        table.add_row(
            track.facts.kind,
            f"{track.facts.codec} {_format(track.facts)}",
            f"{track.packets:,}",
            file_size(track.size_bytes),
            bit_rate(rate_bps),
            _key_frames(track),
        )
    return table


def _track_sums(found: Inspection) -> list[_TrackSum]:
    sums: dict[tuple[object, ...], _TrackSum] = {}
    for track in (track for part in found.parts if part.survey for track in part.survey.tracks):
        facts = track.facts
        size, sound = (facts.width, facts.height), (facts.sample_rate, facts.channels)
        sums.setdefault((facts.id, facts.codec, size, sound), _TrackSum(facts)).add(track)
    return sorted(sums.values(), key=lambda each: (each.facts.kind != "video", each.facts.id))


def _format(track: TrackFacts) -> str:
    if track.kind == "video":
        return f"{track.width}x{track.height}" if track.width else ""
    channels = _CHANNELS.get(track.channels, f"{track.channels} channels")
    return f"{track.sample_rate / 1000:g} kHz {channels}" if track.sample_rate else ""


def _key_frames(track: _TrackSum) -> str:
    if track.facts.kind != "video":
        return ""
    if not track.intervals:
        return _plural(track.keyframes, "key frame")
    lowest = min(each.min_ms for each in track.intervals)
    highest = max(each.max_ms for each in track.intervals)
    medians = sorted(each.median_ms for each in track.intervals)
    usual = f"{_seconds(medians[len(medians) // 2])} s"
    return usual if lowest == highest else f"{usual} ({_seconds(lowest)} to {_seconds(highest)})"


def _skews(found: Inspection) -> Iterator[Text]:
    """Of the file in which sound and picture are furthest apart."""
    skews = [
        (skew, number)
        for number, part in enumerate(found.parts, 1)
        if part.survey and (skew := part.survey.skew_ms)
    ]
    if not skews:
        return
    (begins_ms, ends_ms), number = max(skews, key=lambda each: max(map(abs, each[0])))
    text = f"sound begins {_beside(begins_ms)} the picture and ends {_beside(ends_ms)} it"
    yield Text(text + (f", at worst in file {number}" if len(skews) > 1 else ""), "dim")


def _beside(skew_ms: int) -> str:
    return "with" if not skew_ms else f"{abs(skew_ms)} ms {'after' if skew_ms > 0 else 'before'}"


# --- files --------------------------------------------------------------------------------------------------


def _files(found: Inspection) -> Table:
    scale = _Scale.of(found)
    table = _table("", "file", "begins")
    for column in ("length", "size", "drift"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column(scale, min_width=_BAR_MIN)
    for number, part in enumerate(found.parts, 1):
        segment = part.segment
        table.add_row(
            str(segment.index if segment is not None else number),
            _name(part),
            local_time(segment.start_ns)[11:] if segment is not None else "",
            clock_time_ms(part.duration_ms),
            file_size(part.size_bytes),
            _drift(part),
            _Bar(part, scale),
        )
    return table


def _name(part: Part) -> Text:
    segment = part.segment
    name = Text(segment.file_name if segment is not None and segment.file_name else part.path.name)
    if segment is not None and segment.state is not SegmentState.COMPLETE:
        name.append(f" {segment.state}", STATE_STYLES.get(segment.state, "yellow"))
    if segment is not None and segment.is_recovered:
        name.append(" recovered", "yellow")
    return name.append(f" {part.error}", "red") if part.error else name


def _drift(part: Part) -> str:
    """How much longer the media is than the time in which it came; as a rate too where that says anything."""
    drift_ms, wall_ms = part.drift_ms, part.wall_clock_ms
    if drift_ms is None or wall_ms is None:
        return ""
    rate = f" ({drift_ms * 1_000_000 // wall_ms:+d} ppm)" if wall_ms >= _STEADY_MS else ""
    return f"{drift_ms / 1000:+.3f} s{rate}"


@dataclass(frozen=True, slots=True)
class _Scale:
    """The part of the stream's timeline that all bars share; as a renderable, their heading."""

    start_ms: int
    end_ms: int

    @classmethod
    def of(cls, found: Inspection) -> _Scale:
        parts = [part for part in found.parts if part.survey is not None] or found.parts
        return cls(min(part.start_ms for part in parts), max(part.end_ms for part in parts))

    def __rich_measure__(self, _: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(_BAR_MIN, min(_BAR_MAX, options.max_width))

    def __rich_console__(self, _: Console, options: ConsoleOptions) -> RenderResult:
        start, end = clock_time(self.start_ms), clock_time(self.end_ms)
        room = min(_BAR_MAX, options.max_width) - len(start) - len(end)
        yield Text(f"{start}{' ' * room}{end}" if room > 0 else end)


@dataclass(frozen=True, slots=True)
class _Bar:
    """One file on the common timeline; gaps and jumps stand out however short they are."""

    part: Part
    scale: _Scale

    def __rich_measure__(self, _: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(_BAR_MIN, min(_BAR_MAX, options.max_width))

    def __rich_console__(self, _: Console, options: ConsoleOptions) -> RenderResult:
        yield Text.assemble(*self._cells(min(_BAR_MAX, options.max_width)))

    def _cells(self, width: int) -> Iterator[tuple[str, str]]:
        part, scale = self.part, self.scale
        span_ms = max(1, scale.end_ms - scale.start_ms)
        holes, jumps = self._holes()
        for cell in range(width):
            from_ms = scale.start_ms + span_ms * cell // width
            to_ms = max(from_ms + 1, scale.start_ms + span_ms * (cell + 1) // width)
            if any(start < to_ms and end > from_ms for start, end in holes):
                yield "░", "red"
            elif any(from_ms <= jump < to_ms for jump in jumps):
                yield "▒", "yellow"
            elif part.start_ms <= (from_ms + to_ms) // 2 < part.end_ms:
                yield "█", "green"
            else:
                yield "·", "dim"

    def _holes(self) -> tuple[list[tuple[int, int]], list[int]]:
        """Gaps as intervals and jumps as places, on the stream's own timeline."""
        part = self.part
        gaps = part.segment.gaps if part.segment is not None else ()
        holes = [(gap.start_ms, gap.start_ms + max(1, gap.duration_ms)) for gap in gaps]
        return holes, [part.start_ms + jump.at_ms for _, jump in _unexplained(part)]


# --- gaps and jumps -----------------------------------------------------------------------------------------


def _gaps(found: Inspection) -> Table | None:
    if not found.gaps:
        return None
    table = _table("gap at", "length", "reason", "lost", "time", style="red")
    for gap in found.gaps[:_TOLD_MAX]:
        table.add_row(*_gap_row(gap))
    return _with_rest(table, len(found.gaps))


def _gap_row(gap: GapFacts) -> tuple[str, ...]:
    lost = f"{gap.dropped_packets} packets, {file_size(gap.dropped_bytes)}" if gap.dropped_packets else ""
    time = local_time(gap.at_ns)[11:] if gap.at_ns else ""
    return clock_time_ms(gap.start_ms), f"{_seconds(gap.duration_ms)} s", gap.reason.value, lost, time


def _jumps(found: Inspection) -> Table | None:
    """Places where tracks jump together are one line."""
    places: dict[tuple[int, int], list[tuple[str, Jump]]] = defaultdict(list)
    for number, part in enumerate(found.parts):
        for kind, jump in _unexplained(part):
            places[number, jump.at_ms // 1000].append((kind, jump))
    if not places:
        return None
    table = _table("timestamps jump at", "by", "track", "file", style="yellow")
    for (number, _), jumps in list(places.items())[:_TOLD_MAX]:
        kinds = ", ".join(dict.fromkeys(kind for kind, _ in jumps))
        at_ms, by_ms = found.parts[number].start_ms + jumps[0][1].at_ms, jumps[0][1].by_ms
        table.add_row(clock_time_ms(at_ms), f"{by_ms / 1000:+.3f} s", kinds, str(number + 1))
    return _with_rest(table, len(places))


def _picture_changes(found: Inspection) -> Table | None:
    """Places where the pictures of a file become larger or smaller, or are encoded otherwise."""
    changes = [
        (clock_time_ms(part.start_ms + change.at_ms), f"{change.width}x{change.height}", str(number))
        for number, part in enumerate(found.parts, 1)
        for track in (part.survey.tracks if part.survey is not None else ())
        for change in track.picture_changes
    ]
    if not changes:
        return None
    table = _table("pictures change at", "to", "file")
    for row in changes[:_TOLD_MAX]:
        table.add_row(*row)
    return _with_rest(table, len(changes))


def _unexplained(part: Part) -> Iterator[tuple[str, Jump]]:
    """Jumps that are not the two sides of a gap that was written down, with the kind of their track."""
    gaps = part.segment.gaps if part.segment is not None else ()
    for track in part.survey.tracks if part.survey is not None else ():
        for jump in track.jumps:
            at_ms = part.start_ms + jump.at_ms
            if not any(abs(at_ms - gap.start_ms) < _SAME_PLACE_MS for gap in gaps):
                yield track.facts.kind, jump


def _with_rest(table: Table, count: int) -> Table:
    if count > _TOLD_MAX:
        table.caption = f"and {count - _TOLD_MAX} more; --json has them all"
        table.caption_justify = "left"
    return table


# --- words --------------------------------------------------------------------------------------------------


def _table(*columns: str, style: str = "dim") -> Table:
    table = Table(box=None, pad_edge=False, header_style=style)
    for column in columns:
        table.add_column(column, no_wrap=column != "file", overflow="fold")
    return table


def clock_time_ms(duration_ms: int) -> str:
    """`0:00:20.027`."""
    sign = "-" if duration_ms < 0 else ""
    return f"{sign}{clock_time(abs(duration_ms))}.{abs(duration_ms) % 1000:03d}"


def bit_rate(rate_bps: int) -> str:
    """`128 kbit/s`, `2.6 Mbit/s`."""
    return f"{rate_bps / 1e6:.1f} Mbit/s" if rate_bps >= 1_000_000 else f"{rate_bps / 1000:.0f} kbit/s"


def _seconds(duration_ms: int) -> str:
    return f"{duration_ms / 1000:.3g}" if duration_ms < 1000 else f"{duration_ms / 1000:.1f}"


def _plural(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"
