"""The whole server on a disk that is full, stands still or vanishes; its catalogue lies there too."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from crash_judge import decode_complaints, payloads_of
from crashable import CrashableServer, Rows
from helpers.disks import Hog, come_back, needs_loop, needs_root, real_disk, small_disk, stalled, vanish
from helpers.patience import PATIENCE_S
from helpers.programs import wait_until
from helpers.tools import requires
from paced import PacedPublisher, publish_all

pytestmark = requires("ffmpeg")

MAX_LOG_LINES = 150
"""Of a run with trouble: some lines per stream and try, none per packet or row."""


@contextmanager
def server_on(mount: Path, logs: Path, **changes: str) -> Iterator[CrashableServer]:
    server = CrashableServer(logs, **changes)
    server.record_dir = mount / "records"
    try:
        server.start()
        yield server
    finally:
        server.close()


def health(server: CrashableServer) -> tuple[int, dict[str, Any]]:
    answer = httpx.get(f"http://127.0.0.1:{server.http_port}/healthz", timeout=PATIENCE_S)
    return answer.status_code, answer.json()


def end(server: CrashableServer, publishers: list[PacedPublisher]) -> Rows:
    """Unpublish and stop in good order; what the catalogue says then."""
    for publisher in publishers:
        publisher.stop(farewell=True)
    for publisher in publishers:
        publisher.join(PATIENCE_S)
    assert server.stop()[0] == 0
    assert "Traceback" not in server.log
    assert len(server.log.splitlines()) < MAX_LOG_LINES
    return Rows.left_in(server.record_dir)


def kept_of(rows: Rows, publisher: PacedPublisher, kind: str = "video") -> list[bytes]:
    """Hashes of the packets in a stream's files."""
    files = rows.files_of(publisher.stream)
    assert decode_complaints(files[len(files) // 2]) == ""
    # A last file may hold no more than the picture that it was begun with.
    return [digest for path in files for digest in payloads_of(path).get(kind, [])]


def sent_by(publisher: PacedPublisher, kind: str = "video") -> list[bytes]:
    return [packet.digest for packet in publisher.sent() if packet.kind == kind]


@needs_root
def test_a_full_disk_costs_what_does_not_fit_and_nothing_else(tmp_path: Path) -> None:
    with (
        small_disk(tmp_path / "disk", 64) as mount,
        server_on(mount, tmp_path, rotation="1", settings="min_free_bytes = 0") as server,
    ):
        publishers = publish_all(server.rtmp_port, ["a", "b"])
        time.sleep(2.2)
        assert health(server)[0] == 200
        hog = Hog(mount)
        code, told = wait_until("trouble", lambda: _trouble(server))
        assert code == 503
        assert told["volumes"][0]["is_failing"]
        assert "No space left" in told["volumes"][0]["last_error"]
        time.sleep(1)
        hog.leave()
        wait_until("the end of trouble", lambda: health(server)[0] == 200)
        time.sleep(2)
        rows = end(server, publishers)
        assert not rows.unfinished
        for publisher in publishers:
            kept, sent = kept_of(rows, publisher), sent_by(publisher)
            assert kept[:45] == sent[:45], "what was there before the disk was full"
            assert kept[-45:] == sent[-45:], "what came after"
            assert len(set(sent) - set(kept)) > 15
            assert [digest for digest in sent if digest in set(kept)] == kept
        assert {path.name for path in server.record_dir.glob("*.mp4")} == {
            path.name for publisher in publishers for path in rows.files_of(publisher.stream)
        }
        assert list(server.growing_dir.iterdir()) == []


def _trouble(server: CrashableServer) -> tuple[int, dict[str, Any]] | None:
    answer = health(server)
    return answer if answer[0] != 200 else None


@needs_root
def test_below_the_reserve_nothing_is_begun_and_files_end_whole_until_there_is_room(tmp_path: Path) -> None:
    reserve = 40_000_000
    with (
        small_disk(tmp_path / "disk", 96) as mount,
        server_on(mount, tmp_path, settings=f"min_free_bytes = {reserve}") as server,
    ):
        url = f"http://127.0.0.1:{server.http_port}"
        publishers = publish_all(server.rtmp_port, ["early"])
        time.sleep(1.5)
        ballast = mount / "ballast"
        ballast.write_bytes(bytes(shutil.disk_usage(mount).free - reserve + 5_000_000))
        wait_until("the end of the file", lambda: list(server.record_dir.glob("early*.mp4")))
        publishers += publish_all(server.rtmp_port, ["late"])
        wait_until("a refusal", lambda: "cannot record" in server.log)
        events = httpx.get(f"{url}/api/v1/events").json()["items"]
        (failed,) = (event for event in events if event["kind"] == "recording.failed")
        assert (failed["stream_name"], "kept in reserve" in failed["facts"]["error"]) == ("late", True)
        refused = httpx.post(f"{url}/api/v1/recordings", json={"stream": "late"})
        assert (refused.status_code, refused.json()["type"]) == (507, "urn:aircheck:problem:no-storage")
        live = {one["name"]: one["id"] for one in httpx.get(f"{url}/api/v1/streams").json()["items"]}
        refused = httpx.post(f"{url}/rest-api/recorder/startup", json={"mediaSessionId": live["late"]})
        assert (refused.status_code, "kept in reserve" in refused.json()["reason"]) == (500, True)
        assert shutil.disk_usage(mount).free > reserve - 10_000_000
        assert health(server)[0] == 503
        time.sleep(2.5)
        names = sorted(path.name for path in server.record_dir.glob("*.mp4"))
        assert names == ["early.mp4"], "its own space that it gave back is not room for another file"
        ballast.unlink()
        wait_until("recordings", lambda: len(growing_of(server)) == 2)
        time.sleep(1.5)
        rows = end(server, publishers)
        assert not rows.unfinished
        kept, sent = kept_of(rows, publishers[0]), sent_by(publishers[0])
        assert kept[:30] == sent[:30]
        assert kept[-30:] == sent[-30:]
        assert kept_of(rows, publishers[1])[-30:] == sent_by(publishers[1])[-30:]


def growing_of(server: CrashableServer) -> list[Path]:
    return list(server.growing_dir.glob("*.mp4"))


@needs_loop
def test_a_disk_that_stands_still_for_seconds_costs_nothing_and_slows_nobody(tmp_path: Path) -> None:
    with (
        real_disk(tmp_path / "image", tmp_path / "disk", 256) as mount,
        server_on(mount, tmp_path, rotation="1", settings="min_free_bytes = 0") as server,
    ):
        publishers = publish_all(server.rtmp_port, [f"s{index}" for index in range(5)])
        time.sleep(1.5)
        with stalled(mount):
            time.sleep(5)
            late = publish_all(server.rtmp_port, ["late"])
            assert late[0].is_published.wait(PATIENCE_S), "somebody who comes meanwhile is let in"
            time.sleep(3)
            wait_until("trouble", lambda: _trouble(server))
            assert (
                httpx.get(f"http://127.0.0.1:{server.http_port}/metrics", timeout=PATIENCE_S).status_code
                == 200
            )
        time.sleep(1.5)
        wait_until("the end of trouble", lambda: health(server)[0] == 200)
        everybody = publishers + late
        assert max(publisher.longest_send_s for publisher in everybody) < 1
        rows = end(server, everybody)
        assert not rows.unfinished
        for publisher in everybody:
            for kind in ("video", "audio"):
                assert kept_of(rows, publisher, kind) == sent_by(publisher, kind)


@needs_loop
def test_a_disk_that_vanishes_leaves_a_gap_and_nothing_below_its_mount_point(tmp_path: Path) -> None:
    image = tmp_path / "image"
    with (
        real_disk(image, tmp_path / "disk", 256) as mount,
        server_on(mount, tmp_path, rotation="1", settings="min_free_bytes = 0") as server,
    ):
        publishers = publish_all(server.rtmp_port, ["a"])
        time.sleep(2.3)
        vanish(mount)
        assert wait_until("trouble", lambda: _trouble(server))
        time.sleep(1)
        assert list(mount.iterdir()) == [], "written to the disk below"
        come_back(image, mount)
        wait_until("the end of trouble", lambda: health(server)[0] == 200)
        time.sleep(2)
        rows = end(server, publishers)
        (recording,) = rows.recordings
        assert recording.state == "complete"
        server.start()  # what could not be named while the disk was away is made final now
        server.wait_until_recovered()
        rows = end(server, [])
        assert not rows.unfinished
        kept, sent = kept_of(rows, publishers[0]), sent_by(publishers[0])
        assert kept[:60] == sent[:60]
        assert kept[-45:] == sent[-45:]
        assert [digest for digest in sent if digest in set(kept)] == kept
