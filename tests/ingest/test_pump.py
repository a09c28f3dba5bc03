from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from typing import cast

import pytest
import uvloop
from helpers.patience import PATIENCE_S, until

from aircheck.ingest.pump import COMPANY, READ_SIZE_BYTES, SLOTS, Link, Pump

INTERVAL_S = 0.1


class Recorder:
    """A handler that keeps what it gets."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.reads = 0
        self.errors: list[OSError | None] = []
        self.is_lost = asyncio.Event()

    def received(self, data: memoryview) -> None:
        self.data += data
        self.reads += 1

    def lost(self, error: OSError | None) -> None:
        self.errors.append(error)
        self.is_lost.set()


@pytest.fixture
async def pump() -> AsyncIterator[Pump]:
    pump = Pump(asyncio.get_running_loop(), interval_s=INTERVAL_S)
    yield pump
    pump.close()


def connect(pump: Pump) -> tuple[socket.socket, Link, Recorder]:
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    handler = Recorder()
    return theirs, pump.add(ours, handler), handler


async def test_bytes_are_read_as_they_arrive(pump: Pump) -> None:
    peer, _, handler = connect(pump)
    for number in range(1, 6):
        peer.send(b"x")
        await until(lambda number=number: len(handler.data) == number)
    assert handler.reads == 5
    peer.close()


async def test_a_hang_up_is_noticed_at_once_on_the_wheel() -> None:
    slow = Pump(asyncio.get_running_loop(), interval_s=10 * PATIENCE_S)
    peer, link, handler = connect(slow)
    link.set_batched(True)
    peer.send(b"last words")
    peer.close()
    async with asyncio.timeout(PATIENCE_S):
        await handler.is_lost.wait()
    assert handler.data == b"last words"
    assert handler.errors == [None]
    slow.close()


async def test_a_paused_link_leaves_the_bytes_in_the_kernel(pump: Pump) -> None:
    peer, link, handler = connect(pump)
    link.pause()
    peer.send(b"later")
    await asyncio.sleep(0.05)
    assert not handler.data
    link.resume()
    await until(lambda: handler.data == b"later")
    peer.close()


async def test_a_link_paused_on_the_wheel_comes_back_to_the_wheel(pump: Pump) -> None:
    peer, link, handler = connect(pump)
    link.set_batched(True)
    link.pause()
    peer.send(b"later")
    await asyncio.sleep(0.25)
    assert not handler.data
    link.resume()
    assert link.is_batched
    await until(lambda: handler.data == b"later")
    peer.close()


async def test_output_that_the_kernel_does_not_take_waits_and_arrives_whole(pump: Pump) -> None:
    peer, link, _ = connect(pump)
    blob = bytes(range(256)) * 8192
    link.send([blob[:1000], b"", memoryview(blob)[1000:]])
    assert link.pending_bytes > 0
    got = bytearray()

    def read_some() -> bool:
        try:
            got.extend(peer.recv(READ_SIZE_BYTES))
        except BlockingIOError:
            return False
        return len(got) >= len(blob)

    await until(read_some)
    assert got == blob
    await until(lambda: link.pending_bytes == 0)
    peer.close()


async def test_closing_sends_the_last_words_first(pump: Pump) -> None:
    peer, link, handler = connect(pump)
    blob = bytes(2_000_000)
    link.send([blob])
    link.close()
    got = 0
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                chunk = peer.recv(READ_SIZE_BYTES)
            except BlockingIOError:
                await asyncio.sleep(0.001)
                continue
            if not chunk:
                break
            got += len(chunk)
    assert got == len(blob)
    assert handler.errors == []
    assert len(pump) == 0
    peer.close()


async def test_a_reset_is_told_as_an_error(pump: Pump) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    peer = socket.create_connection(listener.getsockname())
    ours, _ = listener.accept()
    handler = Recorder()
    pump.add(ours, handler)
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    peer.close()
    async with asyncio.timeout(PATIENCE_S):
        await handler.is_lost.wait()
    assert isinstance(handler.errors[0], ConnectionResetError)
    listener.close()


@pytest.mark.parametrize("is_batched", [False, True])
@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_a_reset_is_noticed_at_once_on_every_loop(run: Callable[..., object], is_batched: bool) -> None:
    """What came before it is read."""

    async def be_reset() -> None:
        pump = Pump(asyncio.get_running_loop(), interval_s=10 * PATIENCE_S)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            peer = socket.create_connection(listener.getsockname())
            handler = Recorder()
            link = pump.add(listener.accept()[0], handler)
        link.set_batched(is_batched)
        link.send([b"never read"])
        await asyncio.sleep(0.02)
        peer.send(bytes(1000))
        peer.close()
        async with asyncio.timeout(PATIENCE_S):
            await handler.is_lost.wait()
        assert len(handler.data) == 1000
        assert link.is_closed
        pump.close()

    run(be_reset())


@pytest.mark.parametrize("is_batched", [False, True])
async def test_words_to_a_peer_that_has_hung_up_do_not_cost_what_it_sent_before(
    pump: Pump, is_batched: bool
) -> None:
    """As FFmpeg does that publishes a file at once: it leaves with most of it in its own kernel, and an
    acknowledgement on the way back would reset the connection."""

    class Answering(Recorder):
        def received(self, data: memoryview) -> None:
            super().received(data)
            if not link.is_closed:
                link.send([b"got some"])

    handler = Answering()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        peer = socket.create_connection(listener.getsockname())
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
        link = pump.add(listener.accept()[0], handler)
    link.set_batched(is_batched)
    peer.setblocking(False)
    sent_bytes = peer.send(bytes(3 << 20))
    peer.close()
    await asyncio.wait_for(handler.is_lost.wait(), PATIENCE_S)
    assert len(handler.data) == sent_bytes > 1 << 20
    assert handler.errors == [None]


# --- the wheel, turned by hand ------------------------------------------------------------------------------


class Timer:
    def __init__(self, when_s: float, call: Callable[[], None]) -> None:
        self.when_s = when_s
        self.call = call
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True


class SteppedLoop:
    """What the wheel needs of a loop whose time stands still until `go_on`."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.timers: list[Timer] = []

    def time(self) -> float:
        return self.now_s

    def call_at(self, when_s: float, call: Callable[..., None], *arguments: object) -> Timer:
        timer = Timer(when_s, lambda: call(*arguments))
        self.timers.append(timer)
        return timer

    def add_reader(self, *_: object) -> None:
        """Nothing is read but by the wheel."""

    def remove_reader(self, *_: object) -> None: ...

    def go_on(self, seconds: float) -> None:
        end_s = self.now_s + seconds
        while due := [timer for timer in self.timers if not timer.is_cancelled and timer.when_s <= end_s]:
            timer = min(due, key=lambda timer: timer.when_s)
            self.timers.remove(timer)
            self.now_s = max(self.now_s, timer.when_s)
            timer.call()
        self.now_s = end_s


