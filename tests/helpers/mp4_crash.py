"""Children that kill themselves at a chosen system call, and what must be true of the file they leave."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Any

import av

from aircheck.containers.mp4 import disk

_CALLS = ("pwrite", "pwritev", "ftruncate", "fdatasync", "fsync", "copy_file_range")
_ATOMIC = 8
_DONE = 0


class Death(Enum):
    BEFORE = "before"
    """Just before the step."""
    HALFWAY = "halfway"
    """With half of what the step writes on disk; writes of 8 bytes are all or nothing."""


class _Killer:
    def __init__(self, step: int, death: Death) -> None:
        self._left = step
        self._death = death

    def wrap(self, owner: Any, name: str) -> None:
        real = getattr(owner, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            self._left -= 1
            if self._left == 0:
                if self._death is Death.HALFWAY:
                    _write_half(real, name, args)
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **kwargs)

        setattr(owner, name, call)


def _write_half(real: Callable[..., Any], name: str, args: tuple[Any, ...]) -> None:
    if name == "pwrite" and len(args[1]) > _ATOMIC:
        real(args[0], args[1][: len(args[1]) // 2], args[2])
    if name == "pwritev":
        data = b"".join(args[1])
        os.pwrite(args[0], data[: len(data) // 2], args[2])


def run_and_die(action: Callable[[Callable[[], None]], None], step: int, death: Death) -> tuple[int, bool]:
    """Run `action` in a child that dies at its `step`-th system call that touches a file.

    `action` gets a function to call whenever something has been promised. Returns how often it was called,
    and whether the child reached the end alive.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(reader)
            killer = _Killer(step, death)
            for name in _CALLS:
                killer.wrap(os, name)
            killer.wrap(disk, "_fallocate")
            killer.wrap(Path, "replace")
            killer.wrap(Path, "unlink")
            action(lambda: _promise(writer))
            code = _DONE
        finally:
            os._exit(code)
    os.close(writer)
    promises = b""
    while chunk := os.read(reader, 4096):
        promises += chunk
    os.close(reader)
    _, status = os.waitpid(child, 0)
    is_alive = os.WIFEXITED(status)
    assert not is_alive or os.WEXITSTATUS(status) == _DONE, "the child failed"
    return len(promises), is_alive


def _promise(writer: int) -> None:
    os.write(writer, b".")


def payloads(path: Path) -> list[list[bytes]]:
    """What each stream of the file plays."""
    with av.open(str(path)) as container:
        streams: list[list[bytes]] = [[] for _ in container.streams]
        for packet in container.demux():
            if packet.size:
                streams[packet.stream.index].append(bytes(packet))
    return streams
