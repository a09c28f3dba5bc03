"""The port that all peers share: one UDP socket, and TCP on the same number (RFC 6544, RFC 4571 framing).

Packets wait in the kernel and are drained fifty times a second, all peers in one turn, because to wake up
for each of them costs more than to decrypt it. While nothing comes the socket is watched instead. What
arrives is told apart by its first byte (RFC 7983) and by where it came from; media from addresses that no
peer has proven by a check is dropped before anything looks into it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import struct
from collections import Counter

from aircheck.clock import Clock
from aircheck.webrtc.paths import Address, Path, PeerHandler, TcpPath, UdpPath
from aircheck.webrtc.this_machine import open_for_this_machine
from aircheck.wire import stun

_log = logging.getLogger(__name__)

INTERVAL_S = 0.02
"""From one drain to the next while packets come."""
QUICK_INTERVAL_S = 0.01
"""The same while somebody watches, who sees media later by that, and while somebody has just come, whose
sound and pictures may have to be put together by when they came."""
PACKETS_A_TURN = 2000
"""Of one drain: a flood leaves the rest of the program its turn."""
RECEIVE_BUFFER_BYTES = 8 * 1024 * 1024
SEND_BUFFER_BYTES = 4 * 1024 * 1024
MIN_RECEIVE_BUFFER_BYTES = 1024 * 1024
MAX_DATAGRAM_BYTES = 2048
MAX_TCP_PEERS = 512
_PORT_ATTEMPTS = 20
_SO_SNDBUFFORCE = 32
_SO_RCVBUFFORCE = 33
_SO_MEMINFO = 55
_MEMINFO = struct.Struct("9I")
"""Nine counts of a socket, the last of which is of packets that it dropped (linux/sock_diag.h)."""


class Port:
    """Reads for every peer. `errors` counts what was dropped, by kind."""

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: Clock) -> None:
        self.address: Address = ("", 0)
        self.udp_host = ""
        """What UDP is bound to: all addresses also where the port is for this machine alone."""
        self.errors: Counter[str] = Counter()
        self.received_packets = 0
        self.received_bytes = 0
        self.receive_buffer_bytes = 0
        self.interval_s = INTERVAL_S
        self._loop = loop
        self._clock = clock
        self._sock: socket.socket | None = None
        self._server: asyncio.Server | None = None
        self._peers: dict[str, PeerHandler] = {}
        """By the user name fragments that we gave out."""
        self._udp_paths: dict[tuple[str, int], UdpPath] = {}
        self._tcp_paths: set[TcpPath] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._is_draining = False

    async def listen(self, host: str, port: int, *, is_for_this_machine: bool = False) -> Address:
        """Open UDP and TCP on one number; 0 takes a free one. Raises OSError."""
        for attempt in range(_PORT_ATTEMPTS):
            local = open_for_this_machine(port) if is_for_this_machine else None
            self.udp_host = host if local is None else "0.0.0.0"
            sock = local or _open_udp(host, port)
            self.address = (host, sock.getsockname()[1])
            try:
                listener = _open_tcp(host, self.address[1])
            except OSError:
                sock.close()
                if port or attempt == _PORT_ATTEMPTS - 1:
                    raise
            else:
                break
        self._server = await self._loop.create_server(lambda: TcpPath(self), sock=listener)
        self._sock = sock
        self.receive_buffer_bytes = _grow_buffers(sock)
        self._watch()
        return self.address

    async def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._server is not None:
            self._server.close()
            self._server = None
        for path in list(self._tcp_paths):
            path.close()
        if self._sock is not None:
            self._loop.remove_reader(self._sock.fileno())
            self._sock.close()
            self._sock = None

    def overflowed(self) -> int:
        """Packets that came faster than they were taken, for which the kernel had no room, so far."""
        if self._sock is None:
            return 0
        try:
            counts = self._sock.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size)
        except OSError:
            return 0  # a kernel that does not tell
        return int(_MEMINFO.unpack(counts)[-1])

    # whose packets are whose

    def add_ufrag(self, ufrag: str, peer: PeerHandler) -> None:
        self._peers[ufrag] = peer

    def remove_ufrag(self, ufrag: str) -> None:
        self._peers.pop(ufrag, None)

    def forget_path(self, path: Path) -> None:
        """A way that is gone, or that its peer no longer wants."""
        peer, path.peer = path.peer, None
        if isinstance(path, UdpPath):
            self._udp_paths.pop(path.name, None)
        elif isinstance(path, TcpPath):
            self._tcp_paths.discard(path)
            path.close()
        if peer is not None:
            peer.path_lost(path)

    def count(self, error: str) -> None:
        self.errors[error] += 1

    def admit(self, path: TcpPath) -> bool:
        if len(self._tcp_paths) >= MAX_TCP_PEERS:
            self.errors["tcp_too_many"] += 1
            return False
        self._tcp_paths.add(path)
        return True

    # what arrives

    def receive_frame(self, data: bytes, path: TcpPath) -> None:
        self.received_packets += 1
        self.received_bytes += len(data)
        if 127 < data[0] < 192:
            path.inbox.append(data)
        else:
            self.deliver(path)  # as below
            self._receive_control(data, path, self._clock.monotonic_s())

    def drain(self) -> int:
        """Hand on what has come by now, at most a turn's worth; returns how many packets.

        Whoever is about to end does so, because of what was sent before; within a drain it does nothing.
        """
        if self._sock is None or self._is_draining:
            return 0
        self._is_draining = True
        try:
            return self._drain(self._sock)
        finally:
            self._is_draining = False

    def deliver(self, path: Path) -> None:
        """Hand a path's media on."""
        packets, path.inbox = path.inbox, []
        peer = path.peer
        if peer is None:
            self.errors["media_from_strangers"] += len(packets)
        elif packets:
            try:
                peer.receive_media(packets, path, self._clock.wall_ns(), self._clock.monotonic_s())
            except Exception:
                peer.break_off()

    def _watch(self) -> None:
        if self._sock is not None:
            self._loop.add_reader(self._sock.fileno(), self._wake)

    def _wake(self) -> None:
        """The first packet after a silence: from now on in batches."""
        assert self._sock is not None
        self._loop.remove_reader(self._sock.fileno())
        self._turn()

    def _turn(self) -> None:
        self._timer = None
        try:
            count = self.drain()
        except Exception:
            # A mistake of ours must not end reading for everybody.
            self.errors["internal"] += 1
            _log.exception("draining the WebRTC port failed")
            count = 1
        if self._sock is None:
            return
        if not count:
            self._watch()
        elif count >= PACKETS_A_TURN:
            self._timer = self._loop.call_later(0, self._turn)
        else:
            self._timer = self._loop.call_later(self.interval_s, self._turn)

    def _drain(self, sock: socket.socket) -> int:
        """Read what the kernel holds and hand it on by peer."""
        receive = sock.recvfrom
        find = self._udp_paths.get
        touched: list[UdpPath] = []
        count = size_bytes = 0
        now_s = self._clock.monotonic_s()
        while count < PACKETS_A_TURN:
            try:
                data, name = receive(MAX_DATAGRAM_BYTES)
            except (BlockingIOError, InterruptedError):
                break
            except OSError:
                # An ICMP answer to something sent earlier; the socket goes on.
                self.errors["unreachable"] += 1
                count += 1
                continue
            count += 1
            size_bytes += len(data)
            path = find(name)
            if path is None:
                self._receive_from_stranger(data, name, now_s)
            elif data and 127 < data[0] < 192:
                if not path.inbox:
                    touched.append(path)
                path.inbox.append(data)
            else:
                # A farewell comes behind the media that was sent before it.
                self.deliver(path)
                self._receive_control(data, path, now_s)
        self.received_packets += count
        self.received_bytes += size_bytes
        for path in touched:
            self.deliver(path)
        return count

    def _receive_from_stranger(self, data: bytes, name: tuple[str, int], now_s: float) -> None:
        """Nothing but a check makes an address known."""
        if not data or data[0] > 3:
            self.errors["from_strangers"] += 1
            return
        assert self._sock is not None
        path = UdpPath(self._sock, name)
        self._receive_check(data, path, now_s)
        if path.peer is not None:
            self._udp_paths[name] = path

    def _receive_control(self, data: bytes, path: Path, now_s: float) -> None:
        first = data[0] if data else 255
        if first < 4:
            self._receive_check(data, path, now_s)
        elif 19 < first < 64 and path.peer is not None:
            peer = path.peer
            try:
                peer.receive_dtls(data, path, now_s)
            except Exception:
                peer.break_off()
        else:
            self.errors["garbage"] += 1

    def _receive_check(self, data: bytes, path: Path, now_s: float) -> None:
        try:
            message = stun.parse(data)
        except stun.StunError:
            self.errors["bad_stun"] += 1
            return
        if message.type is not stun.Type.BINDING_REQUEST:
            if message.type is not stun.Type.BINDING_INDICATION:
                self.errors["unexpected_stun"] += 1
            return
        peer = self._peers.get(message.username.partition(":")[0])
        answer = peer.check(message, path, now_s) if peer is not None else None
        if peer is None or answer is None:
            self.errors["unproven_stun"] += 1
            return
        if path.peer is not peer:
            # One client's address may serve several of its sessions in turn.
            if path.peer is not None:
                path.peer.path_lost(path)
            path.peer = peer
        path.send(answer)


def _open_udp(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        if host == "::":
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.setblocking(False)
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock


def _open_tcp(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=128, dualstack_ipv6=host == "::")


def _grow_buffers(sock: socket.socket) -> int:
    """Ask for room in the kernel: beyond its limit where we may, else up to it. Returns what it is."""
    wanted = (
        (socket.SO_RCVBUF, _SO_RCVBUFFORCE, RECEIVE_BUFFER_BYTES),
        (socket.SO_SNDBUF, _SO_SNDBUFFORCE, SEND_BUFFER_BYTES),
    )
    for option, forced, size_bytes in wanted:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, option, size_bytes)
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, forced, size_bytes)
    # The kernel counts its own upkeep in, and reports double.
    achieved = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2
    if achieved < MIN_RECEIVE_BUFFER_BYTES:
        _log.warning(
            "the kernel allows only a small UDP buffer: packets may be lost in bursts bytes=%d remedy=%s",
            achieved,
            f"sysctl -w net.core.rmem_max={RECEIVE_BUFFER_BYTES}",
        )
    return achieved
