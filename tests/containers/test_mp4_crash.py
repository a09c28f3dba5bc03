"""kill -9 at every step of a file's life: all that was promised plays, and recovery brings it to its end."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from helpers.mp4_crash import Death, payloads, run_and_die
from helpers.mp4_media import Clip, demux, ffmpeg_complaints
from helpers.mp4_streams import AUDIO, VIDEO, media, open_writer
from helpers.tools import requires

from aircheck.containers.mp4 import Method
from aircheck.containers.recover import Outcome, inspect_file, recover_file

_BATCHES = 12
_LARGE_NOTE = bytes(9000)
"""Makes the moov too large for the smallest reserve."""
_MEMORY = Path("/dev/shm")
_STEP_LIMIT = 200

EXPECTED = [
    [packet.data for packet in media(_BATCHES / 5) if packet.track is track] for track in (VIDEO, AUDIO)
]


@pytest.fixture(params=["reserve", "insert", "copy"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder, and the way in which a file in it will be finalized."""
    if request.param != "copy":
        yield tmp_path, request.param
        return
    if not _MEMORY.is_dir():
        pytest.skip("needs a tmpfs at /dev/shm")
    folder = _MEMORY / f"aircheck-{tmp_path.name}"
    folder.mkdir()
    yield folder, request.param
    shutil.rmtree(folder)


def options(how: str) -> dict[str, object]:
    return {} if how == "reserve" else {"reserve_bytes": 1, "note": _LARGE_NOTE}


def record(path: Path, how: str, promise: Callable[[], None]) -> None:
    writer = open_writer(path, **options(how))  # type: ignore[arg-type]
    for number in range(_BATCHES):
        writer.write(media(0.2, number * 200))
        promise()
    writer.finish()
    writer.finalize()


def promised(batches: int) -> list[int]:
    """How many packets of each track are in that many batches."""
    packets = media(batches / 5) if batches else []
    return [sum(packet.track is track for packet in packets) for track in (VIDEO, AUDIO)]


def assert_holds(path: Path, batches: int) -> None:
    """At least the promised packets are there, and no other than the first ones."""
    for stream, expected, least in zip(payloads(path), EXPECTED, promised(batches), strict=True):
        assert len(stream) >= least
        assert stream == expected[: len(stream)]


