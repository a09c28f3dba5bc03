"""What recovery makes of files and rows as a crash would leave them: a copy of both, taken midway."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from helpers.packets import av_batches, new_stream
from helpers.recorded import at_rest
from helpers.recorder_rig import MemoryJournal, Rig, feed, make_plan, payloads, sent

from aircheck import moving
from aircheck.clock import SystemClock
from aircheck.facts import EndReason, Event, EventKind, RecordingState, SegmentFacts, SegmentState
from aircheck.recording import finalize, recovery
from aircheck.recording.rotation import RotationRule

BATCHES = list(av_batches(3000, gop_ms=1000))


@pytest.fixture
def other_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on another file system."""
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is one file system only")
    with tempfile.TemporaryDirectory(prefix="aircheck-", dir=memory) as folder:
        yield Path(folder)


async def crash(tmp_path: Path, **plan: object) -> tuple[Path, MemoryJournal]:
    """Record for a while; returns a copy of the record folder and of the rows as they were in the middle."""
    live, copy = tmp_path / "live", tmp_path / "copy"
    async with Rig(live) as rig:
        stream = new_stream("cam")
        recording = rig.recorder.record(stream, make_plan(live, **plan), requested_by="test")
        await feed(stream, BATCHES, pause_s=0.005)
        await at_rest(rig, recording)
        shutil.copytree(live, copy)
        journal = MemoryJournal()
        journal.recordings |= rig.journal.recordings
        for facts in rig.journal.segment_rows.values():
            path = facts.path.replace(str(live), str(copy))
            journal.segment_rows[facts.id] = replace(facts, path=path)
    return copy, journal


async def recover(root: Path, journal: MemoryJournal, **plan: object) -> recovery.RecoveryReport:
    settings = make_plan(root, "{mediaSessionId}", **plan)
    unfinished = await recovery.find_unfinished(journal, settings.growing_dir)
    return await recovery.recover(unfinished, journal, settings, SystemClock())


def is_head_of(kept: dict[str, list[bytes]], whole: dict[str, list[bytes]]) -> bool:
    return all(whole[kind][: len(data)] == data for kind, data in kept.items())


async def test_a_growing_file_becomes_final_under_the_name_it_was_begun_for(tmp_path: Path) -> None:
    root, journal = await crash(tmp_path)
    report = await recover(root, journal)
    assert (report.recovered, report.failed, report.missing) == (1, 0, 0)
    kept = payloads(root / "cam.mp4")
    assert is_head_of(kept, sent(BATCHES))
    assert len(kept["video"]) >= 70
    (segment,) = journal.segment_rows.values()
    assert segment.state is SegmentState.COMPLETE
    assert segment.is_recovered
    assert segment.size_bytes == Path(segment.path).stat().st_size
    (recording,) = journal.recordings.values()
    assert recording.state is RecordingState.COMPLETE
    assert recording.end_reason is EndReason.CRASHED
    completed, recovered = journal.events
    assert (completed.kind, recovered.kind) == (EventKind.SEGMENT_COMPLETED, EventKind.RECORDING_RECOVERED)
    assert completed.facts["is_recovered"]
    assert completed.facts["size_bytes"] == recovered.facts["size_bytes"] == segment.size_bytes
    assert recovered.facts["end_reason"] == "crashed"


async def test_a_recording_of_which_nothing_was_written_is_told_as_failed(tmp_path: Path) -> None:
    root, journal = await crash(tmp_path)
    for facts in journal.segment_rows.values():
        Path(facts.path).unlink()
    await recover(root, journal)
    (failed,) = journal.events
    assert (failed.kind, failed.facts["segments"]) == (EventKind.RECORDING_FAILED, 0)


async def test_a_second_start_finds_nothing_to_do(tmp_path: Path) -> None:
    root, journal = await crash(tmp_path)
    await recover(root, journal)
    unfinished = await recovery.find_unfinished(journal, root / ".aircheck" / "growing")
    assert len(unfinished) == 0
    assert unfinished.recordings == ()


async def test_a_file_without_a_row_is_recovered_from_its_own_note(tmp_path: Path) -> None:
    root, _ = await crash(tmp_path)
    empty = MemoryJournal()
    report = await recover(root, empty)
    assert report.recovered == 1
    (recording,) = empty.recordings.values()
    assert recording.stream_name == "cam"
    assert recording.state is RecordingState.COMPLETE
    assert (root / "cam.mp4").exists()


