"""Questions to a backend: what is sent, what comes of each kind of answer, and that news never wait."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from helpers.http_backend import HttpBackend
from helpers.patience import PATIENCE_S

from aircheck.service import backend as module
from aircheck.service.backend import Backend, BackendPlan, Reply


@asynccontextmanager
async def asking(**plan: object) -> AsyncIterator[Backend]:
    backend = Backend(BackendPlan(**plan))  # type: ignore[arg-type]
    backend.start()
    try:
        yield backend
    finally:
        await backend.stop(1)


@pytest.fixture
async def there() -> AsyncIterator[HttpBackend]:
    async with HttpBackend.serving() as backend:
        yield backend


class CuttingOff:
    """A backend that answers so many requests of a connection and closes it at the next one."""

    def __init__(self, answers: int) -> None:
        self._answers = answers
        self.requests = 0
        self.url = ""

    @classmethod
    @asynccontextmanager
    async def serving(cls, answers: int) -> AsyncIterator[CuttingOff]:
        backend = cls(answers)
        async with await asyncio.start_server(backend._serve, "127.0.0.1", 0) as server:
            backend.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hooks"
            yield backend

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError), contextlib.closing(writer):
            for number in range(self._answers + 1):
                await reader.readuntil(b"\r\n\r\n{}")
                self.requests += 1
                if number < self._answers:
                    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")


async def test_a_question_is_posted_as_json_and_answered_with_an_object(there: HttpBackend) -> None:
    async with asking() as backend:
        reply = await backend.ask(there.url, "publishStream", {"name": "Студия"})
    assert reply == Reply(200, {"name": "Студия"})
    (question,) = there.questions
    assert question.path == "/hooks/publishStream"
    assert question.headers["content-type"] == "application/json"
    assert question.body == {"name": "Студия"}
    assert "authorization" not in question.headers


async def test_with_a_secret_the_body_is_signed(there: HttpBackend) -> None:
    async with asking(secret="1234567890") as backend:
        await backend.ask(f"{there.url}/", "connect", {"sessionId": "s1"})
    (question,) = there.questions
    signature = hmac.new(b"1234567890", question.content, hashlib.md5).hexdigest()
    assert question.headers["authorization"] == f"WCS {signature}"
    assert question.path == "/hooks/connect"


@pytest.mark.parametrize("content", [b"", b"OK", b"[1]", b"\xff", b"[" * 100_000])
async def test_an_answer_without_an_object_says_nothing_more_than_yes(
    there: HttpBackend, content: bytes
) -> None:
    there.answers["connect"] = content
    async with asking() as backend:
        assert await backend.ask(there.url, "connect", {}) == Reply(200)
        assert backend.counters.failed == 0


async def test_a_refusal_is_no_failure(there: HttpBackend) -> None:
    there.statuses["connect"] = 403
    async with asking() as backend:
        assert (await backend.ask(there.url, "connect", {})).status == 403
        assert (backend.counters.refused, backend.counters.failed) == (1, 0)


@pytest.mark.parametrize("status", [201, 302, 404, 500])
async def test_other_statuses_are_failures(there: HttpBackend, status: int) -> None:
    there.statuses["connect"] = status
    async with asking() as backend:
        reply = await backend.ask(there.url, "connect", {})
        assert (reply.status, reply.error) == (status, f"status {status}")
        assert backend.counters.failed == 1


async def test_a_backend_that_hangs_is_waited_for_no_longer_than_set(there: HttpBackend) -> None:
    there.hangs.add("connect")
    async with asking(timeout_s=0.1) as backend:
        reply = await backend.ask(there.url, "connect", {})
        assert (reply.status, reply.error) == (0, "no answer within 0.1 s")


async def test_a_backend_that_is_not_there_or_talks_without_end_is_a_failure(there: HttpBackend) -> None:
    there.answers["connect"] = bytes(module.ANSWER_MAX_BYTES + 1)
    async with asking() as backend:
        assert "more than" in (await backend.ask(there.url, "connect", {})).error
        assert (await backend.ask("http://127.0.0.1:1/hooks", "connect", {})).status == 0
        assert backend.counters.failed == 2


async def test_a_kept_connection_that_closes_under_a_request_is_no_failure() -> None:
    async with CuttingOff.serving(answers=1) as there, asking() as backend:
        assert await backend.ask(there.url, "connect", {}) == Reply(200)
        assert await backend.ask(there.url, "connect", {}) == Reply(200)
        assert (there.requests, backend.counters.failed) == (3, 0)


async def test_a_backend_that_cuts_everybody_off_is_a_failure() -> None:
    async with CuttingOff.serving(answers=0) as there, asking() as backend:
        assert (await backend.ask(there.url, "connect", {})).status == 0
        assert (there.requests, backend.counters.failed) == (2, 1)


async def test_an_outage_is_logged_when_it_begins_and_when_it_is_over(
    there: HttpBackend, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "aircheck.service.backend")
    async with asking() as backend:
        there.statuses["connect"] = 500
        for _ in range(3):
            await backend.ask(there.url, "connect", {})
        there.statuses["connect"] = 403
        await backend.ask(there.url, "connect", {})
    said = [record.message for record in caplog.records if record.name == "aircheck.service.backend"]
    assert [line.split(" url=")[0] for line in said] == [
        "backend does not answer as it should",
        "backend answers again",
    ]


async def test_a_login_in_the_url_is_used_and_not_logged(
    there: HttpBackend, caplog: pytest.LogCaptureFixture
) -> None:
    there.statuses["connect"] = 500
    async with asking() as backend:
        await backend.ask(there.url.replace("//", "//anna:s3cret@"), "connect", {})
    assert there.questions[0].headers["authorization"].startswith("Basic ")
    assert f"url={there.url}/connect" in caplog.text
    assert "s3cret" not in caplog.text


async def test_news_of_one_session_arrive_in_order(there: HttpBackend) -> None:
    async with asking() as backend:
        for number in range(50):
            backend.tell(there.url, "news", {"number": number}, session_id="s1")
        await there.heard(50)
        assert [one.body["number"] for one in there.questions] == list(range(50))


async def test_news_that_do_not_fit_are_dropped_and_counted(
    there: HttpBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LANE_MAX", 5)
    there.hangs.add("news")
    async with asking(timeout_s=30) as backend:
        backend.tell(there.url, "news", {}, session_id="s1")
        await there.heard(1)
        for _ in range(8):
            backend.tell(there.url, "news", {}, session_id="s1")
        assert backend.counters.dropped == 3
        async with asyncio.timeout(PATIENCE_S):
            await backend.stop(0.05)
        assert backend.counters.dropped == 8


async def test_each_application_may_have_a_backend_of_its_own() -> None:
    async with asking(url="http://all", urls={"live": "http://live"}) as backend:
        assert backend.url_of("live", "flashStreamingApp") == "http://live"
        assert backend.url_of("vod", "flashStreamingApp") == "http://all"
