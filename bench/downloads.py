"""Clients that download, in one process: `python bench/downloads.py --port N --seconds S URL [URL ...]`.

Each URL is a client of its own that asks for it again as soon as it has it whole. What arrives is thrown
away. One line of JSON at the end: bytes and answers, by URL those that were not 200, and how long each took.
"""

from __future__ import annotations

import argparse
import json
import selectors
import socket
import time
from collections import Counter
from dataclasses import dataclass, field

_BUFFER = bytearray(1 << 20)


@dataclass(slots=True)
class Client:
    """One connection: asks, and takes what comes until the length that was promised."""

    port: int
    url: str
    sock: socket.socket | None = None
    head: bytearray = field(default_factory=bytearray)
    missing: int = -1
    began_s: float = 0.0
    status: int = 0

    def ask(self) -> None:
        """Begin the next request on a connection of its own."""
        self.sock = socket.create_connection(("127.0.0.1", self.port))
        self.sock.sendall(f"GET {self.url} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n".encode())
        self.sock.setblocking(False)
        self.head, self.missing, self.began_s = bytearray(), -1, time.monotonic()

    def take(self) -> int:
        """What is there; 0 when the answer is whole or the connection ended."""
        assert self.sock is not None
        try:
            got = self.sock.recv_into(_BUFFER)
        except BlockingIOError:
            return -1
        if self.missing < 0 and got:
            self._parse_head(got)
        else:
            self.missing -= got
        return got if self.missing else 0

    def _parse_head(self, got: int) -> None:
        self.head += _BUFFER[:got]
        end = self.head.find(b"\r\n\r\n")
        if end >= 0:
            lines = bytes(self.head[:end]).decode("latin-1").lower().split("\r\n")
            fields = dict(line.split(": ", 1) for line in lines[1:])
            self.status = int(lines[0].split()[1])
            self.missing = int(fields["content-length"]) - (len(self.head) - end - 4)


def run(port: int, urls: list[str], seconds: float) -> dict[str, object]:
    selector = selectors.DefaultSelector()
    clients = [Client(port, url) for url in urls]
    total, answers, failures, times_s = 0, 0, Counter[str](), list[float]()
    end_s = time.monotonic() + seconds
    for client in clients:
        _begin(selector, client)
    while time.monotonic() < end_s:
        for key, _ in selector.select(0.1):
            client = key.data
            got = client.take()
            total += max(0, got)
            if got:
                continue
            _end(selector, client)
            answers += 1
            times_s.append(time.monotonic() - client.began_s)
            if client.status != 200 or client.missing:
                failures[f"{client.status} {client.url}"] += 1
            _begin(selector, client)
    for client in clients:
        _end(selector, client)
    times_s.sort()
    return {
        "size_bytes": total,
        "answers": answers,
        "failures": failures,
        "median_s": times_s[len(times_s) // 2] if times_s else 0,
        "worst_s": times_s[-1] if times_s else 0,
    }


def _begin(selector: selectors.BaseSelector, client: Client) -> None:
    client.ask()
    assert client.sock is not None
    selector.register(client.sock, selectors.EVENT_READ, client)


def _end(selector: selectors.BaseSelector, client: Client) -> None:
    if client.sock is not None:
        selector.unregister(client.sock)
        client.sock.close()
        client.sock = None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("urls", nargs="+")
    options = parser.parse_args()
    print(json.dumps(run(options.port, options.urls, options.seconds)), flush=True)


if __name__ == "__main__":
    main()
