"""Files to sockets by threads: every byte once, gone clients, slow disks, and nothing left open."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from helpers.patience import PATIENCE_S

from aircheck.service.content import Content, FileShrank
from aircheck.service.file_sender import FileSender, Transfer

DATA = os.urandom(5 << 20)


@pytest.fixture
async def sender() -> AsyncIterator[FileSender]:
    sender = FileSender()
    yield sender
    await sender.stop()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


@pytest.fixture
def content(tmp_path: Path, pool: ThreadPoolExecutor) -> Iterator[Content]:
    content = opened(tmp_path / "a", pool)
    yield content
    content.close()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Of the server, of the client."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
    server.setblocking(False)
    with server, client:
        yield server, client


def opened(path: Path, pool: ThreadPoolExecutor, *, of: type[Content] = Content) -> Content:
    path.write_bytes(DATA)
    return of(os.open(path, os.O_RDONLY), len(DATA), pool)


def read(client: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size and (part := client.recv(1 << 20)):
        data += part
    return bytes(data)


async def over(transfer: Transfer) -> bool:
    return await asyncio.wait_for(asyncio.wrap_future(transfer.done), PATIENCE_S)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("span", [range(len(DATA)), range(4321, 4_321_987), range(7, 8)])
async def test_span_arrives_byte_for_byte(
    sender: FileSender, content: Content, pair: tuple[socket.socket, socket.socket], span: range
) -> None:
    server, client = pair
    transfer = sender.send(content, server.fileno(), span)
    assert await asyncio.to_thread(read, client, len(span)) == DATA[span.start : span.stop]
    assert await over(transfer)
    assert transfer.sent_bytes == len(span)


class _Copied(Content):
    """A file whose pages may change, so that the kernel cannot send from them."""

    def is_at_hand(self, offset: int, size: int) -> bool:
        return False

    def send(self, sock: int, offset: int, size: int) -> int:
        return self._send_copy(sock, offset, size)


async def test_what_must_be_copied_fills_the_socket_at_once_and_arrives_byte_for_byte(
    sender: FileSender,
    pair: tuple[socket.socket, socket.socket],
    tmp_path: Path,
    pool: ThreadPoolExecutor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    content = opened(tmp_path / "copied", pool, of=_Copied)
    server, client = pair
    monkeypatch.delattr(os, "sendfile")
    sent = content.send(server.fileno(), 0, 1 << 20)
    assert sent > 300_000
    transfer = sender.send(content, server.fileno(), range(sent, len(DATA)))
    assert await asyncio.to_thread(read, client, len(DATA)) == DATA
    assert await over(transfer)
    content.close()


async def test_client_that_goes_away_ends_the_transfer(
    sender: FileSender, content: Content, pair: tuple[socket.socket, socket.socket]
) -> None:
    server, client = pair
    transfer = sender.send(content, server.fileno(), range(len(DATA)))
    await asyncio.to_thread(read, client, 1000)
    client.close()
    assert not await over(transfer)


async def test_transfer_that_is_cancelled_while_its_client_reads_nothing_leaves_nothing_open(
    tmp_path: Path, pool: ThreadPoolExecutor, pair: tuple[socket.socket, socket.socket]
) -> None:
    server, _ = pair
    sender = FileSender()
    before = open_files()
    content = opened(tmp_path / "a", pool)
    sender_files = 2
    transfer = sender.send(content, server.fileno(), range(len(DATA)))
    last = -1
    while last != transfer.sent_bytes or not last:
        last = transfer.sent_bytes
        await asyncio.sleep(0.1)
    assert 0 < last < len(DATA)
    sender.cancel(transfer)
    assert not await over(transfer)
    content.close()
    assert open_files() == before + sender_files
    await sender.stop()
    assert open_files() == before


async def test_end_of_the_sender_ends_transfers(
    content: Content, pair: tuple[socket.socket, socket.socket]
) -> None:
    sender = FileSender()
    transfer = sender.send(content, pair[0].fileno(), range(len(DATA)))
    await sender.stop()
    assert not await over(transfer)


async def test_file_that_ends_too_early_is_an_error(
    sender: FileSender, content: Content, pair: tuple[socket.socket, socket.socket], tmp_path: Path
) -> None:
    os.truncate(tmp_path / "a", 100)
    transfer = sender.send(content, pair[0].fileno(), range(len(DATA)))
    with pytest.raises(FileShrank):
        await over(transfer)
    assert transfer.sent_bytes == 100


class _HungDisk(Content):
    """A file whose bytes come when `goes` is set."""

    def __init__(self, fd: int, size_bytes: int, pool: ThreadPoolExecutor) -> None:
        super().__init__(fd, size_bytes, pool)
        self.is_asked, self.goes = threading.Event(), threading.Event()
        self.descriptor = fd

    def is_at_hand(self, offset: int, size: int) -> bool:
        return False

    def send(self, sock: int, offset: int, size: int) -> int:
        self.is_asked.set()
        self.goes.wait(PATIENCE_S)
        os.fstat(self.descriptor)
        return super().send(sock, offset, size)


async def test_disk_that_hangs_holds_up_neither_the_loop_nor_other_transfers(
    sender: FileSender,
    content: Content,
    pair: tuple[socket.socket, socket.socket],
    tmp_path: Path,
    pool: ThreadPoolExecutor,
) -> None:
    hung = opened(tmp_path / "hung", pool, of=_HungDisk)
    assert isinstance(hung, _HungDisk)
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        waiting = sender.send(hung, ours.fileno(), range(1000))
        await asyncio.to_thread(hung.is_asked.wait, PATIENCE_S)
        server, client = pair
        other = sender.send(content, server.fileno(), range(len(DATA)))
        assert await asyncio.to_thread(read, client, len(DATA)) == DATA
        assert await over(other)
        assert not waiting.done.done()
        hung.goes.set()
        assert await over(waiting)
        assert theirs.recv(2000) == DATA[:1000]
    hung.close()


async def test_socket_with_room_wakes_nobody_up_while_its_transfer_waits_for_a_disk(
    sender: FileSender, tmp_path: Path, pool: ThreadPoolExecutor
) -> None:
    hung = opened(tmp_path / "hung", pool, of=_HungDisk)
    assert isinstance(hung, _HungDisk)
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        waiting = sender.send(hung, ours.fileno(), range(1000))
        await asyncio.to_thread(hung.is_asked.wait, PATIENCE_S)
        assert sender._thread.ident is not None
        clock = time.pthread_getcpuclockid(sender._thread.ident)
        before_s = time.clock_gettime(clock)
        await asyncio.sleep(0.2)
        assert time.clock_gettime(clock) - before_s < 0.02
        hung.goes.set()
        assert await over(waiting)
    hung.close()


async def test_file_stays_open_for_a_thread_that_waits_for_its_disk(
    sender: FileSender, tmp_path: Path, pool: ThreadPoolExecutor
) -> None:
    hung = opened(tmp_path / "hung", pool, of=_HungDisk)
    assert isinstance(hung, _HungDisk)
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        waiting = sender.send(hung, ours.fileno(), range(len(DATA)))
        await asyncio.to_thread(hung.is_asked.wait, PATIENCE_S)
        sender.cancel(waiting)
        hung.close()
        os.fstat(hung.descriptor)
        assert not waiting.done.done()
        hung.goes.set()
        assert not await over(waiting)
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(hung.descriptor)


async def test_what_is_not_in_memory_is_read_by_threads_of_its_own(
    sender: FileSender,
    content: Content,
    pair: tuple[socket.socket, socket.socket],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with (tmp_path / "a").open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    if content.is_at_hand(0, len(DATA)):
        pytest.skip("the file system keeps files in memory")
    senders: list[str] = []
    sendfile = os.sendfile

    def watched(sock: int, fd: int, offset: int, size: int) -> int:
        senders.append(threading.current_thread().name)
        return sendfile(sock, fd, offset, size)

    monkeypatch.setattr(os, "sendfile", watched)
    server, client = pair
    for _ in range(2):
        transfer = sender.send(content, server.fileno(), range(len(DATA)))
        assert await asyncio.to_thread(read, client, len(DATA)) == DATA
        assert await over(transfer)
    assert senders[0].startswith("file-sender-disk")
    assert content.is_at_hand(0, len(DATA))
    assert senders[-1] == "file-sender"
