"""The WCS REST API put together."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass, field

from aircheck.faces.api.problems import Report
from aircheck.faces.wcs.connections import connection_methods
from aircheck.faces.wcs.methods import RestMethod, by_path
from aircheck.faces.wcs.multi_recorder import multi_recorder_methods
from aircheck.faces.wcs.pulls import pull_methods
from aircheck.faces.wcs.recorder import recorder_methods
from aircheck.faces.wcs.rest import WcsRestApp
from aircheck.faces.wcs.streams import stream_methods
from aircheck.service.services import Services


@dataclass(frozen=True, slots=True)
class WcsOptions:
    """`allowed_origin`: pages that may call, as in CORS; `node_id`: what this server calls itself."""

    allowed_origin: str = "*"
    node_id: str = field(default_factory=socket.gethostname)


def wcs_methods(services: Services, options: WcsOptions) -> Mapping[str, RestMethod]:
    """Every method by each of its paths, as they stand behind `/rest-api`."""
    return by_path(
        recorder_methods(services),
        multi_recorder_methods(services),
        stream_methods(services),
        pull_methods(),
        connection_methods(services, options.node_id),
    )


def wcs_rest_app(services: Services, options: WcsOptions, report: Report) -> WcsRestApp:
    return WcsRestApp(wcs_methods(services, options), report, allowed_origin=options.allowed_origin)
