"""A thousand segments in one run: nothing lost, nothing doubled, nothing piles up."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from helpers.packets import av_batches, new_stream
from helpers.recorder_rig import Rig, make_plan, payloads

from aircheck.facts import RecordingState
from aircheck.recording.rotation import RotationRule

SEGMENTS = 1000
SETTLED_AT = 300
"""By then every pool, cache and thread that a rotation needs is there."""


def rss_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


async def test_a_thousand_rotations_lose_nothing_and_leave_nothing_behind(tmp_path: Path) -> None:
    plan = make_plan(tmp_path, rotation=RotationRule(duration_ms=1000), reserve_bytes=16 * 1024)
    sent = {"video": 0, "audio": 0}
    got = {"video": 0, "audio": 0}
    last = {"video": -1, "audio": -1}
    sizes: list[tuple[int, int]] = []
    checked = 0

    def check(path: str) -> None:
        for kind, data in payloads(path).items():
            for payload in data:
                number = int.from_bytes(payload[:8], "big")
                assert number > last[kind], (path, kind, number)
                last[kind] = number
                got[kind] += 1
        Path(path).unlink()

    async with Rig(tmp_path) as rig:
        stream = new_stream("cam")
        recording = rig.recorder.record(stream, plan, requested_by="test")
        for one in av_batches(SEGMENTS * 1000, frame_ms=100, gop_ms=1000, batch_ms=1000):
            for packet in one.packets:
                sent[packet.track.kind.value] += 1
            stream.publish(one)
            while len(recording.segments) > 8:  # noqa: ASYNC110
                await asyncio.sleep(0.002)
            while checked < len(recording.completed) - 1:
                await asyncio.to_thread(check, recording.completed[checked].path)
                checked += 1
                if checked in (SETTLED_AT, SEGMENTS - 20):
                    sizes.append((rss_bytes(), open_files()))
            await asyncio.sleep(0)
        facts, segments = await rig.finish(recording)
        for segment in recording.completed[checked:]:
            check(segment.path)
    assert facts.state is RecordingState.COMPLETE
    assert len(segments) == SEGMENTS
    assert got == sent
    (rss_then, files_then), (rss_now, files_now) = sizes
    assert files_now <= files_then + 8
    assert rss_now - rss_then < 16 * 1024 * 1024
