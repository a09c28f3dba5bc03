"""The WCS REST API as an application of its own, mounted at `/rest-api`.

GET and POST mean the same, the body is a JSON object or nothing, whatever Content-Type says. A method that
gives nothing answers 200 without a body. Errors have the body of WCS; only their status is promised.
"""

from __future__ import annotations

import difflib
import json
import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from aircheck.errors import AircheckError
from aircheck.faces.api.guard import is_own_request
from aircheck.faces.api.problems import Report
from aircheck.faces.wcs.arguments import Arguments
from aircheck.faces.wcs.methods import RestMethod
from aircheck.service.errors import Conflict, InvalidRequest, NotFound, NotSupported, Refused

REST_PATH = "/rest-api"
BODY_MAX_BYTES = 256 * 1024

_STATUSES: Mapping[type[AircheckError], int] = {
    InvalidRequest: 400,
    NotFound: 404,
    Conflict: 409,
    Refused: 500,
    NotSupported: 501,
}
_EXCEPTIONS = {400: "BadRequestException", 403: "ForbiddenException", 404: "NotFoundException"}
_EXCEPTIONS |= {405: "MethodNotAllowedException", 409: "ConflictException", 413: "PayloadTooLargeException"}
_EXCEPTIONS |= {501: "NotImplementedException"}


class RestError(Exception):
    """A request that does not reach its method."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class WcsRestApp:
    """ASGI. `allowed_origin` is what browsers are told of pages that may call: `*`, one origin, or none.

    `report` is told of what nobody expected; for clients of WCS that is status 500.
    """

    def __init__(
        self, methods: Mapping[str, RestMethod], report: Report, *, allowed_origin: str = "*"
    ) -> None:
        self._methods = methods
        self._report = report
        self._allowed_origin = allowed_origin

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        # Mounted below a prefix, which `path` still has; clients may end paths with a slash.
        path = scope["path"].removeprefix(scope.get("root_path", "")).rstrip("/")
        try:
            response = await self._respond(request, path)
        except ClientDisconnect:
            return
        response.headers.update(self._cors(request))
        await response(scope, receive, send)

    async def _respond(self, request: Request, path: str) -> Response:
        if request.method == "OPTIONS":
            return Response(headers={"allow": "GET, POST, OPTIONS"})
        try:
            return await self._answer(request, path)
        except RestError as error:
            return _error(request, error.status, str(error))
        except ClientDisconnect:
            raise
        except Exception as error:
            return self._failed(request, error)

    def _failed(self, request: Request, error: Exception) -> Response:
        status = next((code for kind, code in _STATUSES.items() if isinstance(error, kind)), None)
        if isinstance(error, AircheckError) and status is not None:
            message = f"{error.message}; {error.remedy}" if error.remedy else error.message
            return _error(request, status, message)
        problem = self._report(error, request.scope)
        return _error(request, 500, f"{problem.detail}; {problem.remedy}")

    async def _answer(self, request: Request, path: str) -> Response:
        self._check_origin(request)
        method = self._methods.get(path)
        if method is None:
            raise RestError(404, self._no_method(path))
        if request.method not in ("GET", "POST"):
            raise RestError(405, f"{request.method} is not answered: use POST")
        answer = await method.call(Arguments(await _body(request)))
        return Response() if answer is None else _json(answer)

    def _no_method(self, path: str) -> str:
        similar = difflib.get_close_matches(path[:80], self._methods, n=3)
        meant = f"; did you mean {' or '.join(similar)}?" if similar else ""
        return f"there is no method {path or '/'}{meant}"

    def _check_origin(self, request: Request) -> None:
        """Without a login on this port the origin is all that tells a foreign page from the operator's."""
        if self._allowed_origin == "*" or is_own_request(request):
            return
        if not self._allowed_origin or request.headers.get("origin") != self._allowed_origin:
            raise RestError(403, "pages of other sites may not call; see allow_origin in the table [wcs]")

    def _cors(self, request: Request) -> dict[str, str]:
        if not self._allowed_origin:
            return {}
        headers = {"access-control-allow-origin": self._allowed_origin}
        if self._allowed_origin != "*":
            headers["vary"] = "Origin"
        if request.method == "OPTIONS":
            wanted = request.headers.get("access-control-request-headers", "Content-Type")
            headers["access-control-allow-methods"] = "GET, POST, OPTIONS"
            headers["access-control-allow-headers"] = wanted
            headers["access-control-max-age"] = "3600"
        return headers


async def _body(request: Request) -> dict[str, Any]:
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > BODY_MAX_BYTES:
            raise RestError(413, f"a body of more than {BODY_MAX_BYTES} bytes")
    if not content.strip():
        return {}
    try:
        values = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise RestError(400, f"the body is not JSON: {error}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise RestError(400, "the body is not a JSON object")
    return values


def _error(request: Request, status: int, message: str) -> Response:
    body = {
        "exception": _EXCEPTIONS.get(status, "InternalErrorException"),
        "reason": message,
        "path": request.url.path,
        "error": HTTPStatus(status).phrase,
        "message": message,
        "timestamp": time.time_ns() // 1_000_000,
        "status": status,
    }
    headers = {"allow": "GET, POST, OPTIONS"} if status == 405 else None
    return _json(body, status, headers)


def _json(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """What clients sent may hold half of a character, and comes back as a question mark."""
    text = json.dumps(content, ensure_ascii=False)
    return Response(text.encode(errors="replace"), status, headers, "application/json;charset=UTF-8")