async def test_finished_segments_of_a_rotated_recording_count_with_the_recovered_one(tmp_path: Path) -> None:
    root, journal = await crash(tmp_path, rotation=RotationRule(duration_ms=1000))
    await recover(root, journal, rotation=RotationRule(duration_ms=1000))
    assert sorted(path.name for path in root.glob("*.mp4")) == ["cam_1.mp4", "cam_2.mp4", "cam_3.mp4"]
    (recording,) = journal.recordings.values()
    assert recording.segment_count == 3
    assert 2800 <= recording.duration_ms <= 3100


async def test_a_link_that_was_made_before_the_crash_is_not_made_twice(tmp_path: Path) -> None:
    root, journal = await crash(tmp_path)
    (growing,) = (root / ".aircheck" / "growing").iterdir()
    os.link(growing, root / "cam.mp4")
    await recover(root, journal)
    assert [path.name for path in root.glob("*.mp4")] == ["cam.mp4"]
    assert not growing.exists()


async def test_a_taken_name_is_never_overwritten(tmp_path: Path) -> None:
    root, journal = await crash(tmp_path)
    (root / "cam.mp4").write_bytes(b"somebody's")
    await recover(root, journal)
    assert (root / "cam.mp4").read_bytes() == b"somebody's"
    assert is_head_of(payloads(root / "cam_0001.mp4"), sent(BATCHES))


async def test_a_row_whose_file_is_gone_is_told_as_failed(tmp_path: Path) -> None:
    root, journal = await crash(tmp_path)
    shutil.rmtree(root / ".aircheck")
    report = await recover(root, journal)
    assert report.missing == 1
    (segment,) = journal.segment_rows.values()
    assert segment.state is SegmentState.FAILED
    assert segment.error == "the file is gone"
    (recording,) = journal.recordings.values()
    assert recording.state is RecordingState.FAILED


async def test_foreign_files_in_the_growing_folder_are_left_alone(tmp_path: Path) -> None:
    root, journal = await crash(tmp_path)
    foreign = root / ".aircheck" / "growing" / "holiday.mp4"
    foreign.write_bytes(b"\0\0\0\x18ftypisom" + bytes(200))
    await recover(root, journal)
    assert foreign.read_bytes()[4:8] == b"ftyp"


async def test_finished_files_in_the_growing_folder_are_never_deleted(tmp_path: Path) -> None:
    async with Rig(tmp_path) as rig:
        plan = replace(make_plan(tmp_path), growing_dir=tmp_path)
        await rig.record(new_stream("cam"), BATCHES, plan)
    (file,) = tmp_path.glob("*.mp4")
    content = file.read_bytes()
    for journal in (rig.journal, MemoryJournal()):
        unfinished = await recovery.find_unfinished(journal, tmp_path)
        await recovery.recover(unfinished, journal, plan, SystemClock())
        assert file.read_bytes() == content


async def test_a_file_that_could_not_be_made_final_counts_once_it_is_recovered(tmp_path: Path) -> None:
    root, journal = await crash(tmp_path)
    (recording,) = journal.recordings.values()
    ended = replace(
        recording, state=RecordingState.FAILED, end_reason=EndReason.UNPUBLISHED, error="OSError: disk"
    )
    journal.recordings[recording.id] = ended
    await recover(root, journal)
    (recording,) = journal.recordings.values()
    assert recording.state is RecordingState.COMPLETE
    assert recording.end_reason is EndReason.UNPUBLISHED
    assert recording.error == ""
    assert recording.segment_count == 1
    assert recording.size_bytes == (root / "cam.mp4").stat().st_size


class Died(BaseException):
    """The process, at this very place."""


async def die_when_it_forgets(monkeypatch: pytest.MonkeyPatch, root: Path, journal: MemoryJournal) -> None:
    """A first recovery that gets as far as the final name and dies before its row."""

    async def die(_: SegmentFacts) -> None:
        raise Died

    rows = dict(journal.segment_rows)
    with monkeypatch.context() as patch:
        patch.setattr(journal, "put_segment", die)
        with pytest.raises(Died):
            await recover(root, journal)
    assert journal.segment_rows == rows
    journal.events.clear()


