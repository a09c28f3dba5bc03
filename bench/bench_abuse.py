"""Peers that misbehave while honest ones are recorded: `python bench/bench_abuse.py`.

Twenty publishers send a small clip in real time. Meanwhile one abuse after the other is committed from this
same machine; at its height the server's metrics are read. Every packet of every honest publisher must be in
its file, and at the end the descriptors must be back where they were. Exit code 1 when not.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import socket
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from crash_judge import payloads_of
from crashable import CrashableServer, Rows
from paced import PacedPublisher, publish_all
from rtmp_bytes import PublishError, Session, new_message

HONEST = 20
MAX_CONNECTIONS = 1200
TIMEOUT_S = 3
"""Handshake and idle timeouts of the server under test: short, so that they are seen to work."""

_ENVIRONMENT = {
    "AIRCHECK_RTMP__MAX_CONNECTIONS": str(MAX_CONNECTIONS),
    "AIRCHECK_RTMP__HANDSHAKE_TIMEOUT_S": str(TIMEOUT_S),
    "AIRCHECK_RTMP__IDLE_TIMEOUT_S": str(TIMEOUT_S),
}
_TAG_HEADS = (b"\x17\x00", b"\x17\x01", b"\x27\x01", b"\xaf\x00", b"\xaf\x01", b"\x91", b"")
_METRIC = re.compile(r"^(?P<name>\w+)(?:\{(?P<labels>.*)\})? (?P<value>\S+)$", re.MULTILINE)
_REFUSED = re.compile(r'reason="([^"]*)"')


@dataclass(frozen=True, slots=True)
class Vitals:
    """What the server's metrics say of its health."""

    rss_mb: float
    fds: int
    connections: int
    max_lag_ms: float
    refused: dict[str, int]

    @classmethod
    def of(cls, server: CrashableServer) -> Vitals:
        url = f"http://127.0.0.1:{server.http_port}/metrics"
        text = urllib.request.urlopen(url, timeout=10).read().decode()
        values = {(m["name"], m["labels"] or ""): float(m["value"]) for m in _METRIC.finditer(text)}
        named = {name: value for (name, _), value in values.items()}
        refused = {
            _REFUSED.findall(labels)[0]: int(value)
            for (name, labels), value in values.items()
            if name == "aircheck_connections_refused_total"
        }
        return cls(
            rss_mb=named["process_resident_memory_bytes"] / 1e6,
            fds=int(named["process_open_fds"]),
            connections=int(values.get(("aircheck_connections", 'protocol="rtmp"'), 0)),
            max_lag_ms=named["aircheck_event_loop_lag_max_seconds"] * 1000,
            refused=refused,
        )


@dataclass(slots=True)
class Target:
    """The server as an abuser sees it. Sockets that are `kept` stay open until the abuse is over."""

    port: int
    scale: float = 1.0
    """How much of each abuse is committed; tests commit a little."""
    kept: list[socket.socket] = field(default_factory=list)

    def many(self, number: int) -> range:
        return range(max(1, int(number * self.scale)))

    def dial(self) -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", self.port), timeout=5)
        self.kept.append(sock)
        return sock

    def session(self) -> Session:
        session = Session("127.0.0.1", self.port, timeout_s=5)
        self.kept.append(session.sock)
        return session

    def hang_up(self) -> None:
        for sock in self.kept:
            sock.close()
        self.kept.clear()


def idle_connections(target: Target) -> None:
    """A thousand connections that say nothing."""
    for _ in target.many(1000):
        target.dial()
    time.sleep(TIMEOUT_S + 2)


def flood(target: Target) -> None:
    """Twice as many connections as are allowed, as fast as they go."""
    for _ in target.many(2 * MAX_CONNECTIONS):
        with suppress(OSError):
            target.dial()
    time.sleep(1)


def slow_handshakes(target: Target) -> None:
    """A byte a second."""
    for _ in target.many(100):
        target.dial()
    for _ in range(TIMEOUT_S + 2):
        for sock in target.kept:
            with suppress(OSError):
                sock.send(b"\x03")
        time.sleep(1)


