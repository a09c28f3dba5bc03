"""One encoder, several connections, one file: what was sent together lies together."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

import av
import httpx
from helpers import media as clips
from helpers.driven_browser import DrivenBrowser
from helpers.media import MediaFolder
from helpers.patience import PATIENCE_S
from helpers.probe import decode_complaints, is_progressive_mp4
from helpers.programs import running, wait_until
from helpers.server import ServerProcess
from helpers.tools import requires

from aircheck.containers.verify import verify_file

URI = "multi-recorder://room"
NAMES = ("one", "two", "three")
SYNC_TOLERANCE_MS = 5
TOGETHER_MS = 60
"""Of publishers that share nothing but the wall clock."""
PAGE = Path(__file__).with_name("clock_page.js")


def ask(server: ServerProcess, method: str, **arguments: str) -> httpx.Response:
    answer = httpx.post(
        server.http_url(f"/rest-api/multipleRecorder/{method}"), json=arguments, timeout=PATIENCE_S
    )
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


def file_tracks(server: ServerProcess) -> int:
    (recording,) = server.recordings("room")
    return len(recording["segments"][-1]["tracks"])


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


def alone(path: Path, *indexes: int) -> Path:
    """These tracks of a file, with the times that they have in the whole."""
    target = path.with_name(f"{path.stem}-{indexes[0]}.mkv")
    maps = [argument for index in indexes for argument in ("-map", f"0:{index}")]
    command = ["ffmpeg", "-v", "error", "-y", "-copyts", "-i", str(path), *maps, "-c", "copy", str(target)]
    subprocess.run(command, check=True, timeout=60)
    return target


def assert_together(path: Path) -> None:
    """Each flash is seen by all sessions at once, and heard with its beep."""
    verdicts = [verify_file(alone(path, 2 * number, 2 * number + 1)) for number in range(len(NAMES))]
    for verdict in verdicts:
        assert verdict.flashes_s
        for flash_s in verdict.flashes_s:
            assert distance_ms(flash_s, verdict.beeps_s) <= SYNC_TOLERANCE_MS
        assert typical_distance_ms(verdict.flashes_s, verdicts[0].flashes_s) <= TOGETHER_MS


def distance_ms(at_s: float, others_s: list[float]) -> float:
    return min(abs(at_s - other_s) for other_s in others_s) * 1000


def typical_distance_ms(some_s: list[float], others_s: list[float]) -> float:
    return median(distance_ms(at_s, others_s) for at_s in some_s)


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
            wait_until("media of all on disk", lambda: file_tracks(server) == 2 * len(NAMES))
            until_ms = file_duration_ms(server) + 1500
            wait_until("a second of all", lambda: file_duration_ms(server) > until_ms)
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


@contextmanager
def flashing(server: ServerProcess, name: str, log: Path) -> Iterator[str]:
    """A live encoder whose picture flashes as each second of the wall clock begins; gives its session."""
    flash = "drawbox=color=white:thickness=fill:enable='lt(mod(time(0),1),0.1)'"
    command = ["ffmpeg", "-nostdin", "-v", "warning", "-re", "-f", "lavfi"]
    command += ["-i", "color=black:size=320x180:rate=30", "-vf", flash, "-c:v", "libx264"]
    command += ["-preset", "ultrafast", "-tune", "zerolatency", "-g", "30"]
    command += ["-flvflags", "no_duration_filesize", "-f", "flv", server.rtmp_url(name)]
    with running(command, log) as encoder:
        yield server.wait_for_stream(name)["id"]
        encoder.stop(signal.SIGINT)
        wait_until(f"{name} to have gone", lambda: all(one["name"] != name for one in server.streams()))


@requires("ffmpeg", "chromium")
def test_publishers_that_come_and_go_lie_where_the_wall_clock_saw_them(tmp_path: Path) -> None:
    """Encoders and a browser that know nothing of one another; one leaves and comes back, one never comes."""
    with ExitStack() as owned:
        server = owned.enter_context(ServerProcess(tmp_path, record=["enabled = false"]))
        browser = owned.enter_context(DrivenBrowser(tmp_path))
        browser.open(server.http_url("/docs"))
        browser.run(PAGE.read_text())
        ask(server, "startup", uri=URI)
        with flashing(server, "goes", tmp_path / "goes.log") as goes:
            ask(server, "add", uri=URI, mediaSessionId=goes)
            wait_until("two seconds", lambda: file_duration_ms(server) > 2000)
            assert browser.run(f"publishClock('{server.http_url('/whip/page')}')") == 201
            page = server.wait_for_stream("page")["id"]
            ask(server, "add", uri=URI, mediaSessionId=page)
            wait_until("four seconds", lambda: file_duration_ms(server) > 4000)
        never = {"uri": URI, "mediaSessionId": "00000000-0000-0000-0000-000000000000"}
        assert httpx.post(server.http_url("/rest-api/multipleRecorder/add"), json=never).status_code == 404
        with flashing(server, "goes", tmp_path / "again.log") as again:
            ask(server, "add", uri=URI, mediaSessionId=again)
            until_ms = file_duration_ms(server) + 3000
            wait_until("three seconds more", lambda: file_duration_ms(server) > until_ms)
            (listed,) = ask(server, "find_all").json()
            assert listed["mediaSessionsId"] == [page, again]
            ask(server, "terminate", uri=URI)
        recorded = server.record_dir / "multi-recorder___room.mp4"
        assert decode_complaints(recorded) == ""
        with av.open(str(recorded)) as container:
            assert [stream.type for stream in container.streams] == ["video"] * 3
        seen = [verify_file(alone(recorded, index)).flashes_s for index in range(3)]
        assert all(len(flashes_s) >= 2 for flashes_s in seen)
        every_second_s = [flash_s % 1 + second for flash_s in seen[0][-1:] for second in range(-1, 30)]
        for flashes_s in seen:
            assert typical_distance_ms(flashes_s, every_second_s) <= TOGETHER_MS