def refuse_links(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", refuse)


@pytest.mark.parametrize("can_rename", [True, False])
async def test_where_there_are_no_links_a_moved_file_is_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, can_rename: bool
) -> None:
    root, journal = await crash(tmp_path)
    (root / "cam.mp4").write_bytes(b"somebody's")
    refuse_links(monkeypatch, errno.EPERM)
    if not can_rename:
        monkeypatch.setattr(finalize, "rename_to_new", moving._reserve_and_rename)
    await die_when_it_forgets(monkeypatch, root, journal)
    report = await recover(root, journal)
    assert report.missing == 0
    assert sorted(path.name for path in root.glob("*.mp4")) == ["cam.mp4", "cam_0001.mp4"]
    assert (root / "cam.mp4").read_bytes() == b"somebody's"
    assert is_head_of(payloads(root / "cam_0001.mp4"), sent(BATCHES))
    (segment,) = journal.segment_rows.values()
    assert segment.state is SegmentState.COMPLETE


async def test_a_file_from_another_file_system_is_not_copied_twice(
    tmp_path: Path, other_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, journal = await crash(tmp_path)
    (growing,) = (root / ".aircheck" / "growing").iterdir()
    away = other_disk / growing.name
    shutil.move(growing, away)
    (row,) = journal.segment_rows.values()
    journal.segment_rows[row.id] = replace(row, path=str(away))
    await die_when_it_forgets(monkeypatch, root, journal)
    assert (root / "cam.mp4").exists()
    await recover(root, journal)
    assert [path.name for path in root.iterdir()] == [".aircheck", "cam.mp4"]
    assert not away.exists()
    (segment,) = journal.segment_rows.values()
    assert segment.size_bytes == (root / "cam.mp4").stat().st_size


async def test_a_name_without_row_is_told_of_before_the_growing_name_goes(tmp_path: Path) -> None:
    """Recovery repeats what it finds a growing name for: an event that came after it could be lost."""
    root, journal = await crash(tmp_path)
    (growing,) = (root / ".aircheck" / "growing").iterdir()
    add_event, was_there = journal.add_event, []

    async def watch(event: Event) -> None:
        was_there.append(growing.exists())
        await add_event(event)

    journal.add_event = watch  # type: ignore[method-assign]
    await recover(root, journal)
    assert was_there == [True, False]


async def test_one_hopeless_file_does_not_keep_the_others_from_being_recovered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, journal = await crash(tmp_path, rotation=RotationRule(duration_ms=1000))
    for row in journal.segment_rows.values():
        journal.segment_rows[row.id] = replace(row, state=SegmentState.GROWING)
    make_whole, calls = recovery._make_whole, count()

    def break_on_the_first(*facts: Any) -> SegmentFacts:
        if next(calls) == 0:
            raise ZeroDivisionError("a number that nobody expected")
        return make_whole(*facts)

    monkeypatch.setattr(recovery, "_make_whole", break_on_the_first)
    report = await recover(root, journal)
    assert report.failed == 1
    assert report.recovered == 2


async def test_a_recovered_file_is_numbered_if_it_was_to_be_whatever_the_settings_say_now(
    tmp_path: Path,
) -> None:
    root, journal = await crash(tmp_path)
    await recover(root, journal, rotation=RotationRule(duration_ms=1000))
    assert [path.name for path in root.glob("*.mp4")] == ["cam.mp4"]


async def test_recovered_files_have_the_numbers_that_the_template_gives(tmp_path: Path) -> None:
    rule = RotationRule(duration_ms=1000)
    root, journal = await crash(tmp_path, template="{streamName}_part{part:0000}", rotation=rule)
    await recover(root, journal, rotation=rule)
    assert sorted(path.name for path in root.glob("*.mp4")) == [f"cam_part000{part}.mp4" for part in range(3)]


async def test_a_copy_that_a_crash_cut_off_has_no_name_and_is_made_anew(
    tmp_path: Path, other_disk: Path
) -> None:
    root, journal = await crash(tmp_path)
    (growing,) = (root / ".aircheck" / "growing").iterdir()
    away = other_disk / growing.name
    shutil.move(growing, away)
    (row,) = journal.segment_rows.values()
    journal.segment_rows[row.id] = replace(row, path=str(away))
    _die_in_the_middle_of_a_copy(away, root)
    assert not list(root.glob("*.mp4"))
    assert list(root.glob(".*.part")), "it died in the middle"
    await recover(root, journal)
    assert [path.name for path in root.iterdir()] == [".aircheck", "cam.mp4"]
    assert is_head_of(payloads(root / "cam.mp4"), sent(BATCHES))


def _die_in_the_middle_of_a_copy(away: Path, root: Path) -> None:
    child = os.fork()
    if child == 0:
        finalize._COPY_BYTES = 64 * 1024
        finalize.place(away, root, "cam.mp4", on_copied=lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
