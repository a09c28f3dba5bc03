"""The WebSDK's port with real sockets: any path, bounds, time, and who is connected."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from helpers.certificates import TestCertificate
from helpers.fake_peers import OFFER, FakePeers
from helpers.live_node import LiveNode
from helpers.patience import PATIENCE_S, until
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from aircheck.faces.http_server import WEBSOCKET_MESSAGE_MAX_BYTES, HttpServer
from aircheck.faces.websdk import app as app_module
from aircheck.faces.websdk.app import WebSdkApp
from aircheck.faces.websdk.streams import SdkStreams
from aircheck.facts import EndReason
from aircheck.service.recorded_names import RecordedNames


class Port:
    """A port of the WebSDK that serves."""

    def __init__(self, node: LiveNode) -> None:
        self.peers = FakePeers()
        streams = SdkStreams(
            peers=self.peers,
            registry=node.registry,
            names=RecordedNames(node.recorder),
            record_stop_timeout_s=1.0,
        )
        self.app = WebSdkApp(streams, node.clock)
        self.server = HttpServer(self.app, grace_s=1)

    def url(self, path: str = "/", scheme: str = "ws") -> str:
        return f"{scheme}://127.0.0.1:{self.server.port}{path}"

    @asynccontextmanager
    async def page(self, path: str = "/") -> AsyncIterator[ClientConnection]:
        """A page whose session is established."""
        async with connect(self.url(path), compression=None) as socket:
            await say(socket, "connection", appKey="defaultApp")
            assert await hear(socket) == "getUserData"
            assert await hear(socket) == "ping"
            yield socket


@pytest.fixture
async def port(tmp_path: Path) -> AsyncIterator[Port]:
    async with LiveNode.opened(tmp_path) as node:
        port = Port(node)
        await port.server.start("127.0.0.1", 0)
        yield port
        await port.server.stop()


async def say(socket: ClientConnection, message: str, **data: Any) -> None:
    await socket.send(json.dumps({"message": message, "data": [data]}))


async def hear(socket: ClientConnection) -> str:
    """The name of the next message."""
    async with asyncio.timeout(PATIENCE_S):
        name: str = json.loads(await socket.recv())["message"]
        return name


async def until_closed(socket: ClientConnection) -> int | None:
    """The code of the close frame; None when there was none."""
    async with asyncio.timeout(PATIENCE_S):
        await socket.wait_closed()
    return socket.close_code


@pytest.mark.parametrize("path", ["/", "/websocket", "/a/b?token=s3cret", "/%D1%81"])
async def test_any_path_takes_the_websocket(port: Port, path: str) -> None:
    async with port.page(path) as socket:
        await say(socket, "publishStream", mediaSessionId="m1", name="cam", sdp=OFFER)
        assert await hear(socket) == "setRemoteSDP"
        query = port.peers.asked[0].attempt.query
        assert query == ({"token": "s3cret"} if "token" in path else {})


async def test_page_gets_pings_for_as_long_as_it_stays(port: Port, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app_module, "PING_INTERVAL_S", 0.05)
    async with port.page() as socket:
        assert [await hear(socket) for _ in range(3)] == ["ping"] * 3


async def test_page_that_never_connects_is_let_go(port: Port, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app_module, "PING_INTERVAL_S", 0.05)
    monkeypatch.setattr(app_module, "CONNECTION_TIMEOUT_S", 0.2)
    async with connect(port.url()) as socket:
        assert await until_closed(socket) == 1008
    assert port.app.refused["websdk_hung_up"] == 1


async def test_message_that_is_too_large_closes_the_socket(port: Port) -> None:
    async with port.page() as socket:
        await socket.send(" " * (WEBSOCKET_MESSAGE_MAX_BYTES + 1))
        assert await until_closed(socket) == 1009
    await until(lambda: not port.app.connections())


async def test_binary_messages_are_ignored(port: Port) -> None:
    async with port.page() as socket:
        await socket.send(b"\0\1\2")
        await say(socket, "availableStream", mediaSessionId="v1", name="cam")
        assert await hear(socket) == "availableStream"


async def test_closing_the_socket_ends_what_the_page_publishes(port: Port) -> None:
    async with port.page() as socket:
        await say(socket, "publishStream", mediaSessionId="m1", name="cam", sdp=OFFER)
        assert await hear(socket) == "setRemoteSDP"
        port.peers.last.connect()
        assert await hear(socket) == "notifyStreamStatusEvent"
    await until(lambda: port.peers.last.is_closed)
    assert port.peers.last.end_reason is EndReason.DISCONNECTED


async def test_losing_the_socket_ends_what_the_page_publishes(port: Port) -> None:
    async with port.page() as socket:
        await say(socket, "publishStream", mediaSessionId="m1", name="cam", sdp=OFFER)
        assert await hear(socket) == "setRemoteSDP"
        socket.transport.abort()
        await until(lambda: port.peers.last.is_closed)


async def test_pages_are_listed_and_can_be_sent_away(port: Port) -> None:
    async with port.page() as socket:
        (listed,) = port.app.connections()
        host, remote_port = socket.local_address
        assert listed.session_id == f"/{host}:{remote_port}/127.0.0.1:{port.server.port}"
        assert (listed.protocol, listed.app) == ("websdk", "defaultApp")
        assert not port.app.close_connection("another")
        assert port.app.close_connection(listed.session_id)
        assert await until_closed(socket) == 1008
    await until(lambda: not port.app.connections())


async def test_page_that_does_not_read_is_let_go(port: Port, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app_module, "OUTBOX_MAX", 8)
    async with port.page() as socket:
        socket.transport.pause_reading()
        with contextlib.suppress(ConnectionClosed):
            async with asyncio.timeout(PATIENCE_S):
                while not port.app.refused["websdk_unread"]:
                    await say(socket, "availableStream", mediaSessionId="x" * 100, name="cam")
        await until(lambda: not port.app.connections())
        assert port.app.refused["websdk_unread"] == 1
        socket.transport.abort()


async def test_stop_of_the_server_ends_the_pages(port: Port) -> None:
    async with port.page() as socket:
        await port.server.stop()
        assert await until_closed(socket) == 1012
    assert not port.app.connections()


async def test_pages_that_came_over_https_connect_inside_tls(port: Port, tmp_path: Path) -> None:
    certificate = TestCertificate.made(tmp_path)
    server = HttpServer(port.app, grace_s=1)
    await server.start("127.0.0.1", 0, tls=certificate.server())
    async with connect(f"wss://127.0.0.1:{server.port}/", ssl=certificate.client()) as socket:
        await say(socket, "connection", appKey="defaultApp")
        assert await hear(socket) == "getUserData"
    await server.stop()


async def test_who_comes_with_http_is_told_what_is_spoken_here(port: Port) -> None:
    async with httpx.AsyncClient() as client:
        answer = await client.get(port.url(scheme="http"))
    assert answer.status_code == 426
    assert answer.headers["upgrade"] == "websocket"
    assert "WebSocket" in answer.text
