"""What all requests of WHIP and WHEP have in common: CORS, credentials, a bounded body, problems."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Mapping
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from aircheck.errors import AircheckError
from aircheck.faces.api.problems import ProblemResponse, make_problem
from aircheck.service.errors import InvalidRequest
from aircheck.webrtc import errors
from aircheck.wire import sdp

SDP = "application/sdp"
FRAGMENT = "application/trickle-ice-sdpfrag"

BODY_MAX_BYTES = sdp.MAX_BYTES
BODY_TIMEOUT_S = 10.0

BUSY_RETRY_S = 5
"""After this long a server that is full may have room."""
NOT_LIVE_RETRY_S = 2
"""After this long a stream may have come."""

_SHOWN = "Location, ETag, Link, Accept-Patch, Accept-Post, Allow, Retry-After, WWW-Authenticate"
"""Headers that a page of another site may read; a browser hides all others from it."""

_STATUSES: dict[type[AircheckError], tuple[int, str]] = {
    errors.NoCommonCodecs: (422, "no-common-codecs"),
    errors.TooManyTracks: (422, "too-many-tracks"),
    errors.BadOffer: (400, "bad-sdp"),
    errors.NotAllowed: (401, "not-allowed"),
    errors.NameInUse: (409, "name-in-use"),
    errors.MediaSessionInUse: (409, "media-session-in-use"),
    errors.StreamNotFound: (409, "not-live"),
    errors.TooManyPeers: (503, "too-many-peers"),
    InvalidRequest: (400, "invalid-request"),
}


class Refusal(AircheckError):
    """A request that is answered with a status of its own. `headers` go along."""

    def __init__(
        self, status: int, message: str, *, remedy: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message, remedy=remedy)
        self.status = status
        self.headers = dict(headers or {})


def answer(status: int, body: str = "", **headers: str) -> Response:
    """An answer that a page of another site may read. Underscores in names of headers stand for hyphens."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(body or None, status, headers={**cors_headers(), "cache-control": "no-store", **given})


def cors_headers() -> dict[str, str]:
    return {"access-control-allow-origin": "*", "access-control-expose-headers": _SHOWN}


def preflight_headers(methods: str) -> dict[str, str]:
    return {
        **cors_headers(),
        "access-control-allow-methods": methods,
        "access-control-allow-headers": "Authorization, Content-Type, If-Match, Link",
        "access-control-max-age": "86400",
    }


def problem(request: Request, error: AircheckError) -> Response | None:
    """What went wrong, as an answer (RFC 9457); None for an error that no status is known for."""
    if isinstance(error, Refusal):
        said = make_problem(error.status, error.message, error.remedy)
        return ProblemResponse(said, {**cors_headers(), **error.headers})
    found = next((found for kind, found in _STATUSES.items() if isinstance(error, kind)), None)
    if found is None:
        return None
    status, kind = found
    said = make_problem(status, error.message, error.remedy, kind=kind)
    return ProblemResponse(said, {**cors_headers(), **_extra_headers(request, error, status)})


def _extra_headers(request: Request, error: AircheckError, status: int) -> dict[str, str]:
    if status == 401:
        wrong = ', error="invalid_token"' if "authorization" in request.headers else ""
        return {"www-authenticate": f'Bearer realm="aircheck"{wrong}'}
    if status == 503:
        return {"retry-after": str(BUSY_RETRY_S)}
    if isinstance(error, errors.StreamNotFound):
        return {"retry-after": str(NOT_LIVE_RETRY_S)}
    return {}


def remote_address(scope: Mapping[str, Any]) -> str:
    host, port = scope.get("client") or ("", 0)
    return f"{host}:{port}"


def credentials(request: Request) -> dict[str, str]:
    """What stands in the query, and above it a token (RFC 6750) or a login (RFC 7617) of the header."""
    query = dict(request.query_params)
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        query["token"] = value.strip()
    elif scheme.lower() == "basic":
        query["user"], query["pass"] = _login(value)
    return query


def _login(encoded: str) -> tuple[str, str]:
    try:
        user, _, password = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return user, password


async def has_given_up(request: Request) -> bool:
    """Whether the client has closed its connection instead of waiting for the answer."""
    # Its end is read after the request: where both were there already, that is a turn of the loop later.
    for _ in range(2):
        await asyncio.sleep(0)
    return await request.is_disconnected()


async def body_of(request: Request, media_type: str) -> str:
    """The body as text. Raises `Refusal`: 415 for another type, 413, 408, 400."""
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given != media_type:
        accepted = {"accept-post" if media_type == SDP else "accept-patch": media_type}
        raise Refusal(
            415,
            f"a body of the type {given!r}",
            remedy=f"send it as Content-Type: {media_type}",
            headers=accepted,
        )
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            return (await _read(request)).decode()
    except TimeoutError:
        raise Refusal(408, "the body did not arrive", remedy="send the request again") from None
    except ClientDisconnect:
        raise Refusal(400, "the body ended early", remedy="send the request again") from None
    except UnicodeDecodeError:
        raise Refusal(400, "the body is not UTF-8 text", remedy="send SDP as it is") from None


async def _read(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_MAX_BYTES:
            raise Refusal(
                413,
                f"a body of more than {BODY_MAX_BYTES} bytes",
                remedy="offer fewer codecs and candidates",
                headers={"connection": "close"},
            )
    return bytes(body)
