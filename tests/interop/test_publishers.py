"""Real encoders publish, independent readers judge the files: every packet there, unchanged, in its time."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from helpers import media as clips
from helpers.media import ClipSpec, MediaFolder
from helpers.probe import ProbedFile, assert_same_media, decode_complaints, is_progressive_mp4
from helpers.programs import running, wait_until
from helpers.publishers import (
    ObsStudio,
    ffmpeg_command,
    ffmpeg_publishing,
    publish_with_ffmpeg,
    publish_with_gstreamer,
)
from helpers.server import ServerProcess
from helpers.tools import requires

from aircheck.containers.verify import verify_file

FFMPEG_CLIPS = (
    clips.H264_AAC,
    clips.H264_B_FRAMES_AAC,
    clips.H264_MP3,
    clips.VIDEO_ONLY,
    clips.AUDIO_ONLY,
)
SYNC_TOLERANCE_MS = 5
"""RTMP counts in milliseconds: a flash and its beep may each be half of one off, and a little for AAC."""


def assert_plays_cleanly(path: Path) -> None:
    assert decode_complaints(path) == ""
    assert is_progressive_mp4(path)


@requires("ffmpeg")
@pytest.mark.parametrize("spec", FFMPEG_CLIPS, ids=lambda spec: spec.name)
def test_what_ffmpeg_publishes_is_in_the_file(
    spec: ClipSpec, media: MediaFolder, server: ServerProcess, tmp_path: Path
) -> None:
    clip, name = media.clip(spec), f"ffmpeg-{spec.name}"
    publish_with_ffmpeg(clip, server.rtmp_url(name), tmp_path / "ffmpeg.log")
    recorded = server.wait_for_file(name)
    assert_same_media(ProbedFile(recorded), ProbedFile(clip))
    assert_plays_cleanly(recorded)


@requires("ffmpeg")
def test_picture_and_sound_stay_together_in_real_time(
    media: MediaFolder, server: ServerProcess, tmp_path: Path
) -> None:
    clip = media.clip(clips.FLASH_AND_BEEP)
    publish_with_ffmpeg(clip, server.rtmp_url("sync"), tmp_path / "ffmpeg.log", is_paced=True)
    verdict = verify_file(server.wait_for_file("sync"))
    assert len(verdict.flashes_s) == clips.FLASH_AND_BEEP.seconds
    assert len(verdict.beeps_s) == clips.FLASH_AND_BEEP.seconds
    assert verdict.worst_skew_ms == pytest.approx(0, abs=SYNC_TOLERANCE_MS)


@requires("ffmpeg", "gstreamer")
@pytest.mark.parametrize("sink", ["rtmpsink", "rtmp2sink"])
@pytest.mark.parametrize("spec", [clips.H264_AAC, clips.H264_B_FRAMES_AAC], ids=lambda spec: spec.name)
def test_what_gstreamer_publishes_is_in_the_file(
    spec: ClipSpec, sink: str, media: MediaFolder, server: ServerProcess, tmp_path: Path
) -> None:
    clip, name = media.clip(spec), f"{sink}-{spec.name}"
    publish_with_gstreamer(clip, server.rtmp_url(name), sink, tmp_path / "gst.log")
    recorded = server.wait_for_file(name)
    # flvmux cannot say a negative time: with B-frames it sends zero for the dts of the first three.
    untimed_packets = 3 if spec.b_frames else 0
    assert_same_media(ProbedFile(recorded), ProbedFile(clip), untimed_packets=untimed_packets)
    assert_plays_cleanly(recorded)


@requires("obs", "xvfb", "ffmpeg")
def test_what_obs_studio_publishes_is_in_the_file(server: ServerProcess, tmp_path: Path) -> None:
    obs = ObsStudio(tmp_path, f"rtmp://127.0.0.1:{server.rtmp_port}/live", "obs")
    with obs.streaming():
        server.wait_for_stream("obs")
        time.sleep(3)
    recording = server.wait_for_recording("obs")
    recorded = server.path_of(recording["segments"][0])
    tracks = ProbedFile(recorded).tracks
    assert recording["end_reason"] == "unpublished"
    assert (tracks["video"].codec, tracks["audio"].codec) == ("h264", "aac")
    assert len(tracks["video"].packets) > 60
    assert_plays_cleanly(recorded)


@requires("ffmpeg")
def test_a_publisher_that_is_killed_leaves_a_whole_file(
    media: MediaFolder, server: ServerProcess, tmp_path: Path
) -> None:
    command = ffmpeg_command(media.clip(clips.H264_B_FRAMES_AAC), server.rtmp_url("killed"), is_paced=True)
    with running(command, tmp_path / "ffmpeg.log") as publisher:
        wait_until("two seconds on disk", lambda: recorded_ms(server, "killed") > 2000)
        publisher.kill()
    recording = server.wait_for_recording("killed")
    assert recording["end_reason"] == "disconnected"
    assert_plays_cleanly(server.path_of(recording["segments"][0]))


@requires("ffmpeg")
def test_the_same_name_published_again_makes_another_file(
    media: MediaFolder, server: ServerProcess, tmp_path: Path
) -> None:
    clip = media.clip(clips.H264_AAC)
    paths = []
    for turn in range(2):
        publish_with_ffmpeg(clip, server.rtmp_url("again"), tmp_path / f"ffmpeg-{turn}.log")
        paths.append(server.wait_for_file("again"))
    assert paths[0] != paths[1]
    for path in paths:
        assert_same_media(ProbedFile(path), ProbedFile(clip))


@requires("ffmpeg")
def test_a_server_that_is_stopped_finishes_its_files(media: MediaFolder, tmp_path: Path) -> None:
    with ServerProcess(tmp_path, record=['name = "{streamName}"']) as server:
        with ffmpeg_publishing(
            media.clip(clips.H264_AAC), server.rtmp_url("stopped"), tmp_path / "f.log"
        ) as one:
            wait_until("a second on disk", lambda: recorded_ms(server, "stopped") > 1000)
            server.stop()
            one.kill()
        assert_plays_cleanly(server.record_dir / "stopped.mp4")


@requires("ffmpeg")
def test_a_server_that_is_killed_recovers_its_files(media: MediaFolder, tmp_path: Path) -> None:
    with ServerProcess(tmp_path, record=['name = "{streamName}"']) as server:
        with ffmpeg_publishing(
            media.clip(clips.H264_AAC), server.rtmp_url("torn"), tmp_path / "f.log"
        ) as one:
            wait_until("two seconds on disk", lambda: recorded_ms(server, "torn") > 2000)
            at_kill_ms = recorded_ms(server, "torn")
            server.kill()
            one.kill()
        server.start()
        recording = server.wait_for_recording("torn")
        recorded = server.path_of(recording["segments"][0])
        assert recording["segments"][0]["is_recovered"]
        assert ProbedFile(recorded).duration_s * 1000 > at_kill_ms - 1000
        assert_plays_cleanly(recorded)


def recorded_ms(server: ServerProcess, stream: str) -> int:
    """What the server says it has recorded of a stream; 0 before it began."""
    rows = server.recordings(stream)
    return int(rows[0]["duration_ms"]) if rows else 0
