"""One RTMP peer: the wire's events become streams in the hub, and viewers of them.

A session may publish several streams and play several others; encoders do one of either. While a decision is
awaited the socket is paused and events wait, so that nothing a peer sends is lost or handled out of order:
encoders begin to send media before they are told that they may. It is paused as well while one of its
publications is held back (`hold_back.py`).
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import uuid
from collections import deque
from collections.abc import Coroutine, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from aircheck.facts import EndReason, StreamFacts
from aircheck.hub.gatekeeper import Admission, Attempt
from aircheck.hub.registry import StreamNameInUse
from aircheck.hub.stream import Stream
from aircheck.ingest.flv_demux import FlvDemuxer
from aircheck.ingest.hold_back import HoldBack
from aircheck.ingest.pump import Link
from aircheck.wire.errors import RemoteProtocolError
from aircheck.wire.rtmp import events
from aircheck.wire.rtmp.adobe_auth import REJECT_CODE
from aircheck.wire.rtmp.connection import ServerConnection

if TYPE_CHECKING:
    from aircheck.ingest.rtmp_server import RtmpServer

_log = logging.getLogger(__name__)

FAREWELL_S = 5.0
"""How long a publisher that goes waits to be told how its recording ended."""

OUTPUT_MAX_BYTES = 32 * 1024 * 1024
"""A peer that lets this much output pile up does not read at all: it is let go."""


class Viewer(Protocol):
    """Somebody who plays over this connection (implemented by playback)."""

    dropped_packets: int

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def pause(self, is_paused: bool) -> None: ...


class Publication:
    """What one publishing message stream feeds."""

    __slots__ = ("demuxer", "hold_back", "is_told_unsupported", "stream", "stream_id")

    def __init__(self, stream_id: int, stream: Stream, demuxer: FlvDemuxer, hold_back: HoldBack) -> None:
        self.stream_id = stream_id
        self.stream = stream
        self.demuxer = demuxer
        self.hold_back = hold_back
        self.is_told_unsupported = False


class RtmpSession:
    """Implements the pump's `LinkHandler` and playback's `RtmpSink`."""

    def __init__(self, server: RtmpServer, remote_address: str, *, protocol: str) -> None:
        self.session_id = secrets.token_hex(6)
        self.remote_address = remote_address
        self.protocol = protocol
        self.link: Link | None = None
        self.started_s = self.last_received_s = server.clock.monotonic_s()
        self.publications: dict[int, Publication] = {}
        self.viewers: dict[int, Viewer] = {}
        self._watching: dict[int, Attempt] = {}
        self._server = server
        self._conn = ServerConnection(limits=server.limits, session=self.session_id)
        self._idle_since_s = self.started_s
        """When it was last seen to publish or play."""
        self.app = ""
        self.client = ""
        """The program, as it calls itself."""
        self.login = ""
        self.connected_ns = server.clock.wall_ns()
        self.is_connected = False
        """Whether the peer's `connect` was accepted."""
        self._proven_user = ""
        self._pinged_s = 0.0
        self._inbox: deque[events.Event] = deque()
        self._is_deciding = False
        self._is_receiving = False

    @property
    def is_busy(self) -> bool:
        """Whether the peer publishes or plays: others have only so long to begin."""
        return bool(self.publications or self.viewers)

    @property
    def pending_bytes(self) -> int:
        return self.link.pending_bytes if self.link is not None else 0

    # what the pump calls

    def received(self, data: memoryview) -> None:
        self.last_received_s = self._server.clock.monotonic_s()
        self._is_receiving = True
        try:
            self._receive(data)
        except Exception:
            self._break_off()
        finally:
            self._is_receiving = False

    def _receive(self, data: memoryview) -> None:
        try:
            self._conn.receive(data, self.last_received_s)
        except RemoteProtocolError as error:
            self._handle_events()
            self._refuse_peer(error)
            return
        self._handle_events()

    def _break_off(self) -> None:
        """A mistake of ours costs the peer that brought it to light its session, and nobody else anything."""
        self._server.count_refused("internal_error")
        _log.exception("session broken off session=%s address=%s", self.session_id, self.remote_address)
        try:
            self.close(EndReason.INTERNAL_ERROR)
        except Exception:
            _log.exception("session does not end session=%s", self.session_id)
        if self.link is not None:
            self.link.abort()

    def lost(self, error: OSError | None) -> None:
        self._end(EndReason.DISCONNECTED)

    # what playback calls

    def send_messages(
        self, stream_id: int, messages: Sequence[tuple[int, int, bytes | bytearray | memoryview]]
    ) -> None:
        self._conn.send_media_batch(stream_id, messages)
        self._flush()
        if self.pending_bytes > OUTPUT_MAX_BYTES:
            _log.warning("peer does not read session=%s address=%s", self.session_id, self.remote_address)
            self.close(EndReason.TIMED_OUT)

    def play_ended(self, stream_id: int, reason: EndReason) -> None:
        self._forget_viewer(stream_id)
        self._conn.end_play(stream_id)
        self._flush()

    # what the server calls

    def sweep(self, now_s: float) -> None:
        """Once a second: let go who is too slow or has gone silent, ping who might have."""
        limits = self._server.timeouts
        if self._is_made_to_wait:
            self._idle_since_s = self.last_received_s = now_s
            return
        if not self.is_busy:
            if now_s - self._idle_since_s > limits.handshake_s:
                was_busy = self._idle_since_s > self.started_s
                self._server.count_refused("idle_timeout" if was_busy else "handshake_timeout")
                self.close(EndReason.TIMED_OUT)
            return
        self._idle_since_s = now_s
        silent_s = now_s - self.last_received_s
        if self.publications and silent_s > limits.idle_s:
            _log.warning(
                "publisher is silent session=%s address=%s silent_s=%.0f",
                self.session_id,
                self.remote_address,
                silent_s,
            )
            self._server.count_refused("idle_timeout")
            self.close(EndReason.TIMED_OUT)
        elif silent_s > limits.idle_s / 2 and now_s - self._pinged_s > limits.idle_s / 2:
            self._pinged_s = now_s
            self._conn.send_ping(now_s)
            self._flush()

    def request_reconnect(self) -> None:
        """Tell a peer that can be told that this server is going away."""
        self._conn.request_reconnect(description="the server is shutting down")
        self._flush()

    def drain(self) -> None:
        """Take what the peer has sent by now; without effect on what is being taken this moment."""
        if self.link is not None and not self._is_receiving:
            self.link.drain()

    def dismiss(self, reason: EndReason) -> None:
        """End it in good order: the peer is told why, and has a moment to hang up by itself.

        Closed at once, with bytes of the peer's unread, the connection would be reset, and what it was told
        be lost on its way.
        """
        text = "the server is shutting down" if reason is EndReason.SHUTDOWN else "the server ends this"
        for stream_id in self.publications:
            self._conn.send_status(stream_id, "status", "NetStream.Unpublish.Success", text)
        code = "AppShutdown" if reason is EndReason.SHUTDOWN else "Closed"
        if self.is_connected:
            self._conn.send_status(0, "error", f"NetConnection.Connect.{code}", text)
        self._end(reason)
        self._flush()
        if self.link is not None and not self.link.is_closed:
            self._server.let_go(self.link)

    def close(self, reason: EndReason) -> None:
        """End what the session publishes and plays, and close the connection."""
        self._end(reason)
        self._flush()
        if self.link is not None:
            self.link.close()

    # events of the wire

    def _handle_events(self) -> None:
        self._inbox.extend(self._conn.events())
        while self._inbox and not self._is_deciding:
            event = self._inbox.popleft()
            match event:
                case events.MediaReceived():
                    self._feed(event)
                case events.ConnectRequested():
                    self._connect(event)
                case events.PublishRequested():
                    self._decide(self._admit_publisher(event), "publish")
                case events.PlayRequested():
                    self._decide(self._admit_viewer(event), "play")
                case events.PauseRequested():
                    if (viewer := self.viewers.get(event.stream_id)) is not None:
                        viewer.pause(event.is_paused)
                case events.StreamClosed():
                    self._close_stream(event.stream_id)
                case events.CommandReceived():
                    self._server.command(self, event)
                case events.ConnectionEnded():
                    self.close(EndReason.DISCONNECTED)
                case _:
                    pass
        self._flush()

    def _feed(self, event: events.MediaReceived) -> None:
        publication = self.publications.get(event.stream_id)
        if publication is None:
            self._server.count_refused("media_without_publish")
            return
        demuxer = publication.demuxer
        batch = demuxer.feed(event.messages, self._server.clock.wall_ns())
        if batch.packets:
            publication.stream.publish(batch)
            publication.hold_back.look()
        if demuxer.unsupported is not None and not publication.is_told_unsupported:
            self._tell_unsupported(publication, demuxer.unsupported)

    def _tell_unsupported(self, publication: Publication, codec_name: str) -> None:
        """A codec that nobody can decode: the peer is told; without another track the stream is refused."""
        publication.is_told_unsupported = True
        stream = publication.stream
        has_tracks = bool(publication.demuxer.tracks)
        text = f"{codec_name} cannot be recorded" + ("; the other tracks are" if has_tracks else "")
        _log.warning(
            "unsupported codec stream=%s session=%s codec=%s is_refused=%s",
            stream.name,
            self.session_id,
            codec_name,
            not has_tracks,
        )
        level = "warning" if has_tracks else "error"
        self._conn.send_status(publication.stream_id, level, "NetStream.Publish.Failed", text)
        if not has_tracks:
            self._server.count_refused("unsupported_codec")
            self.close(EndReason.PROTOCOL_ERROR)

    def _connect(self, event: events.ConnectRequested) -> None:
        self.app, self.client = event.app, event.flash_version
        refusal = self._server.challenge(event.query)
        if refusal:
            self._conn.reject_connect(event, REJECT_CODE, refusal)
            self.close(EndReason.STOPPED)
            return
        self._proven_user = event.query.get("user", "") if "response" in event.query else ""
        self.login = self._proven_user
        self.is_connected = True
        self._conn.accept_connect(event)

    def _decide(self, work: Coroutine[Any, Any, None], what: str) -> None:
        """Wait for an answer with the socket paused: what the peer sends next comes after it."""
        if self.link is None or self.link.is_closed:
            work.close()
            return
        self._is_deciding = True
        self._read_or_wait()
        self._server.tasks.spawn(self._then_resume(work), f"{what} {self.session_id}")

    async def _then_resume(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        finally:
            self._is_deciding = False
            try:
                self._handle_events()
            except Exception:
                self._break_off()
            self._read_or_wait()

    @property
    def _is_made_to_wait(self) -> bool:
        return self._is_deciding or any(one.hold_back.is_holding for one in self.publications.values())

    def _read_or_wait(self) -> None:
        if self.link is None:
            return
        if self._is_made_to_wait:
            self.link.pause()
        else:
            self.last_received_s = self._server.clock.monotonic_s()  # it was not for the peer to be heard
            self.link.resume()

    def _has_hung_up(self) -> bool:
        return self.link is not None and self.link.has_hung_up

    async def _admit_publisher(self, event: events.PublishRequested) -> None:
        media_session_id = str(uuid.uuid4())
        attempt = self._attempt(event.app, event.name, event.query, media_session_id)
        admission = await self._server.gatekeeper.may_publish(attempt)
        if self.link is None or self.link.is_closed:
            return
        if not event.name:
            admission = Admission(False, reason="the stream has no name")
        if not admission.is_allowed:
            self._reject(event, "NetStream.Publish.Unauthorized", admission.reason)
            return
        self.login = admission.login
        stream = self._new_stream(event, admission, media_session_id)
        try:
            self._server.registry.publish(stream)
        except StreamNameInUse as error:
            self._reject(event, "NetStream.Publish.BadName", error.message)
            return
        demuxer = FlvDemuxer(on_notice=self._server.notice_to(stream))
        stream.notices = demuxer.notices
        hold_back = HoldBack(
            stream, self._server.clock, has_hung_up=self._has_hung_up, on_change=self._read_or_wait
        )
        self.publications[event.stream_id] = Publication(event.stream_id, stream, demuxer, hold_back)
        self._conn.accept_publish(event)
        self._follow_demand(stream.is_awaited)

    def _reject(self, event: events.PublishRequested, code: str, reason: str) -> None:
        self._server.count_refused(code)
        _log.warning(
            "publisher refused stream=%s app=%s session=%s address=%s code=%s reason=%s",
            event.name,
            event.app,
            self.session_id,
            self.remote_address,
            code,
            reason,
        )
        self._conn.reject_publish(event, code, reason)

    async def _admit_viewer(self, event: events.PlayRequested) -> None:
        attempt = self._attempt(event.app, event.name, event.query)
        admission = await self._server.gatekeeper.may_play(attempt)
        if self.link is None or self.link.is_closed:
            return
        if not admission.is_allowed:
            self._conn.reject_play(event, "NetStream.Play.Failed", admission.reason)
            return
        stream = self._server.registry.find(event.name, event.app)
        if stream is None:
            self._conn.reject_play(event, "NetStream.Play.StreamNotFound", f"no stream {event.name!r}")
            return
        self._stop_viewer(event.stream_id)
        self._conn.accept_play(event)
        self._flush()
        viewer = self._server.new_viewer(stream, self, event.stream_id)
        self.viewers[event.stream_id] = viewer
        self._watching[event.stream_id] = attempt
        self._server.registry.viewer_joined(attempt)
        viewer.start()

    def _close_stream(self, stream_id: int) -> None:
        self._stop_viewer(stream_id)
        if stream_id in self.publications:
            stream = self.publications[stream_id].stream
            self._unpublish(stream_id, EndReason.UNPUBLISHED)
            if stream.farewell is None:
                self._tell_unpublished(stream_id)
            else:
                waiting = self._tell_unpublished_behind(stream.farewell, stream_id)
                self._server.tasks.spawn(waiting, f"farewell {self.session_id}")

    async def _tell_unpublished_behind(self, farewell: asyncio.Future[None], stream_id: int) -> None:
        """How its recording ended comes first, unless that takes long."""
        await asyncio.wait({farewell}, timeout=FAREWELL_S)
        self._tell_unpublished(stream_id)

    def _tell_unpublished(self, stream_id: int) -> None:
        self._tell(stream_id, "status", "NetStream.Unpublish.Success", "the stream is not published any more")

    def _tell(self, stream_id: int, level: str, code: str, description: str) -> None:
        self._conn.send_status(stream_id, level, code, description)
        self._flush()

    # bookkeeping

    def _attempt(self, app: str, name: str, query: Mapping[str, str], media_session_id: str = "") -> Attempt:
        return Attempt(
            self.protocol,
            self.session_id,
            self.remote_address,
            app,
            name,
            query,
            self._proven_user,
            media_session_id,
        )

    def _new_stream(
        self, event: events.PublishRequested, admission: Admission, media_session_id: str
    ) -> Stream:
        facts = StreamFacts(
            id=media_session_id,
            name=event.name,
            app=event.app,
            session_id=self.session_id,
            protocol=self.protocol,
            remote_address=self.remote_address,
            login=admission.login or self.session_id,
            client=self.client,
            published_ns=self._server.clock.wall_ns(),
        )
        stream = Stream(
            facts,
            back_buffer_bytes=self._server.back_buffer_bytes,
            on_demand=self._follow_demand,
            on_close=self.dismiss,
        )
        if self._server.keeps_past:
            stream.back_buffer.keep()
        stream.on_flush = self.drain
        stream.publish_type = event.publish_type
        stream.on_status = partial(self._tell, event.stream_id)
        return stream

    def _follow_demand(self, is_awaited: bool) -> None:
        """Read in batches while only recordings listen to what this peer publishes."""
        if self.link is None:
            return
        awaited = is_awaited or any(one.stream.is_awaited for one in self.publications.values())
        self.link.set_batched(bool(self.publications) and not self.viewers and not awaited)

    def _stop_viewer(self, stream_id: int) -> None:
        viewer = self._forget_viewer(stream_id)
        if viewer is not None:
            viewer.stop()

    def _forget_viewer(self, stream_id: int) -> Viewer | None:
        if (attempt := self._watching.pop(stream_id, None)) is not None:
            self._server.registry.viewer_left(attempt)
        viewer = self.viewers.pop(stream_id, None)
        if viewer is not None:
            self._server.dropped_for_viewers += viewer.dropped_packets
        return viewer

    def _unpublish(self, stream_id: int, reason: EndReason) -> None:
        publication = self.publications.pop(stream_id)
        publication.hold_back.end()
        stream = publication.stream
        self._server.registry.end(stream, reason, self._server.clock.wall_ns())
        self._follow_demand(False)
        _log.info(
            "unpublished stream=%s session=%s reason=%s packets=%d size_mb=%.1f",
            stream.name,
            self.session_id,
            reason,
            stream.counters.packets,
            stream.counters.size_bytes / 1e6,
        )

    def _end(self, reason: EndReason) -> None:
        for stream_id in list(self.viewers):
            self._stop_viewer(stream_id)
        for stream_id in list(self.publications):
            self._unpublish(stream_id, reason)
        self._inbox.clear()
        self._server.forget(self)

    def _refuse_peer(self, error: RemoteProtocolError) -> None:
        self._server.count_refused("protocol_error")
        _log.warning(
            "protocol error session=%s address=%s error=%s", self.session_id, self.remote_address, error
        )
        self.close(EndReason.PROTOCOL_ERROR)

    def _flush(self) -> None:
        output = self._conn.data_to_send()
        if output and self.link is not None:
            self.link.send(output)
