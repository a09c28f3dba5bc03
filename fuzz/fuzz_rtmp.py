"""Fuzzes both ends of RTMP: `python fuzz/fuzz_rtmp.py --seconds 60`, or with `--atheris` under atheris.

Whatever bytes come, the outcome must be events or a `RemoteProtocolError`, in memory that follows what has
been received and not what was announced. Inputs begin with a byte that chooses the end and how the rest is
cut into reads; seeds are in `corpus/rtmp` (the head of each RTMP vector of the tests, and hand-made ones).
An input that breaks this is written to `crash-…` in the current folder.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from aircheck.wire.errors import RemoteProtocolError
from aircheck.wire.rtmp import events
from aircheck.wire.rtmp.base import Connection
from aircheck.wire.rtmp.client import ClientConnection
from aircheck.wire.rtmp.connection import ServerConnection
from aircheck.wire.rtmp.handshake import Scheme
from aircheck.wire.rtmp.limits import Limits

CORPUS = Path(__file__).parent / "corpus" / "rtmp"

LIMITS = Limits(max_message_bytes=64 * 1024, max_pending_bytes=128 * 1024, max_amf_bytes=16 * 1024)
HANDSHAKE = b"\x03" + bytes(2 * 1536)
INTERESTING = (
    b"\0",
    b"\xff",
    b"\x7f",
    b"\x80",
    b"\xff\xff\xff",
    b"\xff\xff\xff\xff",
    b"\0\0\0\0",
    b"\0\0\x80\0",
)


def run_one(data: bytes) -> int:
    """Feed one input; return how many events it has brought. Raises for whatever is not allowed to happen."""
    mode = data[0] if data else 0
    connection: Connection = _server() if mode & 1 else _client()
    count = 0
    try:
        for piece in _reads(data[1:], mode >> 1):
            connection.receive(piece, 0.0)
            count += _answer(connection)
            _check_memory(connection, len(data))
        connection.receive(b"", 0.0)
    except RemoteProtocolError as error:
        str(error)
        connection.events()
    return count


def _server() -> ServerConnection:
    server = ServerConnection(LIMITS)
    server.receive(HANDSHAKE, 0.0)
    return server


def _client() -> ClientConnection:
    client = ClientConnection(LIMITS, scheme=Scheme.SIMPLE)
    client.connect("live", "rtmp://host/live")
    client.receive(HANDSHAKE, 0.0)
    return client


def _reads(data: bytes, mode: int) -> Iterator[memoryview]:
    size = (len(data), 1, 7, 129, 1000)[mode % 5] or 1
    buffer = bytearray(size)
    for start in range(0, len(data), size):
        piece = data[start : start + size]
        buffer[: len(piece)] = piece
        yield memoryview(buffer)[: len(piece)]


def _answer(connection: Connection) -> int:
    """React as a program would; output is drained so that it does not pile up."""
    happened = connection.events()
    for event in happened:
        match connection, event:
            case ServerConnection(), events.ConnectRequested():
                connection.accept_connect(event)
            case ServerConnection(), events.PublishRequested():
                connection.accept_publish(event)
            case ServerConnection(), events.PlayRequested():
                connection.accept_play(event)
            case ClientConnection(), events.Connected():
                connection.play("cam")
                connection.publish("cam")
        repr(event)
    connection.data_to_send()
    return len(happened)


def _check_memory(connection: Connection, received_bytes: int) -> None:
    parser = connection._parser
    partials = [stream.partial for stream in parser._chunk_streams.values() if stream.partial is not None]
    held_bytes = len(parser._tail) + sum(map(len, partials))
    assert held_bytes <= received_bytes, f"{held_bytes} bytes held of {received_bytes} received"
    assert sum(map(len, partials)) <= parser._pending_bytes <= LIMITS.max_pending_bytes
    assert len(parser._chunk_streams) <= LIMITS.max_chunk_streams
    assert len(connection._streams) <= LIMITS.max_message_streams


def seeds() -> list[bytes]:
    return [path.read_bytes() for path in sorted(CORPUS.iterdir())]


def mutate(data: bytes, others: list[bytes], chooser: random.Random) -> bytes:
    mutant = bytearray(data)
    for _ in range(chooser.randrange(1, 8)):
        at = chooser.randrange(len(mutant) + 1)
        match chooser.randrange(7):
            case 0 if at < len(mutant):
                mutant[at] ^= 1 << chooser.randrange(8)
            case 1:
                mutant[at : at + chooser.randrange(5)] = chooser.choice(INTERESTING)
            case 2:
                del mutant[at : at + chooser.randrange(1, 40)]
            case 3:
                mutant[at:at] = mutant[at : at + chooser.randrange(1, 200)]
            case 4:
                other = chooser.choice(others)
                start = chooser.randrange(len(other) + 1)
                mutant[at:at] = other[start : start + chooser.randrange(1, 400)]
            case 5:
                mutant[at:at] = chooser.randbytes(chooser.randrange(1, 20))
            case _ if mutant:
                mutant[0] = chooser.randrange(256)
    return bytes(mutant[:20_000])


def fuzz(*, seed: int, rounds: int | None = None, seconds: float | None = None) -> int:
    """Run seeds, then mutants, until either bound is met; return how many inputs there were."""
    chooser, inputs, end = random.Random(seed), seeds(), time.monotonic() + (seconds or 1e9)
    for data in inputs:
        _guarded(data)
    done = 0
    while (rounds is None or done < rounds) and time.monotonic() < end:
        _guarded(mutate(chooser.choice(inputs), inputs, chooser))
        done += 1
    return done + len(inputs)


def _guarded(data: bytes) -> None:
    try:
        run_one(data)
    except BaseException:
        name = Path(f"crash-{hashlib.sha256(data).hexdigest()[:12]}")
        name.write_bytes(data)
        print(f"kept as {name}", file=sys.stderr)
        raise


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--atheris", action="store_true", help="coverage-guided; needs the package atheris")
    parser.add_argument("inputs", nargs="*", type=Path, help="run these files instead, such as a crash")
    arguments = parser.parse_args()
    if arguments.inputs:
        for path in arguments.inputs:
            run_one(path.read_bytes())
    elif arguments.atheris:
        import atheris  # an option, and not for every platform

        atheris.Setup([sys.argv[0], str(CORPUS)], lambda data: (run_one(data), None)[1])
        atheris.Fuzz()
    else:
        count = fuzz(seed=arguments.seed, seconds=arguments.seconds)
        print(f"{count} inputs, seed {arguments.seed}: no crash")


if __name__ == "__main__":
    main()