@pytest.fixture
def loop() -> SteppedLoop:
    return SteppedLoop()


@pytest.fixture
def wheel(loop: SteppedLoop) -> Iterator[Pump]:
    pump = Pump(cast(asyncio.AbstractEventLoop, loop), interval_s=INTERVAL_S)
    yield pump
    pump.close()


def connect_batched(wheel: Pump) -> tuple[socket.socket, Link, Recorder]:
    peer, link, handler = connect(wheel)
    link.set_batched(True)
    return peer, link, handler


def flood(peer: socket.socket) -> int:
    """Send all that the kernel takes."""
    sent_bytes = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            sent_bytes += peer.send(bytes(65536))
    return sent_bytes


def test_a_batched_link_is_read_once_in_an_interval(wheel: Pump, loop: SteppedLoop) -> None:
    peer, _, handler = connect_batched(wheel)
    loop.go_on(10 * INTERVAL_S)
    for _ in range(20):
        peer.send(b"y")
    assert handler.reads == 0
    loop.go_on(INTERVAL_S)
    assert (len(handler.data), handler.reads) == (20, 1)
    peer.close()


def test_a_flood_shortens_the_period_and_a_trickle_lengthens_it(wheel: Pump, loop: SteppedLoop) -> None:
    peer, link, handler = connect_batched(wheel)
    loop.go_on(10 * INTERVAL_S)
    assert link.period_ticks == SLOTS
    sent_bytes = 0
    for shorter in (SLOTS // 2, SLOTS // 4):
        sent_bytes += flood(peer)
        while len(handler.data) < sent_bytes:
            loop.go_on(INTERVAL_S / SLOTS)
        assert link.period_ticks == shorter
    loop.go_on(10 * INTERVAL_S)
    assert link.period_ticks == SLOTS
    peer.close()


def test_the_wheel_stands_still_while_nothing_is_on_it(wheel: Pump) -> None:
    peer, link, _ = connect_batched(wheel)
    assert wheel._timer is not None
    link.set_batched(False)
    assert wheel._timer is None
    peer.close()


def test_links_on_the_wheel_are_read_in_company(wheel: Pump, loop: SteppedLoop) -> None:
    peers, links, _ = zip(*(connect_batched(wheel) for _ in range(COMPANY + 2)), strict=True)
    loop.go_on(10 * INTERVAL_S)
    assert {link.period_ticks for link in links} == {SLOTS}
    assert sorted(map(len, filter(None, wheel._slots))) == [2, COMPANY]
    for peer in peers:
        peer.close()


def test_a_newcomer_does_not_delay_those_on_the_wheel(wheel: Pump, loop: SteppedLoop) -> None:
    peer, _, handler = connect_batched(wheel)
    loop.go_on(10 * INTERVAL_S)
    peer.send(b"wait for me")
    newcomers = []
    for _ in range(25):
        newcomers.append(connect_batched(wheel)[0])
        loop.go_on(INTERVAL_S / 20)
    assert handler.data == b"wait for me"
    for each in (peer, *newcomers):
        each.close()
