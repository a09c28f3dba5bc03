"""A server of ours in a process of its own, on free loopback ports, with a record folder of its own."""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx
from helpers.patience import PATIENCE_S
from helpers.programs import Program, wait_until

_RTMP_PORT = re.compile(r"rtmp://127\.0\.0\.1:(\d+)/")
_WEBSDK_PORT = re.compile(r"ws://127\.0\.0\.1:(\d+)")
_HTTP_PORT = re.compile(r"http://127\.0\.0\.1:(\d+)/")


_WEBRTC = '[webrtc]\nlisten = "127.0.0.1:0"\npublic_addresses = ["127.0.0.1"]\n'
"""By naming the address the UDP port is opened on loopback and nowhere else."""


class ServerProcess:
    """`with ServerProcess(tmp_path) as server:` is a server that is ready; it is stopped in good order.

    `record` are lines for the table `[record]`, `settings` further TOML. `stop` asks by SIGTERM; `kill` is
    SIGKILL, after which `start` comes up in the same folder, on new ports.
    """

    def __init__(self, folder: Path, *, record: Sequence[str] = (), settings: str = "") -> None:
        self.folder = folder
        self.record_dir = folder / "records"
        self.rtmp_port = 0
        self.http_port = 0
        self._program: Program | None = None
        self._starts = 0
        self._configuration = folder / "aircheck.toml"
        self._configuration.write_text(
            '[rtmp]\nlisten = "127.0.0.1:0"\n[http]\nlisten = "127.0.0.1:0"\n'
            + ("" if "[webrtc]" in settings else _WEBRTC)
            + ("" if "[websdk]" in settings else '[websdk]\nlisten = "127.0.0.1:0"\n')
            + f'[record]\ndir = "{self.record_dir}"\n'
            + "\n".join(record)
            + f"\n{settings}\n"
        )

    def __enter__(self) -> ServerProcess:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._program is None:
            return
        if error is not None:
            error.add_note(f"the server said:\n{self._program.output[-3000:]}")
        if self._program.is_running:
            self.stop()

    @property
    def program(self) -> Program:
        assert self._program is not None, "the server was not started"
        return self._program

    @property
    def pid(self) -> int:
        return self.program.pid

    @property
    def log(self) -> str:
        return self.program.output

    def said(self, pattern: str) -> re.Match[str]:
        """Where its log has that, now or in a moment: a thread of its own writes it."""
        return wait_until(f"a log with {pattern}", lambda: re.search(pattern, self.log))

    def start(self) -> None:
        """Start and wait until it answers. Raises ProgramError with its log when it does not."""
        self._starts += 1
        command = [sys.executable, "-m", "aircheck", "serve", "--config", str(self._configuration)]
        self._program = Program(command, self.folder / f"server-{self._starts}.log")
        try:
            self.rtmp_port = wait_until("the RTMP port", lambda: self._port(_RTMP_PORT))
            self.http_port = wait_until("the HTTP port", lambda: self._port(_HTTP_PORT))
            wait_until("a healthy server", self._is_healthy)
        except BaseException:
            if self._program.is_running:
                self._program.kill()
            raise

    def stop(self, timeout_s: float = PATIENCE_S) -> None:
        """SIGTERM: the server ends its recordings in good order."""
        code = self.program.stop(signal.SIGTERM, timeout_s)
        if code:
            raise self.program.error(f"stopped with {code}")

    def kill(self) -> None:
        """SIGKILL: the server has no chance to end anything."""
        self.program.kill()

    def websdk_url(self) -> str:
        """Where pages made with Flashphoner's WebSDK connect to."""
        return f"ws://127.0.0.1:{self._port(_WEBSDK_PORT)}"

    def rtmp_url(self, name: str, app: str = "live") -> str:
        return f"rtmp://127.0.0.1:{self.rtmp_port}/{app}/{name}"

    def http_url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.http_port}{path}"

    def get(self, path: str, **query: str) -> Any:
        """JSON from the server's API."""
        answer = httpx.get(self.http_url(path), params=query, timeout=PATIENCE_S)
        answer.raise_for_status()
        return answer.json()

    def streams(self) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = self.get("/api/v1/streams")["items"]
        return items

    def recordings(self, stream: str) -> list[dict[str, Any]]:
        """The recordings of a stream with their files, the newest first."""
        rows = self.get("/api/v1/recordings", stream=stream)["items"]
        return [self.get(f"/api/v1/recordings/{row['id']}") for row in rows]

    def wait_for_stream(self, name: str, timeout_s: float = PATIENCE_S) -> dict[str, Any]:
        """The live stream of that name, once it is there with its tracks."""

        def find() -> dict[str, Any] | None:
            return next((s for s in self.streams() if s["name"] == name and s["tracks"]), None)

        return wait_until(f"a live stream {name}", find, timeout_s)

    def wait_for_recording(
        self, stream: str, state: str = "complete", timeout_s: float = PATIENCE_S
    ) -> dict[str, Any]:
        """The newest recording of a stream, once it is in that state; with its files."""

        def find() -> dict[str, Any] | None:
            return next((row for row in self.recordings(stream)[:1] if row["state"] == state), None)

        return wait_until(f"a recording of {stream} that is {state}", find, timeout_s, every_s=0.1)

    def wait_for_file(self, stream: str, timeout_s: float = PATIENCE_S) -> Path:
        """The only file of the newest recording of a stream, once it is complete."""
        segments = self.wait_for_recording(stream, timeout_s=timeout_s)["segments"]
        assert len(segments) == 1, f"{len(segments)} files"
        return self.path_of(segments[0])

    def path_of(self, segment: dict[str, Any]) -> Path:
        return self.record_dir / segment["file_name"]

    def _port(self, pattern: re.Pattern[str]) -> int | None:
        """A port from the server's greeting."""
        if not self.program.is_running:
            raise self.program.error("ended while starting")
        match = pattern.search(self.program.output)
        return int(match[1]) if match else None

    def _is_healthy(self) -> bool:
        try:
            return httpx.get(self.http_url("/healthz"), timeout=5).status_code == 200
        except httpx.TransportError:
            return False
