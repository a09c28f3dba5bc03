"""Clips and joins in the other containers, of files by others, and from one container to another."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest
from helpers import cutting
from helpers.appended import record_clip
from helpers.cutting import CONTAINERS, GOP_S, RATE, feed, pattern, payloads, pictures, record, split, stream
from helpers.mp4_media import Clip, ffmpeg_complaints
from helpers.tools import requires

from aircheck.containers.cut import NothingThere, Range, Source, cut, join
from aircheck.containers.recover import read_note
from aircheck.containers.verify import verify_file
from aircheck.errors import ContainerError

OTHERS = tuple(name for name in CONTAINERS if name != "mp4")


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One of each container, of a stream that had been going on for 1000 seconds."""
    folder = tmp_path_factory.mktemp("cut")
    return {name: record(folder / f"whole.{name}", stream(1000)) for name in CONTAINERS}


def of_pictures(path: Path) -> list[str]:
    return [shown.picture for shown in pictures(path)]


@requires("ffmpeg")
@pytest.mark.parametrize("container", OTHERS)
@pytest.mark.parametrize(
    ("start", "key", "end"), [("3.5", 2, 7), ("4.2", 4, 5), ("0.5", 0, 3), ("7.9", 6, 60)]
)
def test_a_clip_begins_at_the_key_frame_before(
    recordings: dict[str, Path], tmp_path: Path, container: str, start: str, key: int, end: int
) -> None:
    clip = tmp_path / f"clip.{container}"
    cut([Source(recordings[container])], Range(Fraction(start), Fraction(end)), clip, note=b"a clip")

    whole, found = of_pictures(recordings[container]), of_pictures(clip)
    assert found == whole[key * RATE :][: len(found)]
    # Pictures that others need may follow the end.
    assert 0 <= len(found) - (min(end, cutting.SECONDS) - key) * RATE <= 3 or container == "flv"
    assert ffmpeg_complaints(clip) == ""
    assert read_note(clip) == b"a clip"


@pytest.mark.parametrize("container", OTHERS)
def test_picture_and_sound_of_a_clip_are_together(
    recordings: dict[str, Path], tmp_path: Path, container: str
) -> None:
    clip = tmp_path / f"clip.{container}"
    cut([Source(recordings[container])], Range(Fraction("3.5"), Fraction("6.5")), clip)

    verdict = verify_file(clip)
    # The first frame of sound may begin a little after the first picture.
    pairs = list(zip(verdict.flashes_s, verdict.beeps_s, strict=True))
    assert len(pairs) == 5
    assert all(abs(flash_s - beep_s) < 0.002 for flash_s, beep_s in pairs[1:])
    assert not verdict.errors


@pytest.mark.parametrize("container", OTHERS)
def test_a_range_behind_the_end_leaves_nothing(
    recordings: dict[str, Path], tmp_path: Path, container: str
) -> None:
    with pytest.raises(NothingThere):
        cut([Source(recordings[container])], Range(Fraction(60), Fraction(70)), tmp_path / f"no.{container}")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("container", OTHERS)
def test_a_growing_file_is_cut_by_its_view(
    recordings: dict[str, Path], tmp_path: Path, container: str
) -> None:
    path = tmp_path / f"growing.{container}"
    writer = cutting.writer_of(path, (pattern().video, pattern().audio))
    feed(writer, stream(1000))
    writer.flush()

    cut([Source(path, view=writer.view)], Range(Fraction(3), Fraction(6)), tmp_path / f"clip.{container}")
    writer.close()

    cut([Source(recordings[container])], Range(Fraction(3), Fraction(6)), tmp_path / f"same.{container}")
    assert payloads(tmp_path / f"clip.{container}") == payloads(tmp_path / f"same.{container}")


@pytest.mark.parametrize("container", OTHERS)
def test_a_clip_goes_over_the_files_of_a_rotated_recording(
    recordings: dict[str, Path], tmp_path: Path, container: str
) -> None:
    parts = [
        Source(record(tmp_path / f"part_{number}.{container}", packets))
        for number, packets in enumerate(split(stream(1000), 2, 4))
    ]
    cut(parts, Range(Fraction(3), Fraction(7)), tmp_path / f"clip.{container}")
    cut([Source(recordings[container])], Range(Fraction(3), Fraction(7)), tmp_path / f"same.{container}")

    found, same = pictures(tmp_path / f"clip.{container}"), pictures(tmp_path / f"same.{container}")
    assert [one.picture for one in found] == [one.picture for one in same]
    for here, there in zip(found, same, strict=True):
        assert abs(here.time_s - there.time_s) <= Fraction(2, 1000)


@pytest.mark.parametrize("container", OTHERS)
def test_files_of_a_rotated_recording_joined_again_are_the_stream(
    recordings: dict[str, Path], tmp_path: Path, container: str
) -> None:
    parts = [
        Source(record(tmp_path / f"part_{number}.{container}", packets))
        for number, packets in enumerate(split(stream(1000), 2, 4, 6))
    ]

    join(parts, tmp_path / f"joined.{container}", is_one_timeline=True)

    assert payloads(tmp_path / f"joined.{container}") == payloads(recordings[container])
    assert verify_file(tmp_path / f"joined.{container}").errors == []


