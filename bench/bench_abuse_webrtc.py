"""WebRTC peers that misbehave while honest ones are recorded: `python bench/bench_abuse_webrtc.py`.

Ten publishers of `rtc_publishers.py` send 1 Mbit/s each and send nothing again. Meanwhile one abuse after the
other is committed from this same machine; at its height, and when its peers must be forgotten, the server's
metrics are read. Exit code 1 when a packet of an honest publisher is missing, a file of theirs has a hole, or
peers and descriptors do not come back to what they were.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import av
import httpx

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from helpers.raw_peer import RawPeer, offer  # noqa: E402
from helpers.server import ServerProcess  # noqa: E402

HONEST = 10
HONEST_KBPS = 1000
TIMEOUT_S = 10
"""Of the server under test: short, so that forgetting is seen."""

SPARE_FDS = 2
"""Of the metrics' own connection, and of a file that is just synced."""

GAP_MAX_S = 0.1
"""Between two pictures of 30 a second; the generator itself may be late."""

HEAD = (
    "| abuse | RSS MB: at its height, after | descriptors | peers | largest loop lag so far, ms"
    " | counted |\n|---|---|---|---|---|---|"
)
_METRIC = re.compile(r"^(?P<name>\w+)(?:\{(?P<labels>.*)\})? (?P<value>\S+)$", re.MULTILINE)
_PORT = re.compile(r"media by (?P<host>[\d.]+):(?P<port>\d+)")
_LOST = re.compile(r"unpublished (stream=bench-\d+ .*rtp_packets_lost=\d+)")
"""What the server says of an honest publisher that ends, if something of it is missing."""

_random = random.Random(7)


@dataclass(frozen=True, slots=True)
class Vitals:
    """What the server's metrics say of its health."""

    rss_mb: float
    fds: int
    peers: int
    max_lag_ms: float
    counts: dict[str, int]
    """Refusals, ends and dropped packets, by reason."""

    @classmethod
    def of(cls, server: ServerProcess) -> Vitals:
        text = httpx.get(server.http_url("/metrics"), timeout=20).text
        values = {(m["name"], m["labels"] or ""): float(m["value"]) for m in _METRIC.finditer(text)}
        named = {name: value for (name, _), value in values.items()}
        counted = ("connections_refused_total", "webrtc_peers_ended_total", "webrtc_dropped_packets_total")
        return cls(
            rss_mb=named["process_resident_memory_bytes"] / 1e6,
            fds=int(named["process_open_fds"]),
            peers=sum(int(v) for (name, _), v in values.items() if name == "aircheck_webrtc_peers"),
            max_lag_ms=named["aircheck_event_loop_lag_max_seconds"] * 1000,
            counts={
                re.findall('"([^"]*)"', labels)[-1]: int(value)
                for (name, labels), value in values.items()
                if name.removeprefix("aircheck_") in counted
            },
        )

    def row(self, name: str, before: Vitals, after: Vitals) -> str:
        """One abuse: these are its height."""
        known = before.counts
        counted = {k: v - known.get(k, 0) for k, v in after.counts.items() if v != known.get(k, 0)}
        cells = (
            name,
            f"{self.rss_mb:.0f}, {after.rss_mb:.0f}",
            f"{self.fds}, {after.fds}",
            f"{self.peers}, {after.peers}",
            f"{after.max_lag_ms:.0f}",
            json.dumps(counted),
        )
        return f"| {' | '.join(map(str, cells))} |"


