"""REST hooks of Flashphoner WCS: a backend is asked who may publish and play, and told what happened.

Order, of one session
    connect → ConnectionStatusEvent ESTABLISHED → publishStream → StreamStatusEvent PUBLISHING
    → unPublishStream → StreamStatusEvent UNPUBLISHED → ConnectionStatusEvent DISCONNECTED,
    with playStream and stopStream for those who play. Questions do not wait for news: `publishStream` may be
    there before the news that the peer is connected.

Asked are `connect`, `publishStream` and `playStream`: 200 allows, 403 refuses, and for other answers and none
holds what `refuses_on_error` says. A backend may answer `connect` with a `restClientConfig`: of that
`restOnError`, `restPolicy` DISABLE and `restExclude` are followed. Fields are not overwritten by answers.

`connect` is asked when a peer first wants to publish or play, as only then it is known that it may do so by
the rules of this server. Pages made with the WebSDK are asked about when they connect, as they wait for that.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from aircheck.clock import Clock
from aircheck.faces.wcs.objects import PUBLISHING, app_key, connection_object, media_provider, stream_object
from aircheck.facts import StreamFacts
from aircheck.hub.gatekeeper import Admission, Attempt, Gatekeeper
from aircheck.hub.registry import Registry
from aircheck.hub.stream import Stream
from aircheck.service.backend import FORBIDDEN, Backend
from aircheck.service.connections import ConnectionStatus
from aircheck.tasks import TaskGroup

METHODS = (
    "connect",
    "ConnectionStatusEvent",
    "publishStream",
    "unPublishStream",
    "playStream",
    "stopStream",
    "StreamStatusEvent",
)
SESSIONS_MAX = 20_000
"""Peers of protocols that do not tell when a session ends are forgotten beyond that, the oldest first."""
TRACKS_WAIT_S = 3.0
"""How long news of a stream wait until it is known what it is made of."""
TRACKS_POLL_S = 0.1

_ALLOWED = Admission(True)
_REMEDY = "ask whoever runs the server: a backend of theirs decides who may come in"

RecordName = Callable[[str], str | None]
"""The file that a media session is recorded into now, if it is."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class MethodPolicy:
    """What the backend wants of one method. `fails_on_error` is None where it has not said."""

    is_disabled: bool = False
    fails_on_error: bool | None = None
    excluded: frozenset[str] = frozenset()


@dataclass(slots=True)
class _Session:
    """A peer that `connect` was asked for; `refusal` is empty when it was allowed."""

    url: str
    connection: Mapping[str, Any]
    policies: Mapping[str, MethodPolicy] = field(default_factory=dict)
    refusal: str = ""
    plays: list[tuple[Attempt, Mapping[str, Any]]] = field(default_factory=list)


