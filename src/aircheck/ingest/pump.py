"""The pump: leaves arriving bytes in the kernel and drains each socket a few times a second.

Most of what a recorder costs is reacting: a wake-up and a system call for each TCP segment. A socket that
only recordings drain is therefore read on a wheel, once in `interval_s` or more often if it brings much; a
socket that somebody waits for (a handshake, a viewer, a command) is read as bytes arrive.

Sockets on the wheel keep company: each belongs to a phase, and those of one phase are read in the same turn,
because the code that reads the first is still in the processor's cache for the others. A phase takes
`COMPANY` sockets before the next one is begun, so that a turn never holds up the loop for long. The wheel
stops at no slot where nobody is due, and stands still while nothing is on it.

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
READ_ROUNDS = 16
"""Reads of one socket in one turn: a flood from one peer leaves the others their turn."""

DRAIN_MAX_BYTES = 16 * 1024 * 1024
"""A flood that does not end is left after this much."""

FLOOD_BYTES = 32 * 1024
"""A socket that is read as bytes arrive brings less at a time."""

TARGET_READ_BYTES = 256 * 1024
"""A read that brings more than this, or half of what the kernel would hold, halves the socket's period: the
buffer must never fill, because that would slow the publisher."""

SLOTS = 8
"""Turns of the wheel in one interval: a power of two, so that halved periods meet the others again."""

COMPANY = 50
"""Sockets of one phase before another is begun; reading that many takes some 6 ms."""

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
        self.has_hung_up = False
        """The peer sends nothing more; what it has sent may still be in the kernel."""
        self.period_ticks = 1
        """On the wheel: turns from one read to the next."""
        self._pump = pump
        self._fd = sock.fileno()
        self._is_tls = isinstance(sock, ssl.SSLSocket)
        self._phase = -1
        self._slot = -1
        """Where on the wheel it waits; -1 when it does not."""
        self._output: deque[memoryview] = deque()
        self._is_writing = False
        self._is_closing = False
        self._is_draining = False
        """What is sent meanwhile waits: a peer that has hung up resets the connection for each word, and what
        it sent before would be lost."""

    def _is_flooded(self, size_bytes: int) -> bool:
        """Whether, by the last read, more comes than the kernel has room for: reading on makes some."""
        return self.period_ticks == 1 if self.is_batched else size_bytes >= FLOOD_BYTES

    def send(self, buffers: Iterable[Payload]) -> None:
        """Write as much as the kernel takes now; keep the rest. The owner watches `pending_bytes`."""
        if self.is_closed or self._is_closing:
            return
        for buffer in buffers:
            if len(buffer):
                self._output.append(memoryview(buffer))
                self.pending_bytes += len(buffer)
        if not self._is_writing and not self._is_draining:
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
            self._pump._watch_for_hangup(self)

    def resume(self) -> None:
        if not self.is_closed and self.is_paused:
            self.is_paused = False
            self._pump._place(self)

    def drain(self) -> None:
        """Read what has been sent by now, whatever the mode: also what the kernel had no room for here."""
        drained = 0
        while not (self.is_closed or self.is_paused or self._is_closing) and drained < DRAIN_MAX_BYTES:
            size_bytes = self._pump._drain(self)
            if not size_bytes:
                return
            drained += size_bytes

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
        if self._is_tls or len(self._output) == 1:
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

    def __init__(self, loop: asyncio.AbstractEventLoop, *, interval_s: float = 0.4) -> None:
        self.loop = loop
        self.reads = 0
        self.read_bytes = 0
        self._tick_s = interval_s / SLOTS
        self._slots: list[dict[Link, None]] = [{} for _ in range(SLOTS)]
        self._phases = [0] * SLOTS
        """How many links each phase has."""
        self._last_turn = 0
        """Turn n is due at n ticks of the loop's clock and reads slot n modulo SLOTS."""
        self._timer: asyncio.TimerHandle | None = None
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
        self._place(link)
        return link

    def close(self) -> None:
        for link in list(self._links.values()):
            link.abort()
        self._stop_wheel()
        if not self._hangups.closed:
            self.loop.remove_reader(self._hangups.fileno())
            self._hangups.close()

    def _place(self, link: Link) -> None:
        self._lift(link)
        if not link.is_batched:
            self.loop.add_reader(link._fd, self._drain, link)
            # A reset is no reading for uvloop; epoll reports it whatever is asked for.
            self._hangups.register(link._fd, select.EPOLLONESHOT)
            return
        self._watch_for_hangup(link)
        link._phase = self._best_phase()
        self._phases[link._phase] += 1
        link.period_ticks = 1
        if self._timer is None:
            self._last_turn = self._turn_now()
        self._put(link, self._turn_now())
        self._set_timer()

    def _watch_for_hangup(self, link: Link) -> None:
        # The last bytes may have come together with the hang-up, before this registration: RDHUP is
        # level-triggered, so it is reported all the same.
        self._hangups.register(link._fd, select.EPOLLRDHUP | select.EPOLLONESHOT)

    def _best_phase(self) -> int:
        """The fullest phase that is not full; when all are, the emptiest."""
        open_phases = [phase for phase, links in enumerate(self._phases) if links < COMPANY]
        if open_phases:
            return max(open_phases, key=self._phases.__getitem__)
        return min(range(SLOTS), key=self._phases.__getitem__)

    def _lift(self, link: Link) -> None:
        with contextlib.suppress(OSError):
            self._hangups.unregister(link._fd)
        if link._phase < 0:
            self.loop.remove_reader(link._fd)
            return
        self._slots[link._slot].pop(link, None)
        self._phases[link._phase] -= 1
        link._phase = link._slot = -1
        if not any(self._phases):
            self._stop_wheel()

    def _remove(self, link: Link) -> None:
        self._lift(link)
        self._links.pop(link._fd, None)

    def _linger(self, link: Link) -> None:
        """Give a closing link a moment for its last words, not for ever."""
        self.loop.call_later(5.0, link.abort)

    def _turn_now(self) -> int:
        return int(self.loop.time() / self._tick_s)

    def _put(self, link: Link, after: int) -> None:
        """Into the first slot after that turn which its phase and period name."""
        turn = after + link.period_ticks - (after - link._phase) % link.period_ticks
        link._slot = turn % SLOTS
        self._slots[link._slot][link] = None

    def _set_timer(self) -> None:
        """For the next turn in which somebody is due."""
        self._stop_wheel()
        for turn in range(self._last_turn + 1, self._last_turn + SLOTS + 1):
            if self._slots[turn % SLOTS]:
                self._timer = self.loop.call_at(turn * self._tick_s, self._turn, turn)
                return

    def _stop_wheel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _turn(self, turn: int) -> None:
        """Read whoever is due."""
        self._last_turn, slot = turn, turn % SLOTS
        due, self._slots[slot] = self._slots[slot], {}
        for link in due:
            if link._slot == slot:
                size_bytes = self._drain(link)
                if link._slot == slot:
                    self._adapt(link, size_bytes)
                    # A loop that is late skips what it missed: the bytes have waited in the kernel.
                    self._put(link, max(turn, self._turn_now()))
        self._set_timer()

    def _adapt(self, link: Link, size_bytes: int) -> None:
        """Read sooner what brings much, later what brings little."""
        # Of the kernel's buffer, which grows by itself, up to half is for the packets' own upkeep.
        limit = min(TARGET_READ_BYTES, link.sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2)
        if size_bytes > limit:
            link.period_ticks = max(1, link.period_ticks // 2)
        elif size_bytes < limit // 2:
            link.period_ticks = min(SLOTS, link.period_ticks * 2)

    def _drain(self, link: Link) -> int:
        """Read what the kernel holds for one socket and hand it on; returns its size in bytes."""
        if link._is_draining:
            return 0
        link._is_draining = True
        try:
            total = self._read(link)
        finally:
            link._is_draining = False
        if link._output and not link._is_writing and not link.is_closed:
            link._flush()
        self.reads += 1
        self.read_bytes += total
        return total

    def _read(self, link: Link) -> int:
        total = 0
        buffer = self._buffer
        receive = link.sock.recv_into
        is_tls = link._is_tls
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
            if link.is_closed or link.is_paused or link._is_closing:
                break
            if size_bytes < READ_SIZE_BYTES and not is_tls and not link._is_flooded(size_bytes):
                break
        return total

    def _on_hangups(self) -> None:
        for fd, _events in self._hangups.poll(0):
            link = self._links.get(fd)
            if link is not None:
                link.has_hung_up = True
                link.drain()  # to the end, which `lost` tells of
                link.set_batched(False)
