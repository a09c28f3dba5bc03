"""Recordings that go on in the file of an earlier one: time, rows, notes; what cannot go on; crashes."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import pytest
from helpers.packets import AUDIO, VIDEO, av_batches, new_stream
from helpers.patience import until
from helpers.recorded import at_rest
from helpers.recorder_rig import MemoryJournal, Rig, feed, make_plan, payloads, sent

from aircheck.clock import SystemClock
from aircheck.containers.recover import inspect_file, read_note
from aircheck.facts import EventKind, GapReason, RecordingFacts, RecordingState, SegmentFacts, SegmentState
from aircheck.media.packet import Batch, Packet
from aircheck.media.track import DATA_TRACK
from aircheck.recording import continuation, recovery
from aircheck.recording.naming import OnConflict
from aircheck.recording.plan import RecordingPlan
from aircheck.recording.rotation import RotationRule
from aircheck.segment_note import decode_note
from aircheck.wire import amf

CONTAINERS = ["mp4", "mkv", "ts", "flv"]
BATCHES = list(av_batches(2000))
LATER = list(av_batches(2000, start_ms=700_000))


@pytest.fixture
def other_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on another file system."""
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is one file system only")
    with tempfile.TemporaryDirectory(prefix="aircheck-", dir=memory) as folder:
        yield Path(folder)


def plan_of(root: Path, container: str = "mp4", **changes: Any) -> RecordingPlan:
    return make_plan(root, container=container, **{"on_conflict": OnConflict.APPEND} | changes)


async def record(
    rig: Rig, plan: RecordingPlan, batches: Iterable[Batch] = BATCHES
) -> tuple[RecordingFacts, SegmentFacts]:
    facts, segments = await rig.record(new_stream("cam"), batches, plan)
    assert len(segments) == 1
    return facts, segments[0]


def files(root: Path) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


def kinds(journal: MemoryJournal) -> list[EventKind]:
    return [event.kind for event in journal.events]


def refusal(journal: MemoryJournal) -> str:
    (event,) = (event for event in journal.events if event.kind is EventKind.RECORDING_NOT_APPENDED)
    return str(event.facts["reason"])


def assert_true(rig: Rig) -> None:
    """Each complete row has a file of its size; each recording counts its own files."""
    for row in rig.journal.segment_rows.values():
        if row.state is SegmentState.COMPLETE:
            assert Path(row.path).stat().st_size == row.size_bytes
            recording, segment = decode_note(read_note(Path(row.path)))
            assert (recording.id, segment.id) == (row.recording_id, row.id)
    for recording in rig.journal.recordings.values():
        rows = [row for row in rig.journal.segment_rows.values() if row.recording_id == recording.id]
        complete = [row for row in rows if row.state is SegmentState.COMPLETE]
        assert recording.segment_count == len(complete)
        assert recording.size_bytes == sum(row.size_bytes for row in complete)


@pytest.mark.parametrize("container", CONTAINERS)
async def test_ten_recordings_are_one_file_of_the_last(tmp_path: Path, container: str) -> None:
    async with Rig(tmp_path) as rig:
        plan = plan_of(tmp_path, container)
        first, earlier = await record(rig, plan)
        for number in range(1, 10):
            last, segment = await record(rig, plan, LATER if number % 2 else BATCHES)
            assert segment.id == earlier.id
            assert segment.duration_ms == pytest.approx(2000 * (number + 1), abs=25 * (number + 1))
            assert_true(rig)
    assert files(tmp_path) == [f"cam.{container}"]
    assert inspect_file(tmp_path / f"cam.{container}").is_final
    assert [track.packets for track in segment.tracks] == [500, 940]
    assert segment.start_ns == earlier.start_ns
    assert segment.start_pts_ms == pytest.approx(700_000 - 18_000, abs=250)
    places = [gap.start_ms - segment.start_pts_ms for gap in segment.gaps]
    assert places == pytest.approx([2000 * (number + 1) for number in range(9)], abs=250)
    assert segment.end_ns is not None
    row = rig.journal.recordings[first.id]
    assert (row.segment_count, row.size_bytes, row.duration_ms) == (0, 0, 0)
    assert "goes on in recording" in row.error
    assert last.duration_ms == segment.duration_ms
    assert [gap.reason for gap in segment.gaps] == 9 * [GapReason.APPEND]
    assert [gap.duration_ms for gap in segment.gaps] == 9 * [0]
    assert last.gaps == 0


