"""What comes out of our MP4 files is what comes out of libavformat's."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest
from helpers.mp4_media import (
    Clip,
    Demuxed,
    batches,
    demux,
    ffmpeg_complaints,
    remux,
    shifted,
    start_times,
)
from helpers.tools import requires

from aircheck.containers.mp4 import Mp4Writer
from aircheck.containers.recover import Outcome, inspect_file, recover_file

pytestmark = requires("ffmpeg")

COMBINATIONS = [
    ("h264", "aac"),
    ("h264_plain", "aac"),
    ("h265", "aac"),
    ("av1", "opus"),
    ("vp9", "opus"),
    ("h264", "mp3"),
    ("h264", "flac"),
    ("h264", "ac3"),
    ("h264", "aac", "opus"),
    ("h264", "vp9"),
    ("h264",),
    ("aac",),
    ("opus",),
    ("mp3",),
    ("flac",),
]

MakeClip = Callable[..., Clip]


def write_file(path: Path, clip: Clip, *, at_s: int = 0, reserve_bytes: int = 64 * 1024) -> Mp4Writer:
    writer = Mp4Writer(path, clip.tracks, creation_ns=10**18, reserve_bytes=reserve_bytes)
    for batch in batches(shifted(clip.packets, at_s)):
        writer.write(batch)
    return writer


def tolerance_s(clip: Clip) -> Fraction:
    return max(Fraction(1, track.timescale) for track in clip.tracks)


def assert_same_packets(actual: list[list[Demuxed]], expected: list[list[Demuxed]]) -> None:
    assert [len(stream) for stream in actual] == [len(stream) for stream in expected]
    for ours, theirs in zip(actual, expected, strict=True):
        assert ours == theirs


@pytest.mark.parametrize("codecs", COMBINATIONS, ids="+".join)
def test_final_file_demuxes_like_the_one_of_libavformat(
    codecs: tuple[str, ...], clip_of: MakeClip, tmp_path: Path
) -> None:
    clip = clip_of(*codecs)
    remux(clip, tmp_path / "oracle.mp4")
    writer = write_file(tmp_path / "ours.mp4", clip)
    writer.finish()
    writer.finalize()
    assert_same_packets(demux(tmp_path / "ours.mp4"), demux(tmp_path / "oracle.mp4"))
    assert start_times(tmp_path / "ours.mp4") == start_times(tmp_path / "oracle.mp4")
    assert writer.nudged_packets == 0


@pytest.mark.parametrize("codecs", COMBINATIONS, ids="+".join)
def test_growing_recovered_and_final_files_decode_without_a_word_from_ffmpeg(
    codecs: tuple[str, ...], clip_of: MakeClip, tmp_path: Path
) -> None:
    clip = clip_of(*codecs)
    path, raw = tmp_path / "final.mp4", tmp_path / "raw.mp4"
    writer = write_file(path, clip, at_s=5000)
    writer.flush()
    raw.write_bytes(path.read_bytes())
    assert ffmpeg_complaints(raw) == ""
    view = writer.view()
    seen = view.header + raw.read_bytes()[view.start : view.end]
    writer.finish()
    writer.finalize()
    assert path.read_bytes() == seen
    assert recover_file(raw).outcome is Outcome.RECOVERED
    assert raw.read_bytes() == seen
    assert ffmpeg_complaints(path) == ""


@pytest.mark.parametrize("codecs", [("h264", "aac"), ("h265", "aac"), ("av1", "opus")], ids="+".join)
def test_video_starts_at_zero_and_audio_keeps_its_distance_anywhere_in_a_stream(
    codecs: tuple[str, ...], clip_of: MakeClip, tmp_path: Path
) -> None:
    clip = clip_of(*codecs)
    for at_s in (0, 1, 123_456):
        path = tmp_path / f"{at_s}.mp4"
        writer = write_file(path, clip, at_s=at_s)
        writer.finish()
        writer.finalize()
        video, audio = demux(path)
        assert video[0].pts == 0
        first = next(packet for packet in clip.packets if packet.track.is_audio)
        lead = Fraction(first.pts, first.track.timescale)
        assert audio[0].pts == lead
        assert inspect_file(path).start_ms == at_s * 1000


def test_raw_fragments_show_the_same_times_as_the_final_file(clip_of: MakeClip, tmp_path: Path) -> None:
    clip = clip_of("h264", "aac")
    path, raw = tmp_path / "final.mp4", tmp_path / "raw.mp4"
    writer = write_file(path, clip, at_s=77)
    writer.flush()
    raw.write_bytes(path.read_bytes())
    writer.finish()
    writer.finalize()
    assert_same_packets(demux(raw), demux(path))


def test_late_video_gets_an_empty_edit_and_stays_in_step(clip_of: MakeClip, tmp_path: Path) -> None:
    clip = clip_of("h264", "aac")
    keys = [packet.dts for packet in clip.packets if packet.track.is_video and packet.is_keyframe]
    late = [packet for packet in clip.packets if packet.track.is_audio or packet.dts >= keys[1]]
    path = tmp_path / "late.mp4"
    writer = write_file(path, Clip(clip.path, clip.tracks, tuple(late)), at_s=50)
    writer.finish()
    writer.finalize()
    video, audio = demux(path)
    expected = next(packet for packet in late if packet.track.is_video)
    first_audio = next(packet for packet in late if packet.track.is_audio)
    distance = Fraction(expected.pts, expected.track.timescale) - Fraction(
        first_audio.pts, first_audio.track.timescale
    )
    assert audio[0].pts == 0
    assert abs(video[0].pts - distance) <= tolerance_s(clip)
    assert ffmpeg_complaints(path) == ""


def test_late_audio_gets_an_empty_edit_and_stays_in_step(clip_of: MakeClip, tmp_path: Path) -> None:
    clip = clip_of("h264", "aac")
    late = [packet for packet in clip.packets if packet.track.is_video or packet.dts >= 48000]
    path = tmp_path / "late.mp4"
    writer = write_file(path, Clip(clip.path, clip.tracks, tuple(late)), at_s=50)
    writer.finish()
    writer.finalize()
    video, audio = demux(path)
    assert video[0].pts == 0
    assert audio[0].pts == Fraction(next(p for p in late if p.track.is_audio).pts, 48000)
