"""The course of the demo: make a stream, publish it, wait for its file, judge the file, tell the result.

A server that runs already on the ports of the settings is used; else one is started for the time of the demo.
All that the demo learns of the recording comes through the HTTP API, as it would for any other program.
"""

from __future__ import annotations

import asyncio
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aircheck.app.node import Node
from aircheck.containers.test_pattern import EncodedPattern, Pattern, encode_pattern
from aircheck.containers.verify import FileVerdict, verify_file
from aircheck.demo.publisher import Publisher, Target
from aircheck.demo.report import Report, judge
from aircheck.errors import AircheckError, ConfigError
from aircheck.observability import configure_logging
from aircheck.settings import Listen, Settings

STREAM_NAME = "demo"
APP = "live"
_HTTP_TIMEOUT_S = 5.0
_RECORDING_TIMEOUT_S = 30.0
_POLL_S = 0.1
_EVERY_ADDRESS = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}


class DemoError(AircheckError):
    """The demo cannot go on."""


@dataclass(frozen=True, slots=True)
class Place:
    """A server that answers, ours or one that was there before."""

    rtmp: Listen
    http: Listen
    is_own: bool

    def url(self, path: str) -> str:
        return f"http://{self.http}{path}"


def run_demo(settings: Settings, *, pattern: Pattern | None = None, report: Report | None = None) -> int:
    """Run the demo; 0 when everything that was sent is in the file, 1 otherwise. Raises AircheckError."""
    if not settings.record.enabled:
        raise ConfigError(
            "[record] enabled is off: the demo would have nothing to show",
            remedy="set it to true, or run the demo with another configuration",
        )
    log = configure_logging("warning", settings.log.format)
    try:
        return asyncio.run(_run(settings, pattern or Pattern(), report or Report()))
    finally:
        log.close()


async def _run(settings: Settings, pattern: Pattern, report: Report) -> int:
    async with _server(settings) as place:
        report.server(str(place.rtmp), place.is_own)
        with report.working("Drawing and encoding the test pattern"):
            encoded = await asyncio.to_thread(encode_pattern, pattern)
        report.encoded(pattern, encoded)
        session_id = await _publish(settings, place, pattern, encoded, report)
        with report.working("Waiting for the file to be final"):
            recording, waited_s = await _wait_for_recording(place, session_id)
        report.recorded(recording, waited_s)
        path = settings.record.dir.absolute() / _only_segment(recording)["file_name"]
        with report.working("Decoding every frame of it with FFmpeg's libraries"):
            verdict = await asyncio.to_thread(_verify, path)
        checks = judge(pattern, encoded, verdict)
        report.result(checks, path, place.url(_only_segment(recording)["play_url"]), place.is_own)
    return 0 if all(check.is_good for check in checks) else 1


@asynccontextmanager
async def _server(settings: Settings) -> AsyncIterator[Place]:
    """The server that runs on these ports, or one of our own until the block ends."""
    rtmp, http = _reachable(settings.rtmp.listen), _reachable(settings.http.listen)
    if http.port and await asyncio.to_thread(_is_up, http):
        yield Place(rtmp, http, is_own=False)
        return
    async with Node(settings) as node:
        assert node.rtmp_address is not None
        assert node.http_address is not None
        yield Place(
            Listen(rtmp.host, node.rtmp_address[1]), Listen(http.host, node.http_address[1]), is_own=True
        )


def _reachable(listen: Listen) -> Listen:
    return Listen(_EVERY_ADDRESS.get(listen.host, listen.host), listen.port)


async def _publish(
    settings: Settings, place: Place, pattern: Pattern, encoded: EncodedPattern, report: Report
) -> str:
    """Publish the pattern in real time; returns the id of the media session."""
    target = _target(settings, place.rtmp)
    async with await Publisher.connect(target) as publisher:
        looking = asyncio.create_task(_session_id(place, target.name), name="demo: look at the live stream")
        try:
            with report.progress(f"Publishing to {target} in real time", pattern.duration_s) as advance:
                await publisher.send((encoded.video, encoded.audio), encoded.packets, advance)
            session_id = await looking
        finally:
            looking.cancel()
    report.published(str(target), encoded)
    return session_id


