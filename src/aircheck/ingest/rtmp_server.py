"""The RTMP server: listens, accepts, and keeps the sessions within their limits."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from aircheck.clock import Clock
from aircheck.facts import EndReason
from aircheck.hub.gatekeeper import Gatekeeper
from aircheck.hub.registry import Registry
from aircheck.hub.stream import Stream
from aircheck.ingest.pump import Link, Pump
from aircheck.ingest.rtmp_session import RtmpSession, Viewer
from aircheck.tasks import TaskGroup
from aircheck.wire.rtmp import events
from aircheck.wire.rtmp.adobe_auth import AdobeAuthenticator
from aircheck.wire.rtmp.connection import Limits

_log = logging.getLogger(__name__)

BACKLOG = 1024
ACCEPTS_A_TURN = 64
SWEEP_S = 1.0
GOODBYE_S = 1.0
"""For a peer that was told to go."""

NewViewer = Callable[[Stream, RtmpSession, int], Viewer]


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long a peer may take to begin, and how long a publisher may be silent."""

    handshake_s: float = 10.0
    idle_s: float = 30.0


class _Leaving:
    """Implements `LinkHandler` for a peer whose session is over."""

    def __init__(self, on_gone: Callable[[], None]) -> None:
        self._on_gone = on_gone

    def received(self, data: memoryview) -> None:
        pass

    def lost(self, error: OSError | None) -> None:
        self._on_gone()


