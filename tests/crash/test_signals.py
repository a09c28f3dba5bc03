"""Stops in good order and in bad, starts that must not be, and what systemd is told."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from crash_judge import judge, payloads_of
from crashable import CrashableServer, Rows
from helpers.patience import PATIENCE_S
from helpers.programs import wait_until
from helpers.tools import requires
from paced import PacedPublisher, publish_all

pytestmark = requires("ffmpeg")

STREAMS = 10
STOP_MAX_S = 20
"""Before systemd and Docker lose patience, on a busy machine too."""
ON_ITS_WAY_S = 0.05
"""What was sent so shortly before a signal may still be between two kernels' buffers."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[CrashableServer]:
    server = CrashableServer(tmp_path, settings="min_free_bytes = 0")
    yield server
    server.close()


def publish(server: CrashableServer, streams: int = STREAMS) -> list[PacedPublisher]:
    publishers = publish_all(server.rtmp_port, [f"s{index}" for index in range(streams)])
    assert all(publisher.is_published.wait(PATIENCE_S) for publisher in publishers)
    time.sleep(1.2)
    return publishers


def join(publishers: list[PacedPublisher]) -> None:
    for publisher in publishers:
        publisher.stop(farewell=False)
        publisher.join(PATIENCE_S)


def aircheck(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "aircheck", *map(str, arguments)]
    wide = {**os.environ, "COLUMNS": "300"}
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=wide, check=False)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_makes_every_recording_complete(server: CrashableServer, number: signal.Signals) -> None:
    server.start()
    publishers = publish(server)
    signalled_s = time.monotonic()
    code, took_s = server.stop(number)
    join(publishers)
    assert code == 0
    assert took_s < STOP_MAX_S
    rows = Rows.left_in(server.record_dir)
    assert not rows.unfinished
    for publisher in publishers:
        (file,) = rows.files_of(publisher.stream)
        kept = payloads_of(file)
        for kind in ("video", "audio"):
            sent = [packet.digest for packet in publisher.sent() if packet.kind == kind]
            arrived = [p for p in publisher.sent(signalled_s - ON_ITS_WAY_S) if p.kind == kind]
            assert kept[kind] == sent[: len(kept[kind])]
            assert len(kept[kind]) >= len(arrived)
    assert list(server.growing_dir.iterdir()) == []


def test_a_second_signal_ends_it_at_once_and_the_next_start_recovers(server: CrashableServer) -> None:
    server.start()
    publishers = publish(server)
    killed_s = time.monotonic()
    os.kill(server.pid, signal.SIGTERM)
    code, _ = server.stop(signal.SIGINT)
    join(publishers)
    assert code == 1
    assert Rows.left_in(server.record_dir).unfinished
    server.start()
    server.wait_until_recovered()
    assert judge(server, publishers, killed_s, 1000).problems == []


def test_a_second_server_is_refused_the_record_folder(server: CrashableServer, tmp_path: Path) -> None:
    server.start()
    other = aircheck("serve", "--config", tmp_path / "aircheck.toml")
    assert other.returncode == 2
    assert "another server" in other.stderr
    assert str(server.record_dir) in other.stderr


def test_a_second_server_is_refused_the_catalogue(server: CrashableServer, tmp_path: Path) -> None:
    """It would take the rows of files that the first one writes for those of a crash, and cut the files."""
    catalogue = f'[catalog]\npath = "{tmp_path / "rows.db"}"\n'
    server.settings += f"\n{catalogue}"
    server.start()
    other = tmp_path / "other.toml"
    other.write_text(
        '[rtmp]\nlisten = "127.0.0.1:0"\n[http]\nlisten = "127.0.0.1:0"\n[webrtc]\nlisten = ""\n'
        f'[record]\ndir = "{tmp_path / "elsewhere"}"\n{catalogue}'
    )
    refused = aircheck("serve", "--config", other)
    assert refused.returncode == 2
    assert "another server writes the catalogue" in refused.stderr


@pytest.mark.parametrize("section", ["rtmp", "http"])
def test_a_port_in_use_is_told_with_what_to_do(tmp_path: Path, section: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ports = {"rtmp": 0, "http": 0, section: port}
        configuration = tmp_path / "aircheck.toml"
        configuration.write_text(
            f'[rtmp]\nlisten = "127.0.0.1:{ports["rtmp"]}"\n[http]\nlisten = "127.0.0.1:{ports["http"]}"\n'
            '[webrtc]\nlisten = ""\n'
            f'[record]\ndir = "{tmp_path / "records"}"\n'
        )
        ended = aircheck("serve", "--config", configuration)
    assert ended.returncode == 2
    assert f"127.0.0.1:{port}" in ended.stderr
    assert "in use" in ended.stderr
    assert f"stop the program that has this port, or set another one as [{section}] listen" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("section", ["rtmp", "http", "webrtc"])
def test_an_address_of_another_machine_is_told_with_what_to_do(tmp_path: Path, section: str) -> None:
    listens = {"rtmp": "127.0.0.1:0", "http": "127.0.0.1:0", "webrtc": "127.0.0.1:0", section: "192.0.2.1:0"}
    configuration = tmp_path / "aircheck.toml"
    configuration.write_text(
        "".join(f'[{name}]\nlisten = "{listen}"\n' for name, listen in listens.items())
        + f'[record]\ndir = "{tmp_path / "records"}"\n'
    )
    ended = aircheck("serve", "--config", configuration)
    assert ended.returncode == 2
    assert (
        f"give an address of this machine, or 0.0.0.0 for all of them, as [{section}] listen" in ended.stderr
    )


def test_systemd_is_told_of_start_life_and_stop(server: CrashableServer, tmp_path: Path) -> None:
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(address)
        systemd.settimeout(PATIENCE_S)
        server.start(environment={"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "400000"})
        told = [systemd.recv(1024).decode() for _ in range(4)]
        server.stop()
        while "STOPPING=1" not in told[-1]:
            told.append(systemd.recv(1024).decode())
    assert told[0].startswith("READY=1")
    assert told[1:4] == ["WATCHDOG=1"] * 3


def test_a_file_is_recovered_by_hand_but_never_while_a_server_writes_it(server: CrashableServer) -> None:
    server.start()
    publishers = publish(server, 1)
    (growing,) = wait_until("a growing file", lambda: list(server.growing_dir.glob("*.mp4")))
    refused = aircheck("recover", growing)
    assert refused.returncode == 1
    assert "another program is writing it" in refused.stdout
    killed_s = server.kill()
    join(publishers)
    done = aircheck("recover", growing)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "recovered" in done.stdout
    assert payloads_of(growing)["video"]
    assert "whole already" in aircheck("recover", growing).stdout
    server.start()
    server.wait_until_recovered()
    assert judge(server, publishers, killed_s, 1000).problems == []