class WcsHooks:
    """Implements `Gatekeeper`: first the rules of this server, `inner`, then the backend."""

    def __init__(
        self,
        inner: Gatekeeper,
        registry: Registry,
        backend: Backend,
        clock: Clock,
        *,
        node_id: str,
        methods: Collection[str] = METHODS,
        refuses_on_error: bool = True,
        record_name: RecordName = lambda media_session_id: None,
    ) -> None:
        self._inner = inner
        self._registry = registry
        self._backend = backend
        self._clock = clock
        self._node_id = node_id
        self._methods = frozenset(methods)
        self._refuses_on_error = refuses_on_error
        self._record_name = record_name
        self._sessions: OrderedDict[str, asyncio.Task[_Session]] = OrderedDict()
        self._tasks = TaskGroup("hooks of WCS")
        self._announcing: dict[str, asyncio.Task[None]] = {}
        registry.listen(published=self._published, ended=self._ended)
        registry.listen_to_viewers(joined=self._joined, left=self._left)

    # what rooms that let peers in ask

    @property
    def has_users(self) -> bool:
        return self._inner.has_users

    def password_of(self, user: str) -> str | None:
        return self._inner.password_of(user)

    async def may_publish(self, attempt: Attempt) -> Admission:
        return await self._may(attempt, "publishStream", await self._inner.may_publish(attempt))

    async def may_play(self, attempt: Attempt) -> Admission:
        return await self._may(attempt, "playStream", await self._inner.may_play(attempt))

    async def may_connect(self, attempt: Attempt) -> Admission:
        """For peers that connect before they want anything."""
        url = self._backend.url_of(attempt.app, app_key(attempt.protocol, attempt.app))
        return _ALLOWED if not url else self._let_in(attempt, await self._connected(url, attempt, login=""))

    def session_ended(self, session_id: str) -> None:
        """A peer has gone; called once for each, whatever it has done."""
        connecting = self._sessions.pop(session_id, None)
        if connecting is None:
            return
        if not connecting.done():
            connecting.cancel()
            return
        if connecting.cancelled() or connecting.exception() is not None:
            return
        session = connecting.result()
        for _, play in session.plays:
            self._tell_stopped(session, session_id, play)
        self._tell_connection(session, session_id, "DISCONNECTED")

    # asking

    async def _may(self, attempt: Attempt, method: str, admission: Admission) -> Admission:
        if not admission.is_allowed:
            return admission
        url = self._backend.url_of(attempt.app, app_key(attempt.protocol, attempt.app))
        if not url:
            return admission
        session = await self._connected(url, attempt, admission.login)
        if not (entry := self._let_in(attempt, session)).is_allowed:
            return entry
        body = self._attempted(attempt, method)
        refusal, _ = await self._ask(session, method, body)
        if refusal:
            self._tell(session, attempt.session_id, "StreamStatusEvent", {**body, "status": "FAILED"})
            return Admission(False, reason=refusal, remedy=_REMEDY)
        return admission

    def _let_in(self, attempt: Attempt, session: _Session) -> Admission:
        """Whoever is refused and tries again on the same connection is asked about again."""
        if not session.refusal:
            return _ALLOWED
        self._sessions.pop(attempt.session_id, None)
        return Admission(False, reason=session.refusal, remedy=_REMEDY)

    async def _connected(self, url: str, attempt: Attempt, login: str) -> _Session:
        """The session of a peer; who asks for several things at once is asked about once."""
        connecting = self._sessions.get(attempt.session_id)
        if connecting is None:
            connecting = self._tasks.spawn(
                self._connect(url, attempt, login), f"connect {attempt.session_id}"
            )
            self._sessions[attempt.session_id] = connecting
            while len(self._sessions) > SESSIONS_MAX:
                self.session_ended(next(iter(self._sessions)))
        try:
            return await asyncio.shield(connecting)
        except asyncio.CancelledError:
            if connecting.cancelled():
                return _Session(url, {}, refusal="the peer has gone")
            raise

    async def _connect(self, url: str, attempt: Attempt, login: str) -> _Session:
        connection = ConnectionStatus(
            session_id=attempt.session_id,
            protocol=attempt.protocol,
            app=attempt.app,
            remote_address=attempt.remote_address,
            login=login,
            connected_ns=self._clock.wall_ns(),
        )
        body = {**connection_object(connection, self._node_id), "custom": dict(attempt.query)}
        body["application"] = attempt.app
        session = _Session(url, body)
        session.refusal, answer = await self._ask(session, "connect", {**body, "status": "PENDING"})
        session.policies = parse_policies(answer.get("restClientConfig"))
        self._tell_connection(session, attempt.session_id, "FAILED" if session.refusal else "ESTABLISHED")
        return session

    async def _ask(
        self, session: _Session, method: str, body: Mapping[str, Any]
    ) -> tuple[str, Mapping[str, Any]]:
        """Why it is refused, empty when it is not, and what the backend has answered."""
        policy = session.policies.get(method, MethodPolicy())
        if method not in self._methods or policy.is_disabled:
            return "", {}
        reply = await self._backend.ask(session.url, method, _without(body, policy.excluded))
        if reply.is_ok:
            return "", reply.body
        is_refusal = reply.status == FORBIDDEN or self._refuses_on_error
        if not (is_refusal if policy.fails_on_error is None else policy.fails_on_error):
            _log.info("allowed all the same method=%s error=%s", method, reply.error)
            return "", {}
        _log.warning(
            "refused by the backend method=%s session=%s stream=%s error=%s",
            method,
            body.get("sessionId"),
            body.get("name", ""),
            reply.error,
        )
        what = "refused" if reply.status == FORBIDDEN else "could not be asked"
        return f"the backend {what} ({method})", {}

    # telling

    def _published(self, stream: Stream) -> None:
        if stream.facts.session_id in self._sessions:
            self._announcing[stream.id] = self._tasks.spawn(self._announce(stream), f"announce {stream.id}")

    async def _announce(self, stream: Stream) -> None:
        """Once its tracks are known, or have been waited for long enough."""
        for _ in range(round(TRACKS_WAIT_S / TRACKS_POLL_S)):
            if stream.tracks or not stream.is_live:
                break
            await asyncio.sleep(TRACKS_POLL_S)
        if self._announcing.pop(stream.id, None) is not None:
            self._tell_stream(stream, "StreamStatusEvent", PUBLISHING)

    def _ended(self, stream: Stream) -> None:
        if (announcing := self._announcing.pop(stream.id, None)) is not None:
            announcing.cancel()
            self._tell_stream(stream, "StreamStatusEvent", PUBLISHING)
        self._tell_stream(stream, "unPublishStream", "UNPUBLISHED")
        self._tell_stream(stream, "StreamStatusEvent", "UNPUBLISHED")

    def _joined(self, attempt: Attempt) -> None:
        if (session := self._known(attempt.session_id)) is not None:
            body = self._attempted(attempt, "playStream")
            session.plays.append((attempt, body))
            self._tell(session, attempt.session_id, "StreamStatusEvent", {**body, "status": "PLAYING"})

    def _left(self, attempt: Attempt) -> None:
        session = self._known(attempt.session_id)
        play = next((play for play in session.plays if play[0] == attempt), None) if session else None
        if session is not None and play is not None:
            session.plays.remove(play)
            self._tell_stopped(session, attempt.session_id, play[1])

    def _known(self, session_id: str) -> _Session | None:
        """The session of a peer that the backend has been asked about."""
        connecting = self._sessions.get(session_id)
        if connecting is None or not connecting.done():
            return None
        return None if connecting.cancelled() or connecting.exception() is not None else connecting.result()

    def _tell_stopped(self, session: _Session, session_id: str, play: Mapping[str, Any]) -> None:
        self._tell(session, session_id, "stopStream", {**play, "status": "STOPPED"})
        self._tell(session, session_id, "StreamStatusEvent", {**play, "status": "STOPPED"})

    def _tell_stream(self, stream: Stream, method: str, status: str) -> None:
        session = self._known(stream.facts.session_id)
        if session is None:
            return
        record_name = self._record_name(stream.id)
        body = stream_object(
            _with_tracks(stream), status, record=record_name is not None, recordName=record_name
        )
        session_id = stream.facts.session_id
        self._tell(session, session_id, method, {**body, "nodeId": self._node_id})

    def _tell_connection(self, session: _Session, session_id: str, status: str) -> None:
        self._tell(session, session_id, "ConnectionStatusEvent", {**session.connection, "status": status})

    def _tell(self, session: _Session, session_id: str, method: str, body: Mapping[str, Any]) -> None:
        policy = session.policies.get(method, MethodPolicy())
        if method in self._methods and not policy.is_disabled:
            self._backend.tell(session.url, method, _without(body, policy.excluded), session_id=session_id)

    def _attempted(self, attempt: Attempt, method: str) -> dict[str, Any]:
        """A Stream that is not there yet."""
        is_published = method == "publishStream"
        body = {
            "nodeId": self._node_id,
            "appKey": app_key(attempt.protocol, attempt.app),
            "application": attempt.app,
            "sessionId": attempt.session_id,
            "mediaSessionId": attempt.media_session_id,
            "name": attempt.name,
            "published": is_published,
            "status": "PENDING",
            "record": False,
            "createDate": self._clock.wall_ns() // 1_000_000,
            "mediaType": "publish" if is_published else "play",
            "mediaProvider": media_provider(attempt.protocol),
            "custom": dict(attempt.query),
        }
        return {name: value for name, value in body.items() if value != ""}


