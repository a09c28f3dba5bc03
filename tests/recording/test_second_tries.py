"""Files that a full disk refused are made final when it has room, without a new start."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.disks import needs_root, small_disk
from helpers.packets import av_batches, new_stream
from helpers.patience import until
from helpers.recorder_rig import Rig, feed, make_plan, payloads, sent

from aircheck.facts import EventKind, RecordingState, SegmentState
from aircheck.recording.plan import RecordingPlan
from aircheck.recording.rotation import RotationRule
from aircheck.recording.second_tries import SecondTries

BATCHES = list(av_batches(3000, gop_ms=1000))


class FullDisk:
    """A disk of 4 MB with a record folder, all taken by somebody else until `make_room`."""

    def __init__(self, mount: Path) -> None:
        self.records = mount / "records"
        self.records.mkdir()
        self._ballast = mount / "ballast"
        self._ballast.write_bytes(bytes(shutil.disk_usage(mount).free))

    def make_room(self) -> None:
        self._ballast.unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[FullDisk]:
    with small_disk(tmp_path / "disk", 4) as mount:
        yield FullDisk(mount)


def plan_for(disk: FullDisk, tmp_path: Path, **changes: object) -> RecordingPlan:
    return make_plan(disk.records, growing_dir=tmp_path / "growing", min_free_bytes=0, **changes)


async def until_complete(rig: Rig, count: int) -> None:
    def completed() -> int:
        return [row.state for row in rig.journal.segment_rows.values()].count(SegmentState.COMPLETE)

    await until(lambda: completed() >= count)


@needs_root
async def test_files_of_a_recording_that_goes_on_are_named_when_there_is_room(
    disk: FullDisk, tmp_path: Path
) -> None:
    plan = plan_for(disk, tmp_path, rotation=RotationRule(duration_ms=1000))
    async with Rig(tmp_path) as rig:
        stream = new_stream()
        recording = rig.recorder.record(stream, plan, requested_by="test")
        tries = asyncio.create_task(
            SecondTries(rig.recorder, rig.journal, plan, rig.clock, first_s=0.05).run()
        )
        await feed(stream, BATCHES)
        await until(lambda: EventKind.RECORDING_FAILED in [event.kind for event in rig.journal.events])
        assert list(disk.records.glob("*.mp4")) == []
        disk.make_room()
        await until_complete(rig, 2)
        facts, segments = await rig.finish(recording)
        tries.cancel()
    assert (facts.state, facts.segment_count, rig.recorder.left_behind) == (RecordingState.COMPLETE, 3, [])
    assert [segment.file_name for segment in segments] == ["cam_1.mp4", "cam_2.mp4", "cam_3.mp4"]
    files = [payloads(segment.path) for segment in segments]
    assert [data for file in files for data in file["video"]] == sent(BATCHES)["video"]
    assert list((tmp_path / "growing").iterdir()) == []


@needs_root
async def test_a_recording_that_had_failed_for_want_of_room_is_complete_in_the_end(
    disk: FullDisk, tmp_path: Path
) -> None:
    plan = plan_for(disk, tmp_path)
    async with Rig(tmp_path) as rig:
        facts, _ = await rig.record(new_stream(), BATCHES, plan)
        assert facts.state is RecordingState.FAILED
        assert "No space left" in facts.error
        tries = asyncio.create_task(
            SecondTries(rig.recorder, rig.journal, plan, rig.clock, first_s=0.05).run()
        )
        disk.make_room()
        await until_complete(rig, 1)
        await until(lambda: rig.journal.recordings[facts.id].state is RecordingState.COMPLETE)
        tries.cancel()
    assert payloads(disk.records / "cam.mp4") == sent(BATCHES)
    assert rig.journal.events[-1].kind is EventKind.RECORDING_RECOVERED
