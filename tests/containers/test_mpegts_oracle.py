"""libavformat reads from our MPEG-TS files what was written to them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest
from helpers.appended import NOTE, assert_holds, demux, open_writer, record_clip, write_clip
from helpers.mp4_media import Clip, batches, ffmpeg_complaints, shifted
from helpers.tools import requires

from aircheck.containers.mpegts.psi import crc32
from aircheck.containers.recover import Outcome, inspect_file, read_note, recover_file
from aircheck.errors import ContainerError
from aircheck.media import h264
from aircheck.media.packet import Packet
from aircheck.media.track import Codec, Track

pytestmark = requires("ffmpeg")

COMBINATIONS = [
    ("h264", "aac"),
    ("h264_plain", "aac"),
    ("h265", "aac"),
    ("h264", "mp3"),
    ("h264", "ac3"),
    ("h264", "opus"),
    ("h264", "aac", "opus"),
    ("h264",),
    ("aac",),
    ("opus",),
    ("mp3",),
]

MakeClip = Callable[..., Clip]


@pytest.mark.parametrize("codecs", COMBINATIONS, ids="+".join)
@pytest.mark.parametrize("at_s", [0, 95_442])
def test_every_packet_is_found_with_its_bytes_and_times(
    codecs: tuple[str, ...], at_s: int, clip_of: MakeClip, tmp_path: Path
) -> None:
    clip = clip_of(*codecs)
    writer = record_clip(tmp_path / "a.ts", clip, at_s=at_s)
    assert_holds(tmp_path / "a.ts", clip.packets, clip.tracks, 90_000)
    assert writer.nudged_packets == 0


@pytest.mark.parametrize("codecs", COMBINATIONS, ids="+".join)
def test_growing_recovered_and_final_files_decode_without_a_word_from_ffmpeg(
    codecs: tuple[str, ...], clip_of: MakeClip, tmp_path: Path
) -> None:
    clip = clip_of(*codecs)
    path, raw, seen = (tmp_path / name for name in ("a.ts", "raw.ts", "seen.ts"))
    writer = write_clip(path, clip, at_s=7)
    writer.flush()
    raw.write_bytes(path.read_bytes()[: writer.size_bytes])
    view = writer.view()
    seen.write_bytes(view.header + raw.read_bytes()[view.start : view.end])
    writer.finish()
    writer.finalize(sync=False)
    assert seen.read_bytes() == path.read_bytes()
    assert ffmpeg_complaints(raw) == ""
    recovery = recover_file(raw, sync=False)
    assert recovery.outcome is Outcome.RECOVERED
    assert recovery.bytes_cut == 0
    assert ffmpeg_complaints(raw) == ""
    assert ffmpeg_complaints(path) == ""


def test_video_starts_at_time_zero_and_sound_keeps_its_lead(clip_of: MakeClip, tmp_path: Path) -> None:
    clip = clip_of("h264", "aac")
    record_clip(tmp_path / "a.ts", clip, at_s=1000)
    video, audio = demux(tmp_path / "a.ts", clip.tracks)
    first_video = next(packet for packet in clip.packets if packet.track.is_video)
    first_audio = next(packet for packet in clip.packets if packet.track.is_audio)
    assert video[0].pts == Fraction(14, 10)
    lead = Fraction(first_audio.pts, 48000) - Fraction(first_video.pts, first_video.track.timescale)
    assert audio[0].pts - video[0].pts == lead
    assert inspect_file(tmp_path / "a.ts").start_ms == 1_000_000


def test_clock_that_wraps_goes_on(clip_of: MakeClip, tmp_path: Path) -> None:
    """33 bits of 90 kHz are 26.5 hours: jumps of eleven hours lead across their end."""
    clip = clip_of("h264", "aac")
    path = tmp_path / "a.ts"
    writer = open_writer(path, clip.tracks)
    for part in range(4):
        for packets in batches(shifted(clip.packets, part * 40_000)):
            writer.write(packets)
    writer.finish()
    writer.finalize(sync=False)
    assert writer.duration_ms // 1000 == 120_003
    assert sum(map(len, demux(path, clip.tracks))) == 4 * len(clip.packets)
    path.write_bytes(path.read_bytes() + b"\x47")
    recovered = recover_file(path, sync=False).facts
    assert recovered is not None
    assert abs(recovered.duration_ms - writer.duration_ms) < 100


# --- what a strict reader asks for --------------------------------------------------------------------------


def packets_of(path: Path) -> Iterator[bytes]:
    data = path.read_bytes()
    assert len(data) % 188 == 0
    for start in range(0, len(data), 188):
        assert data[start] == 0x47
        yield data[start : start + 188]


def pid_of(packet: bytes) -> int:
    return (packet[1] & 0x1F) << 8 | packet[2]


def pcr_of(packet: bytes) -> int | None:
    if packet[3] & 0x20 and packet[4] and packet[5] & 0x10:
        return int.from_bytes(packet[6:12], "big") >> 15
    return None


@pytest.mark.parametrize("codecs", [("h264", "aac"), ("h264", "aac", "opus"), ("aac",)], ids="+".join)
def test_counters_never_skip_and_clock_references_come_often_enough(
    codecs: tuple[str, ...], clip_of: MakeClip, tmp_path: Path
) -> None:
    clip = clip_of(*codecs)
    record_clip(tmp_path / "a.ts", clip)
    counters: dict[int, int] = {}
    references: list[int] = []
    for packet in packets_of(tmp_path / "a.ts"):
        pid, reference = pid_of(packet), pcr_of(packet)
        if pid not in (0x1FFF, 0x14):
            assert packet[3] & 15 == (counters.get(pid, packet[3] - 1 & 15) + 1) & 15, f"PID {pid:#x}"
            counters[pid] = packet[3] & 15
        if reference is not None:
            references.append(reference)
    steps = [later - earlier for earlier, later in pairwise(references)]
    assert references
    assert min(steps) > 0
    assert max(steps) <= 9000


def test_tables_stand_before_every_key_frame_and_twice_a_second(clip_of: MakeClip, tmp_path: Path) -> None:
    clip = clip_of("h264", "aac")
    record_clip(tmp_path / "a.ts", clip)
    packets = list(packets_of(tmp_path / "a.ts"))
    keys = [i for i, p in enumerate(packets) if pid_of(p) == 0x100 and p[3] & 0x20 and p[4] and p[5] & 0x40]
    assert len(keys) == 3
    for position in keys:
        assert [pid_of(packet) for packet in packets[position - 2 : position]] == [0, 0x1000]
    seen = Counter(map(pid_of, packets))
    assert seen[0] == seen[0x1000] >= 7
    for packet in packets:
        if pid_of(packet) in (0, 0x1000):
            size = (packet[6] & 0x0F) << 8 | packet[7]
            assert crc32(packet[5 : 8 + size]) == 0


@pytest.mark.parametrize("lag_s", [0.0, 0.4])
def test_clock_reference_is_never_later_than_what_it_dates(
    lag_s: float, clip_of: MakeClip, tmp_path: Path
) -> None:
    """Sound lies behind its pictures, even if it was sent late, and still arrives before it is due."""
    clip = clip_of("h264", "aac")
    writer = open_writer(tmp_path / "a.ts", clip.tracks)
    writer.write(sorted(clip.packets, key=lambda p: p.dts / p.track.timescale + lag_s * p.track.is_audio))
    writer.finish()
    clock = 0
    for packet in packets_of(tmp_path / "a.ts"):
        clock = pcr_of(packet) or clock
        start = 4 + (1 + packet[4] if packet[3] & 0x20 else 0)
        if pid_of(packet) in (0x100, 0x101) and packet[1] & 0x40:
            value = int.from_bytes(packet[start + 9 : start + 14], "big")
            pts = (value >> 33 & 7) << 30 | (value >> 17 & 0x7FFF) << 15 | value >> 1 & 0x7FFF
            assert pts > clock


def test_track_of_pictures_that_stays_silent_still_tells_the_time(clip_of: MakeClip, tmp_path: Path) -> None:
    clip = clip_of("h264", "aac")
    sound = [packet for packet in clip.packets if packet.track.is_audio]
    path = tmp_path / "a.ts"
    writer = open_writer(path, clip.tracks)
    for packets in batches(sound):
        writer.write(packets)
    writer.finish()
    references = [pcr_of(packet) for packet in packets_of(path) if pcr_of(packet) is not None]
    assert {pid_of(packet) for packet in packets_of(path) if pcr_of(packet) is not None} == {0x100}
    assert len(references) >= 5
    assert references == sorted(references, key=lambda reference: reference or 0)
    assert sum(pid_of(packet) == 0x1000 for packet in packets_of(path)) >= 5
    assert_holds(path, sound, clip.tracks, 90_000)


def test_delimiters_and_parameter_sets_of_the_publisher_are_not_doubled(
    clip_of: MakeClip, tmp_path: Path
) -> None:
    clip = clip_of("h264")
    track = clip.tracks[0]
    config = h264.parse_config(track.config)
    sets = b"".join(len(unit).to_bytes(4, "big") + unit for unit in (*config.sps, *config.pps))
    own = b"\0\0\0\2\x09\xf0"
    packets = [
        replace(packet, data=own + (sets if packet.is_keyframe else b"") + bytes(packet.data))
        for packet in clip.packets
    ]
    writer = open_writer(tmp_path / "a.ts", clip.tracks)
    writer.write(packets)
    writer.finish()
    data = (tmp_path / "a.ts").read_bytes()
    assert data.count(b"\0\0\0\1\x09\xf0") == len(packets)
    assert data.count(b"\0\0\0\1\x67") == sum(packet.is_keyframe for packet in packets)
    assert ffmpeg_complaints(tmp_path / "a.ts") == ""


def test_torn_lengths_in_an_access_unit_lose_nothing_and_raise_nothing(
    tmp_path: Path, clip_of: MakeClip
) -> None:
    track = clip_of("h264").tracks[0]
    writer = open_writer(tmp_path / "a.ts", [track])
    for number, data in enumerate(
        (b"\0\0\0\xff\x65abc", b"", b"\0\0", b"\0\0\0\0", b"\0\0\0\1\x41\0\0\0\x09x")
    ):
        writer.write([Packet(track, number * 1000, number * 1000, number == 0, data)])
    writer.finish()
    assert b"\0\0\0\1\x65abc" in (tmp_path / "a.ts").read_bytes()
    assert writer.track_facts()[0].packets == 5


def test_note_is_in_packets_that_everybody_drops(clip_of: MakeClip, tmp_path: Path) -> None:
    clip = clip_of("h264", "aac")
    note = bytes(range(32, 127)) * 100
    record_clip(tmp_path / "a.ts", clip, note=note)
    assert read_note(tmp_path / "a.ts") == note
    assert NOTE not in (tmp_path / "a.ts").read_bytes()
    assert ffmpeg_complaints(tmp_path / "a.ts") == ""


def test_late_track_is_announced_by_a_new_version_of_the_table(clip_of: MakeClip, tmp_path: Path) -> None:
    clip = clip_of("h264", "aac")
    video, audio = clip.tracks
    path = tmp_path / "a.ts"
    writer = open_writer(path, [video])
    early = [packet for packet in clip.packets if packet.track is video and packet.dts < video.timescale]
    late = [p for p in clip.packets if p not in early and p.pts >= p.track.timescale]
    writer.write(early)
    assert writer.add_track(audio)
    writer.write(late)
    writer.finish()
    writer.finalize(sync=False)
    versions = {packet[10] >> 1 & 31 for packet in packets_of(path) if pid_of(packet) == 0x1000}
    assert versions == {0, 1}
    assert [track.packets for track in inspect_file(path).tracks] == [
        sum(packet.track is track for packet in early + late) for track in clip.tracks
    ]
    assert ffmpeg_complaints(path) == ""


@pytest.mark.parametrize("codec", [Codec.VP9, Codec.FLAC, Codec.PCMA])
def test_codec_that_mpegts_cannot_hold_leaves_no_file(codec: Codec, tmp_path: Path) -> None:
    with pytest.raises(ContainerError, match="cannot hold"):
        open_writer(tmp_path / "a.ts", [Track(0, codec, 90_000, b"x")])
    assert not list(tmp_path.iterdir())