def parse_policies(config: object) -> dict[str, MethodPolicy]:
    """`restClientConfig` of an answer to `connect`; what makes no sense in it counts as not said."""
    if not isinstance(config, dict):
        return {}
    return {
        str(method): _parse_policy(method, entry)
        for method, entry in config.items()
        if isinstance(entry, dict)
    }


def _parse_policy(method: object, entry: Mapping[str, Any]) -> MethodPolicy:
    policy = str(entry.get("restPolicy", "")).upper()
    if policy == "OVERWRITE" and entry.get("restOverwrite"):
        _log.warning("backend wants to overwrite fields, which is not done method=%s", method)
    return MethodPolicy(
        is_disabled=policy in ("DISABLE", "DISABLED"),
        fails_on_error={"FAIL": True, "LOG": False}.get(str(entry.get("restOnError", "")).upper()),
        excluded=frozenset(filter(None, map(str.strip, str(entry.get("restExclude", "")).split(",")))),
    )


def _with_tracks(stream: Stream) -> StreamFacts:
    return stream.facts if stream.facts.tracks else replace(stream.facts, tracks=stream.track_facts())


def _without(body: Mapping[str, Any], excluded: Collection[str]) -> Mapping[str, Any]:
    return {name: value for name, value in body.items() if name not in excluded} if excluded else body
