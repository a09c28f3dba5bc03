"""One stream of a session, published or played, from the client's request to the last status it is told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aircheck.errors import AircheckError
from aircheck.faces.websdk.infos import Status, info_of_refusal, status_of_end
from aircheck.facts import EndReason
from aircheck.hub.gatekeeper import Admission, Attempt
from aircheck.hub.registry import Registry
from aircheck.media.track import Kind
from aircheck.service.peers import Peer, Peers, check_stream_name
from aircheck.service.recorded_names import RecordedFile, RecordedNames
from aircheck.tasks import TaskGroup
from aircheck.webrtc.states import PeerState

READY_CHECK_S = 0.03
READY_CHECKS = 50
"""A second and a half: media comes some frames after the connection."""

Send = Callable[..., None]
"""Name of the message and its data."""

MayConnect = Callable[[Attempt], Awaitable[Admission]]


@dataclass(frozen=True, slots=True)
class SdkStreams:
    """What all streams of all sessions share."""

    peers: Peers
    registry: Registry
    names: RecordedNames
    record_stop_timeout_s: float
    may_connect: MayConnect | None = None
    """Asked before a page is established; None: everybody may connect."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What a publisher says of its stream: whether it is to be recorded (None: as the settings say), and
    which kinds of media it will send."""

    recording: bool | None
    kinds: frozenset[Kind]


class SdkStream:
    """`on_over` is called when the client has been told the last status.

    Order: the answer, PUBLISHING or PLAYING once the peer is connected, and at the end one of UNPUBLISHED,
    STOPPED and FAILED. The last one of a recorded stream waits until its file is final.
    """

    def __init__(
        self,
        media_session_id: str,
        name: str,
        *,
        is_published: bool,
        streams: SdkStreams,
        send: Send,
        tasks: TaskGroup,
        on_over: Callable[[SdkStream], None],
    ) -> None:
        self.media_session_id = media_session_id
        self.name = name
        self.is_published = is_published
        self._streams = streams
        self._send = send
        self._tasks = tasks
        self._on_over = on_over
        self._peer: Peer | None = None
        self._file: RecordedFile | None = None
        self._leaves_for: EndReason | None = None

    def start(self, offer: str, attempt: Attempt, wish: Wish) -> None:
        """Publish or play in the background; whatever comes of it, the client is told."""
        self._tasks.spawn(self._start(offer, attempt, wish), f"start {self.media_session_id}")

    def leave(self, reason: EndReason) -> None:
        """The client wants to stop, or has gone."""
        if self._leaves_for is not None:
            return
        self._leaves_for = reason
        if self._peer is not None:
            self._peer.close(reason)

    async def _start(self, offer: str, attempt: Attempt, wish: Wish) -> None:
        try:
            check_stream_name(self.name)
            if self.is_published:
                peer = await self._publish(offer, attempt, wish)
            else:
                peer = await self._play(offer, attempt)
        except AircheckError as error:
            self._conclude(Status.FAILED, info_of_refusal(error, self.name))
            return
        self._peer = peer
        self._send("setRemoteSDP", self.media_session_id, peer.answer)
        if self._leaves_for is not None:
            peer.close(self._leaves_for)

    async def _publish(self, offer: str, attempt: Attempt, wish: Wish) -> Peer:
        def changed(peer: Peer) -> None:
            if peer.is_connected:
                self._file = self._streams.names.find(self.media_session_id)
                self._tasks.spawn(self._tell_when_ready(peer, wish.kinds), f"ready {self.media_session_id}")
            elif peer.is_closed:
                self._tasks.spawn(self._end(peer.state, peer.info), f"end {self.media_session_id}")

        return await self._streams.peers.publish(
            offer,
            attempt,
            media_session_id=self.media_session_id,
            wants_recording=wish.recording,
            on_change=changed,
        )

    async def _play(self, offer: str, attempt: Attempt) -> Peer:
        def changed(peer: Peer) -> None:
            if peer.is_connected:
                self._tell(Status.PLAYING)
            elif peer.is_closed:
                self._tasks.spawn(self._end(peer.state, peer.info), f"end {self.media_session_id}")

        return await self._streams.peers.play(
            offer, attempt, media_session_id=self.media_session_id, on_change=changed
        )

    async def _tell_when_ready(self, peer: Peer, kinds: frozenset[Kind]) -> None:
        """PUBLISHING, once all that was announced flows: pages that play at once then get all of it."""
        for _ in range(READY_CHECKS):
            stream = self._streams.registry.by_id(self.media_session_id)
            if peer.is_closed or (stream is not None and kinds <= {track.kind for track in stream.tracks}):
                break
            await asyncio.sleep(READY_CHECK_S)
        if not peer.is_closed:
            self._tell(Status.PUBLISHING)

    async def _end(self, state: PeerState, info: str) -> None:
        status = status_of_end(state, info, is_published=self.is_published)
        if self._file is None and self.is_published:
            self._file = self._streams.names.find(self.media_session_id)
        record_name = None
        if self._file is not None:
            record_name = await self._file.final_name(self._streams.record_stop_timeout_s)
        self._conclude(status, info, record_name)

    def _conclude(self, status: Status, info: str, record_name: str | None = None) -> None:
        self._on_over(self)
        self._tell(status, info, record_name)

    def _tell(self, status: Status, info: str = "", record_name: str | None = None) -> None:
        facts: dict[str, object] = {
            "mediaSessionId": self.media_session_id,
            "name": self.name,
            "published": self.is_published,
            "status": status,
            "record": self._file is not None,
        }
        if info:
            facts["info"] = info
        if self._file is not None:
            # An empty name takes the expected one back: there is no file.
            facts["recordName"] = self._file.name if record_name is None else record_name
        self._send("notifyStreamStatusEvent", facts)