class RtmpServer:
    """Every RTMP and RTMPS listener of the node and the sessions that came in by them."""

    def __init__(
        self,
        pump: Pump,
        registry: Registry,
        gatekeeper: Gatekeeper,
        clock: Clock,
        *,
        new_viewer: NewViewer,
        limits: Limits | None = None,
        timeouts: Timeouts | None = None,
        max_connections: int = 2000,
        back_buffer_bytes: int = 0,
        keeps_past: bool = False,
        asks_for_login: bool = False,
    ) -> None:
        self.registry = registry
        self.gatekeeper = gatekeeper
        self.clock = clock
        self.new_viewer = new_viewer
        self.limits = limits or Limits()
        self.timeouts = timeouts or Timeouts()
        self.back_buffer_bytes = back_buffer_bytes
        self.keeps_past = keeps_past
        """From the first packet on, not from the first viewer on."""
        self.tasks = TaskGroup("rtmp")
        self.sessions: dict[str, RtmpSession] = {}
        self.refused: Counter[str] = Counter()
        self.notices: Counter[str] = Counter()
        """What was odd in the media of publishers, by kind."""
        self.accepted = 0
        self.dropped_for_viewers = 0
        """Packets that viewers who are gone missed."""
        self.on_session_ended: list[Callable[[str], None]] = []
        """Called with the id of each session that has ended, after its streams have."""
        self._authenticator = AdobeAuthenticator()
        self._asks_for_login = asks_for_login
        self._leaving: set[Link] = set()
        self._gone = asyncio.Event()
        self._pump = pump
        self._max_connections = max_connections
        self._listeners: list[socket.socket] = []
        self._sweeper: asyncio.TimerHandle | None = None

    def listen(self, host: str, port: int, *, tls: ssl.SSLContext | None = None) -> tuple[str, int]:
        """Open a listener; returns the address it got. Raises OSError when it cannot."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
        listener.setblocking(False)
        self._listeners.append(listener)
        self._pump.loop.add_reader(listener.fileno(), self._accept, listener, tls)
        if self._sweeper is None:
            self._sweeper = self._pump.loop.call_later(SWEEP_S, self._sweep)
        address = listener.getsockname()
        return address[0], address[1]

    def stop_listening(self) -> None:
        """Let nobody in any more."""
        for listener in self._listeners:
            self._pump.loop.remove_reader(listener.fileno())
            listener.close()
        self._listeners.clear()

    async def stop(self, reason: EndReason) -> None:
        """End every session in good order; what a publisher has sent by now is still taken."""
        self.stop_listening()
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        for session in list(self.sessions.values()):
            session.request_reconnect()
            session.drain()
            session.dismiss(reason)
        await self.tasks.close()

    def let_go(self, link: Link) -> None:
        """No more is said; what the peer still sends is thrown away, until it hangs up or is too slow to."""
        self._leaving.add(link)
        link.handler = _Leaving(partial(self._abandon, link))
        link.set_batched(False)
        link.resume()
        if not link.pending_bytes:
            with contextlib.suppress(OSError):
                link.sock.shutdown(socket.SHUT_WR)
        self._pump.loop.call_later(GOODBYE_S, self._abandon, link)

    def _abandon(self, link: Link) -> None:
        self._leaving.discard(link)
        self._gone.set()
        link.abort()

    async def until_gone(self, timeout_s: float = GOODBYE_S) -> None:
        """Wait for peers that were told to go, no longer than that."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self._leaving:
                    self._gone.clear()
                    await self._gone.wait()

    @property
    def viewer_dropped_packets(self) -> int:
        """What slow viewers missed since the start."""
        viewers = (viewer for session in self.sessions.values() for viewer in session.viewers.values())
        return self.dropped_for_viewers + sum(viewer.dropped_packets for viewer in viewers)

    def count_refused(self, reason: str) -> None:
        self.refused[reason] += 1

    def forget(self, session: RtmpSession) -> None:
        if self.sessions.pop(session.session_id, None) is None:
            return
        for listener in self.on_session_ended:
            listener(session.session_id)

    def challenge(self, query: Mapping[str, str]) -> str:
        """Why a `connect` is refused for now, in Adobe's words; empty when the peer may go on.

        Peers that begin the exchange themselves are always answered; the others only when this server asks.
        """
        if not self.gatekeeper.has_users:
            return ""
        if query.get("authmod") != "adobe" and (not self._asks_for_login or "pass" in query):
            return ""
        password = self.gatekeeper.password_of(query.get("user", ""))
        refusal = self._authenticator.refusal(query, password, self.clock.wall_ns() / 1e9)
        if "authfailed" in refusal:
            self.count_refused("authentication")
            _log.warning("login refused user=%s", query.get("user", ""))
        return refusal

    def command(self, session: RtmpSession, event: events.CommandReceived) -> None:
        """A command that no one here knows; recorders of other vendors are asked for by such."""
        self.notices["unknown_command"] += 1
        _log.debug("unknown command session=%s name=%s", session.session_id, event.name)

    def notice_to(self, stream: Stream) -> Callable[[str, dict[str, object]], None]:
        """Where a demuxer says what is odd in a stream: counted each time, logged once a stream and kind."""
        said: set[str] = set()

        def notice(kind: str, facts: dict[str, object]) -> None:
            self.notices[kind] += 1
            if kind not in said:
                said.add(kind)
                details = " ".join(f"{key}={value}" for key, value in facts.items())
                _log.warning(
                    "odd media stream=%s session=%s kind=%s details=%s",
                    stream.name,
                    stream.facts.session_id,
                    kind,
                    details,
                )

        return notice

    def _accept(self, listener: socket.socket, tls: ssl.SSLContext | None) -> None:
        for _ in range(ACCEPTS_A_TURN):
            try:
                sock, address = listener.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                # Out of descriptors or memory: the peers in the backlog wait, those who are in go on.
                self.refused["accept_failed"] += 1
                _log.error("accept failed error=%s connections=%d", error, len(self.sessions))
                self._pause_accepting(listener, tls)
                return
            self._admit(sock, address, tls)

    def _pause_accepting(self, listener: socket.socket, tls: ssl.SSLContext | None) -> None:
        loop = self._pump.loop
        loop.remove_reader(listener.fileno())

        def again() -> None:
            if listener in self._listeners:
                loop.add_reader(listener.fileno(), self._accept, listener, tls)

        loop.call_later(1.0, again)

    def _admit(self, sock: socket.socket, address: tuple[str, int], tls: ssl.SSLContext | None) -> None:
        if len(self.sessions) >= self._max_connections:
            self.refused["too_many_connections"] += 1
            sock.close()
            return
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(False)
        if tls is not None:
            sock = tls.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        self.accepted += 1
        session = RtmpSession(
            self, f"{address[0]}:{address[1]}", protocol="rtmps" if tls is not None else "rtmp"
        )
        self.sessions[session.session_id] = session
        session.link = self._pump.add(sock, session)

    def _sweep(self) -> None:
        self._sweeper = self._pump.loop.call_later(SWEEP_S, self._sweep)
        now_s = self.clock.monotonic_s()
        for session in list(self.sessions.values()):
            session.sweep(now_s)
