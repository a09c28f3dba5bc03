from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable

import pytest
import uvloop

from aircheck.ingest.pump import COMPANY, READ_SIZE_BYTES, SLOTS, Link, Pump


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
    pump = Pump(asyncio.get_running_loop(), interval_s=0.1)
    yield pump
    pump.close()


def connect(pump: Pump) -> tuple[socket.socket, Link, Recorder]:
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    handler = Recorder()
    return theirs, pump.add(ours, handler), handler


async def until(condition: Callable[[], bool], timeout_s: float = 5.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def test_bytes_are_read_as_they_arrive_until_the_link_is_batched(pump: Pump) -> None:
    peer, link, handler = connect(pump)
    for _ in range(5):
        peer.send(b"x")
        await until(lambda: len(handler.data) == handler.reads)
        await asyncio.sleep(0.01)
    assert handler.reads == 5
    link.set_batched(True)
    for _ in range(20):
        peer.send(b"y")
        await asyncio.sleep(0.002)
    await until(lambda: len(handler.data) == 25)
    assert handler.reads < 5 + 20
    peer.close()


async def test_a_hang_up_is_noticed_at_once_on_the_wheel() -> None:
    slow = Pump(asyncio.get_running_loop(), interval_s=30)
    peer, link, handler = connect(slow)
    link.set_batched(True)
    peer.send(b"last words")
    peer.close()
    async with asyncio.timeout(2):
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


async def test_a_flood_shortens_the_period_and_a_trickle_lengthens_it(pump: Pump) -> None:
    peer, link, handler = connect(pump)
    link.set_batched(True)
    await until(lambda: link.period_ticks == SLOTS)
    peer.setblocking(True)
    flood = asyncio.create_task(asyncio.to_thread(_flood, peer, 3_000_000))
    await until(lambda: link.period_ticks < SLOTS)
    sent = await flood
    await until(lambda: len(handler.data) == sent)
    await until(lambda: link.period_ticks == SLOTS)
    peer.close()


def _flood(peer: socket.socket, size_bytes: int) -> int:
    peer.settimeout(10)
    peer.sendall(bytes(size_bytes))
    return size_bytes


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
    async with asyncio.timeout(5):
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
    async with asyncio.timeout(2):
        await handler.is_lost.wait()
    assert isinstance(handler.errors[0], ConnectionResetError)
    listener.close()


@pytest.mark.parametrize("is_batched", [False, True])
@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_a_reset_is_noticed_at_once_on_every_loop(run: Callable[..., object], is_batched: bool) -> None:
    """What came before it is read."""

    async def be_reset() -> None:
        pump = Pump(asyncio.get_running_loop(), interval_s=60)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            peer = socket.create_connection(listener.getsockname())
            handler = Recorder()
            link = pump.add(listener.accept()[0], handler)
        link.set_batched(is_batched)
        link.send([b"never read"])
        await asyncio.sleep(0.02)
        peer.send(bytes(1000))
        peer.close()
        async with asyncio.timeout(5):
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
    await asyncio.wait_for(handler.is_lost.wait(), 5)
    assert len(handler.data) == sent_bytes > 1 << 20
    assert handler.errors == [None]


async def test_the_wheel_stands_still_while_nothing_is_on_it(pump: Pump) -> None:
    peer, link, _ = connect(pump)
    link.set_batched(True)
    assert pump._timer is not None
    link.set_batched(False)
    await asyncio.sleep(0.05)
    assert pump._timer is None
    peer.close()


async def test_links_on_the_wheel_are_read_in_company(pump: Pump) -> None:
    peers, links = [], []
    for _ in range(COMPANY + 2):
        peer, link, _ = connect(pump)
        link.set_batched(True)
        peers.append(peer)
        links.append(link)
    await until(lambda: all(link.period_ticks == SLOTS for link in links))
    await asyncio.sleep(0.1)
    assert sorted(map(len, filter(None, pump._slots))) == [2, COMPANY]
    for peer in peers:
        peer.close()


async def test_a_newcomer_does_not_delay_those_on_the_wheel(pump: Pump) -> None:
    peer, link, handler = connect(pump)
    link.set_batched(True)
    await until(lambda: link.period_ticks == SLOTS)
    peer.send(b"wait for me")
    began_s = asyncio.get_running_loop().time()
    newcomers = []
    while not handler.data:
        other_peer, other, _ = connect(pump)
        other.set_batched(True)
        newcomers.append(other_peer)
        await asyncio.sleep(0.005)
    assert asyncio.get_running_loop().time() - began_s < 0.1 + 0.15
    for each in (peer, *newcomers):
        each.close()
