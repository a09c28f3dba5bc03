"""Real players watch a live stream over RTMP: they get it from a key frame on, whole and in order."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import media as clips
from helpers.media import MediaFolder
from helpers.probe import ProbedFile, decode_complaints
from helpers.programs import run_to_end, running
from helpers.publishers import ffmpeg_publishing
from helpers.server import ServerProcess
from helpers.tools import requires

SECONDS = 3


@pytest.fixture(scope="module")
def live_url(
    media: MediaFolder, server: ServerProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """A stream with B-frames and sound that goes on for as long as the tests of this module."""
    url = server.rtmp_url("watched")
    log = tmp_path_factory.mktemp("publisher") / "ffmpeg.log"
    with ffmpeg_publishing(media.clip(clips.LONG), url, log):
        server.wait_for_stream("watched")
        yield url


def rtmpdump_command(url: str, path: Path) -> list[str]:
    return ["rtmpdump", "-q", "--live", "-r", url, "-o", str(path)]


def watch_for_a_while(command: list[str], log: Path) -> None:
    """Run a player for some seconds and let it finish its file."""
    with running(command, log) as player:
        time.sleep(SECONDS)
        assert player.is_running, player.output
        player.stop(signal.SIGINT)


def assert_was_watched(path: Path) -> None:
    """Both tracks for most of the time, from a key frame on, without anything missing to the decoder."""
    tracks = ProbedFile(path).tracks
    assert tracks["video"].packets[0].is_keyframe
    assert len(tracks["video"].packets) >= (SECONDS - 1) * 30
    assert len(tracks["audio"].packets) >= (SECONDS - 1) * 46
    for track in tracks.values():
        times = [packet.dts_ms for packet in track.packets]
        assert times == sorted(times)
    assert decode_complaints(path) == ""


@requires("ffmpeg")
def test_ffmpeg_watches(live_url: str, tmp_path: Path) -> None:
    watched = tmp_path / "watched.flv"
    command = [
        "ffmpeg",
        "-nostdin",
        "-v",
        "error",
        "-i",
        live_url,
        "-t",
        str(SECONDS),
        "-c",
        "copy",
        str(watched),
    ]
    run_to_end(command, tmp_path / "ffmpeg.log")
    assert_was_watched(watched)


@requires("ffmpeg", "rtmpdump")
def test_rtmpdump_watches(live_url: str, tmp_path: Path) -> None:
    watched = tmp_path / "watched.flv"
    watch_for_a_while(rtmpdump_command(live_url, watched), tmp_path / "rtmpdump.log")
    assert_was_watched(watched)


@requires("ffmpeg", "gstreamer")
@pytest.mark.parametrize("source", ["rtmpsrc", "rtmp2src"])
def test_gstreamer_watches(source: str, live_url: str, tmp_path: Path) -> None:
    watched = tmp_path / "watched.flv"
    pipeline = (
        f"{source} location={live_url} ! flvdemux name=in "
        f"in.video ! queue ! h264parse ! mux. in.audio ! queue ! aacparse ! mux. "
        f"flvmux name=mux ! filesink location={watched}"
    )
    watch_for_a_while(["gst-launch-1.0", "-e", "-q", *pipeline.split()], tmp_path / "gst.log")
    assert_was_watched(watched)


@requires("ffmpeg")
def test_watching_what_nobody_publishes_is_answered_with_not_found(
    server: ServerProcess, tmp_path: Path
) -> None:
    log = tmp_path / "ffmpeg.log"
    command = ["ffmpeg", "-nostdin", "-v", "verbose", "-rw_timeout", "5000000"]
    command += ["-i", server.rtmp_url("nobody"), "-t", "1", "-f", "null", "-"]
    with pytest.raises(AssertionError, match=r"ended with \d"):
        run_to_end(command, log)
    assert "no stream 'nobody'" in log.read_text()


@requires("ffmpeg", "rtmpdump")
def test_watching_does_not_touch_what_is_recorded(
    media: MediaFolder, server: ServerProcess, tmp_path: Path
) -> None:
    url, watched = server.rtmp_url("both"), tmp_path / "watched.flv"
    with ffmpeg_publishing(media.clip(clips.LONG), url, tmp_path / "ffmpeg.log"):
        server.wait_for_stream("both")
        watch_for_a_while(rtmpdump_command(url, watched), tmp_path / "rtmpdump.log")
    recorded = server.wait_for_file("both")
    seen = {packet.data_hash for packet in ProbedFile(watched).tracks["video"].packets}
    kept = {packet.data_hash for packet in ProbedFile(recorded).tracks["video"].packets}
    assert seen <= kept
    assert decode_complaints(recorded) == ""
