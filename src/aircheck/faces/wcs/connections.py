"""`/connection/…`: peers that publish or play."""

from __future__ import annotations

from collections.abc import Sequence

from aircheck.faces.wcs.arguments import Arguments
from aircheck.faces.wcs.methods import Answer, RestMethod
from aircheck.faces.wcs.objects import connection_object
from aircheck.service.connections import ConnectionStatus
from aircheck.service.errors import NotFound
from aircheck.service.services import Services

_GIVES = (
    '[{"nodeId": "…", "appKey": "flashStreamingApp", "sessionId": "…", "status": "ESTABLISHED", '
    '"clientVersion": "FMLE/3.0", "remoteAddress": "192.0.2.7:41000", "mediaProviders": ["Flash"], '
    '"createDate": 1616730493789}]'
)


def connection_methods(services: Services, node_id: str) -> tuple[RestMethod, ...]:
    def objects(found: Sequence[ConnectionStatus]) -> Answer:
        if not found:
            raise NotFound("nobody is connected who is meant", remedy="/connection/find_all lists who is")
        return [connection_object(connection, node_id) for connection in found]

    async def find(arguments: Arguments) -> Answer:
        client = arguments.text("clientVersion")
        return objects([one for one in services.connections.list() if client in (None, one.client)])

    async def find_all(_: Arguments) -> Answer:
        return objects(services.connections.list())

    async def terminate(arguments: Arguments) -> Answer:
        services.connections.close(arguments.required_text("sessionId"))
        return None

    return (
        RestMethod(
            ("/connection/find",),
            "Peers whose client says that it is of this version; all of them when none is given.",
            find,
            takes='{"clientVersion": "FMLE/3.0"}',
            gives=_GIVES,
            errors=(400, 404),
        ),
        RestMethod(("/connection/find_all",), "Every peer.", find_all, gives=_GIVES, errors=(404,)),
        RestMethod(
            ("/connection/terminate",),
            "Send a peer away; what it publishes ends.",
            terminate,
            takes='{"sessionId": "…"}',
            errors=(400, 404),
        ),
    )
