"""One stream of a session, published or played, from the client's request to the last status it is told."""

from __future__ import annotations

from collections.abc import Callable

from aircheck.errors import AircheckError
from aircheck.faces.websdk.infos import Status, info_of_refusal, status_of_end
from aircheck.facts import EndReason
from aircheck.hub.gatekeeper import Attempt
from aircheck.service.peers import Peer, Peers, check_stream_name
from aircheck.service.recorded_names import RecordedFile, RecordedNames
from aircheck.tasks import TaskGroup
from aircheck.webrtc.peer import PeerState

Send = Callable[..., None]
"""Name of the message and its data."""


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
        names: RecordedNames,
        record_stop_timeout_s: float,
        send: Send,
        tasks: TaskGroup,
        on_over: Callable[[SdkStream], None],
    ) -> None:
        self.media_session_id = media_session_id
        self.name = name
        self.is_published = is_published
        self._names = names
        self._record_stop_timeout_s = record_stop_timeout_s
        self._send = send
        self._tasks = tasks
        self._on_over = on_over
        self._peer: Peer | None = None
        self._file: RecordedFile | None = None
        self._is_leaving = False

    async def start(
        self, peers: Peers, offer: str, attempt: Attempt, *, wants_recording: bool | None
    ) -> None:
        """Publish or play; whatever comes of it, the client is told."""
        try:
            check_stream_name(self.name)
            if self.is_published:
                peer = await peers.publish(
                    offer,
                    attempt,
                    media_session_id=self.media_session_id,
                    wants_recording=wants_recording,
                    on_change=self._changed,
                )
            else:
                peer = await peers.play(
                    offer, attempt, media_session_id=self.media_session_id, on_change=self._changed
                )
        except AircheckError as error:
            self._conclude(Status.FAILED, info_of_refusal(error, self.name))
            return
        self._peer = peer
        self._send("setRemoteSDP", self.media_session_id, peer.answer)

    def leave(self, reason: EndReason) -> None:
        """The client wants to stop, or has gone."""
        if self._is_leaving or self._peer is None:
            return
        self._is_leaving = True
        self._peer.close(reason)

    def _changed(self, peer: Peer) -> None:
        if peer.is_connected:
            self._file = self._names.find(self.media_session_id) if self.is_published else None
            self._tell(Status.PUBLISHING if self.is_published else Status.PLAYING)
        elif peer.is_closed:
            self._tasks.spawn(self._end(peer.state, peer.info), f"end {self.media_session_id}")

    async def _end(self, state: PeerState, info: str) -> None:
        status = status_of_end(state, info, is_published=self.is_published)
        if self._file is None and self.is_published:
            self._file = self._names.find(self.media_session_id)
        record_name = None
        if self._file is not None:
            record_name = await self._file.final_name(self._record_stop_timeout_s)
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
