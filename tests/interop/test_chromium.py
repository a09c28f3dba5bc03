"""Chromium plays what was recorded, straight from the server: files finished and growing, with seeking."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from helpers import media as clips
from helpers.browser import watch_in_chromium
from helpers.media import ClipSpec, MediaFolder
from helpers.programs import wait_until
from helpers.publishers import ffmpeg_publishing, publish_with_ffmpeg
from helpers.server import ServerProcess
from helpers.tools import requires

PLAYER = Path(__file__).with_name("player.html")
TWELVE_SECONDS = ClipSpec("twelve-seconds", seconds=12, b_frames=2)
FRAME_S = 1 / 30

pytestmark = requires("chromium", "ffmpeg")


def watch(server: ServerProcess, segment: dict[str, Any], seek_s: float, folder: Path) -> dict[str, Any]:
    query = {"url": server.http_url(segment["play_url"]), "seek": str(seek_s)}
    return watch_in_chromium(PLAYER, query, folder)


def test_chromium_plays_a_recording_and_seeks_to_the_frame(
    media: MediaFolder, server: ServerProcess, tmp_path: Path
) -> None:
    clip = media.clip(TWELVE_SECONDS)
    publish_with_ffmpeg(clip, server.rtmp_url("film"), tmp_path / "ffmpeg.log")
    segment = server.wait_for_recording("film")["segments"][0]

    seen = watch(server, segment, 8.5, tmp_path)

    assert seen["errors"] == []
    assert (seen["width"], seen["height"]) == (320, 180)
    assert seen["duration"] == pytest.approx(TWELVE_SECONDS.seconds, abs=0.1)
    assert seen["firstFrame"] == pytest.approx(0, abs=0.1)
    assert 0.3 < seen["playedTo"] < 3
    assert 8.5 - FRAME_S <= seen["frameAfterSeek"] <= 8.5 + 0.3
    assert seen["playedOnTo"] > seen["frameAfterSeek"] + 0.2


def test_chromium_plays_and_seeks_in_a_recording_that_still_grows(
    media: MediaFolder, server: ServerProcess, tmp_path: Path
) -> None:
    with ffmpeg_publishing(media.clip(clips.LONG), server.rtmp_url("growing"), tmp_path / "ffmpeg.log"):
        segment = wait_until("six seconds on disk", lambda: growing_segment(server, "growing", 6000))
        seen = watch(server, segment, 3.5, tmp_path)

    assert seen["errors"] == []
    assert seen["duration"] > 5
    assert seen["firstFrame"] == pytest.approx(0, abs=0.1)
    assert 3.5 - FRAME_S <= seen["frameAfterSeek"] <= 3.5 + 0.3
    assert seen["playedOnTo"] > seen["frameAfterSeek"] + 0.2


def growing_segment(server: ServerProcess, stream: str, at_least_ms: int) -> dict[str, Any] | None:
    """The file that is being written, once it is long enough."""
    segments = [segment for recording in server.recordings(stream) for segment in recording["segments"]]
    return next((s for s in segments if s["state"] == "growing" and s["duration_ms"] > at_least_ms), None)
