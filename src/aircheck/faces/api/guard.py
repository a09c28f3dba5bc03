"""What changes something must be meant by whoever sends it: no page of another site can make a browser do it.

This port has no login yet, so a browser on the recorder's network is all that a foreign page needs. Browsers
say where a request comes from (`Sec-Fetch-Site`, else `Origin`), and send a body as JSON across sites only
after asking, which is never granted here. Programs send neither header and are let through.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.exceptions import HTTPException
from starlette.requests import Request

_OWN = ("same-origin", "none")
"""`none`: a person typed it."""


def refuse_foreign(request: Request) -> None:
    """A dependency of routes that change something. Raises HTTPException 403 and 415."""
    if not is_own_request(request):
        raise HTTPException(403, "a page of another site may not change anything here")
    has_body = "transfer-encoding" in request.headers or request.headers.get("content-length", "0") != "0"
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if has_body and media_type != "application/json":
        raise HTTPException(415, f"a body of the type {media_type!r}")


def is_own_request(request: Request) -> bool:
    """Whether it comes from a page of this server, or from no page at all."""
    if site := request.headers.get("sec-fetch-site"):
        return site in _OWN
    origin = request.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == request.headers.get("host")
