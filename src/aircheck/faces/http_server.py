"""The HTTP listeners: uvicorn on the loop that is already running, one instance per address."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Iterator
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from aircheck.errors import ConfigError, reason_of
from aircheck.faces.raw_connection import offer_connections
from aircheck.tasks import TaskGroup

GRACE_S = 3
"""How long `stop` lets running downloads go on before it cuts them off."""
STUBBORN_S = 2
"""How much longer uvicorn waits for requests that do not notice that their client was cut off."""
FIRST_REQUEST_S = 20
"""How long a client may take to send its first request whole."""
VANISHED_PEER_S = 60
"""After this long without a sign of life of the peer's kernel, a connection is given up."""

WEBSOCKET_MESSAGE_MAX_BYTES = 256 * 1024

_log = logging.getLogger(__name__)


class ListenError(ConfigError):
    """An address cannot be listened on."""


class _Server(uvicorn.Server):
    """uvicorn as a guest: the host handles signals, and nobody is woken ten times a second."""

    def __init__(self, config: uvicorn.Config, first_request_s: float) -> None:
        super().__init__(config)
        self.is_ready = asyncio.Event()
        self._leave = asyncio.Event()
        self._first_request_s = first_request_s
        self._silent_since_s: dict[Any, float] = {}

    def ask_to_leave(self) -> None:
        self.should_exit = True
        self._leave.set()

    def abort_connections(self) -> None:
        """Requests that are under way see their client leave, which they know how to end from."""
        connections = list(self.server_state.connections)
        _log.info("http cutting off connections=%d", len(connections))
        for connection in connections:
            connection.transport.abort()

    def _drop_silent(self) -> None:
        """Clients that never say what they want: uvicorn waits for their first request for ever."""
        now_s = asyncio.get_running_loop().time()
        # A protocol's `cycle` is its latest request; WebSockets have none.
        silent = [peer for peer in self.server_state.connections if getattr(peer, "cycle", peer) is None]
        self._silent_since_s = {peer: self._silent_since_s.get(peer, now_s) for peer in silent}
        for peer, since_s in self._silent_since_s.items():
            if now_s - since_s > self._first_request_s and peer.transport is not None:
                peer.transport.abort()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def main_loop(self) -> None:
        self.is_ready.set()
        # `on_tick(0)` renews the Date header, which has a resolution of one second.
        while not await self.on_tick(0):
            self._drop_silent()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._leave.wait(), 1.0)


class HttpServer:
    """Serves one ASGI application on one address, from `start` to `stop`."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        max_connections: int | None = None,
        grace_s: int = GRACE_S,
        first_request_s: float = FIRST_REQUEST_S,
    ) -> None:
        self._app = app
        self._max_connections = max_connections
        self._grace_s = grace_s
        self._first_request_s = first_request_s
        self._server: _Server | None = None
        self._tasks = TaskGroup("http")
        self._task: asyncio.Task[None] | None = None
        self.port = 0
        """The port that is bound; of use after `start` with port 0."""

    @property
    def connections(self) -> int:
        return len(self._server.server_state.connections) if self._server else 0

    async def start(self, host: str, port: int, *, tls: ssl.SSLContext | None = None) -> None:
        """Listen and serve; returns when connections are accepted. Raises `ListenError`."""
        listener = _listen(host, port)
        self.port = listener.getsockname()[1]
        self._server = _Server(self._config(tls), self._first_request_s)
        self._task = self._tasks.spawn(self._server.serve([listener]), f"{host}:{self.port}")
        ready = asyncio.ensure_future(self._server.is_ready.wait())
        await asyncio.wait({ready, self._task}, return_when=asyncio.FIRST_COMPLETED)
        if not ready.done():
            ready.cancel()
            await self._task
        _log.info("http listening host=%s port=%d tls=%s", host, self.port, tls is not None)

    async def stop(self) -> None:
        """Take no more connections; answers under way may finish for `grace_s`, then they are cut off."""
        if self._server is None or self._task is None:
            return
        self._server.ask_to_leave()
        done, _ = await asyncio.wait({self._task}, timeout=self._grace_s)
        if not done:
            self._server.abort_connections()
        await self._task
        _log.info("http stopped port=%d", self.port)

    def _config(self, tls: ssl.SSLContext | None) -> uvicorn.Config:
        return uvicorn.Config(
            offer_connections(self._app),
            http="h11",
            lifespan="off",
            log_config=None,
            access_log=logging.getLogger("uvicorn.access").isEnabledFor(logging.DEBUG),
            server_header=False,
            limit_concurrency=self._max_connections,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=self._grace_s + STUBBORN_S,
            ws_max_size=WEBSOCKET_MESSAGE_MAX_BYTES,
            ws_per_message_deflate=False,
            ssl_context_factory=None if tls is None else lambda config, default: tls,
        )


class HttpListeners:
    """One application on several addresses, plain and inside TLS. `options` are those of `HttpServer`."""

    def __init__(self, app: ASGIApp, **options: Any) -> None:
        self._app = app
        self._options = options
        self._servers: list[HttpServer] = []

    @property
    def connections(self) -> int:
        return sum(server.connections for server in self._servers)

    async def listen(self, host: str, port: int, *, tls: ssl.SSLContext | None = None) -> tuple[str, int]:
        """Serve on one more address; returns it with the port that was taken. Raises `ListenError`."""
        server = HttpServer(self._app, **self._options)
        await server.start(host, port, tls=tls)
        self._servers.append(server)
        return host, server.port

    async def stop(self) -> None:
        """Stop all of them together."""
        await asyncio.gather(*(server.stop() for server in self._servers))


def _listen(host: str, port: int) -> socket.socket:
    try:
        listener = socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=1024
        )
    except OSError as error:
        raise ListenError(
            f"cannot listen for HTTP on {host}:{port}: {reason_of(error)}",
            remedy="stop the program that has this port, or choose another one in the settings",
        ) from error
    # Accepted connections inherit these: a client that lost its network does not hold a file open for hours.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, VANISHED_PEER_S * 1000)
    listener.setblocking(False)
    return listener
