"""The addresses of WHIP and WHEP, and what each method does there.

    /whip/NAME           POST an offer to publish: 201, the answer, and the URL of the session
    /whep/NAME           POST an offer to watch
    /whip-session/KEY    PATCH candidates or an ICE restart, DELETE to end; /whep-session/KEY likewise

Sections in comments are those of RFC 9725.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from fastapi import FastAPI
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from aircheck.clock import Clock
from aircheck.errors import AircheckError
from aircheck.faces.api.problems import ProblemResponse, Report
from aircheck.faces.whip.exchange import (
    FRAGMENT,
    SDP,
    Refusal,
    answer,
    body_of,
    cors_headers,
    credentials,
    has_given_up,
    preflight_headers,
    problem,
    remote_address,
)
from aircheck.faces.whip.ice_servers import IceServer
from aircheck.faces.whip.sessions import Session, Sessions
from aircheck.facts import EndReason
from aircheck.hub.gatekeeper import Attempt
from aircheck.service.connections import ConnectionService, ConnectionStatus
from aircheck.service.peers import DEFAULT_APP, Peer, Peers, check_stream_name
from aircheck.webrtc.errors import BadFragment
from aircheck.wire import sdp

Handler = Callable[[Request], Awaitable[Response]]

_ALL = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
_ENDPOINT_METHODS = "OPTIONS, GET, HEAD, POST"
_SESSION_METHODS = "OPTIONS, GET, HEAD, PATCH, DELETE"


@dataclass(frozen=True, slots=True)
class WhipOptions:
    """`ice_servers` are those that clients are told of; `on_session_ended` gets the id of each session."""

    ice_servers: Sequence[IceServer] = ()
    on_session_ended: Callable[[str], None] = lambda session_id: None


def add_whip(
    app: FastAPI,
    peers: Peers,
    connections: ConnectionService,
    clock: Clock,
    options: WhipOptions,
    report: Report,
) -> None:
    """Serve WHIP and WHEP in an application; their peers are among the connections.

    `report` is told of what nobody expected; pages of other sites can read that answer, too.
    """
    for protocol in ("whip", "whep"):
        sessions = Sessions(options.on_session_ended)
        connections.add_source(sessions)
        endpoint = _Endpoint(protocol, peers, sessions, clock, options)
        resource = _Resource(sessions)
        app.add_route(
            f"/{protocol}/{{name:path}}", _answered(endpoint, report), _ALL, include_in_schema=False
        )
        app.add_route(
            f"/{protocol}-session/{{key}}", _answered(resource, report), _ALL, include_in_schema=False
        )


def _answered(handler: Handler, report: Report) -> Handler:
    async def answer_it(request: Request) -> Response:
        try:
            return await handler(request)
        except ClientDisconnect:
            raise
        except Exception as error:
            said = problem(request, error) if isinstance(error, AircheckError) else None
            return said or ProblemResponse(report(error, request.scope), cors_headers())

    return answer_it


class _Endpoint:
    """/whip/NAME or /whep/NAME."""

    def __init__(
        self, protocol: str, peers: Peers, sessions: Sessions, clock: Clock, options: WhipOptions
    ) -> None:
        self._protocol = protocol
        self._peers = peers
        self._sessions = sessions
        self._clock = clock
        self._on_session_ended = options.on_session_ended
        ice_servers = options.ice_servers
        self._links = {"link": ", ".join(server.link for server in ice_servers)} if ice_servers else {}

    async def __call__(self, request: Request) -> Response:
        match request.method:
            case "POST":
                return await self._take_in(request)
            case "OPTIONS":
                return self._options(request)
            case "GET" | "HEAD":
                return self._get()
            case _:
                raise _no_method(request, _ENDPOINT_METHODS)

    async def _take_in(self, request: Request) -> Response:
        attempt = self._attempt(request)
        offer = await body_of(request, SDP)
        check_stream_name(attempt.name)
        peer = await self._connect(offer, attempt)
        if await has_given_up(request):
            # Nobody will come: the name is free at once.
            peer.close(EndReason.DISCONNECTED)
        key = self._sessions.add(peer, self._connection(request, attempt), offer)
        return answer(
            201,
            peer.answer,
            content_type=SDP,
            location=f"/{self._protocol}-session/{key}",
            etag=peer.etag,
            accept_patch=FRAGMENT,
            **self._links,
        )

    async def _connect(self, offer: str, attempt: Attempt) -> Peer:
        on_change = self._sessions.changed
        try:
            if self._protocol == "whip":
                # No half of a publication is taken (4.4.3).
                return await self._peers.publish(offer, attempt, is_all_or_nothing=True, on_change=on_change)
            return await self._peers.play(offer, attempt, on_change=on_change)
        except AircheckError:
            self._on_session_ended(attempt.session_id)
            raise

    def _attempt(self, request: Request) -> Attempt:
        return Attempt(
            protocol=self._protocol,
            session_id=secrets.token_hex(6),
            remote_address=remote_address(request.scope),
            app=DEFAULT_APP,
            name=request.path_params["name"],
            query=credentials(request),
        )

    def _connection(self, request: Request, attempt: Attempt) -> ConnectionStatus:
        return ConnectionStatus(
            session_id=attempt.session_id,
            protocol=attempt.protocol,
            app=attempt.app,
            remote_address=attempt.remote_address,
            client=request.headers.get("user-agent", ""),
            connected_ns=self._clock.wall_ns(),
        )

    def _options(self, request: Request) -> Response:
        """4.2. STUN and TURN servers are told to clients, not to browsers that only ask for leave (4.6)."""
        is_preflight = "access-control-request-method" in request.headers
        response = answer(
            200, accept_post=SDP, allow=_ENDPOINT_METHODS, **({} if is_preflight else self._links)
        )
        response.headers.update(preflight_headers(_ENDPOINT_METHODS))
        return response

    def _get(self) -> Response:
        """There is nothing to see (4.1), but players may ask whether they can watch here (WHEP 4.2)."""
        if self._protocol == "whep":
            return answer(200, content_type=SDP, accept_post=SDP)
        return answer(204, accept_post=SDP)


class _Resource:
    """/whip-session/KEY or /whep-session/KEY."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    async def __call__(self, request: Request) -> Response:
        match request.method:
            case "PATCH":
                return await self._patch(request)
            case "DELETE":
                # An entity tag is of no interest here (4.3.1).
                self._find(request).peer.close(EndReason.UNPUBLISHED)
                return answer(200)
            case "OPTIONS":
                response = answer(200, allow=_SESSION_METHODS, accept_patch=FRAGMENT)
                response.headers.update(preflight_headers(_SESSION_METHODS))
                return response
            case "GET" | "HEAD":
                self._find(request)
                return answer(204, accept_patch=FRAGMENT)
            case _:
                raise _no_method(request, _SESSION_METHODS)

    async def _patch(self, request: Request) -> Response:
        """4.3: candidates of this ICE session, or the beginning of another one."""
        body = await body_of(request, FRAGMENT)
        session = self._find(request)
        _check_condition(request.headers.get("if-match"), session.peer.etag)
        try:
            fragment = sdp.parse_fragment(body)
        except sdp.SdpError as error:
            raise BadFragment(f"the SDP fragment cannot be read: {error}") from error
        if fragment.ufrag in ("", session.remote_ufrag):
            session.peer.add_candidates(body)
            return answer(204)
        said = session.peer.restart_ice(body)
        session.remote_ufrag = fragment.ufrag
        return answer(200, said, content_type=FRAGMENT, etag=session.peer.etag)

    def _find(self, request: Request) -> Session:
        session = self._sessions.get(request.path_params["key"])
        if session is None:
            raise Refusal(404, "this session has ended, or never was", remedy="POST an offer for a new one")
        return session


def _check_condition(if_match: str | None, etag: str) -> None:
    """4.3.1 and RFC 9110 13.1.1: strong comparison, so weak tags never match. Raises `Refusal` 428, 412."""
    if if_match is None:
        raise Refusal(
            428,
            "which ICE session is meant is not said",
            remedy="send If-Match with the ETag of the last answer; for an ICE restart: If-Match: *",
        )
    # One client quotes the asterisk as the example of the RFC does.
    tags = {tag.strip() for tag in if_match.split(",")}
    if not tags & {"*", '"*"', etag}:
        raise Refusal(412, "this ICE session is over", remedy="send the ETag of the last answer")


def _no_method(request: Request, allowed: str) -> Refusal:
    return Refusal(
        405,
        f"{request.url.path} has no {request.method}",
        remedy=f"it has {allowed}",
        headers={"allow": allowed},
    )