async def test_what_was_published_is_what_plays(tmp_path: Path) -> None:
    async with Rig(tmp_path) as rig:
        await record(rig, plan_of(tmp_path))
        await record(rig, plan_of(tmp_path), LATER)
    assert payloads(tmp_path / "cam.mp4") == {
        kind: data + sent(LATER)[kind] for kind, data in sent(BATCHES).items()
    }
    with av.open(str(tmp_path / "cam.mp4")) as container:
        times = [packet.dts for packet in container.demux(video=0) if packet.size]
    assert times == sorted(set(times))


async def test_the_story_is_told_in_rows_and_events(tmp_path: Path) -> None:
    async with Rig(tmp_path) as rig:
        first, _ = await record(rig, plan_of(tmp_path))
        rig.journal.history.clear()
        rig.journal.events.clear()
        second, segment = await record(rig, plan_of(tmp_path), LATER)
    assert kinds(rig.journal) == [
        EventKind.RECORDING_STARTED,
        EventKind.RECORDING_APPENDED,
        EventKind.SEGMENT_COMPLETED,
        EventKind.RECORDING_COMPLETED,
    ]
    event = rig.journal.events[1]
    assert (event.recording_id, event.segment_id) == (second.id, segment.id)
    assert event.facts["earlier_recording"] == first.id
    assert event.facts["file_name"] == "cam.mp4"
    rows = [entry for entry in rig.journal.history if entry[0] == "segment"]
    assert rows == [("segment", state) for state in ("growing", "finalizing", "complete")]


async def test_the_gap_is_as_long_as_the_clock_says(tmp_path: Path) -> None:
    async with Rig(tmp_path) as rig:
        _, earlier = await record(rig, plan_of(tmp_path))
        ago = replace(earlier, end_ns=SystemClock().wall_ns() - 60_000_000_000)
        rig.journal.segment_rows[earlier.id] = ago
        plan = plan_of(tmp_path, on_conflict=OnConflict.APPEND_WITH_GAP)
        facts, segment = await record(rig, plan, LATER)
    assert segment.duration_ms == pytest.approx(64_000, abs=1000)
    (gap,) = segment.gaps
    assert gap.reason is GapReason.APPEND
    assert gap.duration_ms == pytest.approx(60_000, abs=1000)
    assert gap.start_ms - segment.start_pts_ms == pytest.approx(earlier.duration_ms, abs=50)
    assert facts.gaps == 1


async def test_a_gap_that_no_file_can_have_begins_a_file(tmp_path: Path) -> None:
    async with Rig(tmp_path) as rig:
        _, earlier = await record(rig, plan_of(tmp_path))
        long_ago = replace(earlier, end_ns=SystemClock().wall_ns() - 2 * 86_400 * 10**9)
        rig.journal.segment_rows[earlier.id] = long_ago
        await record(rig, plan_of(tmp_path, on_conflict=OnConflict.APPEND_WITH_GAP), LATER)
    assert files(tmp_path) == ["cam.mp4", "cam_0001.mp4"]
    assert "48 h" in refusal(rig.journal)


async def test_holes_are_where_they_are_in_the_file(tmp_path: Path) -> None:
    async with Rig(tmp_path) as rig:
        await record(rig, plan_of(tmp_path))
        stream = new_stream("cam")
        recording = rig.recorder.record(stream, plan_of(tmp_path), requested_by="test")
        await feed(stream, LATER[:5], pause_s=0.05)
        recording.note_gap(
            continuation.GapFacts(start_ms=701_000, duration_ms=5, reason=GapReason.SLOW_TRANSCODE)
        )
        await feed(stream, LATER[5:])
        _, (segment,) = await rig.finish(recording)
    hole = segment.gaps[-1]
    assert hole.reason is GapReason.SLOW_TRANSCODE
    assert hole.start_ms - segment.start_pts_ms == pytest.approx(3000, abs=50)


