"""libavformat reads from our FLV files what was written to them."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.appended import assert_holds, demux, open_writer, record_clip, write_clip
from helpers.mp4_media import Clip, ffmpeg_complaints
from helpers.probe import ProbedFile
from helpers.tools import requires

from aircheck.containers.recover import Outcome, inspect_file, read_note, recover_file
from aircheck.errors import ContainerError
from aircheck.media.track import Codec, Track

pytestmark = requires("ffmpeg")

CLASSIC = [("h264", "aac"), ("h264_plain", "aac"), ("h264", "mp3"), ("h264",), ("aac",), ("mp3",)]
ENHANCED = [
    ("h265", "aac"),
    ("av1", "opus"),
    ("vp9", "opus"),
    ("h264", "flac"),
    ("h264", "ac3"),
    ("h264", "aac", "opus"),
    ("h264", "vp9"),
]

MakeClip = Callable[..., Clip]


@pytest.mark.parametrize("codecs", CLASSIC + ENHANCED, ids="+".join)
@pytest.mark.parametrize("at_s", [0, 123_456])
def test_every_packet_is_found_with_its_bytes_and_times(
    codecs: tuple[str, ...], at_s: int, clip_of: MakeClip, tmp_path: Path
) -> None:
    clip = clip_of(*codecs)
    writer = record_clip(tmp_path / "a.flv", clip, at_s=at_s)
    assert_holds(tmp_path / "a.flv", clip.packets, clip.tracks, 1000)
    assert writer.nudged_packets == 0


@pytest.mark.parametrize("codecs", CLASSIC, ids="+".join)
def test_growing_recovered_and_final_files_decode_without_a_word_from_ffmpeg(
    codecs: tuple[str, ...], clip_of: MakeClip, tmp_path: Path
) -> None:
    clip = clip_of(*codecs)
    path, raw, seen = (tmp_path / name for name in ("a.flv", "raw.flv", "seen.flv"))
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


def test_metadata_tells_duration_size_and_creation(clip_of: MakeClip, tmp_path: Path) -> None:
    clip = clip_of("h264", "aac")
    writer = record_clip(tmp_path / "a.flv", clip)
    probed = ProbedFile(tmp_path / "a.flv")
    assert round(probed.duration_s * 1000) == writer.duration_ms
    data = (tmp_path / "a.flv").read_bytes()
    assert b"creationdate\x02\0\x142023-11-14T22:13:20Z" in data
    assert read_note(tmp_path / "a.flv") == b'{"who":"test"}'


def test_time_zero_is_the_earliest_decoding_time(clip_of: MakeClip, tmp_path: Path) -> None:
    clip = clip_of("h264", "aac")
    record_clip(tmp_path / "a.flv", clip, at_s=1000)
    video, _ = demux(tmp_path / "a.flv", clip.tracks)
    assert video[0].dts == 0
    first = next(packet for packet in clip.packets if packet.track.is_video)
    assert inspect_file(tmp_path / "a.flv").start_ms == 1_000_000 + first.dts * 1000 // first.track.timescale


def test_index_leads_to_key_frames_and_is_thinned_to_the_room_there_is(
    clip_of: MakeClip, tmp_path: Path
) -> None:
    clip = clip_of("h264", "aac")
    path = tmp_path / "a.flv"
    for reserve_bytes, expected in ((0, []), (40, [0, 2000]), (4000, [0, 1000, 2000])):
        path.unlink(missing_ok=True)
        record_clip(path, clip, reserve_bytes=reserve_bytes)
        data = path.read_bytes()
        found = index_of(data)
        keys = [(time, position) for time, position in found if position < len(data)]
        assert [time for time, _ in keys] == expected
        for time, position in keys:
            assert (data[position], data[position + 11]) == (9, 0x17)
            assert int.from_bytes(data[position + 4 : position + 7], "big") == time
        assert_holds(path, clip.packets, clip.tracks, 1000)


def index_of(data: bytes) -> list[tuple[int, int]]:
    """Times in milliseconds and positions, as onMetaData lists them."""
    if b"\0\x09keyframes\x03" not in data:
        return []
    positions, times = (_numbers(data, name) for name in (b"filepositions", b"times"))
    return [(round(time * 1000), int(position)) for time, position in zip(times, positions, strict=True)]


def _numbers(data: bytes, name: bytes) -> list[float]:
    """A strict array of AMF numbers."""
    start = data.index(name + b"\x0a") + len(name) + 1
    (count,) = struct.unpack_from(">I", data, start)
    return [value for (value,) in struct.iter_unpack(">xd", data[start + 4 : start + 4 + 9 * count])]


def test_second_track_of_a_kind_needs_a_codec_with_a_fourcc(tmp_path: Path) -> None:
    first = Track(0, Codec.PCMA, 8000, sample_rate=8000, channels=1)
    with pytest.raises(ContainerError, match="cannot hold pcmu"):
        open_writer(tmp_path / "a.flv", [first, replace(first, id=1, codec=Codec.PCMU)])
    assert not list(tmp_path.iterdir())


def test_packet_too_long_for_a_tag_is_refused_and_the_file_stays_whole(
    clip_of: MakeClip, tmp_path: Path
) -> None:
    clip = clip_of("h264", "aac")
    path = tmp_path / "a.flv"
    writer = open_writer(path, clip.tracks)
    half = len(clip.packets) // 2
    writer.write(clip.packets[:half])
    before = path.read_bytes()
    with pytest.raises(ContainerError, match="too long"):
        writer.write([replace(packet, data=bytes(1 << 24)) for packet in clip.packets[half : half + 20]])
    assert writer.dropped_packets == 20
    writer.finish()
    assert path.read_bytes() == before
