"""The page at /: what is being recorded, what was, and how to begin.

It is complete without scripts. One script shows times in the reader's zone and keeps what is being recorded
up to date.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from urllib.parse import urlencode

from aircheck import __version__
from aircheck.faces.api.models import rfc3339, segment_url
from aircheck.facts import EndReason, RecordingState, SegmentFacts, SegmentState
from aircheck.service.health import VolumeStatus
from aircheck.service.recordings import UNFINISHED, RecordingDetail
from aircheck.words import clock_time, file_size

FILES_SHOWN = 3
"""Of a recording; the others are folded away. A recording that rotates has one a minute, perhaps."""

_REASONS = {EndReason.NO_MEDIA: "no media came", EndReason.CRASHED: "a crash came before its first media"}

_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<link rel="icon" href="/docs/assets/favicon-32x32.png">
<link rel="stylesheet" href="/assets/landing.css">
<script type="module" src="/assets/landing.js"></script>
</head>
<body>
<header>
  <h1><a href="/">Aircheck</a></h1>
  <nav>{nav}</nav>
</header>
<main{live}>
{main}
</main>
<footer>Version {version}</footer>
</body>
</html>
"""

_HEAD = (
    '<thead><tr><th scope="col">Stream<th scope="col" class="time">Started'
    '<th scope="col" class="states">State<th scope="col" class="number">Length'
    '<th scope="col" class="number">Size<th scope="col">Files</thead>'
)


@dataclass(frozen=True, slots=True)
class Landing:
    """What the page shows. `running` is on its first part only; `recordings` are the others.

    `publish_url` is the address of an application that takes streams by RTMP; empty without one. `stream` is
    the name that all of them have, if only those of one are shown.
    """

    running: Sequence[RecordingDetail] = ()
    recordings: Sequence[RecordingDetail] = ()
    next_cursor: str | None = None
    live_streams: int = 0
    volumes: Sequence[VolumeStatus] = ()
    stream: str | None = None
    is_first_part: bool = True
    can_record: bool = False
    publish_url: str = ""

    def html(self) -> str:
        return _PAGE.format(
            title=f"{escape(self.stream)} · Aircheck" if self.stream is not None else "Aircheck",
            nav="\n  ".join(self._nav()),
            live=" data-live" if self.running else "",
            main="\n".join(self._main()),
            version=escape(__version__),
        )

    def _nav(self) -> Iterator[str]:
        count = self.live_streams
        yield f"<span>{count} stream{'' if count == 1 else 's'} live</span>"
        if self.can_record:
            yield '<a href="/record/">Record camera or screen</a>'
        yield '<a href="/docs">API</a> <a href="/metrics">Metrics</a> <a href="/healthz">Health</a>'

    def _main(self) -> Iterator[str]:
        for volume in self.volumes:
            if volume.is_failing:
                told = volume.last_error or "it does not take what is written"
                yield f'<p class="notice">Trouble with the disk of {escape(volume.path)}: {escape(told)}.</p>'
        if self.stream is not None:
            yield f'<h2 class="name">{escape(self.stream)}</h2>'
            yield '<p><a href="/">Recordings of all streams</a></p>'
        if self.running:
            yield from _table("Recording now", self.running)
        if self.recordings:
            yield from _table("Recorded", self.recordings)
        elif not self.running:
            yield from self._nothing()
        yield from self._ways()

    def _nothing(self) -> Iterator[str]:
        if self.stream is not None:
            yield "<p>There are no recordings of this stream.</p>"
        elif not self.is_first_part:
            yield "<p>There are no older recordings.</p>"
        else:
            yield "<h2>Nothing has been recorded yet</h2>"
            yield "<p>Every stream is recorded from its first packet, unless the settings say otherwise.</p>"
            yield f"<ul>\n{''.join(self._beginnings())}</ul>"

    def _beginnings(self) -> Iterator[str]:
        if self.can_record:
            yield '<li><a href="/record/">Record your camera, screen or microphone</a> in this browser.\n'
        if self.publish_url:
            url = escape(self.publish_url)
            yield f"<li>With OBS: server <code>{url}</code>, and any stream key.\n"
            command = f"ffmpeg -re -i film.mp4 -c copy -f flv {url}/film"
            yield f"<li>With FFmpeg:<pre><code>{command}</code></pre>\n"

    def _ways(self) -> Iterator[str]:
        """To the other parts of the list."""
        stream = {} if self.stream is None else {"stream": self.stream}
        if not self.is_first_part:
            yield f'<p class="ways"><a href="/{_query(stream)}">Newest recordings</a></p>'
        if self.next_cursor is not None:
            link = _query({**stream, "cursor": self.next_cursor})
            yield f'<p class="ways"><a href="/{link}">Older recordings</a></p>'


def _query(values: dict[str, str]) -> str:
    return escape(f"?{urlencode(values)}") if values else ""


def _table(title: str, recordings: Iterable[RecordingDetail]) -> Iterator[str]:
    yield f"<h2>{title}</h2>\n<table>\n{_HEAD}\n<tbody>"
    yield from map(_row, recordings)
    yield "</tbody>\n</table>"


def _row(detail: RecordingDetail) -> str:
    recording = detail.facts
    started = rfc3339(recording.start_ns)
    shown = started[:19].replace("T", " ")
    state, word = _state(detail)
    stream = escape(recording.stream_name)
    name = f'<a href="/{_query({"stream": recording.stream_name})}" title="{stream}">{stream}</a>'
    return (
        f'<tr><td class="name">{name}<td><time datetime="{started}">{shown} UTC</time>'
        f'<td><span class="state {state}">{word}</span>{_gaps(recording.gaps)}'
        f'<td class="number">{clock_time(recording.duration_ms)}'
        f'<td class="number">{file_size(recording.size_bytes)}'
        f'<td class="files">{_files(detail)}'
    )


def _state(detail: RecordingDetail) -> tuple[str, str]:
    """The class for its colour, and the word."""
    state = detail.facts.state
    if state is RecordingState.COMPLETE and any(segment.is_recovered for segment in detail.segments):
        return "recovered", "recovered"
    if state in UNFINISHED and not detail.is_running:
        return "finalizing", "being recovered"
    return state.value, state.value


def _gaps(count: int) -> str:
    return f" <small>{count} gap{'' if count == 1 else 's'}</small>" if count else ""


def _files(detail: RecordingDetail) -> str:
    shown = [_file(segment) for segment in detail.segments]
    error = detail.facts.error or ("" if shown else _why_none(detail))
    words = f"<p>{escape(error)}</p>" if error else ""
    if len(shown) > FILES_SHOWN + 1:
        rest = "".join(shown[FILES_SHOWN:])
        folded = f"<details><summary>{len(shown) - FILES_SHOWN} more files</summary>{rest}</details>"
        shown = [*shown[:FILES_SHOWN], folded]
    return "".join(shown) + words


def _file(segment: SegmentFacts) -> str:
    path, name = escape(segment.file_name), escape(segment.file_name.rpartition("/")[2])
    if segment.state is SegmentState.FAILED:
        return f"<p>{name}: {escape(segment.error or 'failed')}</p>"
    url = escape(segment_url(segment))
    download = f'<a class="download" href="{url}?download=1" aria-label="Download {name}">download</a>'
    return f'<p><a href="{url}" title="{path}">{name}</a> {download}</p>'


def _why_none(detail: RecordingDetail) -> str:
    if detail.is_running:
        return "its first media is awaited"
    reason = detail.facts.end_reason
    return "" if reason is None else _REASONS.get(reason, reason.value.replace("_", " "))