class Target:
    """The server as an abuser sees it. What is `kept` is closed when the abuse is over, without a word."""

    def __init__(self, server: ServerProcess, http: httpx.AsyncClient) -> None:
        found = _PORT.search(server.log)
        assert found is not None
        self.address = (found["host"], int(found["port"]))
        self.kept: list[RawPeer] = []
        self._server = server
        self._http = http
        self._names = 0

    async def post(self, body: str) -> httpx.Response:
        self._names += 1
        url = self._server.http_url(f"/whip/abuse-{self._names}-{time.monotonic_ns()}")
        return await self._http.post(url, content=body, headers={"content-type": "application/sdp"})

    async def peer(self) -> RawPeer:
        answer = await self.post(offer())
        peer = await RawPeer.to(answer.text, self.address)
        self.kept.append(peer)
        return peer

    async def dial(self) -> asyncio.StreamWriter:
        _, writer = await asyncio.open_connection(*self.address)
        return writer


async def garbage(target: Target) -> None:
    """Thirty thousand datagrams of random bytes, three thousand a second."""
    await _flood(target, lambda _: _random.randbytes(_random.randrange(1, 1400)), 30_000, per_second=3000)


async def unproven_checks(target: Target) -> None:
    """Ten thousand checks with passwords that are wrong, a thousand a second."""
    peer = await target.peer()
    requests = [peer.request(key=f"guess {number}") for number in range(100)]
    await _flood(target, lambda number: requests[number % 100], 10_000, per_second=1000)


async def burst_of_offers(target: Target) -> None:
    """Five hundred good offers at once, of clients that never come."""
    answers = await asyncio.gather(*(target.post(offer()) for _ in range(500)))
    if any(answer.status_code != 201 for answer in answers):
        raise RuntimeError(f"refused: {[answer.status_code for answer in answers if answer.is_error][:5]}")


async def bad_offers(target: Target) -> None:
    """Five hundred offers that are broken or of a megabyte."""
    good = offer()
    for number in range(500):
        at = _random.randrange(len(good))
        body = good[:at] + chr(_random.randrange(32, 127)) * 40 + good[at:]
        await target.post("v=0\r\n" + "a=x\r\n" * 200_000 if number % 50 == 0 else body[: at + 200])


async def half_open_handshakes(target: Target) -> None:
    """Three hundred peers that shake hands but for the end."""
    for _ in range(300):
        peer = await target.peer()
        await peer.check()
        peer.put(peer.dtls.begin()[0])


async def junk_in_handshakes(target: Target) -> None:
    """Fifty peers that send random records instead of a handshake."""
    for _ in range(50):
        peer = await target.peer()
        await peer.check()
        hello = peer.dtls.begin()[0]
        for number in range(100):
            peer.put(bytes((_random.randrange(20, 64),)) + _random.randbytes(_random.randrange(300)))
            peer.put(hello[: _random.randrange(1, len(hello))])
            if number % 20 == 0:
                await asyncio.sleep(0.005)


async def forged_media(target: Target) -> None:
    """Twenty publishers of forged, replayed and random media, 2000 packets each."""
    for _ in range(20):
        peer = await target.peer()
        await peer.connect()
        good = peer.rtp()
        for number in range(1000):
            peer.put(good if number % 2 else good[:-1] + _random.randbytes(1))
            peer.put(peer.rtp(_random.randbytes(_random.randrange(1000)), ssrc=_random.randrange(1, 50)))
            if number % 50 == 0:
                await asyncio.sleep(0.005)


async def vanishing_publishers(target: Target) -> None:
    """A hundred that connect, send a second of sound and are gone without a word."""
    for _ in range(100):
        peer = await target.peer()
        await peer.connect()
    for _ in range(50):
        for peer in target.kept:
            peer.put(peer.rtp())
        await asyncio.sleep(0.02)


async def silent_tcp(target: Target) -> None:
    """A thousand TCP connections that say nothing, or something else."""
    writers = []
    for number in range(1000):
        writers.append(await target.dial())
        if number % 2:
            writers[-1].write(_random.randbytes(_random.randrange(1, 3000)))
    await asyncio.sleep(1)
    for writer in writers:
        writer.close()


async def _flood(target: Target, datagram: Callable[[int], bytes], number: int, *, per_second: int) -> None:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, remote_addr=target.address)
    begun_s = time.monotonic()
    for at in range(number):
        transport.sendto(datagram(at))
        if at % 50 == 49:
            await asyncio.sleep(max(0.0, begun_s + at / per_second - time.monotonic()))
    transport.close()


