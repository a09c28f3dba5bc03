"""Files that grow on one file system and are kept on another: what is told of them on their way."""

from __future__ import annotations

import asyncio
import os
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
from helpers.live_node import LiveNode
from helpers.packets import av_batches
from helpers.patience import PATIENCE_S
from helpers.recorder_rig import payloads, sent

from aircheck.facts import RecordingState
from aircheck.recording import finalize
from aircheck.recording.move import Move
from aircheck.service.control import Target
from aircheck.service.options import RecordingOptions

BATCHES = list(av_batches(4000))


@pytest.fixture
def other_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on another file system."""
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is one file system only")
    with tempfile.TemporaryDirectory(prefix="aircheck-", dir=memory) as folder:
        yield Path(folder)


@pytest.fixture
async def node(tmp_path: Path, other_disk: Path) -> AsyncIterator[LiveNode]:
    (tmp_path / "records").mkdir()
    async with LiveNode.opened(tmp_path, growing_dir=other_disk, stop_timeout_s=0.2) as node:
        yield node


class SlowDisk:
    """Copies as far as it is let."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
        self.go = threading.Semaphore(steps)
        monkeypatch.setattr(finalize, "_COPY_BYTES", 64 * 1024)
        sendfile = os.sendfile

        def send_slowly(target: int, source: int, offset: int, size: int) -> int:
            assert self.go.acquire(timeout=PATIENCE_S)
            return sendfile(target, source, offset, size)

        monkeypatch.setattr(os, "sendfile", send_slowly)

    def let_go(self) -> None:
        self.go.release(10_000)


async def told_complete(client: httpx.AsyncClient, recording_id: str) -> None:
    while (await client.get(f"/api/v1/recordings/{recording_id}")).json()["state"] != "complete":  # noqa: ASYNC110
        await asyncio.sleep(0.01)


async def test_the_way_of_a_file_is_told_and_its_size_is_counted_once(
    node: LiveNode, other_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = SlowDisk(monkeypatch, steps=1)
    stream = node.publish("cam")
    started = await node.control.start(
        Target(name="cam"), RecordingOptions(name="moved"), requested_by="test"
    )
    assert started.recording is not None
    recording_id = started.recording.id
    await node.feed(stream, BATCHES)
    stopped = await node.control.stop(recording_id)
    assert stopped.state is RecordingState.FINALIZING, "the disk is slower than the call waits"
    async with node.client() as client:
        while True:
            answer = (await client.get(f"/api/v1/recordings/{recording_id}")).json()
            (segment,) = answer["segments"]
            if segment["moved_percent"]:
                break
            await asyncio.sleep(0.01)
        assert 0 < segment["moved_percent"] < 100
        assert segment["state"] == "finalizing"
        (growing,) = other_disk.iterdir()
        assert answer["size_bytes"] == segment["size_bytes"] <= growing.stat().st_size
        metrics = (await client.get("/metrics")).text
        told = {
            line.split("{")[0]: float(line.rsplit(" ", 1)[1])
            for line in metrics.splitlines()
            if line.startswith("aircheck_recording_")
        }
        assert told["aircheck_recording_moved_bytes"] == 64 * 1024
        moved = told["aircheck_recording_moved_bytes"] + told["aircheck_recording_unmoved_bytes"]
        assert moved == growing.stat().st_size
        assert not list(node.record_dir.glob("moved*")), "no part of it has the name"
        disk.let_go()
        await asyncio.wait_for(told_complete(client, recording_id), PATIENCE_S)
        answer = (await client.get(f"/api/v1/recordings/{recording_id}")).json()
    (segment,) = answer["segments"]
    assert segment["moved_percent"] is None
    assert answer["size_bytes"] == segment["size_bytes"] == (node.record_dir / "moved.mp4").stat().st_size
    assert payloads(node.record_dir / "moved.mp4") == sent(BATCHES)
    assert list(other_disk.iterdir()) == []
    assert [path.name for path in node.record_dir.iterdir() if path.name != ".aircheck"] == ["moved.mp4"]


def test_a_move_that_takes_long_is_told_in_the_log(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now_s)
    caplog.set_level("INFO")
    move = Move("cam.mp4")
    for now_s in (1.0, 9.9, 10.0, 15.0, 21.0):
        move.tell(int(now_s * 1e6), 40_000_000)
    assert [line.split("percent=")[1].split()[0] for line in caplog.messages] == ["25", "52"]
