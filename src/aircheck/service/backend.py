"""A backend over HTTP: asked before something is allowed, told after something happened.

Theory of operation
    Each question is a request of its own and waits for its answer, at the most `timeout_s`. News go through
    lanes, chosen by session: what is told of one session arrives in order, and a backend that hangs delays
    only the lane. Lanes are bounded; what does not fit is dropped and counted: no session waits for it.

    An outage is logged when it begins and when it is over, everything in between is counted.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit
from zlib import crc32

import httpx

from aircheck.tasks import TaskGroup

LANES = 8
LANE_MAX = 500
"""News that one lane holds; about a kilobyte each."""
ANSWER_MAX_BYTES = 256 * 1024
CONNECTIONS_MAX = 64
FORBIDDEN = 403

_CUT_OFF = (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BackendPlan:
    """Where it is: `urls` by application, `url` for all others; empty: those are not asked about.

    With a `secret` requests carry `Authorization: WCS …`, the HMAC-MD5 of the body in hexadecimal digits.
    """

    url: str = ""
    urls: Mapping[str, str] = field(default_factory=dict)
    secret: str = ""
    timeout_s: float = 15.0


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back. `status` is 0 when nothing did, and `error` says why it is not 200."""

    status: int
    body: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""

    @property
    def is_ok(self) -> bool:
        return self.status == 200


@dataclass(slots=True)
class BackendCounters:
    asked: int = 0
    told: int = 0
    refused: int = 0
    failed: int = 0
    dropped: int = 0


@dataclass(frozen=True, slots=True)
class _News:
    url: str
    content: bytes


class Backend:
    """`start` before anything is told, `stop` to let what waits be told."""

    def __init__(self, plan: BackendPlan) -> None:
        self.counters = BackendCounters()
        self._plan = plan
        self._tasks = TaskGroup("backend")
        self._lanes: list[asyncio.Queue[_News]] = [asyncio.Queue(LANE_MAX) for _ in range(LANES)]
        limits = httpx.Limits(max_connections=CONNECTIONS_MAX, max_keepalive_connections=LANES)
        # All deadlines are ours: `timeout_s` is for a whole exchange.
        self._client = httpx.AsyncClient(timeout=None, limits=limits, follow_redirects=False)
        self._is_out = False

    def start(self) -> None:
        for number, lane in enumerate(self._lanes):
            self._tasks.spawn(self._tell_from(lane), f"lane {number}")

    async def stop(self, timeout_s: float) -> None:
        """Let the lanes empty for so long, then drop what is left."""
        try:
            async with asyncio.timeout(timeout_s):
                await asyncio.gather(*(lane.join() for lane in self._lanes))
        except TimeoutError:
            left = sum(lane.qsize() for lane in self._lanes)
            self.counters.dropped += left
            _log.warning("backend is not told everything dropped=%d", left)
        await self._tasks.close()
        await self._client.aclose()

    def url_of(self, *apps: str) -> str:
        """Where questions about the first of these applications go that has a URL; empty: nowhere."""
        return next((self._plan.urls[app] for app in apps if app in self._plan.urls), self._plan.url)

    async def ask(self, url: str, method: str, body: Mapping[str, Any]) -> Reply:
        """Post a question and wait for the answer. Never raises: what went wrong is in the reply."""
        self.counters.asked += 1
        reply = await self._post(_News(f"{url.rstrip('/')}/{method}", _encoded(body)))
        if reply.status == FORBIDDEN:
            self.counters.refused += 1
        return reply

    def tell(self, url: str, method: str, body: Mapping[str, Any], *, session_id: str) -> None:
        """Post news when their turn comes."""
        lane = self._lanes[crc32(session_id.encode()) % LANES]
        try:
            lane.put_nowait(_News(f"{url.rstrip('/')}/{method}", _encoded(body)))
        except asyncio.QueueFull:
            self.counters.dropped += 1

    async def _tell_from(self, lane: asyncio.Queue[_News]) -> None:
        while True:
            news = await lane.get()
            try:
                await self._post(news)
                self.counters.told += 1
            finally:
                lane.task_done()

    async def _post(self, news: _News) -> Reply:
        headers = {"content-type": "application/json"}
        if self._plan.secret:
            digest = hmac.new(self._plan.secret.encode(), news.content, hashlib.md5).hexdigest()
            headers["authorization"] = f"WCS {digest}"
        try:
            async with asyncio.timeout(self._plan.timeout_s):
                try:
                    reply = await self._exchange(news, headers)
                except _CUT_OFF:
                    reply = await self._exchange(news, headers)
        except TimeoutError:
            reply = Reply(0, error=f"no answer within {self._plan.timeout_s:g} s")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            reply = Reply(0, error=f"{type(error).__name__}: {error}")
        self._note(news.url, reply)
        return reply

    async def _exchange(self, news: _News, headers: Mapping[str, str]) -> Reply:
        async with self._client.stream("POST", news.url, content=news.content, headers=headers) as answer:
            content = bytearray()
            async for chunk in answer.aiter_bytes():
                content += chunk
                if len(content) > ANSWER_MAX_BYTES:
                    return Reply(0, error=f"an answer of more than {ANSWER_MAX_BYTES} bytes")
        if answer.status_code != 200:
            return Reply(answer.status_code, error=f"status {answer.status_code}")
        return Reply(200, _object(bytes(content)))

    def _note(self, url: str, reply: Reply) -> None:
        """A refusal is an answer; everything else but 200 is a failure."""
        if reply.is_ok or reply.status == FORBIDDEN:
            if self._is_out:
                self._is_out = False
                _log.info("backend answers again url=%s", _without_login(url))
            return
        self.counters.failed += 1
        if not self._is_out:
            self._is_out = True
            _log.warning(
                "backend does not answer as it should url=%s error=%s", _without_login(url), reply.error
            )


def _without_login(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _encoded(body: Mapping[str, Any]) -> bytes:
    return json.dumps(body, ensure_ascii=False).encode(errors="replace")


def _object(content: bytes) -> Mapping[str, Any]:
    """The body of an answer if it is a JSON object; others say nothing."""
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}