def assert_recovers(path: Path, batches: int) -> None:
    outcome = recover_file(path, sync=False).outcome
    if outcome is Outcome.EMPTY:
        assert batches == 0
        return
    assert outcome in (Outcome.RECOVERED, Outcome.FINAL)
    assert_holds(path, batches)
    assert inspect_file(path).is_final
    assert recover_file(path).outcome is Outcome.FINAL
    assert [other.name for other in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("death", Death)
def test_killed_at_any_step_of_recording_and_finalizing_nothing_promised_is_lost(
    place: tuple[Path, str], death: Death
) -> None:
    folder, how = place
    path = folder / "a.mp4"
    for step in range(1, _STEP_LIMIT):
        batches, is_alive = run_and_die(lambda promise: record(path, how, promise), step, death)
        if is_alive:
            assert step > _BATCHES
            break
        if path.exists():
            if batches:
                assert_holds(path, batches)
            assert_recovers(path, batches)
        for left in folder.iterdir():
            left.unlink()
    else:
        pytest.fail("the recording never came to its end")


@pytest.mark.parametrize("death", Death)
def test_killed_again_at_any_step_of_recovery_nothing_is_lost(place: tuple[Path, str], death: Death) -> None:
    folder, how = place
    torn = folder / "torn"
    torn.mkdir()
    left = leftovers(torn, how)
    assert left
    for remnant in left:
        path = remnant / "a.mp4"
        copy = folder / "copy" / "a.mp4"
        for step in range(1, _STEP_LIMIT):
            shutil.rmtree(copy.parent, ignore_errors=True)
            shutil.copytree(path.parent, copy.parent)
            _, is_alive = run_and_die(lambda promise: recover_quietly(copy), step, death)  # noqa: B023
            assert_holds(copy, _BATCHES)
            assert_recovers(copy, _BATCHES)
            if is_alive:
                break


def recover_quietly(path: Path) -> None:
    recover_file(path)


def leftovers(folder: Path, how: str) -> list[Path]:
    """Folders as crashes at the steps after the last batch leave them."""
    found = []
    for step in range(1, _STEP_LIMIT):
        place = folder / str(step)
        place.mkdir()
        batches, is_alive = run_and_die(
            lambda promise: record(place / "a.mp4", how, promise),  # noqa: B023
            step,
            Death.BEFORE,
        )
        if is_alive:
            break
        if batches == _BATCHES and not inspect_file(place / "a.mp4").is_final:
            found.append(place)
        else:
            shutil.rmtree(place)
    return found


def test_thousand_random_cuts_keep_every_whole_fragment(tmp_path: Path) -> None:
    path, cut = tmp_path / "a.mp4", tmp_path / "cut.mp4"
    writer = open_writer(path, reserve_bytes=1)
    ends = []
    for number in range(_BATCHES):
        writer.write(media(0.2, number * 200))
        ends.append(writer.size_bytes)
    writer.close()
    data = path.read_bytes()
    chance = random.Random(7)
    for _ in range(1000):
        size = chance.randrange(len(data) + 1)
        cut.write_bytes(data[:size])
        whole = sum(end <= size for end in ends)
        recovery = recover_file(cut, sync=False)
        assert (recovery.outcome is Outcome.RECOVERED) == (whole > 0)
        if recovery.facts is not None:
            assert [track.packets for track in recovery.facts.tracks] == promised(whole)
            assert recovery.bytes_cut == size - ends[whole - 1]
        if chance.random() < 0.05 and whole:
            assert_holds(cut, whole)
            assert len(payloads(cut)[0]) == promised(whole)[0]


def test_final_file_that_lost_its_end_is_recovered_from_its_fragments(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    record(path, "reserve", lambda: None)
    data = path.read_bytes()
    path.write_bytes(data[:-300])
    assert not inspect_file(path).is_final
    recovery = recover_file(path)
    assert recovery.outcome is Outcome.RECOVERED
    assert recovery.how is Method.RESERVE
    assert_holds(path, _BATCHES - 1)
    assert inspect_file(path).is_final


def test_damage_in_the_middle_costs_no_more_than_the_fragment_it_hit(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    writer = open_writer(path)
    ends = []
    for number in range(_BATCHES):
        writer.write(media(0.2, number * 200))
        ends.append(writer.size_bytes)
    writer.close()
    with path.open("r+b") as file:
        file.seek(ends[4])
        file.write(bytes(40))
    recovery = recover_file(path)
    assert recovery.bytes_skipped == ends[5] - ends[4]
    assert recovery.bytes_cut == 0
    lost = {packet.data for packet in media(0.2, 1000)}
    assert payloads(path) == [[data for data in stream if data not in lost] for stream in EXPECTED]


def test_garbage_behind_the_last_fragment_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    writer = open_writer(path)
    writer.write(media(1))
    writer.close()
    with path.open("ab") as file:
        file.write(b"\0\0\0\x40moof" + bytes(500))
    recovery = recover_file(path)
    assert recovery.bytes_cut == 508
    assert recovery.facts is not None
    assert recovery.facts.duration_ms >= 1000


def test_recovery_never_touches_foreign_files(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    writer = open_writer(path)
    writer.write(media(1))
    writer.close()
    ours = path.read_bytes()
    without_note = ours.replace(b"uuid", b"free")
    for foreign in (b"hello", bytes(100_000), without_note, ours[40:], b"\0\0\0\x18ftypmp42" + bytes(99)):
        path.write_bytes(foreign)
        assert recover_file(path).outcome is Outcome.FOREIGN
        assert path.read_bytes() == foreign
    path.write_bytes(without_note)
    assert recover_file(path, force=True).outcome is Outcome.RECOVERED
    assert_holds(path, 5)


def test_progress_of_a_long_recovery_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    writer = open_writer(path)
    for number in range(600):
        writer.write(media(0.2, number * 200))
    writer.close()
    size = path.stat().st_size
    told: list[tuple[int, int]] = []
    recover_file(path, progress=lambda done, total: told.append((done, total)))
    assert len(told) >= 3
    assert told == sorted(told)
    assert told[-1] == (size, size)


@requires("ffmpeg")
def test_remnant_of_real_media_decodes_to_its_last_fragment(
    clip_of: Callable[..., Clip], tmp_path: Path
) -> None:
    clip = clip_of("h264", "aac")
    path = tmp_path / "a.mp4"
    writer = open_writer(path, tracks=clip.tracks)
    writer.write(clip.packets[: len(clip.packets) // 2])
    whole = demux(path)
    writer.write(clip.packets[len(clip.packets) // 2 :])
    writer.close()
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 100)
    recover_file(path)
    assert demux(path) == whole
    assert ffmpeg_complaints(path) == ""
