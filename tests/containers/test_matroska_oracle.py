"""libavformat reads from our Matroska and WebM files what was written to them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import av
import pytest
from helpers.appended import assert_holds, open_writer, record_clip, write_clip
from helpers.mp4_media import Clip, ffmpeg_complaints
from helpers.probe import ProbedFile
from helpers.tools import requires

from aircheck.containers.recover import Outcome, inspect_file, read_note, recover_file
from aircheck.errors import ContainerError
from aircheck.media.packet import Packet
from aircheck.media.track import Codec, Track

pytestmark = requires("ffmpeg")

MATROSKA = [
    ("h264", "aac"),
    ("h264_plain", "aac"),
    ("h265", "aac"),
    ("h264", "mp3"),
    ("h264", "flac"),
    ("h264", "ac3"),
    ("h264", "aac", "opus"),
    ("h264", "vp9"),
    ("h264",),
    ("aac",),
]
WEBM = [("vp9", "opus"), ("av1", "opus"), ("opus",)]
FILES = [(codecs, "mkv") for codecs in MATROSKA] + [(codecs, "webm") for codecs in WEBM]

MakeClip = Callable[..., Clip]


def file_id(value: object) -> str:
    return "+".join(value) if isinstance(value, tuple) else str(value)


@pytest.mark.parametrize(("codecs", "extension"), FILES, ids=file_id)
@pytest.mark.parametrize("at_s", [0, 123_456])
def test_every_packet_is_found_with_its_bytes_and_times(
    codecs: tuple[str, ...], extension: str, at_s: int, clip_of: MakeClip, tmp_path: Path
) -> None:
    clip = clip_of(*codecs)
    path = tmp_path / f"a.{extension}"
    writer = record_clip(path, clip, at_s=at_s)
    assert_holds(path, clip.packets, clip.tracks, 1000)
    assert writer.nudged_packets == 0


@pytest.mark.parametrize(("codecs", "extension"), FILES, ids=file_id)
def test_growing_recovered_and_final_files_decode_without_a_word_from_ffmpeg(
    codecs: tuple[str, ...], extension: str, clip_of: MakeClip, tmp_path: Path
) -> None:
    clip = clip_of(*codecs)
    path, raw, seen = (tmp_path / f"{name}.{extension}" for name in ("a", "raw", "seen"))
    writer = write_clip(path, clip, at_s=7)
    writer.flush()
    raw.write_bytes(path.read_bytes()[: writer.size_bytes])
    view = writer.view()
    seen.write_bytes(view.header + raw.read_bytes()[view.start : view.end])
    writer.finish()
    writer.finalize(sync=False)
    assert seen.read_bytes() == path.read_bytes()
    assert ffmpeg_complaints(raw) == ""
    assert recover_file(raw, sync=False).outcome is Outcome.RECOVERED
    assert ffmpeg_complaints(raw) == ""
    assert ffmpeg_complaints(path) == ""


def test_info_tells_duration_and_creation(clip_of: MakeClip, tmp_path: Path) -> None:
    clip = clip_of("h264", "aac")
    path = tmp_path / "a.mkv"
    writer = record_clip(path, clip)
    probed = ProbedFile(path)
    assert round(probed.duration_s * 1000) == writer.duration_ms
    with av.open(str(path)) as container:
        assert container.metadata["creation_time"] == "2023-11-14T22:13:20.000000Z"
    assert read_note(path) == b'{"who":"test"}'


def seeks_to(path: Path, second: float) -> float:
    """Where reading begins after a seek, in seconds."""
    with av.open(str(path)) as container:
        container.seek(round(second * av.time_base))
        return next(float(p.pts * p.time_base) for p in container.demux(video=0) if p.size)


@pytest.mark.parametrize(("codecs", "extension"), [(("h264", "aac"), "mkv"), (("vp9", "opus"), "webm")])
def test_cues_lead_to_the_key_frame_before(
    codecs: tuple[str, ...], extension: str, clip_of: MakeClip, tmp_path: Path
) -> None:
    clip = clip_of(*codecs)
    path = tmp_path / f"a.{extension}"
    record_clip(path, clip)
    begin = seeks_to(path, 0)
    for second in (0.5, 1.5, 2.9):
        assert seeks_to(path, second + begin) - begin == pytest.approx(int(second), abs=0.002)
    in_seek_head_and_itself = 2
    assert path.read_bytes().count(bytes.fromhex("1c53bb6b")) == in_seek_head_and_itself


def test_cues_are_thinned_to_the_room_there_is(clip_of: MakeClip, tmp_path: Path) -> None:
    clip = clip_of("h264", "aac")
    for reserve_bytes, points in ((0, 1), (50, 2), (64 * 1024, 3)):
        path = tmp_path / f"{reserve_bytes}.mkv"
        record_clip(path, clip, reserve_bytes=reserve_bytes)
        assert path.read_bytes().count(b"\xbb\x95\xb3\x86") == points
        assert_holds(path, clip.packets, clip.tracks, 1000)
        assert ffmpeg_complaints(path) == ""


def test_sound_alone_can_be_seeked_in(clip_of: MakeClip, tmp_path: Path) -> None:
    track = clip_of("aac").tracks[0]
    packets = [Packet(track, n * 1024, n * 1024, True, b"%8d" % n) for n in range(1500)]
    writer = open_writer(tmp_path / "a.mkv", [track])
    for start in range(0, len(packets), 10):
        writer.write(packets[start : start + 10])
    writer.finish()
    writer.finalize(sync=False)
    assert (tmp_path / "a.mkv").read_bytes().count(b"\xbb\x95\xb3\x86") == 7


def test_times_too_far_apart_for_one_cluster_get_two(tmp_path: Path) -> None:
    track = Track(0, Codec.PCMU, 1000, sample_rate=8000, channels=1)
    times = [0, 40, 80_000, 80_040, 500_000]
    packets = [Packet(track, time, time, True, b"%8d" % time) for time in times]
    writer = open_writer(tmp_path / "a.mkv", [track])
    writer.write(packets)
    writer.finish()
    writer.finalize(sync=False)
    assert_holds(tmp_path / "a.mkv", packets, [track], 1000)


def test_g711_and_speex_are_known_by_their_wave_format(tmp_path: Path) -> None:
    for codec, name in ((Codec.PCMA, "pcm_alaw"), (Codec.PCMU, "pcm_mulaw"), (Codec.SPEEX, "speex")):
        track = Track(0, codec, 8000, sample_rate=8000, channels=1)
        path = tmp_path / f"{name}.mkv"
        writer = open_writer(path, [track])
        writer.write([Packet(track, n * 160, n * 160, True, bytes([n]) * 160) for n in range(50)])
        writer.finish()
        writer.finalize(sync=False)
        command = ["ffprobe", "-v", "error", "-of", "json", "-show_streams", str(path)]
        (stream,) = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)["streams"]
        assert (stream["codec_name"], stream["sample_rate"], stream["channels"]) == (name, "8000", 1)


def test_late_track_takes_the_room_that_was_kept_for_it(clip_of: MakeClip, tmp_path: Path) -> None:
    clip = clip_of("h264", "aac")
    video, audio = clip.tracks
    path = tmp_path / "a.mkv"
    writer = open_writer(path, [video])
    early = [packet for packet in clip.packets if packet.track is video and packet.dts < video.timescale]
    late = [p for p in clip.packets if p not in early and p.pts >= p.track.timescale]
    writer.write(early)
    assert writer.add_track(audio)
    writer.write(late)
    writer.finish()
    writer.finalize(sync=False)
    assert_holds(path, early + late, clip.tracks, 1000)
    assert ffmpeg_complaints(path) == ""
    assert [track.codec for track in inspect_file(path).tracks] == ["h264", "aac"]


def test_late_track_without_room_is_refused_and_the_file_stays_as_it_was(
    clip_of: MakeClip, tmp_path: Path
) -> None:
    clip = clip_of("h264", "aac")
    video, audio = clip.tracks
    writer = open_writer(tmp_path / "a.mkv", [video])
    writer.write([packet for packet in clip.packets if packet.track is video])
    writer.flush()
    before = (tmp_path / "a.mkv").read_bytes()
    assert not writer.add_track(replace(audio, config=bytes(4000)))
    assert (tmp_path / "a.mkv").read_bytes() == before


def test_webm_takes_only_what_browsers_play(clip_of: MakeClip, tmp_path: Path) -> None:
    with pytest.raises(ContainerError, match="WebM cannot hold h264"):
        open_writer(tmp_path / "a.webm", clip_of("h264", "aac").tracks)
    assert not list(tmp_path.iterdir())
