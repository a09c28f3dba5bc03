"""A recording that waits for a key frame asks for one, and asks for none that it does not need."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from helpers.packets import av_batches, new_stream
from helpers.recorder_rig import Rig, feed, make_plan

from aircheck.hub.stream import Stream
from aircheck.recording.recorder import TICK_S
from aircheck.recording.recording import Recording
from aircheck.recording.rotation import RotationRule


class Asked:
    """A stream whose publisher counts what it is asked for."""

    def __init__(self) -> None:
        self.times = 0
        self.stream: Stream = new_stream()
        self.stream.on_keyframe_wanted = self._ask

    def _ask(self) -> None:
        self.times += 1

    async def within_ticks(self) -> int:
        """Requests in the time of some ticks."""
        self.times = 0
        await asyncio.sleep(2.5 * TICK_S)
        return self.times


@pytest.fixture
def asked() -> Asked:
    return Asked()


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with Rig(tmp_path) as rig:
        yield rig


def record(rig: Rig, stream: Stream, **plan: object) -> Recording:
    return rig.recorder.record(stream, make_plan(rig.root, **plan), requested_by="test")  # type: ignore[arg-type]


async def test_who_joins_midway_asks_until_a_key_frame_comes(rig: Rig, asked: Asked) -> None:
    batches = list(av_batches(3000, gop_ms=10_000))
    await feed(asked.stream, batches[:3])
    record(rig, asked.stream)
    await feed(asked.stream, batches[3:5])
    assert await asked.within_ticks() >= 1
    await feed(asked.stream, av_batches(400, start_ms=3000))
    assert await asked.within_ticks() == 0


async def test_a_rotation_that_is_due_asks(rig: Rig, asked: Asked) -> None:
    batches = list(av_batches(3000, gop_ms=10_000))
    recording = record(rig, asked.stream, rotation=RotationRule(duration_ms=2000))
    await feed(asked.stream, batches[:5])
    assert await asked.within_ticks() == 0
    await feed(asked.stream, batches[5:])
    assert await asked.within_ticks() >= 1
    await feed(asked.stream, av_batches(800, start_ms=3000))
    assert await asked.within_ticks() == 0
    assert len(recording.segments) + len(recording.completed) == 2


async def test_a_split_and_a_resume_ask(rig: Rig, asked: Asked) -> None:
    batches = list(av_batches(1000, gop_ms=10_000))
    recording = record(rig, asked.stream)
    await feed(asked.stream, batches)
    recording.split()
    assert await asked.within_ticks() >= 1
    await feed(asked.stream, av_batches(400, start_ms=1000))
    recording.pause()
    assert await asked.within_ticks() == 0
    recording.resume()
    assert await asked.within_ticks() >= 1


async def test_streams_that_cannot_be_asked_are_waited_for_as_ever(rig: Rig, asked: Asked) -> None:
    asked.stream.on_keyframe_wanted = None
    recording = record(rig, asked.stream)
    await feed(asked.stream, av_batches(1000))
    recording.split()
    assert await asked.within_ticks() == 0