# --- at the same time ---------------------------------------------------------------------------------------


async def test_the_second_of_two_at_once_gets_a_file_of_its_own(tmp_path: Path) -> None:
    async with Rig(tmp_path) as rig:
        await record(rig, plan_of(tmp_path))
        streams = [new_stream("cam") for _ in range(2)]
        recordings = [
            rig.recorder.record(stream, plan_of(tmp_path), requested_by="test") for stream in streams
        ]
        for one in LATER:
            for stream in streams:
                stream.publish(one)
            await asyncio.sleep(0.01)
        for recording in recordings:
            await rig.finish(recording)
        assert_true(rig)
    assert files(tmp_path) == ["cam.mp4", "cam_0001.mp4"]
    assert "another recording" in refusal(rig.journal)
    assert len(payloads(tmp_path / "cam.mp4")["video"]) == 100
    assert len(payloads(tmp_path / "cam_0001.mp4")["video"]) == 50


async def test_one_that_begins_while_the_earlier_is_being_finished_waits_for_it(tmp_path: Path) -> None:
    async with Rig(tmp_path) as rig:
        stream, later = new_stream("cam"), new_stream("cam")
        first = rig.recorder.record(stream, plan_of(tmp_path), requested_by="test")
        await feed(stream, BATCHES)
        finishing = asyncio.create_task(rig.finish(first))
        await asyncio.sleep(0)
        second = rig.recorder.record(later, plan_of(tmp_path), requested_by="test")
        await feed(later, LATER)
        await finishing
        await rig.finish(second)
        assert_true(rig)
    assert files(tmp_path) == ["cam.mp4"]
    assert len(payloads(tmp_path / "cam.mp4")["video"]) == 100


async def test_a_file_that_goes_on_survives_one_that_replaces_it(tmp_path: Path) -> None:
    async with Rig(tmp_path) as rig:
        await record(rig, plan_of(tmp_path))
        stream = new_stream("cam")
        appending = rig.recorder.record(stream, plan_of(tmp_path), requested_by="test")
        await feed(stream, LATER, pause_s=0.02)
        plan = plan_of(tmp_path, on_conflict=OnConflict.OVERWRITE)
        await rig.record(new_stream("cam"), list(av_batches(1000)), plan)
        await rig.finish(appending)
        assert_true(rig)
    assert files(tmp_path) == ["cam.mp4", "cam_0001.mp4"]
    assert len(payloads(tmp_path / "cam.mp4")["video"]) == 25
    assert len(payloads(tmp_path / "cam_0001.mp4")["video"]) == 100


# --- what cannot be -----------------------------------------------------------------------------------------


async def test_without_such_a_file_one_is_begun(tmp_path: Path) -> None:
    async with Rig(tmp_path) as rig:
        await record(rig, plan_of(tmp_path))
    assert files(tmp_path) == ["cam.mp4"]
    assert EventKind.RECORDING_NOT_APPENDED not in kinds(rig.journal)
    assert EventKind.SEGMENT_CREATED in kinds(rig.journal)


@pytest.mark.parametrize("container", CONTAINERS)
async def test_foreign_files_stay_as_they_are(tmp_path: Path, container: str) -> None:
    (tmp_path / f"cam.{container}").write_bytes(b"somebody's" * 100)
    async with Rig(tmp_path) as rig:
        await record(rig, plan_of(tmp_path, container))
    assert (tmp_path / f"cam.{container}").read_bytes() == b"somebody's" * 100
    assert files(tmp_path) == [f"cam.{container}", f"cam_0001.{container}"]
    assert refusal(rig.journal)


async def test_other_tracks_begin_a_file(tmp_path: Path) -> None:
    other = replace(VIDEO, config=VIDEO.config.replace(b"\x67\x42", b"\x67\x4d"), width=640)
    async with Rig(tmp_path) as rig:
        await record(rig, plan_of(tmp_path))
        await record(rig, plan_of(tmp_path), list(av_batches(2000, video_track=other)))
        assert_true(rig)
    assert files(tmp_path) == ["cam.mp4", "cam_0001.mp4"]
    assert "video" in refusal(rig.journal)


