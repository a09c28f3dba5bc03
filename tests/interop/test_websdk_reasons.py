"""Why a stream of the WebSDK fails or ends: each reason by a whole server, real peers or halves."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest
from helpers.patience import PATIENCE_S
from helpers.raw_peer import RawPeer, offer
from helpers.rtc_client import RtcClient
from helpers.rtmp_peer import Peer
from helpers.server import ServerProcess
from websockets.asyncio.client import ClientConnection, connect

TOKEN = "s3cret"
SETTINGS = f"""\
[webrtc]
listen = "127.0.0.1:0"
public_addresses = ["127.0.0.1"]
connect_timeout_s = 6
idle_timeout_s = 6
media_timeout_s = 9
[access]
publish_tokens = ["{TOKEN}"]
"""
"""A server that loses patience soon, but not with peers on a busy machine."""

_number = itertools.count(1)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("server"), settings=SETTINGS) as running:
        yield running


class Page:
    """What a page says and is told, without its browser."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket

    async def say(self, message: str, **members: Any) -> None:
        await self._socket.send(json.dumps({"message": message, "data": [members]}))

    async def get(self, message: str) -> Any:
        """The data of the next message of that name."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                said = json.loads(await self._socket.recv())
                if said["message"] == message:
                    return said["data"]

    async def connect(self) -> None:
        await self.say("connection", appKey="defaultApp")
        await self.get("getUserData")

    async def begin(self, message: str, name: str, sdp: str, media_session_id: str = "") -> str:
        media_session_id = media_session_id or f"session-{next(_number)}"
        await self.say(message, mediaSessionId=media_session_id, name=name, sdp=sdp)
        return media_session_id

    async def signal(self, message: str, name: str, sdp: str) -> str:
        """An offer's text to an answer's."""
        await self.begin(message, name, sdp)
        answer: str = (await self.get("setRemoteSDP"))[1]
        return answer

    async def told(self) -> tuple[str, str]:
        """The next status, and why."""
        (facts,) = await self.get("notifyStreamStatusEvent")
        return facts["status"], facts.get("info", "")

    async def publish(self, client: RtcClient, name: str) -> None:
        await client.publish(lambda sdp: self.signal("publishStream", name, sdp), has_video=False)
        assert await self.told() == ("PUBLISHING", "")

    async def play(self, client: RtcClient, name: str) -> None:
        await client.play(lambda sdp: self.signal("playStream", name, sdp), kinds=["audio"])
        assert await self.told() == ("PLAYING", "")

    async def raw(self, name: str) -> RawPeer:
        """A peer that has an answer and does nothing yet."""
        answer = await self.signal("publishStream", name, offer())
        port = re.findall(r" 127\.0\.0\.1 (\d+) typ host", answer)[0]
        return await RawPeer.to(answer, ("127.0.0.1", int(port)))


@pytest.fixture
async def owned() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
async def page(server: ServerProcess, owned: AsyncExitStack) -> Page:
    return await new_page(server, owned)


async def post(server: ServerProcess, path: str, **body: Any) -> Any:
    async with httpx.AsyncClient() as client:
        answer = await client.post(server.http_url(path), json=body)
        return answer.raise_for_status().json() if answer.content else None


async def new_page(server: ServerProcess, owned: AsyncExitStack, query: str = f"?token={TOKEN}") -> Page:
    page = Page(await owned.enter_async_context(connect(f"{server.websdk_url()}/{query}")))
    await page.connect()
    return page


@pytest.mark.parametrize(
    ("name", "info"),
    [
        ("nobody", "Stream not found"),
        ("rtsp://192.0.2.1/stream", "Failed to connect to rtsp stream"),
        ("rtmp://", "Bad URI"),
    ],
)
async def test_what_cannot_be_played_fails(page: Page, name: str, info: str) -> None:
    await page.begin("playStream", name, offer(direction="recvonly"))
    assert await page.told() == ("FAILED", info)


async def test_stream_without_media_is_not_ready(page: Page, server: ServerProcess) -> None:
    async with Peer(("127.0.0.1", server.rtmp_port)) as encoder:
        await encoder.publish("silent", f"?token={TOKEN}")
        await page.begin("playStream", "silent", offer(direction="recvonly"))
        assert await page.told() == ("FAILED", "Publish stream is not ready")


async def test_offer_of_unknown_codecs_fails(page: Page) -> None:
    await page.begin("publishStream", "odd", offer().replace("opus/48000/2", "speex/16000"))
    assert await page.told() == ("FAILED", "No common codecs")


async def test_page_without_credentials_is_restricted(server: ServerProcess, owned: AsyncExitStack) -> None:
    stranger = await new_page(server, owned, query="")
    await stranger.begin("publishStream", "locked", offer())
    assert await stranger.told() == ("FAILED", "Restricted access")


async def test_names_and_media_sessions_are_taken_once(
    page: Page, server: ServerProcess, owned: AsyncExitStack
) -> None:
    other = await new_page(server, owned)
    taken = await page.begin("publishStream", "taken", offer())
    await page.get("setRemoteSDP")
    await other.begin("publishStream", "taken", offer())
    assert await other.told() == ("FAILED", "Stream name is already in use")
    await other.begin("publishStream", "free", offer(), taken)
    assert await other.told() == ("FAILED", "MediaSessionId is already in use")


async def test_peers_that_are_waited_for_in_vain_fail(server: ServerProcess, owned: AsyncExitStack) -> None:
    """All at the same time, because each takes some seconds."""
    kinds = (never_checks, shakes_no_hands, goes_silent, sends_no_media)
    pages = [await new_page(server, owned) for _ in kinds]
    async with asyncio.TaskGroup() as together:
        told = [together.create_task(kind(page)) for kind, page in zip(kinds, pages, strict=True)]
    assert [one.result() for one in told] == [
        ("FAILED", "Failed by ICE timeout"),
        ("FAILED", "Failed by DTLS error"),
        ("FAILED", "Failed by ICE keep alive"),
        ("FAILED", "Failed by RTP activity"),
    ]


async def never_checks(page: Page) -> tuple[str, str]:
    (await page.raw("unchecked")).close()
    return await page.told()


async def shakes_no_hands(page: Page) -> tuple[str, str]:
    peer = await page.raw("unshaken")
    await peer.check()
    told = await page.told()
    peer.close()
    return told


async def goes_silent(page: Page) -> tuple[str, str]:
    async with RtcClient() as client:
        await page.publish(client, "silent")
        await client.vanish()
        return await page.told()


async def sends_no_media(page: Page) -> tuple[str, str]:
    peer = await page.raw("mute")
    await peer.connect()
    assert await page.told() == ("PUBLISHING", "")
    told = asyncio.create_task(page.told())
    while not told.done():
        peer.put(peer.request())
        await asyncio.sleep(0.2)
    peer.close()
    return told.result()


async def test_ends_are_told_with_who_wanted_them(
    page: Page, server: ServerProcess, owned: AsyncExitStack
) -> None:
    other = await new_page(server, owned)
    clients = [await owned.enter_async_context(RtcClient()) for _ in range(3)]
    await page.publish(clients[0], "watched")
    await other.play(clients[1], "watched")
    await other.play(clients[2], "watched")
    live = await post(server, "/rest-api/stream/find", name="watched")
    await other.say("stopStream", mediaSessionId=f"session-{next(_number) - 1}")
    assert await other.told() == ("STOPPED", "Stopped by user")
    await page.say("unPublishStream", mediaSessionId=live[0]["mediaSessionId"], record=False)
    assert await page.told() == ("UNPUBLISHED", "Stopped by user")
    assert await other.told() == ("FAILED", "Stopped by publisher stop")


async def test_stream_that_is_terminated_fails(
    page: Page, server: ServerProcess, owned: AsyncExitStack
) -> None:
    client = await owned.enter_async_context(RtcClient())
    await page.publish(client, "terminated")
    await post(server, "/rest-api/stream/terminate", name="terminated")
    assert await page.told() == ("FAILED", "Stopped by rest /terminate")


async def test_page_that_comes_back_after_its_socket_was_lost_publishes_again_at_once(
    server: ServerProcess, owned: AsyncExitStack
) -> None:
    """The name is free as soon as the socket is closed, though the old peer still sends."""
    clients = [await owned.enter_async_context(RtcClient()) for _ in range(2)]
    async with AsyncExitStack() as first:
        await (await new_page(server, first)).publish(clients[0], "again")
    await (await new_page(server, owned)).publish(clients[1], "again")
    async with httpx.AsyncClient() as http:
        ended = (await http.get(server.http_url("/metrics"))).text
    assert 'peers_ended_total{info="Stopped by session disconnect"} ' in ended