def garbage(target: Target) -> None:
    """Random bytes, some behind a proper handshake."""
    for number in target.many(200):
        with suppress(OSError, PublishError):
            if number % 2:
                session = target.session()
                session.shake_hands()
                session.sock.sendall(os.urandom(random.randint(1, 65536)))
            else:
                target.dial().sendall(os.urandom(random.randint(1, 65536)))
    time.sleep(1)


def garbage_media(target: Target) -> None:
    """Publishers whose audio and video are random bytes under proper headers."""
    for number in target.many(30):
        with suppress(OSError, PublishError):
            session = target.session()
            session.publish("live", f"garbage{number}", 4096)
            for step in range(200):
                kind, chunk_stream = random.choice(((8, 4), (9, 6), (18, 5)))
                payload = random.choice(_TAG_HEADS) + os.urandom(random.choice((0, 1, 7, 40, 3000)))
                stamp = random.choice((step * 33, 0, 0xFFFFFF, 0xFFFFFFF0, random.getrandbits(32)))
                message = new_message(chunk_stream, kind, session.stream_id, stamp, payload, 4096)
                session.sock.sendall(message)
    time.sleep(1)


def announced_lengths(target: Target) -> None:
    """Messages of 16 MB announced, and next to nothing sent."""
    for _ in target.many(100):
        with suppress(OSError, PublishError):
            session = target.session()
            session.shake_hands()
            session.sock.sendall(b"\x06\x00\x00\x00\xff\xff\xff\x09\x01\x00\x00\x00" + bytes(100))
    time.sleep(1)


def unfinished_messages(target: Target) -> None:
    """Messages just within the limit that are sent but for their end."""
    size = 9_900_000
    header = b"\x00\x00\x00" + size.to_bytes(3, "big") + b"\x09\x01\x00\x00\x00"
    body = bytes(128 * 1024)
    for _ in target.many(20):
        with suppress(OSError, PublishError):
            session = target.session()
            session.publish("live", f"unfinished{len(target.kept)}", 0xFFFF)
            session.sock.sendall(b"\x06" + header)
            sent = 0
            while sent < size - 200_000:
                for _ in range(2):
                    session.sock.sendall(body[:0xFFFF] + b"\xc6")
                    sent += 0xFFFF
    time.sleep(1)


def half_closed(target: Target) -> None:
    """Peers that say that they will send no more, and stay."""
    for number in target.many(200):
        with suppress(OSError, PublishError):
            if number % 4:
                target.dial().shutdown(socket.SHUT_WR)
            else:
                session = target.session()
                session.publish("live", f"half{number}", 4096)
                session.sock.shutdown(socket.SHUT_WR)
    time.sleep(1)


def silent_publishers(target: Target) -> None:
    """Streams without media."""
    for number in target.many(50):
        with suppress(OSError, PublishError):
            target.session().publish("live", f"silent{number}", 4096)
    time.sleep(TIMEOUT_S + 2)


def vanishing_publishers(target: Target) -> None:
    """A hundred that connect, send something and are gone without a word."""
    crowd = publish_all(target.port, [f"vanishing{number}" for number in target.many(100)])
    time.sleep(2)
    for publisher in crowd:
        publisher.stop(farewell=False)
    for publisher in crowd:
        publisher.join(10)


def players_that_do_not_read(target: Target) -> None:
    """Viewers of an honest stream whose windows are closed."""
    for _ in target.many(20):
        with suppress(OSError, PublishError):
            session = target.session()
            session.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            session.play("live", "honest0")
    time.sleep(5)


ABUSES: tuple[Callable[[Target], None], ...] = (
    idle_connections,
    flood,
    slow_handshakes,
    garbage,
    garbage_media,
    announced_lengths,
    unfinished_messages,
    half_closed,
    silent_publishers,
    vanishing_publishers,
    players_that_do_not_read,
)


