"""The pages of this face: a list of recordings to play at /, and the API's documentation at /docs.

Nothing is fetched from elsewhere: a recorder often stands in a network without a way out. The browser is told
so too, by the content security policy.
"""

from __future__ import annotations

from importlib import resources

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from starlette.responses import Response

from aircheck.faces.api.landing import Landing
from aircheck.service.recordings import RecordingFilter
from aircheck.service.services import Services

RECENT = 20

_SWAGGER = ("fastapi_swagger.resources",)
_OWN = ("aircheck.faces.api", "page")
_PARTS = {"landing.css": "text/css", "landing.js": "text/javascript"}
_ASSETS = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon-32x32.png": "image/png",
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:;"
    " media-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {"content-security-policy": _POLICY, "x-content-type-options": "nosniff"}

_START_JS = """\
SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#ui",
  deepLinking: true,
  defaultModelsExpandDepth: 0,
  displayRequestDuration: true,
  tryItOutEnabled: true,
  validatorUrl: null,
});
"""

_DOCS = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Aircheck API</title>
<link rel="icon" href="/docs/assets/favicon-32x32.png">
<link rel="stylesheet" href="/docs/assets/swagger-ui.css">
<div id="ui"></div>
<script src="/docs/assets/swagger-ui-bundle.js"></script>
<script src="/docs/assets/start.js"></script>
</html>
"""


def page_routes(
    services: Services, *, can_record: bool = False, publish_address: tuple[str, int] | None = None
) -> APIRouter:
    """`can_record`: there is a page at /record/ to link to. `publish_address`: where RTMP is listened on."""
    router = APIRouter(include_in_schema=False)

    @router.get("/")
    async def landing(request: Request, cursor: str | None = None, stream: str | None = None) -> HTMLResponse:
        wanted = RecordingFilter(stream_name=stream)
        page = await services.recordings.page(wanted, limit=RECENT, cursor=cursor)
        running = [one for one in services.recordings.active() if stream in (None, one.stream_name)]
        is_first_part, on_top = cursor is None, {one.id for one in running}
        shown = Landing(
            running=await services.recordings.details(running[::-1]) if is_first_part else (),
            recordings=await services.recordings.details([one for one in page.items if one.id not in on_top]),
            next_cursor=page.next_cursor,
            live_streams=len(services.streams.list()),
            volumes=await services.health.volumes(),
            stream=stream,
            is_first_part=is_first_part,
            can_record=can_record,
            publish_url=_publish_url(request, publish_address),
        )
        return HTMLResponse(shown.html(), headers={**_HEADERS, "cache-control": "no-store"})

    @router.get("/docs")
    async def docs() -> HTMLResponse:
        return HTMLResponse(_DOCS, headers=_HEADERS)

    @router.get("/docs/assets/start.js")
    async def start_js() -> Response:
        return Response(_START_JS, media_type="text/javascript")

    for name, media_type in _ASSETS.items():
        router.add_api_route(f"/docs/assets/{name}", _Asset(_SWAGGER, name, media_type, "max-age=86400"))
    for name, media_type in _PARTS.items():
        router.add_api_route(f"/assets/{name}", _Asset(_OWN, name, media_type, "no-cache"))
    return router


def _publish_url(request: Request, address: tuple[str, int] | None) -> str:
    """As the reader reaches it: a server that listens everywhere is called what the browser calls it."""
    if address is None:
        return ""
    host, port = address
    if host in ("0.0.0.0", "::", ""):
        host = request.url.hostname or host
    return f"rtmp://{f'[{host}]' if ':' in host else host}:{port}/live"


class _Asset:
    """A file of a package, read when it is first asked for."""

    def __init__(self, folder: tuple[str, ...], name: str, media_type: str, cache_control: str) -> None:
        self._folder = folder
        self._name = name
        self._media_type = media_type
        self._headers = {"cache-control": cache_control}
        self._body: bytes | None = None

    def __call__(self) -> Response:
        # A plain function, so that FastAPI reads the file in a thread.
        if self._body is None:
            package, *path = self._folder
            self._body = resources.files(package).joinpath(*path, self._name).read_bytes()
        return Response(self._body, media_type=self._media_type, headers=self._headers)
