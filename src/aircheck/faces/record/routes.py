"""The page at /record/ and its parts, as they lie in the package. Nothing is fetched from elsewhere."""

from __future__ import annotations

from importlib import resources

from fastapi import APIRouter
from starlette.responses import RedirectResponse, Response

_MEDIA_TYPES = {"html": "text/html; charset=utf-8", "css": "text/css", "js": "text/javascript"}
_PARTS = (
    "record.css",
    "record.js",
    "recordings.js",
    "meter.js",
    "sources.js",
    "whip.js",
    "words.js",
)
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; media-src 'self';"
    " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": _POLICY,
    "permissions-policy": "camera=(self), microphone=(self), display-capture=(self)",
    "x-content-type-options": "nosniff",
    "cache-control": "no-cache",
}


def record_routes() -> APIRouter:
    router = APIRouter(include_in_schema=False)

    @router.get("/record")
    async def without_slash() -> Response:
        return RedirectResponse("/record/")

    router.add_api_route("/record/", _Part("record.html"))
    for name in _PARTS:
        router.add_api_route(f"/record/{name}", _Part(name))
    return router


class _Part:
    """A file of the page, read when it is first asked for."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._body: bytes | None = None

    def __call__(self) -> Response:
        # A plain function, so that FastAPI reads the file in a thread.
        if self._body is None:
            self._body = resources.files(__package__).joinpath("page", self._name).read_bytes()
        media_type = _MEDIA_TYPES[self._name.rpartition(".")[2]]
        return Response(self._body, media_type=media_type, headers=_HEADERS)
