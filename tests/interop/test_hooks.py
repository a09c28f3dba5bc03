"""The hook of a whole server: run for what FFmpeg published, and again after the server was killed."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from helpers import media as clips
from helpers.media import MediaFolder
from helpers.patience import PATIENCE_S
from helpers.programs import wait_until
from helpers.publishers import publish_with_ffmpeg
from helpers.server import ServerProcess
from helpers.tools import requires
from paced import publish_all


@requires("ffmpeg")
def test_a_hook_that_died_with_its_server_is_run_at_the_next_start(
    media: MediaFolder, tmp_path: Path
) -> None:
    out, script = tmp_path / "out", tmp_path / "hook.sh"
    script.write_text(f'echo "$$ $2" >> {out}; test -e {tmp_path}/hurry || exec sleep 6000\n')
    server = ServerProcess(tmp_path, settings=f'[hooks]\non_record = "{script}"\n')
    with server:
        publish_with_ffmpeg(media.clip(clips.H264_AAC), server.rtmp_url("cam"), tmp_path / "ffmpeg.log")
        file = server.wait_for_file("cam")
        (first,) = wait_until("the hook to begin", lambda: lines_of(out, 1))
        server.kill()
        os.killpg(int(first[0]), signal.SIGKILL)
        (tmp_path / "hurry").touch()
        server.start()
        lines = wait_until("the hook to run again", lambda: lines_of(out, 2))
        assert [path for _, path in lines] == [str(file), str(file)]
        waiting = server.record_dir / ".aircheck" / "hooks"
        wait_until("its note to go", lambda: not list(waiting.iterdir()))
        events = server.get("/api/v1/events")["items"]
        assert [event["kind"] for event in events].count("hook.done") == 1


@requires("ffmpeg")
def test_hooks_that_hang_fail_or_are_missing_are_noticed_by_no_recording(tmp_path: Path) -> None:
    """Files of three streams: the hooks of one hang, of one fail; then the script is not there."""
    script = tmp_path / "hook.sh"
    script.write_text('case "$1" in hangs) exec sleep 600;; fails) echo no such tape; exit 3;; esac\n')
    settings = f'[hooks]\non_record = "{script}"\ntimeout_s = 0.5\nmax_parallel = 2\nstop_timeout_s = 0\n'
    rotated = ['rotation = "1"', 'name = "{streamName}"']
    with ServerProcess(tmp_path, record=rotated, settings=settings) as server:
        publishers = publish_all(server.rtmp_port, ["fine", "hangs", "fails"])
        wait_until("a hook of each kind", lambda: has_said_all(server))
        script.unlink()
        files = len(files_in(server, "fine"))
        wait_until("more files", lambda: len(files_in(server, "fine")) >= files + 3)
        for publisher in publishers:
            publisher.stop(farewell=True)
        for publisher in publishers:
            publisher.join(PATIENCE_S)
            recording = server.wait_for_recording(publisher.stream)
            assert (recording["gap_count"], recording["dropped_packets"]) == (0, 0)
            video = sum(segment["tracks"][0]["packets"] for segment in recording["segments"])
            assert video == sum(packet.kind == "video" for packet in publisher.sent())
        server.said("no such tape")
        server.said("it waits for the next start")


def has_said_all(server: ServerProcess) -> bool:
    events = server.get("/api/v1/events", limit="200")["items"]
    said = {(one["stream_name"], one["kind"], one["facts"].get("error", "")) for one in events}
    return (
        ("fine", "hook.done", "") in said
        and any(name == "hangs" and "0.5 s" in error for name, _, error in said)
        and any(name == "fails" and "3" in error for name, _, error in said)
    )


def files_in(server: ServerProcess, stream: str) -> list[Path]:
    return list(server.record_dir.glob(f"{stream}*.mp4"))


def lines_of(out: Path, count: int) -> list[list[str]] | None:
    """The script's lines, once there are so many."""
    lines = [line.split() for line in out.read_text().splitlines()] if out.exists() else []
    return lines if len(lines) >= count else None
