"""The servers that the bench compares, each on a free loopback port with a configuration of its own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

NGINX_MODULE = Path("/usr/lib/nginx/modules/ngx_rtmp_module.so")
LAG_WATCH = Path(__file__).with_name("lag_watch.py")
FORMATS: dict[str, tuple[str, str, str, Fraction]] = {
    **{container: (container, "h264", "", Fraction(1)) for container in ("mp4", "mkv", "ts", "flv")},
    "webm": ("webm", "vp9", "", Fraction(1)),
    "mp4-opus": ("mp4", "vp9", 'vp9_to_webm = false\nmp4_audio = "copy"', Fraction(1)),
    "mp4-opus-to-aac": ("mp4", "vp9", "vp9_to_webm = false", Fraction(882, 1024)),
}
"""What Aircheck can be told to do: container, clip, more settings, packets of sound in a file for each sent.
WebM gets a clip of its own: VP9 and Opus of the same bit rate, which nginx-rtmp cannot take."""

READY_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class Server:
    """A running server: its root process, where it listens and where its files go."""

    name: str
    pid: int
    rtmp_port: int
    record_dir: Path
    suffix: str
    http_port: int = 0
    clip: str = "h264"
    """What publishers shall send to it."""
    audio_packets: Fraction = Fraction(1)
    """In its files for each one sent."""


@contextmanager
def nginx_rtmp(folder: Path) -> Iterator[Server]:
    """nginx with its RTMP module, `record all` to FLV, one worker."""
    port = free_port()
    record_dir = folder / "nginx-recorded"
    record_dir.mkdir(parents=True)
    configuration = folder / "nginx.conf"
    configuration.write_text(_NGINX_CONFIGURATION.format(**locals(), module=NGINX_MODULE, user=_nginx_user()))
    command = [find_nginx() or "nginx", "-c", str(configuration), "-e", str(folder / "nginx-error.log")]
    with running(command, folder / "nginx.log", port) as pid:
        yield Server("nginx-rtmp", pid, port, record_dir, ".flv")


@contextmanager
def aircheck(
    folder: Path, *, format: str = "mp4", profile: Path | None = None, lags: Path | None = None
) -> Iterator[Server]:
    """Aircheck with its own defaults, except for ports, the record folder and names that tell the stream.

    `format` is one of `FORMATS`; the server's name tells it if that is not MP4.
    With `profile` its main thread runs under cProfile, which writes there at the end; with `lags` the lag of
    its event loop is written there (`lag_watch.py`).
    """
    rtmp_port, http_port = free_port(), free_port()
    record_dir = folder / "aircheck-recorded"
    record_dir.mkdir(parents=True)
    container, clip, more_settings, audio_packets = FORMATS[format]
    configuration = folder / "aircheck.toml"
    configuration.write_text(_AIRCHECK_CONFIGURATION.format(**locals()))
    profiler = ["-m", "cProfile", "-o", str(profile)] if profile else []
    program = ["-m", "aircheck"] if lags is None else [str(LAG_WATCH), str(lags)]
    command = [sys.executable, *profiler, *program, "serve", "--config", str(configuration)]
    with running(command, folder / "aircheck.log", rtmp_port) as pid:
        name = "aircheck" if format == "mp4" else f"aircheck {format}"
        yield Server(name, pid, rtmp_port, record_dir, f".{container}", http_port, clip, audio_packets)


@contextmanager
def nginx_files(folder: Path, served: Path) -> Iterator[Server]:
    """nginx that sends the files of a folder by sendfile, one worker."""
    port = free_port()
    configuration = folder / "nginx-files.conf"
    configuration.write_text(_NGINX_FILES_CONFIGURATION.format(**locals(), user=_nginx_user()))
    command = [find_nginx() or "nginx", "-c", str(configuration), "-e", str(folder / "nginx-error.log")]
    with running(command, folder / "nginx-files.log", port) as pid:
        yield Server("nginx sendfile", pid, 0, served, "", port)


def find_nginx() -> str | None:
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(command: list[str], log: Path, port: int) -> Iterator[int]:
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        _wait_until_listening(process, port, log)
        yield process.pid
    finally:
        _stop(process)


def _wait_until_listening(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    end_s = time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < end_s:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended at once:\n{log.read_text()[-2000:]}")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise RuntimeError(f"{process.args!r} does not listen on {port}:\n{log.read_text()[-2000:]}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _nginx_user() -> str:
    """Started by root, nginx would give its worker to a user who may not write to our folder."""
    return "user root;" if os.geteuid() == 0 else ""


_NGINX_CONFIGURATION = """\
load_module {module};
{user}
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/nginx-error.log warn;
events {{ worker_connections 2048; }}
rtmp {{
    access_log off;
    server {{
        listen 127.0.0.1:{port};
        chunk_size 4096;
        application live {{
            live on;
            record all;
            record_path {record_dir};
        }}
    }}
}}
"""

_NGINX_FILES_CONFIGURATION = """\
{user}
daemon off;
worker_processes 1;
pid {folder}/nginx-files.pid;
error_log {folder}/nginx-error.log warn;
events {{ worker_connections 2048; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    server {{
        listen 127.0.0.1:{port};
        root {served};
    }}
}}
"""

_AIRCHECK_CONFIGURATION = """\
[rtmp]
listen = "127.0.0.1:{rtmp_port}"

[http]
listen = "127.0.0.1:{http_port}"

[webrtc]
listen = ""

[websdk]
listen = ""

[record]
dir = "{record_dir}"
name = "{{streamName}}"
format = "{container}"
{more_settings}
"""
