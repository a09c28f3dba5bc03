"""The pump: leaves arriving bytes in the kernel and drains each socket a few times a second.

Most of what a recorder costs is reacting: a wake-up and a system call for each TCP segment. A socket that
only recordings drain is therefore read on a wheel of slots, about five times a second; a socket that somebody
waits for (a handshake, a viewer, a command) is read as bytes arrive. The wheel stands still while nothing is
on it.

A peer that hangs up is noticed at once in either mode: sockets on the wheel stay registered with an epoll of
the pump's own that reports nothing but the hang-up, so a publisher that leaves does not wait for its slot.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
import ssl
from collections import deque
from collections.abc import Iterable
from typing import Protocol

from aircheck.media.packet import Payload

READ_SIZE_BYTES = 512 * 1024
READ_ROUNDS = 8
"""Reads of one socket in one turn: a flood from one peer leaves the others their turn."""

TARGET_READ_BYTES = 160 * 1024
"""A read that brings more than this halves the socket's period, so that the kernel's buffer never fills."""

_IOV_MAX = 512
_WOULD_BLOCK = (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class LinkHandler(Protocol):
    """The protocol above a socket. Calls come on the loop and must not raise."""

    def received(self, data: memoryview) -> None:
        """Bytes from the peer, valid during the call only."""
        ...

    def lost(self, error: OSError | None) -> None:
        """The peer has gone (`None`: it closed in good order). Called once, never after `Link.close`."""
        ...


class Link:
    """One non-blocking socket on the pump. Its handler reads from it by being called, writes by `send`."""

    def __init__(self, pump: Pump, sock: socket.socket, handler: LinkHandler) -> None:
        self.sock = sock
        self.handler = handler
        self.pending_bytes = 0
        """Output that the kernel did not take yet."""
        self.is_closed = False
        self.is_batched = False
        self.is_paused = False
        self.period_ticks = 1
        self._pump = pump
        self._fd = sock.fileno()
        self._output: deque[memoryview] = deque()
        self._is_writing = False
        self._is_closing = False

    def send(self, buffers: Iterable[Payload]) -> None:
        """Write as much as the kernel takes now; keep the rest. The owner watches `pending_bytes`."""
        if self.is_closed or self._is_closing:
            return
        for buffer in buffers:
            if len(buffer):
                self._output.append(memoryview(buffer))
                self.pending_bytes += len(buffer)
        if not self._is_writing:
            self._flush()

    def set_batched(self, is_batched: bool) -> None:
        """Read on the wheel, or as bytes arrive."""
        if self.is_closed or is_batched == self.is_batched:
            return
        self.is_batched = is_batched
        if not self.is_paused:
            self._pump._place(self)

    def pause(self) -> None:
        """Leave bytes in the kernel until `resume`: the peer is held back by TCP."""
        if not self.is_closed and not self.is_paused:
            self.is_paused = True
            self._pump._lift(self)

    def resume(self) -> None:
        if not self.is_closed and self.is_paused:
            self.is_paused = False
            self._pump._place(self)

    def drain(self) -> None:
        """Read what has arrived by now, whatever the mode."""
        if not self.is_closed and not self.is_paused:
            self._pump._drain(self)

    def close(self) -> None:
        """Close without telling the handler; what is still to be sent gets a chance first."""
        if self.is_closed or self._is_closing:
            return
        if self._output:
            self._is_closing = True
            self._pump._lift(self)
            self._pump._linger(self)
        else:
            self.abort()

    def abort(self) -> None:
        """Close now."""
        if self.is_closed:
            return
        self.is_closed = True
        self._pump._remove(self)
        if self._is_writing:
            self._pump.loop.remove_writer(self._fd)
        self._output.clear()
        self.pending_bytes = 0
        self.sock.close()

    def _fail(self, error: OSError | None) -> None:
        if self.is_closed:
            return
        tells_handler = not self._is_closing
        self.abort()
        if tells_handler:
            self.handler.lost(error)

    def _flush(self) -> None:
        try:
            while self._output:
                self._sent(self._write_some())
        except _WOULD_BLOCK:
            pass
        except OSError as error:
            self._fail(error)
            return
        self._watch_writability(bool(self._output))
        if self._is_closing and not self._output:
            self.abort()

    def _write_some(self) -> int:
        if isinstance(self.sock, ssl.SSLSocket):
            return self.sock.send(self._output[0])
        if len(self._output) == 1:
            return self.sock.send(self._output[0])
        head = [self._output[i] for i in range(min(len(self._output), _IOV_MAX))]
        return self.sock.sendmsg(head)

    def _sent(self, size_bytes: int) -> None:
        self.pending_bytes -= size_bytes
        while size_bytes:
            head = self._output[0]
            if len(head) > size_bytes:
                self._output[0] = head[size_bytes:]
                return
            size_bytes -= len(head)
            self._output.popleft()

    def _watch_writability(self, wanted: bool) -> None:
        if wanted and not self._is_writing:
            self._pump.loop.add_writer(self._fd, self._flush)
        elif self._is_writing and not wanted:
            self._pump.loop.remove_writer(self._fd)
        self._is_writing = wanted


class Pump:
    """Reads every media socket of the node. `interval_s` is the longest a batched socket waits."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, *, interval_s: float = 0.2, tick_s: float = 0.02
    ) -> None:
        self.loop = loop
        self.reads = 0
        self.read_bytes = 0
        self._tick_s = min(tick_s, interval_s)
        self._slots: list[dict[Link, None]] = [{} for _ in range(max(1, round(interval_s / self._tick_s)))]
        self._slot_of: dict[Link, int] = {}
        self._now_slot = 0
        self._timer: asyncio.TimerHandle | None = None
        self._next_start = 0
        self._buffer = memoryview(bytearray(READ_SIZE_BYTES))
        self._links: dict[int, Link] = {}
        self._hangups = select.epoll()
        loop.add_reader(self._hangups.fileno(), self._on_hangups)

    def __len__(self) -> int:
        return len(self._links)

    def add(self, sock: socket.socket, handler: LinkHandler) -> Link:
        """Take over a connected socket; it is read as bytes arrive until told otherwise."""
        sock.setblocking(False)
        link = Link(self, sock, handler)
        self._links[link._fd] = link
        self.loop.add_reader(link._fd, self._drain, link)
        return link

    def close(self) -> None:
        for link in list(self._links.values()):
            link.abort()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._hangups.closed:
            self.loop.remove_reader(self._hangups.fileno())
            self._hangups.close()

    def _place(self, link: Link) -> None:
        self._lift(link)
        if not link.is_batched:
            self.loop.add_reader(link._fd, self._drain, link)
            return
        # The last bytes may have come together with the hang-up, before this registration: RDHUP is
        # level-triggered, so it is reported all the same.
        self._hangups.register(link._fd, select.EPOLLRDHUP | select.EPOLLONESHOT)
        link.period_ticks = 1
        self._next_start = (self._next_start + 3) % len(self._slots)
        self._put(link, self._next_start)
        if self._timer is None:
            self._start_wheel()

    def _lift(self, link: Link) -> None:
        slot = self._slot_of.pop(link, None)
        if slot is None:
            self.loop.remove_reader(link._fd)
            return
        self._slots[slot].pop(link, None)
        with contextlib.suppress(OSError):
            self._hangups.unregister(link._fd)

    def _remove(self, link: Link) -> None:
        self._lift(link)
        self._links.pop(link._fd, None)

    def _linger(self, link: Link) -> None:
        """Give a closing link a moment for its last words, not for ever."""
        self.loop.call_later(5.0, link.abort)

    def _put(self, link: Link, slot: int) -> None:
        self._slots[slot][link] = None
        self._slot_of[link] = slot

    def _start_wheel(self) -> None:
        due_s = self.loop.time() + self._tick_s
        self._timer = self.loop.call_at(due_s, self._tick, due_s)

    def _tick(self, due_s: float) -> None:
        self._now_slot = (self._now_slot + 1) % len(self._slots)
        slot, self._slots[self._now_slot] = self._slots[self._now_slot], {}
        for link in slot:
            if self._slot_of.get(link) == self._now_slot:
                self._turn(link)
        if not self._slot_of:
            self._timer = None
            return
        next_s = max(due_s + self._tick_s, self.loop.time())
        self._timer = self.loop.call_at(next_s, self._tick, next_s)

    def _turn(self, link: Link) -> None:
        size_bytes = self._drain(link)
        if self._slot_of.get(link) != self._now_slot:
            return
        if size_bytes > TARGET_READ_BYTES:
            link.period_ticks = max(1, link.period_ticks // 2)
        elif size_bytes < TARGET_READ_BYTES // 2 and link.period_ticks < len(self._slots):
            link.period_ticks += 1
        self._put(link, (self._now_slot + link.period_ticks) % len(self._slots))

    def _drain(self, link: Link) -> int:
        """Read what the kernel holds for one socket and hand it on; returns its size in bytes."""
        total = 0
        buffer = self._buffer
        receive = link.sock.recv_into
        is_tls = isinstance(link.sock, ssl.SSLSocket)
        for _ in range(READ_ROUNDS * (32 if is_tls else 1)):
            try:
                size_bytes = receive(buffer)
            except _WOULD_BLOCK:
                break
            except OSError as error:
                link._fail(error)
                break
            if not size_bytes:
                link._fail(None)
                break
            total += size_bytes
            link.handler.received(buffer[:size_bytes])
            if link.is_closed or link.is_paused:
                break
            if size_bytes < READ_SIZE_BYTES and not is_tls:
                break
        self.reads += 1
        self.read_bytes += total
        return total

    def _on_hangups(self) -> None:
        for fd, _events in self._hangups.poll(0):
            link = self._links.get(fd)
            if link is not None and link in self._slot_of:
                link.set_batched(False)
