"""The server on a real socket: slow and vanishing clients, raw paths, many downloads at once, stopping."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import socket
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from helpers.certificates import TestCertificate
from helpers.http_world import World
from helpers.patience import PATIENCE_S, until

from aircheck.faces.api.app import create_app
from aircheck.faces.file_response import CHUNK_BYTES
from aircheck.faces.http_server import HttpListeners, HttpServer, ListenError
from aircheck.service.services import Services

SIZE = 24 * 1024 * 1024


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with World.opened(tmp_path) as world:
        yield world


@pytest.fixture
async def services(world: World) -> AsyncIterator[Services]:
    async with world.serving() as services:
        yield services


@pytest.fixture
async def server(services: Services) -> AsyncIterator[HttpServer]:
    server = HttpServer(create_app(services), grace_s=1)
    await server.start("127.0.0.1", 0)
    yield server
    await server.stop()


@contextlib.asynccontextmanager
async def connection(server: HttpServer) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def get(server: HttpServer, path: bytes, headers: bytes = b"") -> tuple[int, bytes, bytes]:
    """Status, head and body of one request on a connection of its own."""
    async with connection(server) as (reader, writer):
        writer.write(
            b"GET " + path + b" HTTP/1.1\r\nHost: recorder\r\nConnection: close\r\n" + headers + b"\r\n"
        )
        head = await reader.readuntil(b"\r\n\r\n")
        return int(head.split()[1]), head, await reader.read()


def open_files(folder: Path) -> int:
    links = [link for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return sum(str(folder) in str(link.readlink()) for link in links)


async def test_port_zero_is_reported(server: HttpServer) -> None:
    assert server.port > 0
    status, _, body = await get(server, b"/healthz")
    assert status == 200
    assert b'"status":"ok"' in body


async def test_address_that_is_taken_is_an_error_with_a_remedy(
    server: HttpServer, services: Services
) -> None:
    with pytest.raises(ListenError) as caught:
        await HttpServer(create_app(services)).start("127.0.0.1", server.port)
    assert str(server.port) in caught.value.message
    assert caught.value.remedy


async def test_port_can_be_used_again_at_once(services: Services) -> None:
    first = HttpServer(create_app(services))
    await first.start("127.0.0.1", 0)
    await get(first, b"/healthz")
    await first.stop()
    second = HttpServer(create_app(services))
    await second.start("127.0.0.1", first.port)
    await second.stop()


async def test_signals_stay_with_the_host(services: Services) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    server = HttpServer(create_app(services))
    await server.start("127.0.0.1", 0)
    during = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    await server.stop()
    assert during == before


@pytest.mark.parametrize(
    "name",
    [
        b"../secret.txt",
        b"%2e%2e/secret.txt",
        b"..%2fsecret.txt",
        b"%2e%2e%2fsecret.txt",
        b"sub/../../secret.txt",
        b"..%5csecret.txt",
        b"%2e%2e%5c%2e%2e%5csecret.txt",
        b"%252e%252e%252fsecret.txt",
        b"a%00b.mp4",
        b"studio.mp4%00.txt",
        b"/etc/passwd",
        b"%2fetc%2fpasswd",
        b"./studio.mp4",
        b"%ff%fe.mp4",
        b"",
        b".growing/studio.part",
        b"../catalog.db",
        b"foreign.mp4",
        b"x" * 5000,
    ],
)
async def test_what_the_catalogue_does_not_name_is_not_there(
    world: World, server: HttpServer, tmp_path: Path, name: bytes
) -> None:
    await world.add_file("studio.mp4", b"media")
    (tmp_path / "secret.txt").write_text("hidden")
    (world.record_dir / ".growing").mkdir()
    (world.record_dir / ".growing" / "studio.part").write_text("hidden")
    (world.record_dir / "foreign.mp4").write_text("hidden")
    status, head, body = await get(server, b"/client/records/" + name)
    assert status == 404
    assert b"application/problem+json" in head
    assert b"hidden" not in body
    assert b"SQLite" not in body


async def test_whole_file_and_parts_arrive_byte_for_byte(world: World, server: HttpServer) -> None:
    content = os.urandom(3 * CHUNK_BYTES + 17)
    await world.add_file("studio.mp4", content)
    _, _, whole = await get(server, b"/client/records/studio.mp4")
    assert whole == content
    first, last = CHUNK_BYTES - 5, 2 * CHUNK_BYTES + 5
    _, _, part = await get(server, b"/client/records/studio.mp4", b"Range: bytes=%d-%d\r\n" % (first, last))
    assert part == content[first : last + 1]
    status, head, parts = await get(
        server, b"/client/records/studio.mp4", b"Range: bytes=0-9,300000-300009,-4\r\n"
    )
    assert status == 206
    length = re.search(rb"content-length: (\d+)", head)
    assert length is not None
    assert int(length[1]) == len(parts)
    assert content[300_000:300_010] in parts


async def test_connection_is_kept_for_the_next_request(world: World, server: HttpServer) -> None:
    await world.add_file("studio.mp4", b"media")
    async with connection(server) as (reader, writer):
        for _ in range(3):
            writer.write(b"GET /client/records/studio.mp4 HTTP/1.1\r\nHost: recorder\r\n\r\n")
            await reader.readuntil(b"\r\n\r\n")
            assert await reader.readexactly(5) == b"media"


async def test_requests_that_do_not_wait_for_answers_are_answered_in_order(
    world: World, server: HttpServer
) -> None:
    content = os.urandom(SIZE)
    await world.add_file("studio.mp4", content)
    request = b"GET /client/records/studio.mp4 HTTP/1.1\r\nHost: recorder\r\n"
    small = range(100, 100 + CHUNK_BYTES - 1)
    async with connection(server) as (reader, writer):
        ranges = (None, small, range(SIZE // 2, SIZE), small, None)
        for span in ranges:
            field = b"Range: bytes=%d-%d\r\n" % (span.start, span.stop - 1) if span else b""
            writer.write(request + field + b"\r\n")
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: recorder\r\n\r\n")
        # What is small waits in the server's memory when what is large comes.
        await asyncio.sleep(0.2)
        for span in ranges:
            await reader.readuntil(b"\r\n\r\n")
            span = span or range(SIZE)
            assert await reader.readexactly(len(span)) == content[span.start : span.stop]
        assert b" 200 " in await reader.readuntil(b"\r\n\r\n")


@pytest.mark.parametrize("keep", [b"", b"Connection: keep-alive\r\n"])
async def test_clients_of_http_1_0_get_files_as_well(world: World, server: HttpServer, keep: bytes) -> None:
    content = os.urandom(3 * CHUNK_BYTES)
    await world.add_file("studio.mp4", content)
    async with connection(server) as (reader, writer):
        writer.write(b"GET /client/records/studio.mp4 HTTP/1.0\r\n" + keep + b"\r\n")
        await reader.readuntil(b"\r\n\r\n")
        assert await asyncio.wait_for(_read_all(reader), PATIENCE_S) == content


async def test_large_parts_of_a_file_come_with_their_headings(world: World, server: HttpServer) -> None:
    content = os.urandom(SIZE)
    await world.add_file("studio.mp4", content)
    spans = [range(5), range(1000, 1000 + 2 * CHUNK_BYTES), range(SIZE - 3 * CHUNK_BYTES, SIZE)]
    asked = ",".join(f"{span.start}-{span.stop - 1}" for span in spans).encode()
    _, head, body = await get(server, b"/client/records/studio.mp4", b"Range: bytes=" + asked + b"\r\n")
    length = re.search(rb"content-length: (\d+)", head)
    assert length is not None
    assert int(length[1]) == len(body)
    for span in spans:
        heading = b"Content-Range: bytes %d-%d/%d\r\n\r\n" % (span.start, span.stop - 1, SIZE)
        start = body.index(heading) + len(heading)
        assert body[start : start + len(span)] == content[span.start : span.stop]


async def test_head_and_get_take_turns_on_one_connection(world: World, server: HttpServer) -> None:
    content = os.urandom(2 * CHUNK_BYTES)
    await world.add_file("studio.mp4", content)
    async with connection(server) as (reader, writer):
        for method in (b"HEAD", b"GET", b"HEAD", b"GET"):
            writer.write(method + b" /client/records/studio.mp4 HTTP/1.1\r\nHost: recorder\r\n\r\n")
            assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
            if method == b"GET":
                assert await reader.readexactly(len(content)) == content


async def test_client_that_pipelines_and_goes_away_ends_its_download(
    world: World, server: HttpServer, services: Services
) -> None:
    """The server does not read from it, and so does not see it go."""
    await world.add_file("studio.mp4", bytes(SIZE))
    async with connection(server) as (reader, writer):
        writer.write(3 * b"GET /client/records/studio.mp4 HTTP/1.1\r\nHost: recorder\r\n\r\n")
        await reader.readexactly(1000)
    await until(lambda: not services.downloads.counters.active)
    await until(lambda: not server.connections)
    assert open_files(world.record_dir) == 0


async def test_client_that_goes_away_ends_its_download_at_once(
    world: World, server: HttpServer, services: Services
) -> None:
    await world.add_file("studio.mp4", bytes(SIZE))
    counters = services.downloads.counters
    async with connection(server) as (reader, writer):
        writer.write(b"GET /client/records/studio.mp4 HTTP/1.1\r\nHost: recorder\r\n\r\n")
        await reader.readexactly(1000)
        assert counters.active == 1
    await until(lambda: not counters.active)
    assert counters.aborted == 1
    assert counters.size_bytes < SIZE
    assert open_files(world.record_dir) == 0


async def test_slow_client_holds_little_memory(world: World, server: HttpServer, services: Services) -> None:
    await world.add_file("studio.mp4", bytes(SIZE))
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", server.port))
        client.send(b"GET /client/records/studio.mp4 HTTP/1.1\r\nHost: recorder\r\n\r\n")
        read = -1
        while read != services.downloads.counters.size_bytes:
            read = services.downloads.counters.size_bytes
            await asyncio.sleep(0.3)
        (peer,) = server._server.server_state.connections  # type: ignore[union-attr]
        assert peer.transport.get_write_buffer_size() <= CHUNK_BYTES + 64 * 1024
        assert read < SIZE / 2
    await until(lambda: not services.downloads.counters.active)


async def test_download_goes_on_when_the_file_is_renamed_or_deleted(world: World, server: HttpServer) -> None:
    content = os.urandom(SIZE)
    await world.add_file("studio.mp4", content)
    async with connection(server) as (reader, writer):
        writer.write(
            b"GET /client/records/studio.mp4 HTTP/1.1\r\nHost: recorder\r\nConnection: close\r\n\r\n"
        )
        await reader.readuntil(b"\r\n\r\n")
        (world.record_dir / "studio.mp4").rename(world.record_dir / "other.mp4")
        (world.record_dir / "other.mp4").unlink()
        assert await _read_all(reader) == content


async def _read_all(reader: asyncio.StreamReader) -> bytes:
    chunks = []
    while chunk := await reader.read(1 << 20):
        chunks.append(chunk)
    return b"".join(chunks)


async def test_file_that_shrinks_breaks_the_download_off(
    world: World, server: HttpServer, services: Services, caplog: pytest.LogCaptureFixture
) -> None:
    await world.add_file("studio.mp4", bytes(SIZE))
    async with connection(server) as (reader, writer):
        writer.write(b"GET /client/records/studio.mp4 HTTP/1.1\r\nHost: recorder\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        os.truncate(world.record_dir / "studio.mp4", 0)
        assert len(await asyncio.wait_for(_read_all(reader), PATIENCE_S)) < SIZE
    assert services.downloads.counters.failed == 1
    assert "download broken off" in caplog.text


async def test_many_downloads_read_off_the_loop_and_leave_nothing_open(
    world: World, server: HttpServer, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = os.urandom(2 * 1024 * 1024)
    await world.add_file("studio.mp4", content)
    readers: set[str] = set()

    def watch(name: str) -> None:
        real = getattr(os, name)

        def watched(*arguments: object) -> object:
            readers.add(f"{name} in {threading.current_thread().name.partition('_')[0]}")
            return real(*arguments)

        monkeypatch.setattr(os, name, watched)

    watch("pread")
    watch("sendfile")
    answers = await asyncio.gather(*(get(server, b"/client/records/studio.mp4") for _ in range(20)))
    assert all(body == content for _, _, body in answers)
    assert "sendfile in file-sender" in readers
    assert readers <= {
        "pread in file-reader",
        "pread in file-sender",
        "pread in file-sender-disk",
        "sendfile in file-sender",
        "sendfile in file-sender-disk",
    }
    await until(lambda: not services.downloads.counters.active)
    assert open_files(world.record_dir) == 0


async def test_stop_cuts_off_a_download_that_does_not_end(
    world: World, services: Services, caplog: pytest.LogCaptureFixture
) -> None:
    await world.add_file("studio.mp4", bytes(SIZE))
    server = HttpServer(create_app(services), grace_s=0)
    await server.start("127.0.0.1", 0)
    async with connection(server) as (reader, writer):
        writer.write(b"GET /client/records/studio.mp4 HTTP/1.1\r\nHost: recorder\r\n\r\n")
        await reader.readexactly(1000)
        await asyncio.wait_for(server.stop(), PATIENCE_S)
    assert services.downloads.counters.active == 0
    assert "Traceback" not in caplog.text
    with pytest.raises(ConnectionRefusedError):
        await get(server, b"/healthz")


async def test_clients_that_never_ask_for_anything_are_let_go(services: Services) -> None:
    server = HttpServer(create_app(services), first_request_s=0.5)
    await server.start("127.0.0.1", 0)
    async with connection(server) as (silent, _), connection(server) as (slow, writer):
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: ")
        async with asyncio.timeout(PATIENCE_S):
            for reader in (silent, slow):
                with contextlib.suppress(ConnectionError):
                    assert await reader.read() == b""
    async with connection(server) as (reader, writer):
        for _ in range(2):
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: recorder\r\n\r\n")
            assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
            await reader.readuntil(b"]}")
            for _ in range(2):
                assert server._server is not None
                server._server._drop_silent()
                await asyncio.sleep(0.51)
    await server.stop()


async def test_one_application_answers_on_plain_and_tls_addresses(services: Services, tmp_path: Path) -> None:
    certificate = TestCertificate.made(tmp_path)
    listeners = HttpListeners(create_app(services), grace_s=1)
    first = await listeners.listen("127.0.0.1", 0)
    second = await listeners.listen("127.0.0.1", 0, tls=certificate.server())
    try:
        async with httpx.AsyncClient(verify=certificate.client()) as client:
            urls = [f"http://{first[0]}:{first[1]}", f"https://{second[0]}:{second[1]}"]
            answers = [await client.get(f"{url}/api/v1/recordings") for url in urls]
            assert listeners.connections == 2
        assert [answer.status_code for answer in answers] == [200, 200]
        assert answers[0].json() == answers[1].json()
    finally:
        await listeners.stop()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(*first)


async def test_plain_requests_to_a_tls_address_are_let_go(services: Services, tmp_path: Path) -> None:
    server = HttpServer(create_app(services), grace_s=1)
    await server.start("127.0.0.1", 0, tls=TestCertificate.made(tmp_path).server())
    try:
        async with connection(server) as (reader, writer):
            writer.write(b"GET / HTTP/1.1\r\nHost: recorder\r\n\r\n")
            assert await asyncio.wait_for(reader.read(), PATIENCE_S) == b""
    finally:
        await server.stop()


async def test_files_arrive_byte_for_byte_inside_tls(
    world: World, services: Services, tmp_path: Path
) -> None:
    content = os.urandom(3 * CHUNK_BYTES + 1)
    await world.add_file("студия/a.mp4", content)
    certificate = TestCertificate.made(tmp_path)
    listeners = HttpListeners(create_app(services), grace_s=1)
    host, port = await listeners.listen("127.0.0.1", 0, tls=certificate.server())
    try:
        async with httpx.AsyncClient(
            verify=certificate.client(), base_url=f"https://{host}:{port}"
        ) as client:
            whole = await client.get("/client/records/студия/a.mp4")
            part = await client.get("/client/records/студия/a.mp4", headers={"range": "bytes=5-600000"})
    finally:
        await listeners.stop()
    assert (whole.status_code, whole.content) == (200, content)
    assert (part.status_code, part.content) == (206, content[5:600001])
