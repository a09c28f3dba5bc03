"""Health asks the disks, and does not wait for one that is silent."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from helpers.patience import PATIENCE_S, until

from aircheck.clock import SystemClock
from aircheck.service.health import HealthService, NodeStatus, VolumeStatus


@dataclass
class Disk:
    """A disk that answers, refuses, or is silent until it is released."""

    answer: Sequence[VolumeStatus] | OSError = ()
    is_silent: bool = False
    questions: int = 0
    released: threading.Event = field(default_factory=threading.Event)

    def status(self) -> NodeStatus:
        return NodeStatus()

    def volumes(self) -> Sequence[VolumeStatus]:
        self.questions += 1
        if self.is_silent:
            self.released.wait(PATIENCE_S)
        if isinstance(self.answer, OSError):
            raise self.answer
        return self.answer


async def test_silent_disk_is_failing_and_is_asked_only_once() -> None:
    disk = Disk([VolumeStatus("/records", free_bytes=40)])
    health = HealthService(disk, SystemClock(), patience_s=PATIENCE_S)
    assert (await health.volumes())[0].is_failing is False
    health._patience_s = 0.05
    disk.is_silent = True
    answers = await asyncio.gather(*(health.volumes() for _ in range(3)))
    assert all(volume.is_failing and volume.path == "/records" for (volume,) in answers)
    await until(lambda: disk.questions == 2)
    disk.is_silent = False
    disk.released.set()
    health._patience_s = PATIENCE_S
    assert (await health.volumes())[0].is_failing is False
    assert disk.questions <= 3
    health.stop()


async def test_disk_that_never_answered_is_failing_too() -> None:
    disk = Disk(is_silent=True)
    health = HealthService(disk, SystemClock(), patience_s=0.05)
    (volume,) = await health.volumes()
    assert volume.is_failing
    disk.released.set()
    health.stop()


async def test_disk_that_refuses_the_question_is_failing_with_its_reason() -> None:
    disk = Disk([VolumeStatus("/records")])
    health = HealthService(disk, SystemClock())
    await health.volumes()
    disk.answer = OSError(116, "Stale file handle")
    (volume,) = await health.volumes()
    assert volume.is_failing
    assert "Stale file handle" in volume.last_error
    health.stop()


async def test_a_refusal_that_comes_too_late_is_no_error_of_ours(caplog: pytest.LogCaptureFixture) -> None:
    disk = Disk(OSError(116, "Stale file handle"), is_silent=True)
    health = HealthService(disk, SystemClock(), patience_s=0.01)
    (volume,) = await health.volumes()
    assert volume.is_failing
    disk.released.set()
    await asyncio.sleep(0.05)
    health.stop()
    gc.collect()
    assert "never retrieved" not in caplog.text