@pytest.mark.parametrize("container", OTHERS)
def test_sound_alone_is_cut_at_a_frame(tmp_path: Path, container: str) -> None:
    sound = [packet for packet in stream() if packet.track is pattern().audio]
    source = record(tmp_path / f"sound.{container}", sound, (pattern().audio,))

    clip = tmp_path / f"clip.{container}"
    cut([Source(source)], Range(Fraction("2.5"), Fraction("5.2")), clip)

    assert 2.7 * 48000 / 1024 - 2 <= len(payloads(clip)[0]) <= 2.7 * 48000 / 1024 + 16
    assert not verify_file(clip).errors


@requires("ffmpeg")
def test_webm_is_cut(clip_of: Callable[..., Clip], tmp_path: Path) -> None:
    clip = clip_of("vp9", "opus")
    record_clip(tmp_path / "whole.webm", clip, at_s=50)

    cut([Source(tmp_path / "whole.webm")], Range(Fraction("1.3"), Fraction("2.5")), tmp_path / "clip.webm")

    found = of_pictures(tmp_path / "clip.webm")
    assert found == of_pictures(tmp_path / "whole.webm")[25:][: len(found)]
    assert 37 <= len(found) <= 38
    assert ffmpeg_complaints(tmp_path / "clip.webm") == ""


@requires("ffmpeg")
@pytest.mark.parametrize("codecs", [("h265", "aac"), ("av1", "opus"), ("h264", "mp3"), ("h264", "flac")])
def test_other_codecs_go_from_a_file_of_others_to_mp4(
    clip_of: Callable[..., Clip], tmp_path: Path, codecs: tuple[str, str]
) -> None:
    source = clip_of(*codecs).path

    cut([Source(source)], Range(Fraction("1.2"), Fraction("2.2")), tmp_path / "clip.mp4")

    wanted = [one.picture for one in pictures(source) if Fraction("1.2") <= one.time_s < Fraction("2.2")]
    assert of_pictures(tmp_path / "clip.mp4") == wanted
    assert ffmpeg_complaints(tmp_path / "clip.mp4") == ""


@requires("ffmpeg")
@pytest.mark.parametrize("container", CONTAINERS)
def test_files_that_ffmpeg_wrote_are_cut(recordings: dict[str, Path], tmp_path: Path, container: str) -> None:
    foreign = tmp_path / f"foreign.{container}"
    command = ["ffmpeg", "-v", "error", "-i", str(recordings["mp4"]), "-c", "copy", str(foreign)]
    subprocess.run(command, check=True, timeout=60)

    cut([Source(foreign)], Range(Fraction("2.5"), Fraction("5.5")), tmp_path / f"clip.{container}")

    whole, found = of_pictures(recordings["mp4"]), of_pictures(tmp_path / f"clip.{container}")
    begin = 75 if container == "mp4" else GOP_S * RATE
    assert found == whole[begin:][: len(found)]
    assert abs(begin + len(found) - 5.5 * RATE) <= 5
    assert ffmpeg_complaints(tmp_path / f"clip.{container}") == ""


@pytest.mark.parametrize("source", CONTAINERS)
@pytest.mark.parametrize("target", CONTAINERS)
def test_a_clip_may_have_another_container(
    recordings: dict[str, Path], tmp_path: Path, source: str, target: str
) -> None:
    clip = tmp_path / f"clip.{target}"
    cut([Source(recordings[source])], Range(Fraction("4.2"), Fraction(6)), clip)

    verdict = verify_file(clip)
    assert not verdict.errors
    found, whole = of_pictures(clip), of_pictures(recordings["mp4"])
    begin = whole.index(found[0])
    assert found == whole[begin:][: len(found)]
    # FLV counts from the first decoding time, and Matroska from the first frame of sound.
    assert begin == 120 if target != "mp4" else 123 <= begin <= 126
    assert abs(begin + len(found) - 6 * RATE) <= 5
    assert verdict.worst_skew_ms is not None
    assert abs(verdict.worst_skew_ms) < 40


def test_a_container_that_cannot_hold_the_codecs_is_refused(
    recordings: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(ContainerError, match="webm cannot hold h264"):
        cut([Source(recordings["mp4"])], Range(Fraction(1)), tmp_path / "clip.webm")
    assert not list(tmp_path.iterdir())


def test_what_is_no_media_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("hello" * 1000)

    with pytest.raises(ContainerError, match="no media file"):
        cut([Source(tmp_path / "text.mp4")], Range(Fraction(1)), tmp_path / "clip.mp4")


@pytest.mark.parametrize("container", ["flv", "ts"])
def test_a_track_that_turned_up_late_is_never_left_out_silently(tmp_path: Path, container: str) -> None:
    path = tmp_path / f"late.{container}"
    writer = cutting.writer_of(path, (pattern().video,))
    packets = stream()
    writer.write(
        [packet for packet in packets if packet.track is pattern().video and packet.dts < 6 * 90_000]
    )
    writer.flush()
    assert writer.add_track(pattern().audio)
    writer.write([packet for packet in packets if packet.dts >= 6 * packet.track.timescale])
    writer.finish()
    writer.finalize(sync=False)

    with pytest.raises(ContainerError, match="turned up late"):
        cut([Source(path)], Range(Fraction(1), Fraction(7)), tmp_path / f"clip.{container}")
