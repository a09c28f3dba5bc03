"""`kill -9` between and during recordings that go on in one file: it stays one, and plays from end to end."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import httpx
import pytest
from helpers.media import ClipSpec, MediaFolder
from helpers.probe import decode_complaints
from helpers.programs import wait_until
from helpers.publishers import ffmpeg_publishing
from helpers.server import ServerProcess
from helpers.tools import requires

from aircheck.containers.recover import inspect_file

pytestmark = requires("ffmpeg")

TIMES = 10
CONTAINERS = ("mp4", "mkv", "ts", "flv")
CLIP = ClipSpec("append", seconds=30, b_frames=2)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return MediaFolder(tmp_path_factory.mktemp("clips")).clip(CLIP)


def append_to_each(server: ServerProcess) -> None:
    for container in CONTAINERS:
        wish = {"stream": "show", "name": "{streamName}", "container": container, "on_conflict": "append"}
        answer = httpx.post(server.http_url("/api/v1/recordings"), json=wish, timeout=10)
        assert answer.status_code == 201, answer.text


def is_all_over(server: ServerProcess) -> bool:
    rows = server.get("/api/v1/recordings", stream="show", limit="100")["items"]
    assert len(rows) == TIMES * len(CONTAINERS)
    return all(row["state"] in ("complete", "failed") for row in rows)


def packets_by_track(path: Path) -> list[list[float | None]]:
    """The decoding time of each packet, None where the container does not tell."""
    command = ["ffprobe", "-v", "error", "-of", "json", "-show_entries", "packet=stream_index,dts_time", path]
    answer = subprocess.run(command, check=True, capture_output=True, timeout=60)
    times: list[list[float | None]] = [[], []]
    for packet in json.loads(answer.stdout)["packets"]:
        dts = packet.get("dts_time")
        times[packet["stream_index"]].append(None if dts is None else float(dts))
    return times


def test_ten_times_appended_and_killed_in_between_it_is_one_file(clip: Path, tmp_path: Path) -> None:
    server = ServerProcess(tmp_path, record=["enabled = false", 'name = "{streamName}"'])
    recorded_s = 0.0
    for number in range(TIMES):
        server.start()
        with ffmpeg_publishing(clip, server.rtmp_url("show"), tmp_path / f"ffmpeg-{number}.log") as program:
            server.wait_for_stream("show")
            append_to_each(server)
            began_s = time.monotonic()
            time.sleep(1.3 + 0.07 * number)
            recorded_s += time.monotonic() - began_s - 1.0
            if number % 2:
                server.stop()
            else:
                server.kill()
            program.kill()
    with server:
        wait_until("recordings that are over", lambda: is_all_over(server))
    check = [sys.executable, "-m", "aircheck", "check", "--config", str(tmp_path / "aircheck.toml")]
    answer = subprocess.run(check, capture_output=True, text=True, timeout=60, check=False)
    assert answer.returncode == 0, answer.stdout
    files = sorted(path.name for path in server.record_dir.rglob("*") if path.suffix[1:] in CONTAINERS)
    assert files == sorted(f"show.{container}" for container in CONTAINERS)
    for name in files:
        assert_plays(server.record_dir / name, recorded_s)


def assert_plays(path: Path, recorded_s: float) -> None:
    facts = inspect_file(path)
    assert facts.is_final
    assert facts.duration_ms >= recorded_s * 1000
    assert decode_complaints(path) == ""
    times = packets_by_track(path)
    assert [len(track) for track in times] == [track.packets for track in facts.tracks]
    for track in times:
        known = [dts for dts in track if dts is not None]
        assert all(before < after for before, after in pairwise(known))