async def test_a_name_that_only_the_end_knows_cannot_be_continued(tmp_path: Path) -> None:
    async with Rig(tmp_path) as rig:
        plan = replace(make_plan(tmp_path, "{streamName}-{endTime}"), on_conflict=OnConflict.APPEND)
        await record(rig, plan)
        await record(rig, plan)
    assert files(tmp_path) == ["cam-2005.mp4", "cam-2005_0001.mp4"]


async def test_without_media_file_and_rows_are_what_they_were(tmp_path: Path) -> None:
    async with Rig(tmp_path) as rig:
        _, earlier = await record(rig, plan_of(tmp_path))
        content = (tmp_path / "cam.mp4").read_bytes()
        rows = dict(rig.journal.recordings)

        def refuse(*_: object) -> None:
            raise OSError(28, "No space left on device")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("aircheck.containers.mp4.disk.Disk.write_all", refuse)
            stream = new_stream("cam")
            recording = rig.recorder.record(stream, plan_of(tmp_path), requested_by="test")
            await feed(stream, LATER, pause_s=0.02)
            facts, _ = await rig.finish(recording)
        assert facts.state is RecordingState.FAILED
        assert_true(rig)
    assert rig.journal.segment_rows[earlier.id] == earlier
    for recording_id, row in rows.items():
        assert rig.journal.recordings[recording_id] == row
    assert (tmp_path / "cam.mp4").read_bytes() == content
    assert files(tmp_path) == ["cam.mp4"]


@pytest.mark.parametrize("container", CONTAINERS)
async def test_a_disk_that_fills_up_keeps_what_was_there(tmp_path: Path, container: str) -> None:
    async with Rig(tmp_path) as rig:
        await record(rig, plan_of(tmp_path, container))
        with pytest.MonkeyPatch.context() as patch:
            fill_up_after(patch, 3)
            stream = new_stream("cam")
            recording = rig.recorder.record(stream, plan_of(tmp_path, container), requested_by="test")
            await feed(stream, LATER, pause_s=0.05)
            facts, _ = await rig.finish(recording)
        assert facts.state is RecordingState.COMPLETE
        assert_true(rig)
    (row,) = (row for row in rig.journal.segment_rows.values() if row.state is SegmentState.COMPLETE)
    assert row.recording_id == facts.id
    assert 2100 < row.duration_ms < 3950
    assert inspect_file(Path(row.path)).is_final


def fill_up_after(patch: pytest.MonkeyPatch, fragments: int) -> None:
    from aircheck.containers.mp4.disk import Disk

    write_all, left = Disk.write_all, [fragments]

    def write(self: Disk, *args: Any) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(28, "No space left on device")
        write_all(self, *args)

    patch.setattr(Disk, "write_all", write)


# --- rotation -----------------------------------------------------------------------------------------------


async def record_behind(
    rig: Rig, batches: list[Batch], plan: RecordingPlan
) -> tuple[RecordingFacts, list[SegmentFacts]]:
    """Record behind what is there, whose length is known in good time: media comes faster here than ever."""
    stream = new_stream("cam")
    recording = rig.recorder.record(stream, plan, requested_by="test")
    await feed(stream, batches[:1])
    await until(lambda: recording.segments and recording.segments[0].writer)
    await feed(stream, batches[1:])
    return await rig.finish(recording)


async def test_a_rotated_recording_goes_on_with_its_last_file(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, rotation=RotationRule(duration_ms=3000))
    async with Rig(tmp_path) as rig:
        await rig.record(new_stream("cam"), list(av_batches(5000)), plan)
        assert files(tmp_path) == ["cam_1.mp4", "cam_2.mp4"]
        later = list(av_batches(4000, start_ms=90_000))
        _, rows = await record_behind(rig, later, plan)
        assert_true(rig)
        first, second = rows
        assert first.start_pts_ms + first.duration_ms == pytest.approx(second.start_pts_ms, abs=30)
    assert files(tmp_path) == ["cam_1.mp4", "cam_2.mp4", "cam_3.mp4"]
    lengths = [len(payloads(tmp_path / f"cam_{number}.mp4")["video"]) for number in (1, 2, 3)]
    assert lengths == [75, 75, 75]


