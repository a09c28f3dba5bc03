"""A whole server that asks a backend about FFmpeg, and tells it of the end even when it is stopped."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from pathlib import Path

import pytest
from helpers import media as clips
from helpers.http_backend import HttpBackend
from helpers.media import MediaFolder
from helpers.programs import ProgramError
from helpers.publishers import ffmpeg_publishing, publish_with_ffmpeg
from helpers.server import ServerProcess
from helpers.tools import requires

pytestmark = requires("ffmpeg")


def server_asking(there: HttpBackend, folder: Path) -> ServerProcess:
    settings = f'[backend_hooks]\nurl = "{there.url}"\nsecret = "1234567890"\n[wcs]\nnode_id = "node-1"\n'
    return ServerProcess(folder, record=['name = "{streamName}"'], settings=settings)


async def test_a_backend_hears_of_a_publisher_from_its_first_word_to_the_servers_last(
    media: MediaFolder, tmp_path: Path
) -> None:
    clip = media.clip(clips.H264_AAC)

    def publish_until_the_server_stops() -> None:
        with (
            server_asking(there, tmp_path) as server,
            ffmpeg_publishing(clip, server.rtmp_url("cam?room=7"), tmp_path / "ffmpeg.log"),
        ):
            server.wait_for_stream("cam")
            server.stop()

    async with HttpBackend.serving() as there:
        await asyncio.to_thread(publish_until_the_server_stops)
    assert there.asked == ["connect", "publishStream"]
    assert there.told == [
        "ConnectionStatusEvent ESTABLISHED",
        "StreamStatusEvent PUBLISHING",
        "unPublishStream",
        "StreamStatusEvent UNPUBLISHED",
        "ConnectionStatusEvent DISCONNECTED",
    ]
    assert there.question("publishStream").body["custom"] == {"room": "7"}
    told = there.question("StreamStatusEvent").body
    assert (told["recordName"], told["videoCodec"], told["width"]) == ("cam.mp4", "H264", 320)
    for question in there.questions:
        signature = hmac.new(b"1234567890", question.content, hashlib.md5).hexdigest()
        assert question.headers["authorization"] == f"WCS {signature}"
        assert question.body["nodeId"] == "node-1"


async def test_whom_the_backend_refuses_is_not_recorded(media: MediaFolder, tmp_path: Path) -> None:
    clip = media.clip(clips.H264_AAC)

    def publish() -> list[object]:
        with server_asking(there, tmp_path) as server:
            with pytest.raises(ProgramError):
                publish_with_ffmpeg(clip, server.rtmp_url("cam"), tmp_path / "ffmpeg.log")
            server.said("refused by the backend")
            items: list[object] = server.get("/api/v1/recordings")["items"]
            return items

    async with HttpBackend.serving() as there:
        there.statuses["publishStream"] = 403
        recordings = await asyncio.to_thread(publish)
    assert recordings == []
