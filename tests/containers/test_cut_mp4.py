"""Clips of MP4: exactly what was asked for, whatever lies where; and files joined are the stream."""

from __future__ import annotations

import os
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest
from helpers import cutting
from helpers.cutting import GOP_S, RATE, SECONDS, feed, pattern, payloads, pictures, record, split, stream
from helpers.mp4_media import ffmpeg_complaints
from helpers.tools import requires
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aircheck.containers.cut import NothingThere, Range, Source, cut, join
from aircheck.containers.recover import inspect_file, read_note
from aircheck.containers.verify import verify_file
from aircheck.errors import ContainerError

FRAME_S = Fraction(1, RATE)


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a stream that had been going on for 1000 seconds."""
    return record(tmp_path_factory.mktemp("cut") / "whole.mp4", stream(1000))


def clip_of(source: Path, target: Path, start: str | None, end: str | None) -> Path:
    wanted = Range(None if start is None else Fraction(start), None if end is None else Fraction(end))
    cut([Source(source)], wanted, target, note=b"a clip")
    return target


@requires("ffmpeg")
@pytest.mark.parametrize(
    ("start", "end"),
    [("3.5", "7"), ("2", "4"), ("0", "1"), ("1.999", "2.001"), (None, "3"), ("7.25", None), ("6.9", "60")],
)
def test_a_clip_begins_with_the_picture_that_is_on_and_shows_all_of_its_range(
    recording: Path, tmp_path: Path, start: str | None, end: str | None
) -> None:
    clip = clip_of(recording, tmp_path / "clip.mp4", start, end)

    begin_s = Fraction(start or 0)
    wanted = [
        shown
        for shown in pictures(recording)
        if shown.time_s > begin_s - FRAME_S and (end is None or shown.time_s < Fraction(end))
    ]
    assert [shown.picture for shown in pictures(clip)] == [shown.picture for shown in wanted]
    for here, there in zip(pictures(clip), wanted, strict=True):
        assert abs(here.time_s - (there.time_s - wanted[0].time_s)) <= Fraction(1, 10_000)
    assert ffmpeg_complaints(clip) == ""


def test_picture_and_sound_of_a_clip_are_together(recording: Path, tmp_path: Path) -> None:
    verdict = verify_file(clip_of(recording, tmp_path / "clip.mp4", "2.5", "7.3"))

    assert verdict.flashes_s == pytest.approx([0.5, 1.5, 2.5, 3.5, 4.5], abs=0.001)
    assert verdict.beeps_s == pytest.approx([0.5, 1.5, 2.5, 3.5, 4.5], abs=0.001)
    assert not verdict.errors


def test_a_clip_knows_when_it_was_recorded_and_bears_its_note(recording: Path, tmp_path: Path) -> None:
    clip = clip_of(recording, tmp_path / "clip.mp4", "3", "5")

    facts = inspect_file(clip)
    assert facts.creation_ns == cutting.CREATED_NS + 3_000_000_000
    assert facts.duration_ms == 2000
    assert read_note(clip) == b"a clip"


def test_only_the_group_of_pictures_at_the_start_is_in_the_file_besides(
    recording: Path, tmp_path: Path
) -> None:
    clip = clip_of(recording, tmp_path / "clip.mp4", "5.9", "6.5")

    assert len(payloads(clip)[0]) <= (GOP_S + Fraction("0.5")) * RATE + 2


@pytest.mark.parametrize(("start", "end"), [("8.5", None), ("100", "200")])
def test_a_range_behind_the_end_is_refused_and_leaves_nothing(
    recording: Path, tmp_path: Path, start: str, end: str | None
) -> None:
    with pytest.raises(NothingThere):
        clip_of(recording, tmp_path / "clip.mp4", start, end)
    assert not list(tmp_path.iterdir())


def test_a_name_that_is_taken_is_left_alone(recording: Path, tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"mine")

    with pytest.raises(FileExistsError):
        clip_of(recording, tmp_path / "clip.mp4", "1", "2")
    assert (tmp_path / "clip.mp4").read_bytes() == b"mine"


@given(
    start=st.fractions(0, SECONDS - 1, max_denominator=1000),
    length=st.fractions(Fraction(1, 10), SECONDS, max_denominator=1000),
)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_any_range_shows_its_first_picture_at_once_and_lasts_as_long(
    recording: Path, tmp_path: Path, start: Fraction, length: Fraction
) -> None:
    target = tmp_path / "any.mp4"
    target.unlink(missing_ok=True)

    made = cut([Source(recording)], Range(start, start + length), target)

    found = pictures(target)
    lasts_s = min(length, SECONDS - start)
    assert found[0].time_s == 0
    assert abs(len(found) - lasts_s * RATE) < 2
    assert abs(Fraction(made.duration_ms, 1000) - lasts_s) <= Fraction(5, 100)


def test_a_growing_file_is_cut_as_a_finished_one(tmp_path: Path) -> None:
    path = tmp_path / "growing.mp4"
    writer = cutting.writer_of(path, (pattern().video, pattern().audio))
    feed(writer, stream(50))
    writer.flush()

    growing = clip_of(path, tmp_path / "growing-clip.mp4", "2.7", "6.1")
    writer.finish()
    writer.finalize(sync=False)
    finished = clip_of(path, tmp_path / "finished-clip.mp4", "2.7", "6.1")

    assert growing.read_bytes() == finished.read_bytes()


def test_a_torn_file_is_cut_up_to_its_last_whole_fragment(tmp_path: Path) -> None:
    path = tmp_path / "torn.mp4"
    writer = cutting.writer_of(path, (pattern().video, pattern().audio))
    feed(writer, stream())
    writer.flush()
    writer.close()
    os.truncate(path, path.stat().st_size - 40_000)

    clip = clip_of(path, tmp_path / "clip.mp4", "1", None)

    assert 60 < len(pictures(clip)) < 7 * RATE


@pytest.mark.parametrize("start", ["0.5", "2", "3.5", "4.01", "5"])
def test_a_clip_goes_over_the_files_of_a_rotated_recording(
    recording: Path, tmp_path: Path, start: str
) -> None:
    parts = [
        Source(record(tmp_path / f"part_{number}.mp4", packets))
        for number, packets in enumerate(split(stream(1000), 2, 4))
    ]

    cut(parts, Range(Fraction(start), Fraction(7)), tmp_path / "clip.mp4")
    clip_of(recording, tmp_path / "same.mp4", start, "7")

    assert pictures(tmp_path / "clip.mp4") == pictures(tmp_path / "same.mp4")
    judged, expected = verify_file(tmp_path / "clip.mp4"), verify_file(tmp_path / "same.mp4")
    assert judged.beeps_s == expected.beeps_s
    assert judged.flashes_s == expected.flashes_s


def test_files_that_a_range_does_not_touch_are_not_opened(tmp_path: Path) -> None:
    packets = list(split(stream(), 2, 4))
    parts = [
        Source(record(tmp_path / "1.mp4", packets[0]), 0, 2000),
        Source(tmp_path / "gone.mp4", 20_000, 30_000),
        Source(record(tmp_path / "3.mp4", packets[2]), 4000, 8000),
    ]

    made = cut(parts, Range(Fraction(4), Fraction(5)), tmp_path / "clip.mp4")

    assert made.duration_ms == 1000


def test_what_is_missing_between_two_files_is_missing_in_the_clip_for_as_long(tmp_path: Path) -> None:
    first, _, third = split(stream(), 2, 4)
    parts = [Source(record(tmp_path / f"{n}.mp4", packets)) for n, packets in enumerate((first, third))]

    cut(parts, Range(Fraction(1), Fraction(6)), tmp_path / "clip.mp4")

    times = [shown.time_s for shown in pictures(tmp_path / "clip.mp4")]
    gaps = [(float(a), float(b)) for a, b in pairwise(times) if b - a > 2 * FRAME_S]
    assert gaps == [pytest.approx((1 - 1 / RATE, 3), abs=0.001)]
    # The frame of sound at the end of a part reaches into the flash that comes next.
    assert verify_file(tmp_path / "clip.mp4").beeps_s == pytest.approx([0, 1, 3, 4, 5], abs=0.03)


def test_files_of_a_rotated_recording_joined_again_are_the_stream(recording: Path, tmp_path: Path) -> None:
    parts = [
        Source(record(tmp_path / f"part_{number}.mp4", packets))
        for number, packets in enumerate(split(stream(1000), 2, 4, 6))
    ]

    join(parts, tmp_path / "joined.mp4", is_one_timeline=True)

    assert payloads(tmp_path / "joined.mp4") == payloads(recording)
    assert pictures(tmp_path / "joined.mp4") == pictures(recording)
    assert verify_file(tmp_path / "joined.mp4").beeps_s == verify_file(recording).beeps_s


def test_files_that_have_nothing_to_do_with_each_other_are_put_back_to_back(tmp_path: Path) -> None:
    late = record(tmp_path / "late.mp4", stream(5000))
    early = record(tmp_path / "early.mp4", stream())

    join([Source(late), Source(early)], tmp_path / "joined.mp4")

    found = pictures(tmp_path / "joined.mp4")
    assert [shown.picture for shown in found] == [shown.picture for shown in pictures(early)] * 2
    assert float(found[SECONDS * RATE].time_s) == pytest.approx(SECONDS, abs=0.03)


def test_files_whose_pictures_are_encoded_otherwise_are_not_joined(recording: Path, tmp_path: Path) -> None:
    from aircheck.containers.test_pattern import Pattern, encode_pattern

    other = encode_pattern(Pattern(duration_s=1, width=320, height=180))
    record(tmp_path / "other.mp4", other.packets, (other.video, other.audio))

    with pytest.raises(ContainerError, match="encoded otherwise") as caught:
        join([Source(recording), Source(tmp_path / "other.mp4")], tmp_path / "joined.mp4")
    assert "ffmpeg" in caught.value.remedy
    with pytest.raises(ContainerError, match="h264 320x180, aac 48000 Hz after h264 160x96, aac 48000 Hz"):
        join([Source(recording), Source(tmp_path / "other.mp4")], tmp_path / "joined.mkv")
    assert not (tmp_path / "joined.mp4").exists()


def test_sound_alone_is_cut_at_its_frames(tmp_path: Path) -> None:
    sound = [packet for packet in stream() if packet.track is pattern().audio]
    source = record(tmp_path / "sound.mp4", sound, (pattern().audio,))

    clip = clip_of(source, tmp_path / "clip.mp4", "2.5", "5.2")

    heard = [beep_s - 2.5 for beep_s in verify_file(source).beeps_s if 2.5 <= beep_s < 5.2]
    assert verify_file(clip).beeps_s == pytest.approx(heard, abs=0.002)
    assert len(payloads(clip)[0]) <= 2.7 * 48000 / 1024 + 3


def test_a_clip_can_be_cut_again(recording: Path, tmp_path: Path) -> None:
    first = clip_of(recording, tmp_path / "first.mp4", "1.5", "7")

    second = clip_of(first, tmp_path / "second.mp4", "2", "4")

    wanted = [one.picture for one in pictures(recording) if Fraction("3.5") <= one.time_s < Fraction("5.5")]
    assert [one.picture for one in pictures(second)] == wanted
