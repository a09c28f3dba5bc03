"""The demo proves what it shows: it passes with a whole file, and says so when something is missing."""

from __future__ import annotations

import asyncio
import io
import logging
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.server import ServerProcess
from rich.console import Console

from aircheck.containers.test_pattern import EncodedPattern, Pattern, encode_pattern
from aircheck.containers.verify import FileVerdict, TrackVerdict
from aircheck.demo import run_demo
from aircheck.demo.publisher import Publisher, PublishError, Target
from aircheck.demo.report import Report, judge
from aircheck.errors import ConfigError
from aircheck.settings import Settings

SHORT = Pattern(duration_s=1, width=160, height=96, video_bits_per_s=200_000)


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """The demo sets up logging for its process, which here is that of all tests."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


class Told:
    """A report that can be read."""

    def __init__(self) -> None:
        self._written = io.StringIO()
        self.report = Report(Console(file=self._written, width=200))

    @property
    def text(self) -> str:
        return self._written.getvalue()


def settings_in(folder: Path, rtmp_port: int = 0, http_port: int = 0, **sections: object) -> Settings:
    return Settings.model_validate(
        {
            "rtmp": {"listen": f"127.0.0.1:{rtmp_port}"},
            "http": {"listen": f"127.0.0.1:{http_port}"},
            "webrtc": {"listen": ""},
            "record": {"dir": folder, **sections.pop("record", {})},  # type: ignore[dict-item]
            **sections,
        }
    )


@pytest.mark.parametrize(
    "access",
    [
        {},
        {"publish_tokens": ["a token & more"]},
        {"publish_keys": ["a-key"]},
        {"publish_users": {"studio": "secret"}},
    ],
    ids=["open", "token", "key", "user"],
)
def test_demo_gets_in_by_any_rule_and_finds_everything(access: dict[str, object], tmp_path: Path) -> None:
    told = Told()
    code = run_demo(settings_in(tmp_path, access=access), pattern=SHORT, report=told.report)
    assert code == 0, told.text
    assert "started for this demo" in told.text
    files = list(tmp_path.glob("*.mp4"))
    assert len(files) == 1
    assert str(files[0]) in told.text


def test_demo_uses_the_server_that_runs(tmp_path: Path) -> None:
    told = Told()
    with ServerProcess(tmp_path) as server:
        settings = settings_in(server.record_dir, server.rtmp_port, server.http_port)
        code = run_demo(settings, pattern=SHORT, report=told.report)
        recordings = server.recordings("demo")
    assert code == 0, told.text
    assert "already running" in told.text
    assert server.http_url("/client/records/") in told.text
    assert [recording["state"] for recording in recordings] == ["complete"]


def test_demo_without_recording_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="enabled is off"):
        run_demo(settings_in(tmp_path, record={"enabled": False}), pattern=SHORT)


@pytest.fixture(scope="module")
def encoded() -> EncodedPattern:
    return encode_pattern(SHORT)


def whole_verdict(encoded: EncodedPattern) -> FileVerdict:
    video = TrackVerdict("video", "h264", encoded.packets_of(encoded.video), SHORT.frames, 1, 1.0)
    audio = TrackVerdict("audio", "aac", encoded.packets_of(encoded.audio), SHORT.audio_frames, 48, 1.0)
    return FileVerdict("mp4", 1000, 1.0, [video, audio], [0.0], [0.001])


def test_a_whole_file_passes_every_check(encoded: EncodedPattern) -> None:
    assert all(check.is_good for check in judge(SHORT, encoded, whole_verdict(encoded)))


def test_each_fault_fails_its_own_check(encoded: EncodedPattern) -> None:
    verdict = whole_verdict(encoded)
    verdict.tracks[0].packets -= 1
    verdict.tracks[0].errors.append("packet 7 does not decode")
    verdict.beeps_s = [0.04]
    bad = {check.what for check in judge(SHORT, encoded, verdict) if not check.is_good}
    assert bad == {"video packets", "decoding errors", "sound against picture, at worst"}


def test_a_file_without_sound_fails_what_is_about_sound(encoded: EncodedPattern) -> None:
    verdict = whole_verdict(encoded)
    del verdict.tracks[1]
    verdict.beeps_s = []
    bad = {check.what for check in judge(SHORT, encoded, verdict) if not check.is_good}
    assert bad == {"audio packets", "beeps heard", "sound against picture, at worst"}


async def test_publishing_where_nobody_listens_says_what_to_do() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        target = Target("127.0.0.1", taken.getsockname()[1], "live", "demo")
        with pytest.raises(PublishError) as caught:
            await Publisher.connect(target)
    assert "[rtmp] listen" in caught.value.remedy


async def test_a_server_that_hangs_up_in_the_handshake_is_named_as_such() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        publisher = await Publisher.connect(Target("127.0.0.1", port, "live", "demo"))
        with pytest.raises(PublishError, match="hung up"):
            await publisher.__aenter__()
