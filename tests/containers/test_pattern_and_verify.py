"""The test pattern is what it says, and the judge of files finds what is wrong with one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from aircheck.containers.mp4.writer import Mp4Writer
from aircheck.containers.pattern_canvas import PatternCanvas
from aircheck.containers.test_pattern import EncodedPattern, Pattern, encode_pattern
from aircheck.containers.verify import verify_file
from aircheck.errors import ContainerError
from aircheck.media import aac, h264
from aircheck.media.packet import Packet

PATTERN = Pattern(duration_s=3, width=320, height=180, video_bits_per_s=300_000)
FRAME_MS = 1000 / PATTERN.frames_per_second


@pytest.fixture(scope="module")
def encoded() -> EncodedPattern:
    return encode_pattern(PATTERN)


def write(path: Path, packets: list[Packet], encoded: EncodedPattern) -> Path:
    writer = Mp4Writer(path, [encoded.video, encoded.audio], creation_ns=0)
    writer.write(packets)
    writer.finish()
    writer.finalize()
    return path


def test_tracks_describe_themselves_as_the_pattern_was_asked_for(encoded: EncodedPattern) -> None:
    assert h264.picture_size(encoded.video.config) == (PATTERN.width, PATTERN.height)
    config = aac.parse_config(encoded.audio.config)
    assert (config.sample_rate, config.channels) == (PATTERN.sample_rate, 1)


def test_every_picture_becomes_one_packet_and_sound_has_one_more_for_priming(encoded: EncodedPattern) -> None:
    assert encoded.packets_of(encoded.video) == PATTERN.frames
    assert encoded.packets_of(encoded.audio) == PATTERN.audio_frames + 1


def test_times_begin_at_zero_and_pictures_are_reordered(encoded: EncodedPattern) -> None:
    assert encoded.packets[0].dts == 0
    assert all(packet.pts >= packet.dts >= 0 for packet in encoded.packets)
    assert any(packet.pts - packet.dts > 3000 for packet in encoded.packets if packet.track is encoded.video)


def test_key_frames_come_once_a_gop(encoded: EncodedPattern) -> None:
    keyframes = [packet.pts for packet in encoded.packets if packet.track.is_video and packet.is_keyframe]
    assert len(keyframes) == 2
    assert keyframes[1] - keyframes[0] == PATTERN.gop_s * 90_000


def test_a_whole_file_decodes_and_each_beep_meets_its_flash(encoded: EncodedPattern, tmp_path: Path) -> None:
    verdict = verify_file(write(tmp_path / "whole.mp4", list(encoded.packets), encoded))
    video, audio = verdict.track("video"), verdict.track("audio")
    assert video is not None
    assert audio is not None
    assert verdict.errors == []
    assert (video.packets, video.decoded_frames) == (PATTERN.frames, PATTERN.frames)
    assert audio.packets == PATTERN.audio_frames + 1
    assert len(verdict.flashes_s) == len(verdict.beeps_s) == PATTERN.duration_s
    assert verdict.worst_skew_ms == pytest.approx(0, abs=3)


def test_late_sound_shows_as_skew(encoded: EncodedPattern, tmp_path: Path) -> None:
    late = PATTERN.sample_rate // 10
    packets = [
        packet if packet.track.is_video else replace(packet, pts=packet.pts + late, dts=packet.dts + late)
        for packet in encoded.packets
    ]
    verdict = verify_file(write(tmp_path / "late.mp4", packets, encoded))
    assert verdict.worst_skew_ms == pytest.approx(100, abs=3)


def test_a_damaged_picture_is_found(encoded: EncodedPattern, tmp_path: Path) -> None:
    packets = list(encoded.packets)
    victim = next(i for i, p in enumerate(packets) if p.track.is_video and p.is_keyframe)
    data = bytearray(packets[victim].data)
    data[len(data) // 2 :] = bytes(len(data) - len(data) // 2)
    packets[victim] = replace(packets[victim], data=bytes(data))
    verdict = verify_file(write(tmp_path / "damaged.mp4", packets, encoded))
    assert verdict.errors


def test_what_is_no_media_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "notes.mp4"
    path.write_text("not a film")
    with pytest.raises(ContainerError, match=r"notes\.mp4 cannot be read"):
        verify_file(path)


def test_pictures_move_and_flash() -> None:
    canvas = PatternCanvas(320, 180, 30, 90, (320, 160, 160))
    first, second = canvas.draw(10, is_flash=False), canvas.draw(11, is_flash=False)
    flash = canvas.draw(10, is_flash=True)
    assert first != second
    assert sum(flash[0]) > 1.5 * sum(first[0])
    assert [len(plane) for plane in first] == [320 * 180, 160 * 90, 160 * 90]
