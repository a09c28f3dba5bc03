"""The application of the WebSDK's ports: a WebSocket on any path, and a word to whoever comes with HTTP."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import parse_qsl

from starlette.types import Receive, Scope, Send

from aircheck.clock import Clock
from aircheck.faces.websdk.session import Address, SdkSession
from aircheck.faces.websdk.streams import SdkStreams
from aircheck.service.connections import ConnectionStatus
from aircheck.tasks import TaskGroup

_log = logging.getLogger(__name__)

PING_INTERVAL_S = 5.0
CONNECTION_TIMEOUT_S = 10.0
"""How long a page may take to send `connection`."""
OUTBOX_MAX = 512
"""Messages that wait for a page that does not read."""

_POLICY_VIOLATION = 1008
_USE_WEBSOCKET = (
    b"This port speaks Flashphoner's WebSocket protocol; pages and files are on the HTTP ports.\n"
)


class WebSdkApp:
    """An ASGI application. Implements `ConnectionSource`."""

    def __init__(self, streams: SdkStreams, clock: Clock) -> None:
        self.refused: Counter[str] = Counter()
        """Pages that were let go, by reason."""
        self.on_session_ended: list[Callable[[str], None]] = []
        """Called with the id of each session that has ended, after its streams have."""
        self._streams = streams
        self._clock = clock
        self._sessions: dict[str, SdkSession] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await _Socket(self, scope, receive, send).serve()
        elif scope["type"] == "http":
            await _tell_to_upgrade(send)

    def connections(self) -> Sequence[ConnectionStatus]:
        return [session.status for session in self._sessions.values() if session.is_established]

    def close_connection(self, session_id: str) -> bool:
        session = self._sessions.get(session_id)
        if session is None:
            return False
        session.hang_up("asked to go")
        return True

    def new_session(
        self, address: Address, *, send: Callable[[str], None], hang_up: Callable[[str], None]
    ) -> SdkSession:
        return SdkSession(self._streams, self._clock, address, send=send, hang_up=hang_up)

    def opened(self, session: SdkSession) -> None:
        self._sessions[session.session_id] = session

    def closed(self, session: SdkSession) -> None:
        self._sessions.pop(session.session_id, None)
        for listener in self.on_session_ended:
            listener(session.session_id)


class _Socket:
    """The I/O of one session: reading, writing and keeping time are a task each."""

    def __init__(self, app: WebSdkApp, scope: Scope, receive: Receive, send: Send) -> None:
        self._app = app
        self._receive = receive
        self._send = send
        self._outbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue(OUTBOX_MAX)
        self._tasks = TaskGroup("websdk socket")
        self._gone = asyncio.Event()
        self._session = app.new_session(_address(scope), send=self._queue, hang_up=self._hang_up)

    async def serve(self) -> None:
        await self._receive()
        await self._send({"type": "websocket.accept"})
        self._app.opened(self._session)
        reading = self._tasks.spawn(self._read(), "read")
        self._tasks.spawn(self._write(), "write")
        self._tasks.spawn(self._keep_time(), "time")
        reading.add_done_callback(lambda _: self._gone.set())
        try:
            await self._gone.wait()
        finally:
            await self._session.close()
            await self._tasks.close()
            self._app.closed(self._session)
            _log.info("page disconnected session=%s", self._session.session_id)

    async def _read(self) -> None:
        while not self._gone.is_set():
            event = await self._receive()
            if event["type"] == "websocket.disconnect":
                return
            if (text := event.get("text")) is not None:
                self._session.receive(text)

    async def _write(self) -> None:
        """The last message closes the socket."""
        while True:
            event = await self._outbox.get()
            try:
                await self._send(event)
            except OSError:
                break
            if event["type"] == "websocket.close":
                break
        self._gone.set()

    async def _keep_time(self) -> None:
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        while True:
            await asyncio.sleep(PING_INTERVAL_S)
            if self._session.is_established:
                self._session.ping()
            elif not self._session.is_asking and loop.time() - began_s >= CONNECTION_TIMEOUT_S:
                self._hang_up("no connection message")
                return

    def _queue(self, text: str) -> None:
        self._put({"type": "websocket.send", "text": text})

    def _hang_up(self, why: str) -> None:
        self._app.refused["websdk_hung_up"] += 1
        _log.warning("page let go session=%s reason=%s", self._session.session_id, why)
        self._put({"type": "websocket.close", "code": _POLICY_VIOLATION, "reason": why})

    def _put(self, event: dict[str, Any]) -> None:
        if self._gone.is_set():
            return
        try:
            self._outbox.put_nowait(event)
        except asyncio.QueueFull:
            self._app.refused["websdk_unread"] += 1
            _log.warning("page does not read session=%s", self._session.session_id)
            self._gone.set()


def _address(scope: Scope) -> Address:
    query = parse_qsl(scope.get("query_string", b"").decode("latin-1"))
    return Address(_shown(scope.get("client")), _shown(scope.get("server")), dict(query))


def _shown(address: tuple[str, int | None] | None) -> str:
    host, port = address or ("", None)
    return f"{host}:{port or 0}"


async def _tell_to_upgrade(send: Send) -> None:
    headers = [
        (b"upgrade", b"websocket"),
        (b"connection", b"upgrade"),
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(_USE_WEBSOCKET)).encode()),
    ]
    await send({"type": "http.response.start", "status": 426, "headers": headers})
    await send({"type": "http.response.body", "body": _USE_WEBSOCKET})
