"""One page that is connected: what it asks for, in order, and what it is told.

    CONNECTED ── connection ──▶ ESTABLISHED ── the socket closes ──▶ CLOSED

Whether a page may connect can be asked of somebody else; it waits for that, and is let go if it may not.
Messages are handled one after another. Before `connection` only that is answered well; a page that does not
send it in time is let go, and so is one that sends what is no message again and again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from aircheck.clock import Clock
from aircheck.faces.websdk import envelope, infos
from aircheck.faces.websdk.envelope import BadMessage, text_of
from aircheck.faces.websdk.infos import Status
from aircheck.faces.websdk.streams import MayConnect, SdkStream, SdkStreams, Wish
from aircheck.facts import EndReason
from aircheck.hub.gatekeeper import Attempt
from aircheck.media.track import Kind
from aircheck.service.connections import ConnectionStatus
from aircheck.tasks import TaskGroup

_log = logging.getLogger(__name__)

PROTOCOL = "websdk"
DEFAULT_APP = "defaultApp"
"""The application of pages that name none."""

STREAMS_MAX = 32
"""Of one session at a time."""
BAD_MESSAGES_MAX = 20
ID_MAX_CHARS = 128
SDP_MAX_CHARS = 128 * 1024
CUSTOM_MAX = 32
"""Members of `custom` that are looked at; they are where a page puts a token or a login."""


@dataclass(frozen=True, slots=True)
class Address:
    """Both ends of the socket as `host:port`, and the query of the URL that the page connected to."""

    remote: str
    local: str
    query: Mapping[str, str]


class SdkSession:
    """`send` queues a text for the page, `hang_up` closes the socket; neither waits."""

    def __init__(
        self,
        streams: SdkStreams,
        clock: Clock,
        address: Address,
        *,
        send: Callable[[str], None],
        hang_up: Callable[[str], None],
    ) -> None:
        self.session_id = f"/{address.remote}/{address.local}"
        self.is_established = False
        self.is_asking = False
        """Somebody else decides whether it may connect."""
        self.connected_ns = clock.wall_ns()
        self.tasks = TaskGroup(f"websdk {self.session_id}")
        self._shared = streams
        self._address = address
        self._send_text = send
        self._hang_up = hang_up
        self._streams: dict[str, SdkStream] = {}
        self._app_key = DEFAULT_APP
        self._client = ""
        self._custom: dict[str, str] = {}
        self._bad_messages = 0

    @property
    def status(self) -> ConnectionStatus:
        return ConnectionStatus(
            session_id=self.session_id,
            protocol=PROTOCOL,
            app=self._app_key,
            remote_address=self._address.remote,
            client=self._client,
            connected_ns=self.connected_ns,
        )

    def receive(self, text: str) -> None:
        """Handle one message, whatever it is."""
        try:
            name, data = envelope.parse(text)
        except BadMessage as error:
            self._refuse_message(error)
            return
        match name:
            case "connection":
                self._establish(data)
            case "ping":
                self.send("pong")
            case "publishStream":
                self._start(data, is_published=True)
            case "playStream":
                self._start(data, is_published=False)
            case "unPublishStream" | "stopStream":
                self._stop(data, is_published=name == "unPublishStream")
            case "availableStream":
                self._tell_availability(data)
            case "sendData":
                self._refuse_data(data)
            case "snapshot":
                self._refuse_snapshot(data)
            case _:
                _log.debug("message ignored session=%s message=%.40s", self.session_id, name)

    def send(self, name: str, *data: object) -> None:
        self._send_text(envelope.serialize(name, *data))

    def ping(self) -> None:
        self.send("ping")

    def hang_up(self, why: str) -> None:
        self._hang_up(why)

    async def close(self) -> None:
        """The socket has closed: what the page published and played ends."""
        self.is_established = False
        for stream in list(self._streams.values()):
            stream.leave(EndReason.DISCONNECTED)
        await self.tasks.close()

    # what the page asks for

    def _establish(self, data: Mapping[str, Any]) -> None:
        app_key = text_of(data, "appKey", ID_MAX_CHARS)
        self._app_key = app_key if app_key and app_key.isprintable() else DEFAULT_APP
        self._client = text_of(data, "clientBrowserVersion", 512) or text_of(data, "clientVersion", 64)
        self._custom = _flat(data.get("custom"))
        may_connect = self._shared.may_connect
        if self.is_established or may_connect is None:
            self._welcome()
        elif not self.is_asking:
            self.is_asking = True
            self.tasks.spawn(self._ask(may_connect), f"connect {self.session_id}")

    async def _ask(self, may_connect: MayConnect) -> None:
        admission = await may_connect(self._attempt("", {}))
        self.is_asking = False
        if admission.is_allowed:
            self._welcome()
        else:
            self._hang_up(admission.reason)

    def _welcome(self) -> None:
        if not self.is_established:
            _log.info("page connected session=%s client=%s", self.session_id, self._client)
        self.is_established = True
        self.send(
            "getUserData",
            {
                "status": "ESTABLISHED",
                "authToken": self.session_id,
                "appKey": self._app_key,
                "mediaProviders": ["WebRTC"],
                "useWsTunnel": False,
                "useWsTunnelPacketization2": False,
                "useBase64BinaryEncoding": False,
                "keepAlive": False,
            },
        )
        self.ping()

    def _start(self, data: Mapping[str, Any], *, is_published: bool) -> None:
        media_session_id = text_of(data, "mediaSessionId", ID_MAX_CHARS)
        name = data.get("name") if isinstance(data.get("name"), str) else ""
        assert isinstance(name, str)
        refusal = self._refusal(media_session_id, data)
        if refusal:
            self._fail(media_session_id, name, refusal, is_published=is_published)
            return
        stream = SdkStream(
            media_session_id,
            name,
            is_published=is_published,
            streams=self._shared,
            send=self.send,
            tasks=self.tasks,
            on_over=self._forget,
        )
        self._streams[media_session_id] = stream
        stream.start(text_of(data, "sdp", SDP_MAX_CHARS), self._attempt(name, data), _wish(data))

    def _refusal(self, media_session_id: str, data: Mapping[str, Any]) -> str:
        """Why a stream cannot even be begun; empty when it can."""
        if not media_session_id or not media_session_id.isprintable():
            return infos.NO_MEDIA_SESSION
        if not self.is_established:
            return infos.SESSION_NOT_READY
        if media_session_id in self._streams:
            return infos.MEDIA_SESSION_IN_USE
        if len(self._streams) >= STREAMS_MAX:
            return infos.NOT_ADDED
        if data.get("mediaProvider", "WebRTC") != "WebRTC":
            return infos.NO_COMMON_CODECS
        return ""

    def _attempt(self, name: str, data: Mapping[str, Any]) -> Attempt:
        """Credentials stand in the URL, in `custom` of the connection or in that of the stream."""
        return Attempt(
            protocol=PROTOCOL,
            session_id=self.session_id,
            remote_address=self._address.remote,
            app=self._app_key,
            name=name,
            query={**self._address.query, **self._custom, **_flat(data.get("custom"))},
        )

    def _stop(self, data: Mapping[str, Any], *, is_published: bool) -> None:
        media_session_id = text_of(data, "mediaSessionId", ID_MAX_CHARS)
        stream = self._streams.get(media_session_id)
        if stream is not None:
            stream.leave(EndReason.UNPUBLISHED)
            return
        name = text_of(data, "name", ID_MAX_CHARS)
        self._fail(media_session_id, name, infos.NO_SUCH_SESSION, is_published=is_published)

    def _tell_availability(self, data: Mapping[str, Any]) -> None:
        name = text_of(data, "name", 512)
        is_live = bool(name) and self._shared.registry.find(name) is not None
        said = {"status": "true" if is_live else "false", "info": "" if is_live else infos.STREAM_NOT_FOUND}
        self.send("availableStream", {"id": text_of(data, "mediaSessionId", ID_MAX_CHARS), **said})

    def _refuse_data(self, data: Mapping[str, Any]) -> None:
        """Data for an application on the server: there is none, and the page waits for an answer."""
        operation_id = text_of(data, "operationId", ID_MAX_CHARS)
        info = "No application takes data here"
        self.send("DataStatusEvent", {"operationId": operation_id, "status": Status.FAILED, "info": info})

    def _refuse_snapshot(self, data: Mapping[str, Any]) -> None:
        media_session_id = text_of(data, "mediaSessionId", ID_MAX_CHARS)
        payload = {"info": "No snapshots are taken here"}
        event = {"mediaSessionId": media_session_id, "type": "snapshotFailed", "payload": payload}
        self.send("notifyStreamEvent", event)

    # bookkeeping

    def _fail(self, media_session_id: str, name: str, info: str, *, is_published: bool) -> None:
        _log.info(
            "stream refused stream=%.80s session=%s is_published=%s info=%s",
            name,
            self.session_id,
            is_published,
            info,
        )
        facts = {
            "mediaSessionId": media_session_id,
            "name": name,
            "published": is_published,
            "status": Status.FAILED,
            "info": info,
        }
        self.send("notifyStreamStatusEvent", facts)

    def _refuse_message(self, error: BadMessage) -> None:
        self._bad_messages += 1
        _log.debug("bad message session=%s error=%s", self.session_id, error.message)
        if self._bad_messages > BAD_MESSAGES_MAX:
            self._hang_up("too many messages that are none")
            return
        self.send("fail", {"status": Status.FAILED, "info": error.message})

    def _forget(self, stream: SdkStream) -> None:
        if self._streams.get(stream.media_session_id) is stream:
            del self._streams[stream.media_session_id]


def _wish(data: Mapping[str, Any]) -> Wish:
    record = data.get("record")
    announced = ((Kind.VIDEO, "hasVideo"), (Kind.AUDIO, "hasAudio"))
    kinds = frozenset(kind for kind, member in announced if data.get(member) is True)
    return Wish(record if isinstance(record, bool) else None, kinds)


def _flat(custom: object) -> dict[str, str]:
    """Members of `custom` that are texts or numbers."""
    if not isinstance(custom, dict):
        return {}
    members = list(custom.items())[:CUSTOM_MAX]
    return {str(key): str(value) for key, value in members if isinstance(value, str | int | float)}