async def test_behind_a_full_file_the_next_one_begins(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, rotation=RotationRule(duration_ms=2000))
    async with Rig(tmp_path) as rig:
        await rig.record(new_stream("cam"), BATCHES, plan)
        await record_behind(rig, list(av_batches(3000)), plan)
    assert files(tmp_path) == ["cam_1.mp4", "cam_2.mp4", "cam_3.mp4"]
    assert EventKind.RECORDING_NOT_APPENDED not in kinds(rig.journal)


# --- crashes ------------------------------------------------------------------------------------------------


async def crash_while_appending(tmp_path: Path, container: str, **plan: Any) -> tuple[Path, MemoryJournal]:
    """A copy of the folder and of the rows as they are in the middle of the second recording."""
    live, copy = tmp_path / "live", tmp_path / "copy"
    async with Rig(live) as rig:
        await record(rig, plan_of(live, container))
        stream = new_stream("cam")
        recording = rig.recorder.record(stream, plan_of(live, container, **plan), requested_by="test")
        await feed(stream, LATER, pause_s=0.02)
        await at_rest(rig, recording)
        (growing,) = (live / ".aircheck" / "growing").iterdir()
        assert growing.samefile(live / f"cam.{container}")
        shutil.copytree(live, copy)
        second = copy / growing.relative_to(live)
        second.unlink()
        second.hardlink_to(copy / f"cam.{container}")
        journal = MemoryJournal()
        journal.recordings |= rig.journal.recordings
        for row in rig.journal.segment_rows.values():
            path = row.path.replace(str(live), str(copy))
            journal.segment_rows[row.id] = replace(row, path=path)
    return copy, journal


async def recover(root: Path, journal: MemoryJournal) -> recovery.RecoveryReport:
    plan = make_plan(root, "{mediaSessionId}")
    unfinished = await recovery.find_unfinished(journal, plan.growing_dir)
    return await recovery.recover(unfinished, journal, plan, SystemClock())


@pytest.mark.parametrize("container", CONTAINERS)
async def test_a_crash_in_between_leaves_one_file_and_its_rows(tmp_path: Path, container: str) -> None:
    root, journal = await crash_while_appending(tmp_path, container)
    report = await recover(root, journal)
    assert (report.recovered, report.failed, report.missing) == (1, 0, 0)
    assert files(root) == [f"cam.{container}"]
    (row,) = journal.segment_rows.values()
    path = root / f"cam.{container}"
    assert (row.state, row.path, row.size_bytes) == (SegmentState.COMPLETE, str(path), path.stat().st_size)
    assert row.is_recovered
    assert 3000 < row.duration_ms <= 4100
    assert row.end_ns is not None
    assert row.end_ns - row.gaps[-1].at_ns < 2_100_000_000
    recording, segment = decode_note(read_note(path))
    assert (recording.id, segment.id) == (row.recording_id, row.id)
    states = {one.id: (one.state, one.segment_count) for one in journal.recordings.values()}
    assert states.pop(row.recording_id) == (RecordingState.COMPLETE, 1)
    assert list(states.values()) == [(RecordingState.COMPLETE, 0)]


async def test_a_crash_before_the_first_new_byte_leaves_the_file_to_its_recording(tmp_path: Path) -> None:
    async with Rig(tmp_path) as rig:
        first, earlier = await record(rig, plan_of(tmp_path))
    journal = rig.journal
    second = replace(first, id="second", state=RecordingState.RECORDING, end_reason=None, end_ns=None)
    seam = continuation.GapFacts(2000, 0, GapReason.APPEND, at_ns=SystemClock().wall_ns())
    growing = replace(
        earlier,
        recording_id="second",
        state=SegmentState.GROWING,
        path=str(tmp_path / ".aircheck" / "growing" / f"{earlier.id}.mp4"),
        end_ns=None,
        gaps=(seam,),
    )
    await journal.put_recording(second)
    await journal.put_segment(growing)
    await journal.put_recording(replace(first, segment_count=0, size_bytes=0, duration_ms=0, error="gone"))
    await recover(tmp_path, journal)
    assert journal.segment_rows[earlier.id] == earlier
    assert journal.recordings[first.id] == first
    assert journal.recordings["second"].state is RecordingState.FAILED
    assert files(tmp_path) == ["cam.mp4"]


