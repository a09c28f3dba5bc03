"""A real browser plays and seeks a recording that grows, while it becomes final, and afterwards."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse
from helpers.growing_recording import CLIP_S, GrowingRecording
from helpers.http_world import World
from helpers.mp4_media import Clip, make_clip
from helpers.tools import find_program, requires
from starlette.types import ASGIApp, Receive, Scope, Send

from aircheck.faces.api.app import create_app
from aircheck.faces.http_server import HttpServer

pytestmark = requires("chromium", "ffmpeg")

PATIENCE_S = 60
LOOPS = 200

_PAGE = """\
<!doctype html><video muted></video><script>
const video = document.querySelector("video");
const until = event => new Promise((done, failed) => {
  video.addEventListener(event, done, {once: true});
  video.addEventListener("error", () => failed(video.error.message), {once: true});
});
const seek = async seconds => {
  const begin = performance.now();
  video.currentTime = seconds;
  await until("seeked");
  return {at_s: video.currentTime, took_ms: performance.now() - begin};
};
const play = async () => {
  const begin_s = video.currentTime;
  await video.play();
  while (video.currentTime < begin_s + 0.5) await new Promise(done => setTimeout(done, 20));
  video.pause();
};
const run = async () => {
  const begin = performance.now();
  video.src = "/client/records/live.mp4";
  await until("loadeddata");
  const result = {started_ms: performance.now() - begin, duration_s: video.duration, seeks: []};
  for (const part of [0.9, 0.1, 0.5]) result.seeks.push(await seek(video.duration * part));
  await play();
  await fetch("/finalize", {method: "POST"});
  for (const part of [0.7, 0.2]) result.seeks.push(await seek(video.duration * part));
  await play();
  result.frames = video.getVideoPlaybackQuality().totalVideoFrames;
  return result;
};
run().catch(error => ({error: String(error)}))
  .then(result => fetch("/result", {method: "POST", body: JSON.stringify(result)}));
</script>
"""


class CountRequests:
    """How often the recorded file was asked for."""

    def __init__(self, app: ASGIApp) -> None:
        self.ranges: list[str] = []
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith("/client/records/"):
            self.ranges.append(dict(scope["headers"]).get(b"range", b"").decode())
        await self._app(scope, receive, send)


@asynccontextmanager
async def chromium(profile: Path, url: str) -> AsyncIterator[None]:
    program = find_program("chromium")
    assert program is not None
    switches = (
        "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
        " --disable-component-update --disable-sync --autoplay-policy=no-user-gesture-required"
    )
    process = await asyncio.create_subprocess_exec(
        program,
        *switches.split(),
        f"--user-data-dir={profile}",
        url,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.terminate()
        await process.wait()


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    return make_clip(tmp_path_factory.mktemp("clip"), "h264", "aac")


async def test_chromium_plays_and_seeks_before_and_after_the_recording_ends(
    tmp_path: Path, clip: Clip
) -> None:
    async with World.opened(tmp_path) as world, world.serving() as services:
        recording = GrowingRecording(world, clip)
        await recording.begin()
        recording.grow(LOOPS)
        app = create_app(services)
        counted = CountRequests(app)
        result = _add_test_page(app, recording)
        server = HttpServer(counted, grace_s=1)
        await server.start("127.0.0.1", 0)
        async with chromium(tmp_path / "profile", f"http://127.0.0.1:{server.port}/test-page"):
            seen = await asyncio.wait_for(result, PATIENCE_S)
        await server.stop()
        assert services.downloads.counters.active == 0
    print(json.dumps(seen), counted.ranges)
    assert "error" not in seen
    assert seen["duration_s"] == pytest.approx(LOOPS * CLIP_S, abs=1)
    wanted_s = [seen["duration_s"] * part for part in (0.9, 0.1, 0.5, 0.7, 0.2)]
    assert [seek["at_s"] for seek in seen["seeks"]] == pytest.approx(wanted_s, abs=0.1)
    assert seen["frames"] > 10
    # A browser that had to look for frames itself would ask hundreds of times.
    assert len(counted.ranges) <= 12


def _add_test_page(app: FastAPI, recording: GrowingRecording) -> asyncio.Future[dict[str, Any]]:
    """The page that drives the player; resolves with what it saw."""
    result: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()

    async def page() -> HTMLResponse:
        return HTMLResponse(_PAGE)

    async def finalize() -> None:
        await asyncio.to_thread(recording.grow, 5)
        await recording.end()

    async def take_result(request: Request) -> None:
        result.set_result(json.loads(await request.body()))

    app.add_api_route("/test-page", page)
    app.add_api_route("/finalize", finalize, methods=["POST"])
    app.add_api_route("/result", take_result, methods=["POST"])
    return result
