"""One encoder, several connections, one file: what was sent together lies together."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import httpx
from helpers import media as clips
from helpers.media import MediaFolder
from helpers.probe import decode_complaints, is_progressive_mp4
from helpers.programs import running, wait_until
from helpers.server import ServerProcess
from helpers.tools import requires

from aircheck.containers.verify import verify_file

URI = "multi-recorder://room"
NAMES = ("one", "two", "three")
FRAME_MS = 1000 / clips.FLASH_AND_BEEP_LIVE.frames_per_second
SYNC_TOLERANCE_MS = 5


def ask(server: ServerProcess, method: str, **arguments: str) -> httpx.Response:
    answer = httpx.post(server.http_url(f"/rest-api/multipleRecorder/{method}"), json=arguments, timeout=20)
    answer.raise_for_status()
    return answer


@contextmanager
def publishing_together(clip: Path, server: ServerProcess, log: Path) -> Iterator[dict[str, str]]:
    """The same packets to several names at the same time; gives their media sessions."""
    command = ["ffmpeg", "-nostdin", "-v", "warning", "-re", "-i", str(clip)]
    for name in NAMES:
        command += ["-c", "copy", "-flvflags", "no_duration_filesize", "-f", "flv", server.rtmp_url(name)]
    with running(command, log):
        yield {name: server.wait_for_stream(name)["id"] for name in NAMES}


def file_duration_ms(server: ServerProcess) -> int:
    rows = server.recordings("room")
    return int(rows[0]["duration_ms"]) if rows else 0


def record_one_after_another(server: ServerProcess, sessions: dict[str, str]) -> None:
    """Each session joins a second after the one before."""
    ask(server, "startup", uri=URI)
    for number, name in enumerate(NAMES):
        ask(server, "add", uri=URI, mediaSessionId=sessions[name])
        until_ms = 1200 * (number + 1)
        wait_until("a second more on disk", lambda until_ms=until_ms: file_duration_ms(server) > until_ms)
    (listed,) = ask(server, "find_all").json()
    assert listed["fileName"] == "multi-recorder___room.mp4"
    assert listed["mediaSessionsId"] == [sessions[name] for name in NAMES]


def session_of(path: Path, number: int) -> Path:
    """The tracks of one session, with the times that they have in the whole."""
    alone = path.with_name(f"{path.stem}-{number}.mkv")
    with av.open(str(path)) as container:
        kinds = [stream.type for stream in container.streams]
    pairs = [(video, video + 1) for video in range(0, len(kinds), 2)]
    maps = [argument for index in pairs[number] for argument in ("-map", f"0:{index}")]
    command = ["ffmpeg", "-v", "error", "-y", "-copyts", "-i", str(path), *maps, "-c", "copy", str(alone)]
    subprocess.run(command, check=True, timeout=60)
    return alone


def assert_together(path: Path) -> None:
    """Each flash is seen by all sessions at once, and heard with its beep."""
    verdicts = [verify_file(session_of(path, number)) for number in range(len(NAMES))]
    for verdict in verdicts:
        assert verdict.flashes_s
        for flash_s in verdict.flashes_s:
            assert distance_ms(flash_s, verdict.beeps_s) <= SYNC_TOLERANCE_MS
            assert distance_ms(flash_s, verdicts[0].flashes_s) <= FRAME_MS + SYNC_TOLERANCE_MS


def distance_ms(at_s: float, others_s: list[float]) -> float:
    return min(abs(at_s - other_s) for other_s in others_s) * 1000


@requires("ffmpeg")
def test_what_was_sent_at_one_time_lies_at_one_time_in_the_file(media: MediaFolder, tmp_path: Path) -> None:
    clip = media.clip(clips.FLASH_AND_BEEP_LIVE)
    with ServerProcess(tmp_path, record=["enabled = false"]) as server:
        with publishing_together(clip, server, tmp_path / "f.log") as sessions:
            record_one_after_another(server, sessions)
            ask(server, "terminate", uri=URI)
        recorded = server.record_dir / "multi-recorder___room.mp4"
        assert decode_complaints(recorded) == ""
        assert is_progressive_mp4(recorded)
        assert_together(recorded)
        (recording,) = server.recordings("room")
        assert recording["segment_count"] == 1
        kinds = [track["kind"] for track in recording["segments"][0]["tracks"]]
        assert [set(kinds[at : at + 2]) for at in (0, 2, 4)] == [{"video", "audio"}] * 3
        assert httpx.post(server.http_url("/rest-api/multipleRecorder/find_all"), json={}).status_code == 404


@requires("ffmpeg")
def test_a_server_that_is_killed_recovers_the_file_of_several(media: MediaFolder, tmp_path: Path) -> None:
    clip = media.clip(clips.FLASH_AND_BEEP_LIVE)
    with ServerProcess(tmp_path, record=["enabled = false"]) as server:
        with publishing_together(clip, server, tmp_path / "f.log") as sessions:
            record_one_after_another(server, sessions)
            at_kill_ms = file_duration_ms(server)
            server.kill()
        server.start()
        recording = server.wait_for_recording("room")
        (segment,) = recording["segments"]
        recorded = server.path_of(segment)
        assert recorded.name == "multi-recorder___room.mp4"
        assert segment["is_recovered"]
        assert segment["duration_ms"] > at_kill_ms - 1000
        assert decode_complaints(recorded) == ""
        assert_together(recorded)
