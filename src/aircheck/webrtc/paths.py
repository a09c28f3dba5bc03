"""Paths: the ways to a peer, an address on the UDP port or a TCP connection (RFC 6544, RFC 4571 framing)."""

from __future__ import annotations

import asyncio
import socket
from typing import Protocol, cast

from aircheck.wire import stun

MAX_FRAME_BYTES = 1500
TCP_OUTPUT_MAX_BYTES = 1024 * 1024
"""What may wait for a peer on TCP; then packets are dropped, as UDP would drop them."""
TCP_PROOF_TIMEOUT_S = 10.0
"""How long a TCP connection may take to prove by a check whose it is."""

Address = tuple[str, int]


class PeerHandler(Protocol):
    """A peer, as the port sees it. Calls come on the loop and do not raise for what the remote sent."""

    def check(self, request: stun.Message, path: Path, now_s: float) -> bytes | None:
        """The answer to a check, or `None` when its sender does not know the password."""
        ...

    def receive_dtls(self, datagram: bytes, path: Path, now_s: float) -> None: ...

    def receive_media(self, packets: list[bytes], path: Path, arrival_ns: int, now_s: float) -> None:
        """SRTP and SRTCP as they came, those of one drain."""
        ...

    def path_lost(self, path: Path) -> None: ...

    def break_off(self) -> None:
        """Called from the handler of an exception that came of the peer."""
        ...


class Path:
    """A way to a peer: an address on the UDP port, or a TCP connection."""

    __slots__ = ("address", "inbox", "peer")

    transport = ""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.peer: PeerHandler | None = None
        self.inbox: list[bytes] = []

    def send(self, datagram: bytes) -> bool:
        """Whether the kernel took it."""
        raise NotImplementedError

    def __str__(self) -> str:
        host, port = self.address
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class UdpPath(Path):
    __slots__ = ("_name", "_sock")

    transport = "udp"

    def __init__(self, sock: socket.socket, name: tuple[str, int]) -> None:
        super().__init__((name[0].removeprefix("::ffff:"), name[1]))
        self._sock = sock
        self._name = name

    @property
    def name(self) -> tuple[str, int]:
        """The address as the socket has it: IPv6 with scope, IPv4 perhaps inside IPv6."""
        return self._name

    def send(self, datagram: bytes) -> bool:
        try:
            self._sock.sendto(datagram, self._name)
        except OSError:
            return False
        return True


class TcpOwner(Protocol):
    """Who accepts connections and takes what comes over them."""

    def admit(self, path: TcpPath) -> bool: ...
    def receive_frame(self, data: bytes, path: TcpPath) -> None: ...
    def deliver(self, path: Path) -> None: ...
    def forget_path(self, path: Path) -> None: ...
    def count(self, error: str) -> None: ...


class TcpPath(Path, asyncio.Protocol):
    """One accepted connection. Frames have their length before them (RFC 4571)."""

    __slots__ = ("_buffer", "_owner", "_timer", "_transport")

    transport = "tcp"

    def __init__(self, owner: TcpOwner) -> None:
        super().__init__(("", 0))
        self._owner = owner
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports only look like asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        host, number = transport.get_extra_info("peername")[:2]
        self.address = (host.removeprefix("::ffff:"), number)
        if not self._owner.admit(self):
            self._transport.abort()
            return
        self._timer = asyncio.get_running_loop().call_later(TCP_PROOF_TIMEOUT_S, self._check_proof)

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        offset = 0
        while len(buffer) - offset >= 2:
            size = buffer[offset] << 8 | buffer[offset + 1]
            if not 0 < size <= MAX_FRAME_BYTES:
                self._owner.count("tcp_garbage")
                self.close()
                return
            end = offset + 2 + size
            if end > len(buffer):
                break
            self._owner.receive_frame(bytes(buffer[offset + 2 : end]), self)
            offset = end
        del buffer[:offset]
        self._owner.deliver(self)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._owner.forget_path(self)

    def send(self, datagram: bytes) -> bool:
        transport = self._transport
        if transport is None or transport.is_closing():
            return False
        if transport.get_write_buffer_size() > TCP_OUTPUT_MAX_BYTES:
            return False
        transport.write(len(datagram).to_bytes(2, "big") + datagram)
        return True

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def _check_proof(self) -> None:
        if self.peer is None:
            self._owner.count("tcp_silent")
            self.close()
