"""A server that may be killed at any instant and started again in the same folder, and what it left there."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

READY_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 30.0
RECOVERY_TIMEOUT_S = 60.0
LEFTOVER_PATIENCE_S = 5.0
_RTMP_PORT = re.compile(r"publish +rtmp://127\.0\.0\.1:(\d+)/")
_HTTP_PORT = re.compile(r"http://127\.0\.0\.1:(\d+)/")
_DYING_SERVER = Path(__file__).with_name("dying_server.py")
_UNFINISHED = ("growing", "finalizing")
_RUNNING = ("armed", "recording", "paused", "finalizing")


class CrashableServer:
    """`start`, then `kill` or `stop`, then `start` again. Ports are free ones, new at each start."""

    def __init__(self, folder: Path, *, rotation: str = "", settings: str = "") -> None:
        self.folder = folder
        self.record_dir = folder / "records"
        self.settings = settings
        self.rotation = rotation
        self.prefix: tuple[str, ...] = ()
        """A program that runs the server, such as `prlimit`, and gives it its own process id."""
        self.rtmp_port = self.http_port = 0
        self.starts = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def growing_dir(self) -> Path:
        return self.record_dir / ".aircheck" / "growing"

    @property
    def log(self) -> str:
        """What the server said since its latest start."""
        return self._log_path.read_text(errors="replace")

    @property
    def pid(self) -> int:
        return self._running.pid

    def spawn(self, *, sentence: Sequence[str] = (), environment: Mapping[str, str] | None = None) -> None:
        """Start without waiting for anything. `sentence` lets it die at one step (see `dying_server.py`)."""
        self.starts += 1
        configuration = self.folder / "aircheck.toml"
        configuration.write_text(
            '[rtmp]\nlisten = "127.0.0.1:0"\n[http]\nlisten = "127.0.0.1:0"\n[webrtc]\nlisten = ""\n'
            f'[record]\ndir = "{self.record_dir}"\nname = "{{streamName}}"\nrotation = "{self.rotation}"\n'
            f"{self.settings}\n"
        )
        program = [str(_DYING_SERVER), *sentence] if sentence else ["-m", "aircheck"]
        command = [*self.prefix, sys.executable, *program, "serve", "--config", str(configuration)]
        with self._log_path.open("wb") as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
            )

    def start(self, *, sentence: Sequence[str] = (), environment: Mapping[str, str] | None = None) -> None:
        """Start and wait until publishers are let in. Raises RuntimeError with the log when it fails."""
        self.spawn(sentence=sentence, environment=environment)
        self.wait_for(lambda: _HTTP_PORT.search(self.log) is not None, "its greeting", READY_TIMEOUT_S)
        rtmp, http = _RTMP_PORT.search(self.log), _HTTP_PORT.search(self.log)
        assert rtmp is not None
        assert http is not None
        self.rtmp_port, self.http_port = int(rtmp[1]), int(http[1])

    def wait_for(self, condition: Callable[[], bool], what: str, timeout_s: float) -> None:
        """Wait for a condition as long as the server runs."""
        end_s = time.monotonic() + timeout_s
        while not condition():
            if self._running.poll() is not None:
                raise RuntimeError(f"the server ended before {what}:\n{self.log[-3000:]}")
            if time.monotonic() > end_s:
                raise RuntimeError(f"no {what} within {timeout_s} s:\n{self.log[-3000:]}")
            time.sleep(0.01)

    def wait_until_recovered(self) -> None:
        """Return when nothing unfinished is left, in the catalogue or in the growing folder.

        What recovery leaves there all the same is for the judge: it is not waited for beyond some seconds.
        """
        patience_s = time.monotonic() + LEFTOVER_PATIENCE_S

        def is_done() -> bool:
            log = self.log
            if "recovering after a crash" in log:
                return "recovery done" in log
            has_files = self.growing_dir.is_dir() and any(self.growing_dir.glob("*.mp4"))
            return not has_files or time.monotonic() > patience_s

        self.wait_for(is_done, "end of recovery", RECOVERY_TIMEOUT_S)
        self.wait_for(lambda: not Rows.of(self.record_dir).unfinished, "finished rows", RECOVERY_TIMEOUT_S)

    def kill(self) -> float:
        """SIGKILL; returns the monotonic time just before."""
        killed_s = time.monotonic()
        self._running.kill()
        self._running.wait()
        return killed_s

    def wait_for_death(self, timeout_s: float) -> float:
        """Wait until it has died by its sentence, or kill it; returns the monotonic time of its death."""
        end_s = time.monotonic() + timeout_s
        while self._running.poll() is None:
            if time.monotonic() > end_s:
                return self.kill()
            time.sleep(0.002)
        return time.monotonic()

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, float]:
        """Ask it to end; returns the exit code and how many seconds it took."""
        started_s = time.monotonic()
        self._running.send_signal(number)
        try:
            code = self._running.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise RuntimeError(f"no stop within {STOP_TIMEOUT_S} s:\n{self.log[-3000:]}") from None
        return code, time.monotonic() - started_s

    def close(self) -> None:
        """Kill it if it still runs."""
        if self._process is not None and self._process.poll() is None:
            self.kill()

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "the server was not started"
        return self._process

    @property
    def _log_path(self) -> Path:
        return self.folder / f"server-{self.starts}.log"


@dataclass(frozen=True, slots=True)
class SegmentRow:
    """What the catalogue says of a file."""

    id: str
    recording_id: str
    stream: str
    index: int
    state: str
    path: Path
    size_bytes: int


def _segment_row(
    id: str, recording_id: str, stream: str, index: int, state: str, path: str, size_bytes: int
) -> SegmentRow:
    return SegmentRow(id, recording_id, stream, index, state, Path(path), size_bytes)


@dataclass(frozen=True, slots=True)
class RecordingRow:
    id: str
    stream: str
    state: str
    segment_count: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Rows:
    """The catalogue at one moment."""

    segments: tuple[SegmentRow, ...]
    recordings: tuple[RecordingRow, ...]
    completed_events: Mapping[str, int]
    """How many `segment.completed` events each segment has."""

    @classmethod
    def of(cls, record_dir: Path) -> Rows:
        """As the running server has them."""
        return cls._read(record_dir / ".aircheck" / "aircheck.db")

    @classmethod
    def left_in(cls, record_dir: Path) -> Rows:
        """As a crash left them, read from a copy: what it left stays untouched for recovery."""
        with tempfile.TemporaryDirectory(prefix="aircheck-rows-") as folder:
            for file in (record_dir / ".aircheck").glob("aircheck.db*"):
                shutil.copy(file, folder)
            return cls._read(Path(folder, "aircheck.db"))

    @classmethod
    def _read(cls, database: Path) -> Rows:
        connection = sqlite3.connect(database)
        try:
            if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'events'").fetchone():
                return cls((), (), {})
            recordings = tuple(RecordingRow(*row) for row in connection.execute(_RECORDINGS))
            segments = tuple(_segment_row(*row) for row in connection.execute(_SEGMENTS))
            return cls(segments, recordings, dict(connection.execute(_COMPLETED_EVENTS)))
        finally:
            connection.close()

    @property
    def unfinished(self) -> list[SegmentRow | RecordingRow]:
        segments = [row for row in self.segments if row.state in _UNFINISHED]
        return [*segments, *(row for row in self.recordings if row.state in _RUNNING)]

    def files_of(self, stream: str) -> list[Path]:
        """The finished files of a stream, in order."""
        rows = [row for row in self.segments if row.stream == stream and row.state == "complete"]
        return [row.path for row in sorted(rows, key=lambda row: row.index)]


_RECORDINGS = "SELECT id, stream_name, state, segment_count, size_bytes FROM recordings ORDER BY id"
_SEGMENTS = (
    'SELECT s.id, s.recording_id, r.stream_name, s."index", s.state, s.path, s.size_bytes '
    "FROM segments s JOIN recordings r ON r.id = s.recording_id ORDER BY s.id"
)
_COMPLETED_EVENTS = (
    "SELECT segment_id, count(*) FROM events WHERE kind = 'segment.completed' GROUP BY segment_id"
)
