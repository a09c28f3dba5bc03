"""A real browser plays clips: the clock that is burnt into the pictures says what is on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse
from helpers import cutting
from helpers.browser import browsing
from helpers.burnt_clock import clock_dots, read_clock
from helpers.http_world import World, make_recording, make_segment
from helpers.tools import requires

from aircheck.containers.recover import inspect_file
from aircheck.containers.test_pattern import EncodedPattern, Pattern, encode_pattern
from aircheck.faces.api.app import create_app
from aircheck.faces.http_server import HttpServer
from aircheck.media.packet import Packet

pytestmark = requires("chromium")

PATIENCE_S = 60
WIDTH, HEIGHT = 640, 360

_PAGE = """\
<!doctype html><video muted></video><script>
const dots = DOTS;
const video = document.querySelector("video");
const canvas = document.createElement("canvas");
const until = event => new Promise((done, failed) => {
  video.addEventListener(event, done, {once: true});
  video.addEventListener("error", () => failed(video.error.message), {once: true});
});
const look = () => {
  canvas.width = video.videoWidth; canvas.height = video.videoHeight;
  const context = canvas.getContext("2d");
  context.drawImage(video, 0, 0);
  const pixels = context.getImageData(0, 0, canvas.width, canvas.height).data;
  return {at_s: video.currentTime, dots: dots.map(([x, y]) => pixels[4 * (y * canvas.width + x) + 1])};
};
const shown = async () => {
  // The picture may be drawn a moment after it is said to be there.
  for (let tries = 0; tries < 100 && !look().dots.some(dot => dot > 128); tries++)
    await new Promise(done => setTimeout(done, 20));
  return look();
};
const seek = async seconds => { video.currentTime = seconds; await until("seeked"); return shown(); };
const run = async () => {
  const seen = {};
  for (const [name, url] of Object.entries(URLS)) {
    video.src = url;
    await until("loadeddata");
    const first = await shown();
    const duration_s = video.duration;
    await video.play();
    while (video.currentTime < 0.4) await new Promise(done => setTimeout(done, 20));
    video.pause();
    seen[name] = {first, duration_s, sought: await seek(2)};
  }
  return seen;
};
run().catch(error => ({error: String(error)}))
  .then(result => fetch("/result", {method: "POST", body: JSON.stringify(result)}));
</script>
"""


async def test_a_clip_starts_at_the_asked_second_in_chromium(tmp_path: Path) -> None:
    pattern = Pattern(duration_s=8, width=WIDTH, height=HEIGHT)
    encoded = encode_pattern(pattern)
    urls = {
        "inline": "/client/records/studio.mp4",
        "part": "/client/records/studio.mp4?start=3.5&end=7",
        "rotated": "/client/records/show.mp4?start=1.5&end=6",
    }
    async with World.opened(tmp_path) as world, world.serving() as services:
        await add(world, "studio.mp4", encoded, [encoded.packets])
        await add(world, "show_{}.mp4", encoded, cutting.split(encoded.packets, 2, 4))
        app = create_app(services)
        result = _add_test_page(app, pattern, urls)
        server = HttpServer(app, grace_s=1)
        await server.start("127.0.0.1", 0)
        with browsing(f"http://127.0.0.1:{server.port}/test-page", tmp_path):
            seen = await asyncio.wait_for(result, PATIENCE_S)
        await server.stop()

    assert "error" not in seen, seen
    begins_s = {"inline": 0, "part": 3.5, "rotated": 1.5}
    assert seen["part"]["duration_s"] == pytest.approx(3.5, abs=0.05)
    for name, begin_s in begins_s.items():
        first, sought = seen[name]["first"], seen[name]["sought"]
        assert read_clock(first["dots"], pattern.frames_per_second) == round(begin_s * 30), name
        assert abs(read_clock(sought["dots"], pattern.frames_per_second) - round((begin_s + 2) * 30)) <= 1, (
            name
        )


async def add(world: World, name: str, encoded: EncodedPattern, parts: Iterable[Sequence[Packet]]) -> None:
    """A recording in as many files."""
    recording = make_recording(name)
    await world.catalog.put_recording(recording)
    for number, packets in enumerate(parts, 1):
        path = world.record_dir / name.format(number)
        path.parent.mkdir(exist_ok=True)
        cutting.record(path, packets, (encoded.video, encoded.audio))
        begin_s = min(Fraction(packet.pts, packet.track.timescale) for packet in packets)
        segment = make_segment(
            path.name,
            path=str(path),
            recording_id=recording.id,
            index=number,
            size_bytes=path.stat().st_size,
            start_pts_ms=int(begin_s * 1000),
            duration_ms=inspect_file(path).duration_ms,
        )
        await world.catalog.put_segment(segment)


def _add_test_page(app: FastAPI, pattern: Pattern, urls: dict[str, str]) -> asyncio.Future[dict[str, Any]]:
    """The page that drives the player; resolves with what it saw."""
    result: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
    dots = json.dumps(clock_dots(pattern.width, pattern.height))

    async def page() -> HTMLResponse:
        return HTMLResponse(_PAGE.replace("DOTS", dots).replace("URLS", json.dumps(urls)))

    async def take_result(request: Request) -> None:
        result.set_result(json.loads(await request.body()))

    app.add_api_route("/test-page", page)
    app.add_api_route("/result", take_result, methods=["POST"])
    return result
