"""What an encoder publishes over RTMP is watched over WebRTC: pictures as they are, AAC as Opus."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import httpx
import pytest
from helpers import media as clips
from helpers.media import MediaFolder
from helpers.patience import PATIENCE_S
from helpers.publishers import ffmpeg_publishing
from helpers.rtc_client import RtcClient
from helpers.server import ServerProcess
from helpers.tools import requires

FRAMES = 45


@pytest.fixture(scope="module")
def live_name(
    media: MediaFolder, server: ServerProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """A stream with a key frame every second, without B-frames, with AAC."""
    log = tmp_path_factory.mktemp("publisher") / "ffmpeg.log"
    with ffmpeg_publishing(media.clip(clips.FLASH_AND_BEEP_LIVE), server.rtmp_url("seen"), log):
        server.wait_for_stream("seen")
        yield "seen"


async def post(server: ServerProcess, path: str, offer: str) -> str:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.http_port}") as http:
        response = await http.post(path, content=offer, headers={"content-type": "application/sdp"})
        assert response.status_code == 201, response.text
        return response.text


@requires("ffmpeg")
async def test_pictures_and_sound_of_an_rtmp_stream_are_watched(
    server: ServerProcess, live_name: str
) -> None:
    async with RtcClient() as viewer:
        await viewer.play(lambda offer: post(server, f"/whep/{live_name}", offer))
        assert "H264/90000" in viewer.answer
        async with asyncio.timeout(PATIENCE_S):
            pictures = [await viewer.received["video"].recv() for _ in range(FRAMES)]
            sound = [await viewer.received["audio"].recv() for _ in range(75)]
        assert {(one.width, one.height) for one in pictures} == {(320, 180)}
        times = [one.pts for one in pictures]
        assert times == sorted(times)
        assert {bytes(one.planes[0])[:1] > b"\x80" for one in pictures} == {True, False}, "flashes are seen"
        loudness = [max(bytes(frame.planes[0])) for frame in sound]
        assert max(loudness) > 100 > min(loudness), "beeps are heard"


@requires("ffmpeg")
async def test_a_viewer_who_comes_late_begins_at_once(server: ServerProcess, live_name: str) -> None:
    """From the second one on the last key frame is held."""
    async with RtcClient() as first, RtcClient() as second:
        await first.play(lambda offer: post(server, f"/whep/{live_name}", offer), kinds=["video"])
        async with asyncio.timeout(PATIENCE_S):
            for _ in range(FRAMES):
                await first.received["video"].recv()
            await second.play(lambda offer: post(server, f"/whep/{live_name}", offer), kinds=["video"])
            for _ in range(5):
                await second.received["video"].recv()


@requires("ffmpeg")
async def test_b_frames_are_transcoded_while_somebody_watches(
    server: ServerProcess, media: MediaFolder, tmp_path: Path
) -> None:
    """Browsers would show them in the order of decoding. The first viewer finds out that there are some."""
    with ffmpeg_publishing(media.clip(clips.LONG), server.rtmp_url("b-frames"), tmp_path / "ffmpeg.log"):
        server.wait_for_stream("b-frames")
        async with RtcClient() as first, RtcClient() as second:
            for viewer in (first, second):
                await viewer.play(lambda offer: post(server, "/whep/b-frames", offer))
                async with asyncio.timeout(PATIENCE_S):
                    pictures = [await viewer.received["video"].recv() for _ in range(60)]
                times = [one.pts for one in pictures]
                assert times == sorted(times)
                late = [after - before for before, after in pairwise(times[30:])]
                assert all(2000 <= step <= 4000 for step in late), "one picture each thirtieth of a second"
        await asyncio.to_thread(server.said, "transcoded for viewers.*stream=b-frames")
        told = [line for line in server.log.splitlines() if "transcoded for viewers" in line]
        assert sum("stream=b-frames codec=h264" in line for line in told) == 1