class AbuseRun:
    """Honest publishers in waves: the clip lasts twenty seconds, so each abuse has a wave of its own."""

    def __init__(self, server: CrashableServer, *, honest: int = HONEST) -> None:
        self.problems: list[str] = []
        self._server = server
        self._honest = honest

    def commit(self, abuse: Callable[[Target], None], *, scale: float = 1.0) -> Vitals:
        """One abuse while honest publishers are recorded; what the metrics say at its height."""
        with self._honest_wave():
            target = Target(self._server.rtmp_port, scale)
            try:
                abuse(target)
                vitals = Vitals.of(self._server)
            finally:
                target.hang_up()
            time.sleep(0.5)
        return vitals

    @contextmanager
    def _honest_wave(self) -> Iterator[None]:
        publishers = publish_all(self._server.rtmp_port, [f"honest{n}" for n in range(self._honest)])
        for publisher in publishers:
            if not publisher.is_published.wait(10):
                self.problems.append(f"{publisher.stream} was not let in")
        time.sleep(1)
        try:
            yield
        finally:
            for publisher in publishers:
                publisher.stop(farewell=True)
            for publisher in publishers:
                publisher.join(15)
        self._judge(publishers)

    def _judge(self, publishers: list[PacedPublisher]) -> None:
        rows = self._rows_when_done()
        for publisher in publishers:
            files = rows.files_of(publisher.stream)
            newest = max(files, key=lambda path: path.stat().st_mtime_ns, default=None)
            kept = payloads_of(newest) if newest is not None else {}
            for kind in ("video", "audio"):
                sent = [packet.digest for packet in publisher.sent() if packet.kind == kind]
                if kept.get(kind) != sent:
                    self.problems.append(
                        f"{publisher.stream}: {len(kept.get(kind, []))} {kind} of {len(sent)}"
                    )
            if publisher.longest_send_s > 1:
                self.problems.append(f"{publisher.stream} was held up for {publisher.longest_send_s:.1f} s")

    def _rows_when_done(self) -> Rows:
        end_s = time.monotonic() + 20
        while time.monotonic() < end_s:
            rows = Rows.of(self._server.record_dir)
            if not [row for row in rows.unfinished if row.stream.startswith("honest")]:
                return rows
            time.sleep(0.1)
        raise RuntimeError("recordings of honest publishers do not end")


@contextmanager
def abused_server(folder: Path, *, prefix: tuple[str, ...] = ()) -> Iterator[CrashableServer]:
    server = CrashableServer(folder, settings="min_free_bytes = 0")
    server.prefix = prefix
    server.start(environment=_ENVIRONMENT)
    try:
        yield server
    finally:
        server.close()


def settled(server: CrashableServer) -> Vitals:
    """The vitals once nobody is connected any more."""
    end_s = time.monotonic() + 15
    while (vitals := Vitals.of(server)).connections and time.monotonic() < end_s:
        time.sleep(0.2)
    return vitals


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("names", nargs="*", help="only these abuses")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="aircheck-abuse-"))
    lines = ["| abuse | RSS MB | descriptors | loop lag max ms | refused |", "|---|---|---|---|---|"]
    try:
        with abused_server(folder) as server:
            run = AbuseRun(server)
            run.commit(lambda target: None)
            before = settled(server)
            counted = dict(before.refused)
            for abuse in ABUSES:
                if options.names and abuse.__name__ not in options.names:
                    continue
                vitals = run.commit(abuse)
                told = {k: v - counted.get(k, 0) for k, v in vitals.refused.items() if v != counted.get(k)}
                counted = dict(vitals.refused)
                row = f"{abuse.__name__} | {vitals.rss_mb:.0f} | {vitals.fds} | {vitals.max_lag_ms:.0f}"
                lines.append(f"| {row} | {json.dumps(told)} |")
                print(lines[-1], *run.problems[-3:], flush=True)
            after = settled(server)
            lines.append(f"| afterwards | {after.rss_mb:.0f} | {after.fds} ({before.fds} before) | | |")
            if after.fds > before.fds + 2:
                run.problems.append(f"{after.fds} descriptors are open, {before.fds} were before")
            if "Traceback" in server.log:
                run.problems.append("tracebacks in the log")
                shutil.copy(folder / "server-1.log", "/tmp/aircheck-abuse.log")
    finally:
        shutil.rmtree(folder)
    print("\n".join([*lines, "", *run.problems]))
    return 1 if run.problems else 0


if __name__ == "__main__":
    sys.exit(main())
