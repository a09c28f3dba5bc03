"""The hook of a whole server: run for what FFmpeg published, and again after the server was killed."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from helpers import media as clips
from helpers.media import MediaFolder
from helpers.programs import wait_until
from helpers.publishers import publish_with_ffmpeg
from helpers.server import ServerProcess
from helpers.tools import requires


@requires("ffmpeg")
def test_a_hook_that_died_with_its_server_is_run_at_the_next_start(
    media: MediaFolder, tmp_path: Path
) -> None:
    out, script = tmp_path / "out", tmp_path / "hook.sh"
    script.write_text(f'echo "$$ $2" >> {out}; test -e {tmp_path}/hurry || exec sleep 30\n')
    server = ServerProcess(tmp_path, settings=f'[hooks]\non_record = "{script}"\n')
    with server:
        publish_with_ffmpeg(media.clip(clips.H264_AAC), server.rtmp_url("cam"), tmp_path / "ffmpeg.log")
        file = server.wait_for_file("cam")
        (first,) = wait_until("the hook to begin", lambda: lines_of(out, 1), 10)
        server.kill()
        os.killpg(int(first[0]), signal.SIGKILL)
        (tmp_path / "hurry").touch()
        server.start()
        lines = wait_until("the hook to run again", lambda: lines_of(out, 2), 10)
        assert [path for _, path in lines] == [str(file), str(file)]
        waiting = server.record_dir / ".aircheck" / "hooks"
        wait_until("its note to go", lambda: not list(waiting.iterdir()), 10)
        events = server.get("/api/v1/events")["items"]
        assert [event["kind"] for event in events].count("hook.done") == 1


def lines_of(out: Path, count: int) -> list[list[str]] | None:
    """The script's lines, once there are so many."""
    lines = [line.split() for line in out.read_text().splitlines()] if out.exists() else []
    return lines if len(lines) >= count else None