async def test_recovery_of_a_name_that_is_wanted_comes_first_and_is_waited_for(tmp_path: Path) -> None:
    root, journal = await crash_while_appending(tmp_path, "mp4")
    async with Rig(root) as rig:
        rig.journal.recordings |= journal.recordings
        rig.journal.segment_rows |= journal.segment_rows
        plan = plan_of(root)
        unfinished = await recovery.find_unfinished(rig.journal, plan.growing_dir)
        rig.recorder.continuations.awaited_files = unfinished.names
        stream = new_stream("cam")
        recording = rig.recorder.record(stream, plan, requested_by="test")
        await feed(stream, LATER, pause_s=0.01)
        await recovery.recover(unfinished, rig.journal, plan, SystemClock())
        await rig.finish(recording)
        assert_true(rig)
    assert files(root) == ["cam.mp4"]
    assert len(payloads(root / "cam.mp4")["audio"]) > 2 * len(sent(LATER)["audio"])


async def test_a_copy_made_by_hand_goes_on_under_a_row_of_its_own(tmp_path: Path) -> None:
    async with Rig(tmp_path) as rig:
        _, earlier = await record(rig, plan_of(tmp_path))
        shutil.copy(tmp_path / "cam.mp4", tmp_path / "show.mp4")
        _, segments = await rig.record(new_stream("show"), LATER, plan_of(tmp_path))
        assert_true(rig)
    assert segments[0].id != earlier.id
    assert rig.journal.segment_rows[earlier.id] == earlier
    assert len(payloads(tmp_path / "show.mp4")["video"]) == 100
    assert len(payloads(tmp_path / "cam.mp4")["video"]) == 50


async def test_sound_alone_goes_on(tmp_path: Path) -> None:
    batches = list(av_batches(2000, video_track=None))
    async with Rig(tmp_path) as rig:
        plan = plan_of(tmp_path, settle_s=0.05)
        for _ in range(3):
            stream = new_stream("cam")
            recording = rig.recorder.record(stream, plan, requested_by="test")
            await feed(stream, batches, pause_s=0.02)
            await rig.finish(recording)
        assert_true(rig)
    assert payloads(tmp_path / "cam.mp4") == {"audio": 3 * sent(batches)["audio"]}
    assert AUDIO.timescale == 48000


@pytest.mark.parametrize("can_insert", [True, False])
async def test_the_index_may_outgrow_its_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, can_insert: bool
) -> None:
    """Where room cannot be inserted, the file is written anew, and still has its name."""

    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    if not can_insert:
        monkeypatch.setattr("aircheck.containers.mp4.disk.Disk.insert", refuse)
    async with Rig(tmp_path) as rig:
        plan = plan_of(tmp_path, reserve_bytes=4096)
        for _ in range(3):
            _, segment = await record(rig, plan, list(av_batches(20_000, frame_ms=20, gop_ms=400)))
            assert_true(rig)
    assert files(tmp_path) == ["cam.mp4"]
    assert len(payloads(tmp_path / "cam.mp4")["video"]) == 3000
    assert segment.duration_ms == pytest.approx(60_000, abs=100)