ABUSES: tuple[Callable[[Target], Awaitable[None]], ...] = (
    garbage,
    unproven_checks,
    burst_of_offers,
    bad_offers,
    half_open_handshakes,
    junk_in_handshakes,
    forged_media,
    vanishing_publishers,
    silent_tcp,
)


@contextmanager
def honest_publishers(server: ServerProcess) -> Iterator[None]:
    """They send until the block is left."""
    command = [sys.executable, str(ROOT / "bench" / "rtc_publishers.py"), server.http_url("/whip/{}")]
    command += ["--streams", str(HONEST), "--kbps", str(HONEST_KBPS), "--seconds", "1000000"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        process.stdout.readline()
        yield
    finally:
        process.terminate()
        process.wait()


def forgotten(server: ServerProcess, peers: int, fds: int) -> Vitals:
    """The vitals once so few peers and descriptors are there, or after a while."""
    end_s = time.monotonic() + 6 * TIMEOUT_S
    while time.monotonic() < end_s:
        vitals = Vitals.of(server)
        if vitals.peers <= peers and vitals.fds <= fds:
            break
        time.sleep(0.5)
    return vitals


async def commit(server: ServerProcess, abuse: Callable[[Target], Awaitable[None]]) -> Vitals:
    """The vitals at the height of the abuse."""
    async with httpx.AsyncClient(timeout=60, limits=httpx.Limits(max_connections=100)) as http:
        target = Target(server, http)
        try:
            await abuse(target)
            return Vitals.of(server)
        finally:
            for peer in target.kept:
                peer.close()


def holes(folder: Path) -> list[str]:
    """Where pictures of an honest publisher are missing."""
    found = []
    files = [path for path in folder.rglob("bench-*") if path.suffix == ".mp4"]
    for path in files:
        with av.open(str(path)) as container:
            times = [float(p.pts * p.time_base) for p in container.demux(video=0) if p.size]
        worst_s = max(after - before for before, after in pairwise(times))
        if worst_s > GAP_MAX_S:
            found.append(f"{path.name}: {worst_s:.2f} s without a picture")
    return found if len(files) == HONEST else [*found, f"{len(files)} files of {HONEST} publishers"]


def run(names: list[str], times: int) -> list[str]:
    """Prints the table; returns what was not as it should be."""
    problems: list[str] = []
    for name in ("CONNECT_TIMEOUT_S", "IDLE_TIMEOUT_S"):
        os.environ[f"AIRCHECK_WEBRTC__{name}"] = str(TIMEOUT_S)
    with tempfile.TemporaryDirectory(prefix="bench-abuse-") as temporary:
        with ServerProcess(Path(temporary), record=['name = "{streamName}"']) as server:
            with honest_publishers(server):
                time.sleep(3)
                first = before = Vitals.of(server)
                print(first.row("before", first, first), flush=True)
                for abuse in ABUSES * times:
                    if not names or abuse.__name__ in names:
                        height = asyncio.run(commit(server, abuse))
                        after = forgotten(server, HONEST, first.fds + SPARE_FDS)
                        print(height.row(abuse.__name__, before, after), flush=True)
                        before = after
            forgotten(server, 0, first.fds)
            problems += _LOST.findall(server.log)
            if before.peers != HONEST or before.fds > first.fds + SPARE_FDS:
                problems.append(f"{before.peers} peers and {before.fds} descriptors are left")
            if "Traceback" in server.log:
                problems.append("tracebacks in the log")
        problems += holes(Path(temporary))
    return problems


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="only these abuses")
    parser.add_argument("--times", type=int, default=1, help="again and again: memory must not grow")
    options = parser.parse_args()
    print(HEAD, flush=True)
    problems = run(options.names, options.times)
    print(*problems, sep="\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
