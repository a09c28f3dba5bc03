"""Files that grow on one disk and are kept on another: killed on the way, and the other disk full."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import httpx
import pytest
from crash_judge import decode_complaints
from crashable import CrashableServer, Rows
from helpers.disks import Hog, needs_loop, real_disk, small_disk
from helpers.patience import PATIENCE_S
from helpers.programs import wait_until
from helpers.publishers import publish_with_ffmpeg
from helpers.tools import requires

pytestmark = [requires("ffmpeg"), needs_loop]


@pytest.fixture(scope="module")
def large_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise, so that a second of it is some 10 MB."""
    path = tmp_path_factory.mktemp("clip") / "noise.flv"
    command = [
        "ffmpeg",
        "-v",
        "error",
        "-f",
        "lavfi",
        "-i",
        "color=gray:size=640x360:rate=30,noise=alls=100:allf=t",
    ]
    command += ["-t", "2", "-c:v", "libx264", "-preset", "ultrafast", "-qp", "8", "-g", "30", "-f", "flv"]
    subprocess.run([*command, path], check=True, timeout=60)
    return path


@contextmanager
def server_of_two_disks(folder: Path) -> Iterator[CrashableServer]:
    """Files grow in memory and are kept on ext4."""
    with (
        small_disk(folder / "memory", 256) as memory,
        real_disk(folder / "image", folder / "disk", 128) as disk,
    ):
        server = CrashableServer(folder, settings=f'tmp_dir = "{memory / "growing"}"\nmin_free_bytes = 0')
        server.record_dir = disk / "records"
        try:
            yield server
        finally:
            server.close()


def growing(server: CrashableServer) -> list[Path]:
    return list((server.folder / "memory" / "growing").glob("*.mp4"))


def publish(server: CrashableServer, clip: Path, name: str = "cam") -> None:
    url = f"rtmp://127.0.0.1:{server.rtmp_port}/live/{name}"
    publish_with_ffmpeg(clip, url, server.folder / "ffmpeg.log", is_paced=True)


def assert_one_whole_file(server: CrashableServer, packets: int) -> None:
    """One file under its name, nothing else on either disk, and the catalogue agrees."""
    files = (path for path in server.record_dir.rglob("*") if path.is_file())
    (path,) = (path for path in files if ".aircheck" not in path.parts)
    assert path.name == "cam.mp4"
    assert growing(server) == []
    rows = Rows.of(server.record_dir)
    assert not rows.unfinished
    assert [file.name for file in rows.files_of("cam")] == ["cam.mp4"]
    assert decode_complaints(path) == ""
    (told,) = api(server, "/api/v1/recordings")["items"]
    assert (told["state"], told["size_bytes"]) == ("complete", path.stat().st_size)
    (segment,) = api(server, f"/api/v1/recordings/{told['id']}")["segments"]
    assert segment["tracks"][0]["packets"] == packets


def packets_in(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(packet.size > 0 for packet in container.demux())


def api(server: CrashableServer, path: str) -> Any:
    return (
        httpx.get(f"http://127.0.0.1:{server.http_port}{path}", timeout=PATIENCE_S).raise_for_status().json()
    )


@pytest.mark.parametrize(
    "sentence",
    [("copy", "1", "after"), ("link", "2", "after")],
    ids=" ".join,
)
def test_a_kill_while_a_file_is_moved_leaves_one_whole_file(
    sentence: tuple[str, str, str], large_clip: Path, tmp_path: Path
) -> None:
    with server_of_two_disks(tmp_path) as server:
        server.start(sentence=sentence)
        publish(server, large_clip)
        server.wait_for_death(PATIENCE_S)
        (grown,) = growing(server)
        packets = packets_in(grown)
        server.start()
        server.wait_until_recovered()
        wait_until("an empty growing folder", lambda: not growing(server))
        assert_one_whole_file(server, packets)


def test_a_full_disk_is_told_and_the_file_is_moved_at_the_next_start(
    large_clip: Path, tmp_path: Path
) -> None:
    with server_of_two_disks(tmp_path) as server:
        server.start()
        hog = Hog(server.record_dir.parent)
        wait_until("a full disk", lambda: shutil.disk_usage(server.record_dir).free < 1_000_000)
        publish(server, large_clip)
        wait_until("a failed move", lambda: "finalize failed" in server.log)
        assert "No space left" in server.log
        (grown,) = growing(server)
        packets = packets_in(grown)
        assert list(server.record_dir.glob("*cam*")) == []
        assert list(server.record_dir.glob(".*.part")) == []
        hog.leave()
        server.stop()
        server.start()
        server.wait_until_recovered()
        wait_until("an empty growing folder", lambda: not growing(server))
        assert_one_whole_file(server, packets)
