"""A growing recording is already a recording: it is downloaded, played and seeked while it grows."""

from __future__ import annotations

import asyncio
import io
import re
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import av
import httpx
import pytest
from helpers.growing_recording import FRAMES_PER_CLIP, GrowingRecording
from helpers.http_world import World
from helpers.mp4_media import Clip, make_clip
from helpers.tools import requires

from aircheck.faces.api.app import create_app
from aircheck.faces.http_server import HttpServer
from aircheck.service import downloads
from aircheck.service.downloads import stable_name

pytestmark = requires("ffmpeg")

URL = "/client/records/live.mp4"


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    return make_clip(tmp_path_factory.mktemp("clip"), "h264", "aac")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with World.opened(tmp_path) as world:
        yield world


@pytest.fixture
async def client(world: World) -> AsyncIterator[httpx.AsyncClient]:
    async with world.client() as client:
        yield client


async def small_socket(port: int) -> socket.socket:
    """A connection whose kernel buffers hold little, so that a download waits for its reader."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
    client.setblocking(False)
    await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", port))
    return client


def decoded_frames(content: bytes) -> int:
    """Video frames that libavcodec decodes from the whole file; raises for a broken one."""
    with av.open(io.BytesIO(content)) as container:
        return sum(1 for _ in container.decode(video=0))


async def test_growing_file_is_served_as_if_it_were_finished(
    world: World, client: httpx.AsyncClient, clip: Clip
) -> None:
    recording = GrowingRecording(world, clip)
    await recording.begin()
    recording.grow(2)
    answer = await client.get(URL)
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-type"] == "video/mp4"
    assert "etag" not in answer.headers
    assert "last-modified" not in answer.headers
    assert decoded_frames(answer.content) == 2 * FRAMES_PER_CLIP
    recording.grow()
    world.clock.ahead_s = 5
    assert decoded_frames((await client.get(URL)).content) == 3 * FRAMES_PER_CLIP


async def test_growing_file_is_found_before_the_catalogue_knows_it(
    world: World, client: httpx.AsyncClient, clip: Clip
) -> None:
    recording = GrowingRecording(world, clip)
    world.live_segments.append(recording.segment)
    recording.grow()
    for url in (URL, f"/client/records/{stable_name(recording.segment)}"):
        answer = await client.get(url)
        assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")


async def test_player_that_fetches_in_pieces_gets_one_and_the_same_file(
    world: World, client: httpx.AsyncClient, clip: Clip
) -> None:
    recording = GrowingRecording(world, clip)
    await recording.begin()
    recording.grow(2)
    probe = await client.get(URL, headers={"Range": "bytes=0-1"})
    size = int(probe.headers["content-range"].rpartition("/")[2])
    pieces = b""
    step = 50_000
    for start in range(0, size, step):
        recording.grow()
        world.clock.ahead_s += 1.0 if start else 0.1
        stop = min(start + step, size)
        piece = await client.get(URL, headers={"Range": f"bytes={start}-{stop - 1}"})
        assert piece.headers["content-range"] == f"bytes {start}-{stop - 1}/{size}"
        pieces += piece.content
    assert decoded_frames(pieces) == 2 * FRAMES_PER_CLIP


async def test_other_player_that_begins_later_gets_the_newer_file(
    world: World, client: httpx.AsyncClient, clip: Clip
) -> None:
    recording = GrowingRecording(world, clip)
    await recording.begin()
    recording.grow()
    await client.get(URL, headers={"User-Agent": "one"})
    recording.grow()
    world.clock.ahead_s = 1
    other = await client.get(URL, headers={"User-Agent": "two"})
    rest = await client.get(URL, headers={"User-Agent": "one", "Range": "bytes=100-"})
    assert decoded_frames(other.content) == 2 * FRAMES_PER_CLIP
    assert int(rest.headers["content-length"]) < len(other.content) - 100


async def test_finished_file_has_validators_and_may_be_kept(
    world: World, client: httpx.AsyncClient, clip: Clip
) -> None:
    recording = GrowingRecording(world, clip)
    await recording.begin()
    recording.grow()
    await recording.end()
    answer = await client.get(URL)
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["etag"]
    assert decoded_frames(answer.content) == FRAMES_PER_CLIP


async def test_client_that_began_while_it_grew_goes_on_after_the_end(
    world: World, client: httpx.AsyncClient, clip: Clip
) -> None:
    recording = GrowingRecording(world, clip)
    await recording.begin()
    recording.grow(2)
    whole = (await client.get(URL)).content
    split = len(whole) // 2 + recording.writer.view().start // 2
    first = await client.get(URL, headers={"Range": f"bytes=0-{split - 1}"})
    recording.grow(3)
    await recording.end()
    rest = await client.get(URL, headers={"Range": f"bytes={split}-{len(whole) - 1}"})
    assert (first.status_code, rest.status_code) == (206, 206)
    assert first.content + rest.content == whole
    assert decoded_frames(first.content + rest.content) == 2 * FRAMES_PER_CLIP


@pytest.mark.parametrize("reserve_bytes", [512 * 1024, 4096], ids=["reserve fits", "media moves in the file"])
async def test_download_goes_on_while_the_file_becomes_final(
    world: World, clip: Clip, reserve_bytes: int
) -> None:
    recording = GrowingRecording(world, clip, reserve_bytes=reserve_bytes)
    await recording.begin()
    recording.grow(60)
    async with world.serving() as services:
        server = HttpServer(create_app(services), grace_s=1)
        await server.start("127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(sock=await small_socket(server.port), limit=4096)
        writer.write(f"GET {URL} HTTP/1.1\r\nHost: recorder\r\nConnection: close\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        content = await reader.readexactly(100_000)
        sent_before = services.downloads.counters.size_bytes
        await recording.end()
        while chunk := await reader.read(1 << 16):
            content += chunk
        writer.close()
        await server.stop()
    length = re.search(rb"content-length: (\d+)", head)
    assert length is not None
    assert len(content) == int(length[1])
    assert sent_before < len(content) / 2
    assert (recording.writer.epoch > 0) == (reserve_bytes == 4096)
    assert decoded_frames(content) == 60 * FRAMES_PER_CLIP


async def test_file_that_becomes_final_between_look_up_and_open_is_found(
    world: World, client: httpx.AsyncClient, clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "RETRY_DELAYS_S", (0.02,) * 3000)
    recording = GrowingRecording(world, clip)
    await recording.begin()
    recording.grow()
    writer = world.writers.pop(recording.segment.id)
    request = asyncio.create_task(client.get(URL))
    await asyncio.sleep(0.05)
    world.writers[recording.segment.id] = writer
    await recording.end()
    assert decoded_frames((await request).content) == FRAMES_PER_CLIP


async def test_the_address_by_id_holds_from_the_first_second_on_and_for_ever(
    world: World, client: httpx.AsyncClient, clip: Clip
) -> None:
    recording = GrowingRecording(world, clip)
    await recording.begin()
    recording.grow(2)
    url = f"/client/records/{stable_name(recording.segment)}"
    growing = await client.get(url)
    assert growing.status_code == 200
    await recording.end()
    world.clock.ahead_s = 5
    final = await client.get(url)
    assert final.status_code == 200
    assert decoded_frames(final.content) >= decoded_frames(growing.content) > 0
    assert (await client.get("/client/records/.id/unknown.mp4")).status_code == 404
