"""A survey counts what is there, whoever wrote the file and however far it got."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import pytest
from helpers import appended, mp4_streams
from helpers.mp4_streams import media, open_writer

from aircheck.containers.mp4 import Mp4Writer
from aircheck.containers.survey import Interval, Jump, Survey, survey_file
from aircheck.containers.test_pattern import EncodedPattern, Pattern, encode_pattern
from aircheck.errors import ContainerError

PATTERN = Pattern(duration_s=4, width=160, height=90, frames_per_second=10, gop_s=2)


@pytest.fixture(scope="module")
def encoded() -> EncodedPattern:
    return encode_pattern(PATTERN)


def write_pattern(path: Path, encoded: EncodedPattern) -> Path:
    tracks = tuple({packet.track.id: packet.track for packet in encoded.packets}.values())
    writer = Mp4Writer(path, tracks, note=b"", creation_ns=mp4_streams.CREATED_NS)
    writer.write(encoded.packets)
    writer.finish()
    writer.finalize(sync=False)
    writer.close()
    return path


def remux(source: Path, target: Path) -> Path:
    """The same media as libavformat writes it."""
    reader: Any = av.open(str(source))
    writer: Any = av.open(str(target), "w")
    with reader, writer:
        streams = {one.index: writer.add_stream_from_template(one) for one in reader.streams}
        for packet in reader.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream.index]
                writer.mux(packet)
    return target


def counted(survey: Survey) -> dict[str, tuple[int, int]]:
    return {track.facts.kind: (track.facts.packets, track.facts.size_bytes) for track in survey.tracks}


def test_our_own_file_is_surveyed_by_its_index(tmp_path: Path, encoded: EncodedPattern) -> None:
    survey = survey_file(write_pattern(tmp_path / "own.mp4", encoded))
    assert survey.own is not None
    assert survey.own.is_final
    sizes: dict[str, list[int]] = {"video": [], "audio": []}
    for packet in encoded.packets:
        sizes[packet.track.kind.value].append(len(packet.data))
    assert counted(survey) == {kind: (len(each), sum(each)) for kind, each in sizes.items()}
    video = next(track for track in survey.tracks if track.facts.kind == "video")
    assert (video.facts.codec, video.facts.width, video.facts.height) == ("h264", 160, 90)
    assert (video.keyframes, video.key_interval) == (2, Interval(2000, 2000, 2000))
    assert video.start_ms == 0
    assert video.end_ms == 4000
    assert abs(survey.duration_ms - 4000) < 50
    assert survey.skew_ms is not None
    assert max(map(abs, survey.skew_ms)) < 50
    assert all(track.jumps == () for track in survey.tracks)


@pytest.mark.parametrize("container", ["mp4", "mkv", "flv", "ts"])
def test_a_file_of_others_holds_the_same(container: str, tmp_path: Path, encoded: EncodedPattern) -> None:
    own = survey_file(write_pattern(tmp_path / "own.mp4", encoded))
    survey = survey_file(remux(tmp_path / "own.mp4", tmp_path / f"foreign.{container}"))
    assert (survey.own, survey.container) == (None, container)
    packets = {kind: packets for kind, (packets, _) in counted(survey).items()}
    assert packets == {kind: packets for kind, (packets, _) in counted(own).items()}
    if container != "ts":  # which frames AAC with ADTS and H.264 with delimiters
        assert counted(survey) == counted(own)
    video = next(track for track in survey.tracks if track.facts.kind == "video")
    assert video.key_interval == Interval(2000, 2000, 2000)
    assert abs(survey.duration_ms - own.duration_ms) <= 110  # FLV does not know how long the last picture is
    assert all(track.jumps == () for track in survey.tracks)


@pytest.mark.parametrize("container", ["mkv", "flv", "ts"])
def test_our_other_files_are_surveyed_growing_and_final(
    container: str, tmp_path: Path, encoded: EncodedPattern
) -> None:
    path = tmp_path / f"own.{container}"
    writer = appended.open_writer(path, (encoded.video, encoded.audio))
    half = len(encoded.packets) // 2
    writer.write(encoded.packets[:half])
    writer.flush()
    growing = survey_file(path)
    writer.write(encoded.packets[half:])
    writer.finish()
    writer.finalize(sync=False)
    final = survey_file(path)
    assert growing.own is not None
    assert final.own is not None
    assert (growing.own.is_final, final.own.is_final) == (False, True)
    assert 0 < counted(growing)["audio"][0] < counted(final)["audio"][0]
    wanted = {track.kind.value: encoded.packets_of(track) for track in (encoded.video, encoded.audio)}
    assert {kind: packets for kind, (packets, _) in counted(final).items()} == wanted
    assert all(track.jumps == () for track in final.tracks)


def test_a_growing_file_is_surveyed_as_far_as_it_got(tmp_path: Path) -> None:
    path = tmp_path / "growing.mp4"
    writer = open_writer(path)
    writer.write(media(3))
    writer.flush()
    early = survey_file(path)
    writer.write(media(2, start_ms=3000))
    writer.flush()
    late = survey_file(path)
    writer.finish()
    writer.close()
    assert early.own is not None
    assert not early.own.is_final
    assert 2900 <= early.duration_ms <= 3050
    assert 4900 <= late.duration_ms <= 5050
    assert counted(late)["video"][0] > counted(early)["video"][0] >= 70


def test_a_torn_file_is_surveyed_up_to_the_tear(tmp_path: Path) -> None:
    path = tmp_path / "torn.mp4"
    writer = open_writer(path)
    for start_ms in range(0, 5000, 500):
        writer.write(media(0.5, start_ms=start_ms))
    writer.finish()
    writer.close()
    whole = survey_file(path)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 700)
    torn = survey_file(path)
    assert 0 < counted(torn)["video"][0] < counted(whole)["video"][0]


def test_a_jump_of_timestamps_is_placed_and_measured(tmp_path: Path) -> None:
    path = tmp_path / "jump.mp4"
    writer = open_writer(path)
    writer.write([*media(2), *media(2, start_ms=5000)])
    writer.finish()
    writer.close()
    video, audio = survey_file(path).tracks
    assert video.jumps == (Jump(1960, 3000),)
    (jump,) = audio.jumps
    assert abs(jump.at_ms - 1980) <= 30
    assert abs(jump.by_ms - 3000) <= 30


def test_what_holds_no_media_is_refused_in_words(tmp_path: Path) -> None:
    for name, content in (
        ("empty.mp4", b""),
        ("words.txt", b"words\n" * 200),
        ("list.txt", b"ffconcat version 1.0\nfile a\n"),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(ContainerError, match=name) as caught:
            survey_file(path)
        assert caught.value.remedy


def test_the_survey_tells_how_far_it_is(tmp_path: Path, encoded: EncodedPattern) -> None:
    source = write_pattern(tmp_path / "own.mp4", encoded)
    told: list[tuple[int, int]] = []
    survey_file(
        remux(source, tmp_path / "foreign.mkv"), progress=lambda done, total: told.append((done, total))
    )
    assert told
    assert all(0 < done <= total for done, total in told)
