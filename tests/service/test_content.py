"""Bytes of open files: read in threads, closed exactly once, and never while somebody reads."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

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