async def test_on_another_disk_than_the_hidden_folder_it_grows_where_it_lies(
    tmp_path: Path, other_disk: Path
) -> None:
    async with Rig(tmp_path) as rig:
        plan = replace(plan_of(tmp_path), growing_dir=other_disk)
        await record(rig, plan)
        stream = new_stream("cam")
        recording = rig.recorder.record(stream, plan, requested_by="test")
        await feed(stream, LATER, pause_s=0.02)
        await at_rest(rig, recording)
        (segment,) = recording.segments
        assert segment.facts.path == str(tmp_path / "cam.mp4")
        assert list(other_disk.iterdir()) == []
        journal = MemoryJournal()
        journal.recordings |= rig.journal.recordings
        journal.segment_rows |= rig.journal.segment_rows
        await rig.finish(recording)
        assert_true(rig)
    assert files(tmp_path) == ["cam.mp4"]
    assert len(payloads(tmp_path / "cam.mp4")["video"]) == 100
    unfinished = await recovery.find_unfinished(journal, other_disk)
    report = await recovery.recover(unfinished, journal, plan, SystemClock())
    assert report.missing == report.failed == 0
    assert files(tmp_path) == ["cam.mp4"]
    (row,) = journal.segment_rows.values()
    assert (row.state, row.path) == (SegmentState.COMPLETE, str(tmp_path / "cam.mp4"))


async def test_a_disk_that_refuses_at_the_start_leaves_the_file_and_another_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aircheck.recording.patience.RETRY_MIN_S", 0.0)

    def refuse(*_: object) -> bool:
        raise OSError(5, "Input/output error")

    async with Rig(tmp_path) as rig:
        _, earlier = await record(rig, plan_of(tmp_path))
        content = (tmp_path / "cam.mp4").read_bytes()
        monkeypatch.setattr("aircheck.recording.finalize.hold", refuse)
        stream = new_stream("cam")
        recording = rig.recorder.record(stream, plan_of(tmp_path), requested_by="test")
        await feed(stream, list(av_batches(4000)), pause_s=0.03)
        facts, segments = await rig.finish(recording)
        assert_true(rig)
    assert (tmp_path / "cam.mp4").read_bytes() == content
    assert rig.journal.segment_rows[earlier.id] == earlier
    assert facts.state is RecordingState.COMPLETE
    assert [segment.file_name for segment in segments] == ["cam_0001.mp4"]


async def test_after_many_times_the_note_still_tells_whose_the_file_is(tmp_path: Path) -> None:
    batches = list(av_batches(200))
    async with Rig(tmp_path) as rig:
        for _ in range(60):
            facts, segment = await record(rig, plan_of(tmp_path, "flv"), batches)
        recording, noted = decode_note(read_note(tmp_path / "cam.flv"))
    assert (recording.id, noted.id) == (facts.id, segment.id)
    assert len(segment.gaps) == 59
    assert noted.gaps == segment.gaps[-len(noted.gaps) :]


# --- data messages ------------------------------------------------------------------------------------------


def with_messages(batches: Iterable[Batch], every: int = 3) -> list[Batch]:
    """A message of 40 bytes in front of every so many batches."""
    found = []
    for number, one in enumerate(batches):
        if number % every == 1:
            first = one.packets[0]
            ms = first.dts * 1000 // first.track.timescale
            packets = [
                Packet(DATA_TRACK, ms * 90, ms * 90, True, amf.serialize("on", {"n": ms})),
                *one.packets,
            ]
            size_bytes = sum(len(packet.data) for packet in packets)
            one = replace(one, packets=packets, size_bytes=size_bytes, has_data=True)
        found.append(one)
    return found


@pytest.mark.parametrize("container", CONTAINERS)
async def test_messages_go_on_or_turn_up_late_or_stay_away(tmp_path: Path, container: str) -> None:
    parts = [BATCHES, with_messages(LATER), BATCHES, with_messages(BATCHES)]
    async with Rig(tmp_path) as rig:
        plan = plan_of(tmp_path, container, keeps_data=True)
        for part in parts:
            _, segment = await record(rig, plan, part)
            assert_true(rig)
    assert files(tmp_path) == [f"cam.{container}"]
    counts = {track.kind: track.packets for track in segment.tracks}
    messages = len([one for part in parts for one in part if one.has_data])
    assert counts == {"video": 200, "audio": 376, "data": messages}
    assert segment.duration_ms == pytest.approx(8000, abs=100)
