"""One shape for every error: problem details (RFC 9457), with a remedy.

Whatever goes wrong, the body is `{type, title, status, detail, remedy}` as `application/problem+json`. An
unexpected exception is logged once with its request, counted, and answered with a reference to that log line
and nothing else.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from http import HTTPStatus
from secrets import token_hex
from urllib.parse import urlsplit, urlunsplit

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aircheck.errors import AircheckError, CatalogError
from aircheck.service.errors import (
    BadRange,
    Conflict,
    InvalidRequest,
    NotFound,
    NotYetPlayable,
    OutsideRange,
    Refused,
    UnknownKind,
)

_log = logging.getLogger(__name__)

_REFUSALS: dict[type[AircheckError], tuple[int, str]] = {
    NotFound: (404, "not-found"),
    NotYetPlayable: (503, "not-yet-playable"),
    InvalidRequest: (422, "invalid-request"),
    UnknownKind: (400, "unknown-kind"),
    BadRange: (400, "bad-range"),
    OutsideRange: (416, "outside-range"),
    Conflict: (409, "conflict"),
    Refused: (507, "no-storage"),
}
_TITLES = {422: "Unprocessable Content"}
"""Where Python's phrase is not that of RFC 9110 in all versions."""
_REMEDIES = {
    400: "send JSON in UTF-8",
    403: "call from a program, or from a page of this server",
    404: "GET /openapi.json or /docs lists the paths that exist",
    405: "the Allow header names the methods of this path",
    415: "send JSON with `Content-Type: application/json`",
    422: "correct the named fields and send the request again",
}


class FieldError(BaseModel):
    """One argument that was not understood."""

    field: str = Field(description="Where it is, such as `query.limit`.")
    detail: str


class Problem(BaseModel):
    """What went wrong and what to do about it (RFC 9457)."""

    type: str = Field(description="`urn:aircheck:problem:` and the kind of problem.")
    title: str = Field(description="The HTTP status in words.")
    status: int
    detail: str = Field(description="What went wrong this time.")
    remedy: str = Field("", description="What a person can do about it.")
    errors: list[FieldError] | None = Field(None, description="With 422: each argument that is wrong.")


class ProblemResponse(JSONResponse):
    media_type = "application/problem+json"

    def __init__(self, problem: Problem, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(
            problem.model_dump(exclude_none=True),
            status_code=problem.status,
            headers={**(headers or {}), "cache-control": "no-store"},
        )


def make_problem(
    status: int, detail: str, remedy: str = "", *, kind: str = "", errors: list[FieldError] | None = None
) -> Problem:
    title = _TITLES.get(status) or HTTPStatus(status).phrase
    return Problem(
        type=f"urn:aircheck:problem:{kind or title.lower().replace(' ', '-')}",
        title=title,
        status=status,
        detail=detail,
        remedy=remedy,
        errors=errors,
    )


def install(app: FastAPI) -> None:
    """Have every error that a route can raise answered as a problem."""
    app.add_exception_handler(AircheckError, _on_refusal)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(RequestValidationError, _on_invalid)


async def _on_refusal(request: Request, error: Exception) -> ProblemResponse:
    """Something that we refuse on purpose; an error that no status is known for is unexpected after all."""
    assert isinstance(error, AircheckError)
    found = next((found for kind, found in _REFUSALS.items() if isinstance(error, kind)), None)
    if found is None:
        raise error
    status, kind = found
    headers = {"retry-after": "1"} if status == 503 else None
    return ProblemResponse(make_problem(status, error.message, error.remedy, kind=kind), headers)


async def _on_http_error(request: Request, error: Exception) -> ProblemResponse:
    assert isinstance(error, HTTPException)
    details = {
        404: f"there is nothing at {request.url.path}",
        405: f"{request.url.path} has no {request.method}",
    }
    detail = details.get(error.status_code, error.detail)
    problem = make_problem(error.status_code, detail, _REMEDIES.get(error.status_code, ""))
    return ProblemResponse(problem, error.headers)


async def _on_invalid(request: Request, error: Exception) -> ProblemResponse:
    assert isinstance(error, RequestValidationError)
    errors = [
        FieldError(field=".".join(map(str, item["loc"])), detail=str(item["msg"])) for item in error.errors()
    ]
    fields = ", ".join(item.field for item in errors)
    problem = make_problem(
        422, f"not understood: {fields}", _REMEDIES[422], kind="invalid-request", errors=errors
    )
    return ProblemResponse(problem)


Report = Callable[[Exception, Scope], Problem]
"""Takes an unexpected error and says what the client may know of it."""


def report_unexpected(error: Exception, scope: Scope, *, errors: Counter[str]) -> Problem:
    """Log it once with its request and count it."""
    is_catalog = isinstance(error, CatalogError)
    reference = token_hex(6)
    errors["catalog" if is_catalog else "http"] += 1
    _log.error(
        "unexpected error reference=%s request=%s error=%r",
        reference,
        f"{scope['method']} {scope['path']}",
        error,
        exc_info=error,
    )
    if is_catalog:
        detail = f"the catalogue does not answer; the log has it under the reference {reference}"
        remedy = "try again; if it stays so, look at the catalogue's database"
        return make_problem(503, detail, remedy, kind="catalogue-unavailable")
    detail = f"something unexpected happened; the log has it under the reference {reference}"
    return make_problem(500, detail, "look up the reference in the server's log, and report it")


def _on_this_server(name: bytes, value: bytes) -> tuple[bytes, bytes]:
    """A header of a redirect. Starlette adds missing slashes with the scheme and host that it sees, which
    behind a proxy with TLS are not the browser's; all our redirects stay on this server and need neither."""
    if name.lower() != b"location":
        return name, value
    parts = urlsplit(value.decode("latin-1"))
    # Two slashes in front would make a host of the first folder.
    path = "/" + parts.path.lstrip("/")
    return name, urlunsplit(("", "", path, parts.query, parts.fragment)).encode("latin-1")


class Boundary:
    """The outermost layer: counts answers by status, keeps redirects here, and lets no exception out.

    Pure ASGI, because a layer of Starlette's `BaseHTTPMiddleware` would copy every chunk of every download.
    """

    def __init__(self, app: ASGIApp, responses: Counter[int], report: Report) -> None:
        self._app = app
        self._responses = responses
        self._report = report

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_started = False

        async def send_counted(message: Message) -> None:
            nonlocal is_started
            if message["type"] == "http.response.start":
                is_started = True
                status = message["status"]
                self._responses[status] += 1
                if 300 <= status < 400:
                    message = {**message, "headers": [_on_this_server(*each) for each in message["headers"]]}
            await send(message)

        try:
            await self._app(scope, receive, send_counted)
        except Exception as error:
            problem = self._report(error, scope)
            if not is_started:
                await ProblemResponse(problem)(scope, receive, send_counted)
