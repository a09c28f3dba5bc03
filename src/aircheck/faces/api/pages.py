"""The pages of this face: a list of recordings to play at /, and the API's documentation at /docs.

Nothing is fetched from elsewhere: a recorder often stands in a network without a way out. The browser is told
so too, by the content security policy.
"""

from __future__ import annotations

from html import escape
from importlib import resources
from urllib.parse import quote

from fastapi import APIRouter
from fastapi.responses import HTMLResponse
from starlette.responses import Response

from aircheck import __version__
from aircheck.faces.api.models import rfc3339, segment_url
from aircheck.service.recordings import RecordingDetail
from aircheck.service.services import Services

RECENT = 20

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

_LANDING = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Aircheck</title>
<link rel="icon" href="/docs/assets/favicon-32x32.png">
<style>
  :root {{ color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }}
  body {{ max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }}
  h1 {{ margin: 0; }}
  header p, td, th {{ color: color-mix(in srgb, currentColor 75%, transparent); }}
  table {{ width: 100%; border-collapse: collapse; margin-top: 1.5rem; }}
  td, th {{ text-align: left; padding: .4rem .6rem; border-bottom: 1px solid #8884; vertical-align: top; }}
  .number {{ text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }}
  .name {{ overflow-wrap: anywhere; }}
  @media (max-width: 40rem) {{
    tr:first-child {{ display: none; }}
    tr {{ display: block; padding: .6rem 0; border-bottom: 1px solid #8884; }}
    td {{ display: inline-block; padding: 0 .7rem 0 0; border: 0; }}
    td:first-child, td:last-child {{ display: block; }}
    td:first-child {{ font-weight: 600; }}
  }}
  .recording {{ color: #d22; font-weight: 600; }}
</style>
<header>
  <h1>Aircheck</h1>
  <p>Version {version} · {streams} live now{record} · <a href="/docs">API</a> · <a href="/metrics">metrics</a>
  · <a href="/healthz">health</a></p>
</header>
{recordings}
</html>
"""

_TABLE = """\
<table>
<tr><th>Stream<th>Started (UTC)<th>State<th class="number">Length<th class="number">Size<th>Files</tr>
{rows}
</table>"""


_RECORD = ' · <a href="/record/">record camera or screen</a>'


def page_routes(services: Services, *, can_record: bool = False) -> APIRouter:
    """`can_record`: there is a page at /record/ to link to."""
    router = APIRouter(include_in_schema=False)

    @router.get("/")
    async def landing(cursor: str | None = None) -> HTMLResponse:
        page = await services.recordings.page(limit=RECENT, cursor=cursor)
        rows = [_row(detail) for detail in await services.recordings.details(page.items)]
        recordings = _TABLE.format(rows="\n".join(rows)) if rows else "<p>Nothing has been recorded yet.</p>"
        if page.next_cursor is not None:
            recordings += f'\n<p><a href="/?cursor={quote(page.next_cursor)}">Older recordings</a></p>'
        html = _LANDING.format(
            version=escape(__version__),
            streams=_streams(len(services.streams.list())),
            record=_RECORD if can_record else "",
            recordings=recordings,
        )
        return HTMLResponse(html, headers={**_HEADERS, "cache-control": "no-store"})

    @router.get("/docs")
    async def docs() -> HTMLResponse:
        return HTMLResponse(_DOCS, headers=_HEADERS)

    @router.get("/docs/assets/start.js")
    async def start_js() -> Response:
        return Response(_START_JS, media_type="text/javascript")

    for name, media_type in _ASSETS.items():
        router.add_api_route(f"/docs/assets/{name}", _Asset(name, media_type))
    return router


class _Asset:
    """A file of Swagger UI, read from its package when it is first asked for."""

    def __init__(self, name: str, media_type: str) -> None:
        self._name = name
        self._media_type = media_type
        self._body: bytes | None = None

    def __call__(self) -> Response:
        # A plain function, so that FastAPI reads the file in a thread.
        if self._body is None:
            self._body = resources.files("fastapi_swagger.resources").joinpath(self._name).read_bytes()
        return Response(self._body, media_type=self._media_type, headers={"cache-control": "max-age=86400"})


def _row(detail: RecordingDetail) -> str:
    recording = detail.facts
    links = "<br>".join(
        f'<a href="{escape(segment_url(segment))}">{escape(segment.file_name)}</a>'
        for segment in detail.segments
    )
    state = escape(recording.state.value)
    files = links or escape(recording.error)
    started = rfc3339(recording.start_ns)[:19].replace("T", " ")
    return (
        f'<tr><td class="name">{escape(recording.stream_name)}<td>{started}'
        f'<td class="{state}">{state}<td class="number">{_length(recording.duration_ms)}'
        f'<td class="number">{recording.size_bytes / 1e6:,.1f} MB<td class="name">{files}</tr>'
    )


def _streams(count: int) -> str:
    return f"{count} stream{'' if count == 1 else 's'}"


def _length(duration_ms: int) -> str:
    seconds = duration_ms // 1000
    return f"{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
