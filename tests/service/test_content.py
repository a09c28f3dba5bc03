"""Bytes of open files: read in threads, closed exactly once, and never while somebody reads."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from helpers.packets import VIDEO

from aircheck.containers.mp4 import Mp4Writer
from aircheck.media.packet import Packet
from aircheck.service.content import Content, FileMoved, FileShrank, FinishedContent


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


async def test_reader_that_is_cancelled_leaves_the_descriptor_to_the_read_in_progress(
    tmp_path: Path, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_bytes(b"media")
    fd = os.open(tmp_path / "a", os.O_RDONLY)
    content = Content(fd, 5, pool)
    entered, released = threading.Event(), threading.Event()

    def slow(offset: int, size: int) -> bytes:
        entered.set()
        released.wait(10)
        assert is_open(fd)
        return b""

    monkeypatch.setattr(content, "_read", slow)
    reading = asyncio.create_task(content.read(0, 5))
    await asyncio.to_thread(entered.wait, 10)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    content.close()
    assert is_open(fd)
    released.set()
    pool.shutdown()
    assert not is_open(fd)


async def test_a_finished_file_may_go_on_while_it_is_read(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    path = tmp_path / "a"
    path.write_bytes(bytes(range(200)))
    content = FinishedContent(os.open(path, os.O_RDONLY), 200, pool)
    with path.open("r+b") as file:
        file.seek(200)
        file.write(b"more")
    assert await content.read(50, 100) == bytes(range(50, 150))
    path.write_bytes(bytes(16) + bytes(range(200)))
    with pytest.raises(FileMoved):
        await content.read(100, 100)
    content.close()


async def test_content_that_was_never_read_is_closed(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    (tmp_path / "a").write_bytes(b"media")
    fd = os.open(tmp_path / "a", os.O_RDONLY)
    Content(fd, 5, pool).close()
    assert not is_open(fd)


async def test_file_that_ends_too_early_is_an_error_with_a_remedy(
    tmp_path: Path, pool: ThreadPoolExecutor
) -> None:
    (tmp_path / "a").write_bytes(b"media")
    content = Content(os.open(tmp_path / "a", os.O_RDONLY), 9, pool)
    assert await content.read(0, 9) == b"media"
    with pytest.raises(FileShrank) as caught:
        await content.read(5, 4)
    assert caught.value.remedy
    content.close()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def final_file(path: Path) -> bytes:
    """An MP4 file of ours, with media of no meaning behind its head."""
    writer = Mp4Writer(path, [VIDEO], creation_ns=1, fragment_ms=100)
    frames = [Packet(VIDEO, 40 * n, 40 * n, not n % 10, os.urandom(3000)) for n in range(50)]
    writer.write(frames)
    writer.finish()
    writer.finalize(sync=False)
    return path.read_bytes()


async def test_head_of_a_finished_file_is_copied_and_its_media_sent_by_the_kernel(
    tmp_path: Path,
    pool: ThreadPoolExecutor,
    pair: tuple[socket.socket, socket.socket],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = final_file(tmp_path / "a.mp4")
    content = FinishedContent(os.open(tmp_path / "a.mp4", os.O_RDONLY), len(data), pool)
    by_kernel: list[int] = []
    sendfile = os.sendfile

    def watched(sock: int, fd: int, offset: int, size: int) -> int:
        by_kernel.append(offset)
        return sendfile(sock, fd, offset, size)

    monkeypatch.setattr(os, "sendfile", watched)
    got, offset = b"", 0
    while offset < len(data):
        sent = content.send(pair[0].fileno(), offset, 20_000)
        got, offset = got + pair[1].recv(sent), offset + sent
    assert got == data
    assert by_kernel[0] == data.index(b"moof") - 4
    content.close()


async def test_finished_file_that_goes_on_is_copied_from_then_on(
    tmp_path: Path,
    pool: ThreadPoolExecutor,
    pair: tuple[socket.socket, socket.socket],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = final_file(tmp_path / "a.mp4")
    content = FinishedContent(os.open(tmp_path / "a.mp4", os.O_RDONLY), len(data), pool)
    with (tmp_path / "a.mp4").open("ab") as file:
        file.write(b"more")
    monkeypatch.delattr(os, "sendfile")
    assert content.send(pair[0].fileno(), len(data) - 5000, 5000) == 5000
    assert pair[1].recv(6000) == data[-5000:]
    (tmp_path / "a.mp4").write_bytes(bytes(4096) + data)
    with pytest.raises(FileMoved):
        content.send(pair[0].fileno(), len(data) - 5000, 5000)
    content.close()


async def test_bytes_that_moved_while_the_kernel_sent_them_break_the_download_off(
    tmp_path: Path,
    pool: ThreadPoolExecutor,
    pair: tuple[socket.socket, socket.socket],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = final_file(tmp_path / "a.mp4")
    content = FinishedContent(os.open(tmp_path / "a.mp4", os.O_RDONLY), len(data), pool)

    def moving(sock: int, fd: int, offset: int, size: int) -> int:
        (tmp_path / "a.mp4").write_bytes(bytes(4096) + data)
        return size

    monkeypatch.setattr(os, "sendfile", moving)
    with pytest.raises(FileMoved):
        content.send(pair[0].fileno(), len(data) - 5000, 5000)
    content.close()