def _target(settings: Settings, rtmp: Listen) -> Target:
    """What the first rule of `[access]` asks for."""
    access = settings.access
    name, query = STREAM_NAME, ""
    if access.publish_keys:
        name = access.publish_keys[0].get_secret_value()
    elif access.publish_tokens:
        query = "?" + urllib.parse.urlencode({"token": access.publish_tokens[0].get_secret_value()})
    elif access.publish_users:
        user, password = next(iter(access.publish_users.items()))
        query = "?" + urllib.parse.urlencode({"user": user, "pass": password.get_secret_value()})
    return Target(rtmp.host, rtmp.port, APP, name, query)


async def _session_id(place: Place, name: str) -> str:
    """The media session of the live stream, which tells its recording from earlier ones of the name."""
    path = "/api/v1/streams?" + urllib.parse.urlencode({"name": name, "app": APP})
    streams = await _poll("the live stream", place, path, lambda answer: answer["items"])
    return str(streams[0]["id"])


async def _wait_for_recording(place: Place, session_id: str) -> tuple[dict[str, Any], float]:
    """The recording once it is over, with its files; and how long that took."""
    start_s = time.monotonic()

    def is_over(answer: dict[str, Any]) -> dict[str, Any] | None:
        rows = (row for row in answer["items"] if row["media_session_id"] == session_id)
        return next((row for row in rows if row["state"] in ("complete", "failed")), None)

    row = await _poll("the recording", place, "/api/v1/recordings", is_over)
    if row["state"] == "failed":
        raise DemoError(f"the recording failed: {row['error']}", remedy="the server's log says more")
    waited_s = time.monotonic() - start_s
    return await _get(place, f"/api/v1/recordings/{row['id']}"), waited_s


def _only_segment(recording: dict[str, Any]) -> dict[str, Any]:
    segments: list[dict[str, Any]] = recording["segments"]
    if len(segments) != 1:
        raise DemoError(
            f"the recording consists of {len(segments)} files; the demo judges one",
            remedy="set [record] rotation to disabled for the demo",
        )
    return segments[0]


def _verify(path: Path) -> FileVerdict:
    if not path.exists():
        raise DemoError(
            f"the recording is not at {path}",
            remedy="a server is running that records elsewhere: give the demo its configuration",
        )
    return verify_file(path)


async def _poll(what: str, place: Place, path: str, pick: Callable[[dict[str, Any]], Any]) -> Any:
    """Ask the API until the answer holds what is wanted."""
    end_s = time.monotonic() + _RECORDING_TIMEOUT_S
    while time.monotonic() < end_s:
        if picked := pick(await _get(place, path)):
            return picked
        await asyncio.sleep(_POLL_S)
    raise DemoError(
        f"{what} did not appear at {place.url(path)} within {_RECORDING_TIMEOUT_S:g} s",
        remedy="the server's log says more",
    )


async def _get(place: Place, path: str) -> dict[str, Any]:
    try:
        return await asyncio.to_thread(_get_json, place.url(path))
    except (OSError, ValueError) as error:
        raise DemoError(
            f"{place.url(path)} does not answer as expected: {error}",
            remedy="another program may have the port of [http] listen",
        ) from error


def _is_up(http: Listen) -> bool:
    """Whether a server of ours answers there; one with a failing disk does too, with 503."""
    try:
        return "active_recordings" in _get_json(f"http://{http}/healthz")
    except urllib.error.HTTPError as error:
        return error.code == 503
    except (OSError, ValueError):
        return False


def _get_json(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(url, timeout=_HTTP_TIMEOUT_S) as answer:
        parsed: dict[str, Any] = json.load(answer)
    return parsed
