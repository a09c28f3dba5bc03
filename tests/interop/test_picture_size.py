"""Pictures that change their size while they are published are one MP4, which players play throughout."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import av
import pytest
from helpers.browser import watch_in_chromium
from helpers.driven_browser import DrivenBrowser
from helpers.media import ClipSpec, MediaFolder
from helpers.probe import decode_complaints
from helpers.programs import wait_until
from helpers.publishers import publish_with_ffmpeg
from helpers.server import ServerProcess
from helpers.tools import requires

from aircheck.wire import flv

SIZES = ("320x180", "640x360", "180x320")
SECONDS = 2
FRAMES = SECONDS * 30
PLAYER = Path(__file__).with_name("sizes.html")
PAGE = Path(__file__).with_name("codec_page.js")


@pytest.fixture(scope="module")
def changing(media: MediaFolder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An FLV of clips of several sizes, one behind the other in one stream."""
    clips = [media.clip(spec_of(size)) for size in SIZES]
    path = tmp_path_factory.mktemp("sizes") / "changing.flv"
    path.write_bytes(one_behind_the_other([clip.read_bytes() for clip in clips]))
    return path


def spec_of(size: str) -> ClipSpec:
    return ClipSpec(f"size-{size}", seconds=SECONDS, size=size, repeats_headers=True)


def one_behind_the_other(files: Sequence[bytes]) -> bytes:
    joined, previous_bytes = flv.file_header(has_video=True, has_audio=True), 0
    for number, data in enumerate(files):
        for tag in flv.split_tags(data, flv.parse_file_header(data)):
            time_ms, size_bytes = tag.timestamp_ms + number * SECONDS * 1000, len(tag.payload)
            joined += flv.tag_head(previous_bytes, tag.type_id, time_ms, size_bytes) + bytes(tag.payload)
            previous_bytes = 11 + size_bytes
    return joined + previous_bytes.to_bytes(4, "big")


def shown_sizes(path: Path) -> list[tuple[str, int]]:
    with av.open(str(path)) as container:
        sizes = [f"{frame.width}x{frame.height}" for frame in container.decode(video=0)]
    return [(size, len(list(group))) for size, group in groupby(sizes)]


@requires("ffmpeg", "chromium")
def test_three_sizes_in_one_rtmp_session_are_one_file_that_chromium_plays_and_seeks_in(
    changing: Path, server: ServerProcess, tmp_path: Path
) -> None:
    publish_with_ffmpeg(changing, server.rtmp_url("ramp"), tmp_path / "ffmpeg.log")
    (segment,) = server.wait_for_recording("ramp")["segments"]
    file = server.path_of(segment)
    assert decode_complaints(file) == ""
    assert shown_sizes(file) == [(size, FRAMES) for size in SIZES]
    changes = len(SIZES) - 1
    wait_until("both in the log", lambda: server.log.count("pictures change within a file") == changes)

    query = {"url": server.http_url(segment["play_url"]), "seek": "0.5,2.5,5,1,3.5"}
    seen = watch_in_chromium(PLAYER, query, tmp_path)
    first, second, third = SIZES
    assert seen == {
        "errors": [],
        "sizes": list(SIZES),
        "sought": [first, second, third, first, second],
    }


@requires("ffmpeg", "chromium")
def test_a_browser_that_sends_smaller_pictures_for_a_while_is_one_file(
    server: ServerProcess, tmp_path: Path
) -> None:
    def has_grown_to(at_least_ms: int) -> bool:
        segments = [one for recording in server.recordings("weak") for one in recording["segments"]]
        return bool(segments) and segments[0]["duration_ms"] > at_least_ms

    with DrivenBrowser(tmp_path) as browser:
        browser.open(server.http_url("/docs"))
        browser.run(PAGE.read_text())
        browser.run(f"publish('{server.http_url('/whip/weak')}', 'H264')")
        for number, factor in enumerate((1, 2, 1), 1):
            browser.run(f"scaleDown({factor})")
            wait_until("a second more on disk", lambda: has_grown_to(number * 1500), timeout_s=20)  # noqa: B023
        browser.run("end()")
    (segment,) = server.wait_for_recording("weak")["segments"]
    file = server.path_of(segment)
    assert decode_complaints(file) == ""
    sizes = [size for size, _ in shown_sizes(file)]
    assert "160x90" in sizes
    assert "320x180" in sizes[sizes.index("160x90") + 1 :]
