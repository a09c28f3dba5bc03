"""A backend on a real socket: keeps what it is asked and told, and answers as it is set to."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from helpers.patience import until
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from aircheck.faces.http_server import HttpServer

ASKED = ("connect", "publishStream", "playStream")


@dataclass(frozen=True, slots=True)
class Question:
    """One request: the last part of its path, its headers, its body as it came."""

    method: str
    path: str
    headers: dict[str, str]
    content: bytes

    @property
    def body(self) -> dict[str, Any]:
        values: dict[str, Any] = json.loads(self.content)
        return values


@dataclass
class HttpBackend:
    """`statuses` and `answers` by method; others get 200 and their own body back. `hangs` never answer."""

    url: str = ""
    questions: list[Question] = field(default_factory=list)
    statuses: dict[str, int] = field(default_factory=dict)
    answers: dict[str, bytes] = field(default_factory=dict)
    hangs: set[str] = field(default_factory=set)

    @classmethod
    @asynccontextmanager
    async def serving(cls) -> AsyncIterator[HttpBackend]:
        backend = cls()
        server = HttpServer(backend, grace_s=0)
        await server.start("127.0.0.1", 0)
        backend.url = f"http://127.0.0.1:{server.port}/hooks"
        try:
            yield backend
        finally:
            await server.stop()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        method = request.url.path.rpartition("/")[2]
        content = await request.body()
        self.questions.append(Question(method, request.url.path, dict(request.headers), content))
        while method in self.hangs and (await receive())["type"] != "http.disconnect":
            pass
        answer = Response(self.answers.get(method, content), self.statuses.get(method, 200))
        await answer(scope, receive, send)

    @property
    def methods(self) -> list[str]:
        """What it was asked and told, in order; of events with their status."""
        return [
            f"{one.method} {one.body['status']}" if one.method.endswith("Event") else one.method
            for one in self.questions
        ]

    @property
    def asked(self) -> list[str]:
        """What a peer waited for, in order."""
        return [method for method in self.methods if method in ASKED]

    @property
    def told(self) -> list[str]:
        """News in order; they neither wait for questions nor keep them waiting."""
        return [method for method in self.methods if method not in ASKED]

    def question(self, method: str) -> Question:
        return next(one for one in self.questions if one.method == method)

    async def heard(self, count: int) -> None:
        """Wait until it was asked and told so often."""
        await until(lambda: len(self.questions) >= count)
