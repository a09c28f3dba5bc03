"""A UDP port in front of another one, with a bad path between: media is lost and late, both ways."""

from __future__ import annotations

import select
import socket
import time
from threading import Event, Thread
from types import TracebackType

from helpers.impairment import Impairment

_STEP_S = 0.002
_MEDIA = range(128, 192)
"""First bytes of SRTP and SRTCP; checks and handshakes pass unharmed (RFC 7983)."""


class BadPath:
    """`with BadPath(up, down) as path:`; what comes to `path.port` goes on to the port that `lead_to` names.

    One client: whoever sent last.
    """

    def __init__(self, up: Impairment, down: Impairment) -> None:
        self.up = up
        self.down = down
        self._front = _socket()
        self._back = _socket()
        self._target: tuple[str, int] | None = None
        self._client: tuple[str, int] | None = None
        self._is_over = Event()
        self._thread = Thread(target=self._run, daemon=True)

    def __enter__(self) -> BadPath:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over.set()
        self._thread.join()
        self._front.close()
        self._back.close()

    @property
    def port(self) -> int:
        port: int = self._front.getsockname()[1]
        return port

    def lead_to(self, port: int) -> None:
        self._target = ("127.0.0.1", port)

    def _run(self) -> None:
        while not self._is_over.is_set():
            select.select([self._front, self._back], [], [], _STEP_S)
            now_s = time.monotonic()
            for data, address in _received(self._front):
                self._client = address
                if data[0] in _MEDIA:
                    self.up.send(data, now_s)
                else:
                    self._forward(data)
            for data, _ in _received(self._back):
                if data[0] in _MEDIA:
                    self.down.send(data, now_s)
                else:
                    self._return(data)
            for data in self.up.receive(now_s):
                self._forward(data)
            for data in self.down.receive(now_s):
                self._return(data)

    def _forward(self, data: bytes) -> None:
        if self._target is not None:
            self._back.sendto(data, self._target)

    def _return(self, data: bytes) -> None:
        if self._client is not None:
            self._front.sendto(data, self._client)


def _socket() -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    made.bind(("127.0.0.1", 0))
    made.setblocking(False)
    return made


def _received(port: socket.socket) -> list[tuple[bytes, tuple[str, int]]]:
    found = []
    while True:
        try:
            data, address = port.recvfrom(2048)
        except (BlockingIOError, ConnectionError):
            return found
        if data:
            found.append((data, address))
