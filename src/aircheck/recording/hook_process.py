"""One run of a hook: a program of somebody else's, with a time limit and its output in our log.

The program runs in a process group of its own, so that what it starts can be ended with it. It gets no
input. What it says is logged line by line, up to `LINES_MAX`; more is read and counted but not kept, and
never read faster than `READ_INTERVAL_S` allows: a program that says the same for ever costs us nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from aircheck.recording.spawn import spawn

LINES_MAX = 100
LINE_MAX_BYTES = 1000
READ_INTERVAL_S = 0.02
OUTPUT_GRACE_S = 0.5
"""How long output may come after the program has ended: what it left in the background may hold the pipe."""

VALUE_MAX_BYTES = 32 * 1024
"""A longer argument or variable is cut: the system would refuse to start the program."""

KILL_GRACE_S = 2.0
"""Between asking a group to end, forcing it to, and giving up on one that the kernel holds on to."""

_BEGINNINGS = (b"#!", b"\x7fELF")
_SHELLS = (Path("/bin/bash"), Path("/bin/sh"))
"""Scripts that do not say by what they are run were mostly written where `sh` is Bash."""


def command_for(script: Path) -> list[str]:
    """How a script is run: by itself, or by the shell when it is not executable or does not say by what.

    Reads the file's first bytes; raises OSError when it cannot be read.
    """
    with script.open("rb") as file:
        beginning = file.read(4)
    runs_itself = os.access(script, os.X_OK) and beginning.startswith(_BEGINNINGS)
    if runs_itself:
        return [str(script)]
    shell = next((shell for shell in _SHELLS if shell.exists()), _SHELLS[-1])
    return [str(shell), str(script)]


async def run_hook(
    command: Sequence[str],
    variables: Mapping[str, str],
    *,
    timeout_s: float,
    on_line: Callable[[str], object],
    threads: Executor,
) -> int:
    """Run a command to its end; returns its exit status, or minus the signal that ended it.

    `variables` come on top of our own environment; one of `threads` starts it. Raises OSError when the
    program cannot be started, TimeoutError when it had to be ended; a caller that is cancelled ends it too.
    """
    output = Output(on_line)
    write_fd = await output.open()
    words = [_passable(word) for word in command]
    environment = {**os.environ, **{name: _passable(value) for name, value in variables.items()}}
    loop = asyncio.get_running_loop()
    starting = loop.run_in_executor(threads, _start, words, environment, write_fd, loop.create_future())
    try:
        async with asyncio.timeout(timeout_s):
            program = await asyncio.shield(starting)
            return await program.ended
    except (TimeoutError, asyncio.CancelledError):
        await asyncio.wait({starting}, timeout=KILL_GRACE_S)
        if starting.done() and starting.exception() is None:
            await _end_group(starting.result())
        raise
    finally:
        await output.finish()


@dataclass(frozen=True, slots=True)
class _Program:
    """One that was started. `ended` gets its exit status, or minus the signal that ended it."""

    pid: int
    ended: asyncio.Future[int]


def _start(
    command: Sequence[str], environment: Mapping[str, str], write_fd: int, ended: asyncio.Future[int]
) -> _Program:
    """On a thread. Closes the descriptor, which the program has then, if it could be started."""
    try:
        program = _Program(spawn(command, environment, write_fd), ended)
    finally:
        os.close(write_fd)
    # A thread that nobody joins: the kernel may hold on to a program for ever.
    threading.Thread(target=_wait_for, args=(program,), name="hook-wait", daemon=True).start()
    return program


def _wait_for(program: _Program) -> None:
    _, status = os.waitpid(program.pid, 0)
    with contextlib.suppress(RuntimeError):  # the loop has been closed
        program.ended.get_loop().call_soon_threadsafe(
            _tell_end, program.ended, os.waitstatus_to_exitcode(status)
        )


def _tell_end(ended: asyncio.Future[int], status: int) -> None:
    if not ended.done():
        ended.set_result(status)


async def _end_group(program: _Program) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        # The group may outlive its first process, and may be somebody else's by `sudo`.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(program.pid, number)
        await asyncio.wait({program.ended}, timeout=KILL_GRACE_S)


def _passable(text: str) -> str:
    """The text as the system can pass it to a program: without NULs, and as bytes of UTF-8."""
    try:
        data = os.fsencode(text)
    except UnicodeEncodeError:
        data = text.encode(errors="replace")
    return os.fsdecode(data[:VALUE_MAX_BYTES].replace(b"\0", b"_"))


class Output(asyncio.Protocol):
    """What a program says, by lines. `open` gives the descriptor for the program to write to."""

    def __init__(self, on_line: Callable[[str], object]) -> None:
        self._on_line = on_line
        self._transport: asyncio.ReadTransport | None = None
        self._ended = asyncio.get_running_loop().create_future()
        self._rest = b""
        self._lines = 0
        self._unsaid_bytes = 0

    async def open(self) -> int:
        read_fd, write_fd = os.pipe()
        await asyncio.get_running_loop().connect_read_pipe(lambda: self, os.fdopen(read_fd, "rb", 0))
        return write_fd

    async def finish(self) -> None:
        """Take what is still coming, but do not wait for those who keep the pipe open without a word."""
        await asyncio.wait({self._ended}, timeout=OUTPUT_GRACE_S)
        self.close()
        if self._rest:
            self._say(self._rest)
        if self._unsaid_bytes:
            self._on_line(f"… and {self._unsaid_bytes} bytes more")

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.ReadTransport, transport)

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._say(line)
        self._unsaid_bytes += max(0, len(self._rest) - LINE_MAX_BYTES)
        self._rest = self._rest[:LINE_MAX_BYTES]
        self._transport.pause_reading()
        asyncio.get_running_loop().call_later(READ_INTERVAL_S, self._go_on)

    def connection_lost(self, error: Exception | None) -> None:
        if not self._ended.done():
            self._ended.set_result(None)

    def _go_on(self) -> None:
        assert self._transport is not None
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def _say(self, line: bytes) -> None:
        if self._lines >= LINES_MAX:
            self._unsaid_bytes += len(line) + 1
            return
        self._lines += 1
        self._unsaid_bytes += max(0, len(line) - LINE_MAX_BYTES)
        self._on_line(line[:LINE_MAX_BYTES].decode(errors="replace"))
