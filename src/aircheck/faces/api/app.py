"""The application: one factory, everything handed in, nothing global."""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path

from fastapi import FastAPI

from aircheck import __version__
from aircheck.faces.api.clips import clip_routes
from aircheck.faces.api.control import control_routes
from aircheck.faces.api.files import file_routes
from aircheck.faces.api.health import health_routes
from aircheck.faces.api.metrics import NodeCollector, make_registry
from aircheck.faces.api.pages import page_routes
from aircheck.faces.api.problems import Boundary, install, report_unexpected
from aircheck.faces.api.routes import api_routes
from aircheck.faces.record.routes import record_routes
from aircheck.faces.wcs.app import WcsOptions, wcs_rest_app
from aircheck.faces.wcs.rest import REST_PATH
from aircheck.faces.websdk.client2 import add_client2
from aircheck.faces.whip.routes import WhipOptions, add_whip
from aircheck.service.services import Services

WCS_DEFAULTS = WcsOptions()
WHIP_DEFAULTS = WhipOptions()

_DESCRIPTION = """\
Live streams, recordings and their files. Lists are paged: ask again with `cursor` set to the `next_cursor`
of the page before. Errors are problem details (RFC 9457) with a `remedy`.

This port has no login yet: whoever reaches it may do everything that is listed here.
"""


def create_app(
    services: Services,
    *,
    wcs: WcsOptions | None = WCS_DEFAULTS,
    whip: WhipOptions = WHIP_DEFAULTS,
    client2_dir: Path | None = None,
    publish_address: tuple[str, int] | None = None,
) -> FastAPI:
    """Everything that is served over HTTP: API, files, pages, health and metrics, and the REST API of WCS.

    Without `wcs` the last one is not there; without WebRTC peers among the services neither are WHIP, WHEP
    and the page that records, and without `client2_dir` there is no /client2/. The page at / says how to
    publish by RTMP at `publish_address`. Raises `ConfigError`.
    """
    responses: Counter[int] = Counter()
    errors: Counter[str] = Counter()
    report = partial(report_unexpected, errors=errors)
    collector = NodeCollector(services, responses, errors)
    app = FastAPI(
        title="Aircheck",
        version=__version__,
        description=_DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        separate_input_output_schemas=False,
    )
    app.include_router(api_routes(services))
    app.include_router(control_routes(services))
    app.include_router(file_routes(services))
    app.include_router(clip_routes(services))
    app.include_router(health_routes(services, make_registry(collector), collector))
    can_record = services.peers is not None
    app.include_router(page_routes(services, can_record=can_record, publish_address=publish_address))
    if services.peers is not None:
        add_whip(app, services.peers, services.connections, services.clock, whip, report)
        app.include_router(record_routes())
    if client2_dir is not None:
        add_client2(app, client2_dir)
    if wcs is not None:
        app.mount(REST_PATH, wcs_rest_app(services, wcs, report))
    install(app)
    app.add_middleware(Boundary, responses=responses, report=report)
    return app
