from __future__ import annotations

import asyncio
import errno
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.packets import av_batches, new_stream
from helpers.patience import PATIENCE_S, until
from helpers.recorder_rig import Rig, feed, make_plan, payloads, sent

from aircheck.containers.mp4 import Mp4Writer
from aircheck.facts import EventKind, GapReason, RecordingFacts, RecordingState, SegmentState
from aircheck.recording import filing
from aircheck.recording.rotation import RotationRule
from aircheck.recording.segment import Segment


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    mount = tmp_path / "small"
    mount.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", mount], check=True)
    yield mount
    subprocess.run(["umount", "-l", mount], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
async def test_a_full_disk_ends_the_file_cleanly_and_recording_resumes_when_there_is_room(
    small_disk: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    before = list(av_batches(6000, gop_ms=1000))
    for one in before:  # 1 MB a second
        for packet in one.packets:
            if packet.track.is_video:
                packet.data = bytes(packet.data) + bytes(40_000)
        one.size_bytes = sum(len(packet.data) for packet in one.packets)
    after = list(av_batches(3000, start_ms=6000, gop_ms=1000))
    async with Rig(tmp_path) as rig:
        small, big = new_stream("small"), new_stream("big")
        plan = make_plan(small_disk, min_free_bytes=600_000, reserve_bytes=64 * 1024)
        first = rig.recorder.record(small, plan, requested_by="test")
        other = rig.recorder.record(big, make_plan(elsewhere), requested_by="test")
        for one in before:
            small.publish(one)
            big.publish(one)
            await asyncio.sleep(0.01)
        await until(lambda: first.is_dropping)
        assert first.facts.error
        assert len(rig.recorder.volumes()) == 2
        await until(lambda: bool(first.completed))
        saved = payloads(first.completed[0].path)
        Path(first.completed[0].path).unlink()  # somebody makes room
        first._patience.blocked_until_s = 0.0
        await until(lambda: first.volume.has_room_to_begin(600_000))
        for one in after:
            small.publish(one)
            big.publish(one)
            await asyncio.sleep(0.01)
        facts, segments = await rig.finish(first)
        _, others = await rig.finish(other)
    assert payloads(others[0].path) == sent(before + after)
    assert saved["video"] == sent(before)["video"][: len(saved["video"])]
    assert len(saved["video"]) > 20
    assert payloads(segments[1].path) == sent(after)
    assert facts.state is RecordingState.COMPLETE
    (gap,) = first.gaps
    assert gap.reason is GapReason.DISK_FULL
    total = sum(len(one.packets) for one in before)
    assert gap.dropped_packets == total - sum(len(data) for data in saved.values())
    assert abs(gap.start_ms - segments[0].duration_ms) <= 100
    assert abs(gap.start_ms + gap.duration_ms - 6000) <= 100
    assert segments[1].gaps == (gap,)
    assert [event.kind for event in rig.journal.events].count(EventKind.GAP) == 1


class Stall:
    """A disk that stands still until it is let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.go = threading.Event()
        self.go.set()
        self.error: OSError | None = None
        """What it says then, to everybody."""
        write = Mp4Writer.write

        def slow_write(writer: Mp4Writer, packets: list) -> None:
            self.go.wait(PATIENCE_S)
            if self.error is not None:
                raise self.error
            write(writer, packets)

        monkeypatch.setattr(Mp4Writer, "write", slow_write)


async def test_a_stalled_disk_loses_nothing_while_the_queue_has_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stall = Stall(monkeypatch)
    batches = list(av_batches(10_000))
    async with Rig(tmp_path) as rig:
        stream = new_stream("cam")
        recording = rig.recorder.record(stream, make_plan(tmp_path), requested_by="test")
        await feed(stream, batches[:10], pause_s=0.005)
        stall.go.clear()
        await feed(stream, batches[10:])  # publishing never waits for the disk
        assert recording.queued_bytes > 0
        stall.go.set()
        _, segments = await rig.finish(recording)
    assert recording.gaps == []
    assert payloads(segments[0].path) == sent(batches)


async def test_a_disk_that_stalls_too_long_leaves_a_gap_that_is_written_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stall = Stall(monkeypatch)
    batches = list(av_batches(12_000, gop_ms=1000))
    plan = make_plan(tmp_path, queue_max_bytes=20_000)
    async with Rig(tmp_path) as rig:
        stream = new_stream("cam")
        recording = rig.recorder.record(stream, plan, requested_by="test")
        await feed(stream, batches[:10], pause_s=0.005)
        await until(lambda: recording.queued_bytes == 0)
        stall.go.clear()
        await feed(stream, batches[10:40])
        assert recording.is_dropping
        stall.go.set()
        await until(lambda: recording.queued_bytes == 0)
        await feed(stream, batches[40:], pause_s=0.005)
        facts, segments = await rig.finish(recording)
    (gap,) = recording.gaps
    assert gap.reason is GapReason.SLOW_DISK
    assert len(segments) == 1
    assert segments[0].gaps == (gap,)
    kept = payloads(segments[0].path)
    whole = sent(batches)
    assert gap.dropped_packets == sum(map(len, whole.values())) - sum(map(len, kept.values()))
    assert facts.dropped_packets == gap.dropped_packets
    assert kept["video"][0] == whole["video"][0]
    assert kept["video"][-1] == whole["video"][-1]
    assert 11_900 <= segments[0].duration_ms <= 12_100


async def test_a_disk_that_stalls_and_then_refuses_leaves_its_gap_with_the_last_file_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files have begun meanwhile of which nothing is kept; one of them was to tell of the gap."""
    stall = Stall(monkeypatch)
    batches = list(av_batches(8000, gop_ms=1000))
    plan = make_plan(tmp_path, rotation=RotationRule(duration_ms=1000))
    async with Rig(tmp_path) as rig:
        stream = new_stream("cam")
        recording = rig.recorder.record(stream, plan, requested_by="test")
        await feed(stream, batches[:20])
        await until(lambda: len(recording.completed) == 3)
        stall.go.clear()
        await feed(stream, batches[20:])
        assert len(recording.segments) == 5
        stall.error = OSError(errno.ENOSPC, "No space left on device")
        stall.go.set()
        facts, segments = await rig.finish(recording)
    kept = [segment for segment in segments if segment.state is SegmentState.COMPLETE]
    assert facts.state is RecordingState.COMPLETE
    assert [gap.reason for segment in kept for gap in segment.gaps] == [GapReason.DISK_FULL]
    assert kept[-1].gaps == tuple(recording.gaps)
    whole = sum(map(len, sent(batches).values()))
    assert facts.dropped_packets == whole - sum(len(data) for s in kept for data in payloads(s.path).values())


async def test_a_segment_that_cannot_be_opened_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aircheck.recording.patience.RETRY_MIN_S", 0.05)
    growing = tmp_path / ".aircheck" / "growing"
    batches = list(av_batches(6000, gop_ms=1000))
    refused: list[Segment] = []
    async with Rig(tmp_path) as rig:
        stream = new_stream("cam")
        recording = rig.recorder.record(stream, make_plan(tmp_path, min_free_bytes=0), requested_by="test")
        recording._patience.retry_s = 0.05
        growing.rmdir()
        growing.write_text("in the way")
        await feed(stream, batches[:10], pause_s=0.02)
        refused += recording.segments
        growing.unlink()
        await feed(stream, batches[10:], pause_s=0.02)
        facts, segments = await rig.finish(recording)
    assert facts.state is RecordingState.COMPLETE
    assert recording.gaps[0].reason is GapReason.DISK_ERROR
    kept = payloads(next(s.path for s in segments if s.file_name and s.size_bytes))
    assert kept["video"][-1] == sent(batches)["video"][-1]


async def test_a_slow_catalogue_keeps_no_media_off_the_disk_and_its_rows_come_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Media that waits for a row is what a crash would cost."""
    monkeypatch.setattr(filing, "SLOW_ROW_S", 0.2)
    go = asyncio.Event()
    async with Rig(tmp_path) as rig:
        put_recording = rig.journal.put_recording

        async def put_slowly(facts: RecordingFacts) -> None:
            await go.wait()
            await put_recording(facts)

        monkeypatch.setattr(rig.journal, "put_recording", put_slowly)
        stream = new_stream("cam")
        recording = rig.recorder.record(stream, make_plan(tmp_path), requested_by="test")
        await feed(stream, list(av_batches(2000)))
        await until(lambda: not recording.queued_bytes)
        (growing,) = (tmp_path / ".aircheck" / "growing").iterdir()
        assert growing.stat().st_size > 10_000
        assert rig.journal.history == []
        await until(lambda: "grows without its row" in caplog.text)
        stopping = asyncio.create_task(rig.finish(recording))
        await asyncio.sleep(0.1)
        go.set()
        await stopping
    states = [state for kind, state in rig.journal.history if kind == "segment"]
    assert states == ["growing", "finalizing", "complete"]
