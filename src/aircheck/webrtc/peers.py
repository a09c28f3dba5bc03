"""Peers: who publishes and who watches over WebRTC, from the offer on.

An offer costs a few kilobytes until its peer has connected, which it must within seconds; only then its
stream becomes known to anybody else. Until then the name is kept for it.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass, field, replace

from aircheck.clock import Clock
from aircheck.errors import AircheckError
from aircheck.facts import EndReason, StreamFacts
from aircheck.hub.gatekeeper import Admission, Attempt, Gatekeeper
from aircheck.hub.registry import Registry, StreamNameInUse
from aircheck.hub.stream import Stream
from aircheck.media.track import Track
from aircheck.webrtc import negotiate
from aircheck.webrtc.addresses import candidates, reachable_addresses, resolved
from aircheck.webrtc.answers import Transport
from aircheck.webrtc.dtls import Identity
from aircheck.webrtc.errors import (
    BadOffer,
    MediaSessionInUse,
    NameInUse,
    NotAllowed,
    StreamNotFound,
    StreamNotReady,
    TooManyPeers,
)
from aircheck.webrtc.media import MediaSink
from aircheck.webrtc.negotiate import Preferences
from aircheck.webrtc.peer import OnChange, Peer, PeerContext, PeerEnded
from aircheck.webrtc.port import INTERVAL_S, QUICK_INTERVAL_S, Port
from aircheck.webrtc.publisher import Publisher, promised_tracks
from aircheck.webrtc.states import Info, PeerKind, PeerTimeouts
from aircheck.webrtc.status import PeersStatus
from aircheck.webrtc.this_machine import is_loopback
from aircheck.webrtc.transcoding import Transcoding
from aircheck.webrtc.viewer import Viewer, wanted_of
from aircheck.wire import sdp

_log = logging.getLogger(__name__)

TICK_S = 0.05
NEW_S = 5.0
"""After its offer a peer may take so long to connect and to show what it has."""
READY_S = 1.5
"""How long who watches waits for a stream that has just begun to show what it has."""
SETTLED_NS = 500_000_000
"""After the first packet of one track those of the others have come."""
_READY_CHECK_S = 0.03


@dataclass(frozen=True, slots=True)
class PeerRules:
    """What the settings say. `public_addresses` are listed in answers before those of the interfaces."""

    preferences: Preferences = field(default_factory=Preferences)
    timeouts: PeerTimeouts = field(default_factory=PeerTimeouts)
    public_addresses: tuple[str, ...] = ()
    max_peers: int = 1000
    back_buffer_bytes: int = 0


class Peers:
    """The front of this room. `refused` counts offers that were not taken, `errors` what was dropped."""

    def __init__(
        self,
        registry: Registry,
        gatekeeper: Gatekeeper,
        clock: Clock,
        *,
        rules: PeerRules | None = None,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.rules = rules or PeerRules()
        self.port = Port(loop, clock)
        self.errors: Counter[str] = self.port.errors
        self.refused: Counter[str] = Counter()
        self.ended: Counter[str] = Counter()
        """Peers that are over, by the text of their end."""
        self.accepted = 0
        self._media: Counter[str] = Counter()
        self._sent_packets = 0
        """These two are of peers that are over."""
        self._registry = registry
        self._gatekeeper = gatekeeper
        self.transcoding = Transcoding()
        self._context = PeerContext(
            self.port, Identity(), clock, self.rules.timeouts, self.errors, self._candidates
        )
        self._loop = loop
        self._peers: dict[str, Peer] = {}
        self._reserved: dict[tuple[str, str], Peer] = {}
        """Names of publishers that have not connected yet."""
        self._newest_s = float("-inf")
        """When the last peer came."""
        self._ticker: asyncio.TimerHandle | None = None
        self._is_closing = False

    def __len__(self) -> int:
        return len(self._peers)

    def __iter__(self) -> Iterator[Peer]:
        return iter(list(self._peers.values()))

    def status(self) -> PeersStatus:
        states: Counter[tuple[str, str]] = Counter()
        media = self._media + self.transcoding.counters
        sent = self._sent_packets
        for peer in self._peers.values():
            states[peer.kind.value, peer.state.value] += 1
            sent += peer.sent_packets
            media.update(peer.notices())
        return PeersStatus(
            peers=dict(states),
            accepted=self.accepted,
            refused=dict(self.refused),
            ended=dict(self.ended),
            received_packets=self.port.received_packets,
            received_bytes=self.port.received_bytes,
            sent_packets=sent,
            dropped=dict(self.errors + Counter(buffer_full=self.port.overflowed())),
            media=dict(media),
        )

    async def listen(self, host: str, port: int) -> tuple[str, int]:
        """Open the port. Raises OSError."""
        # Who names public addresses has ways of his own from there to loopback.
        host = resolved(host)
        is_for_this_machine = is_loopback(host) and not self.rules.public_addresses
        address = await self.port.listen(host, port, is_for_this_machine=is_for_this_machine)
        self._ticker = self._loop.call_later(TICK_S, self._tick)
        return address

    def _candidates(self) -> tuple[str, ...]:
        """The ways to the port as they are now: networks come and go."""
        host, port = self.port.address
        reachable = reachable_addresses(host, self.rules.public_addresses)
        if self.port.udp_host == host:
            return candidates(reachable, reachable, port)
        return candidates(reachable_addresses(self.port.udp_host, also=(host,)), reachable, port)

    def stop_taking(self) -> None:
        """Let nobody in any more."""
        self._is_closing = True

    async def stop(self, reason: EndReason) -> None:
        """End every peer in good order, then the port."""
        self.stop_taking()
        for peer in self:
            peer.close(reason)
        if self._ticker is not None:
            self._ticker.cancel()
            self._ticker = None
        self.transcoding.close()
        await self.port.close()

    # taking in

    async def publish(
        self,
        offer: str,
        attempt: Attempt,
        *,
        media_session_id: str | None = None,
        wants_recording: bool | None = None,
        is_all_or_nothing: bool = False,
        on_change: OnChange | None = None,
    ) -> Peer:
        """Answer an offer to publish. Raises a `PeerRefused`. `None` leaves recording to the settings.

        An offer of which something would be left out is refused where it is all or nothing.
        """
        with _Counted(self.refused, attempt):
            description = _parse(offer)
            self._check_room(media_session_id)
            self._check_name(attempt)
            media_session_id = media_session_id or str(uuid.uuid4())
            attempt = replace(attempt, media_session_id=media_session_id)
            admission = _admitted(await self._gatekeeper.may_publish(attempt))
            self._check_room(media_session_id)
            self._check_name(attempt)

            def make_sink(peer: Peer) -> MediaSink:
                return self._make_publisher(peer, admission, wants_recording)

            peer = self._new_peer(PeerKind.PUBLISH, attempt, media_session_id, make_sink, on_change)

            def answer(way: Transport) -> negotiate.Agreement:
                preferences = self.rules.preferences
                return negotiate.answer_publisher(
                    description, preferences, way, is_all_or_nothing=is_all_or_nothing
                )

            self._agree(peer, answer)
            self._reserved[attempt.app, attempt.name] = peer
            return peer

    async def play(
        self,
        offer: str,
        attempt: Attempt,
        *,
        media_session_id: str | None = None,
        on_change: OnChange | None = None,
    ) -> Peer:
        """Answer an offer to watch. Raises a `PeerRefused`."""
        with _Counted(self.refused, attempt):
            description = _parse(offer)
            self._check_room(media_session_id)
            _admitted(await self._gatekeeper.may_play(attempt))
            self._check_room(media_session_id)
            stream = await self._find_stream(attempt, {media.kind for media in description.media})
            self._check_room(media_session_id)
            wanted = wanted_of(stream, self.transcoding, self._promised_by(stream))
            if not stream.tracks or not wanted:
                raise StreamNotReady(
                    f"stream {attempt.name!r} has sent nothing yet", remedy="try again in a moment"
                )

            def make_sink(peer: Peer) -> MediaSink:
                return self._make_viewer(peer, stream)

            peer = self._new_peer(PeerKind.PLAY, attempt, media_session_id, make_sink, on_change)
            agreement = self._agree(peer, lambda way: negotiate.answer_viewer(description, wanted, way))
            for kind in agreement.left_out:
                has = ",".join(codec.value for codec in wanted[kind].codecs)
                _log.warning("viewer does not know the codec peer=%s kind=%s codecs=%s", peer, kind, has)
            return peer

    async def _find_stream(self, attempt: Attempt, kinds: Set[str]) -> Stream:
        """Who comes with the first sound is not to go without pictures: lines are agreed on only once."""
        stream = self._registry.find(attempt.name, attempt.app)
        end_s = self._context.clock.monotonic_s() + READY_S
        while stream is not None and stream.is_live and not self._has_shown(stream, kinds):
            if self._context.clock.monotonic_s() > end_s:
                break
            await asyncio.sleep(_READY_CHECK_S)
        if stream is None or not stream.is_live:
            raise StreamNotFound(
                f"no stream {attempt.name!r}", remedy="publish it first, or ask for a name that is live"
            )
        return stream

    def _has_shown(self, stream: Stream, kinds: Set[str]) -> bool:
        if not stream.tracks or self._promised_by(stream):
            return bool(stream.tracks)
        age_ns = self._context.clock.wall_ns() - stream.first_arrival_ns
        return age_ns > SETTLED_NS or kinds <= {track.kind for track in stream.tracks}

    def _check_room(self, media_session_id: str | None) -> None:
        if self._is_closing or len(self._peers) >= self.rules.max_peers:
            raise TooManyPeers(
                "no more peers are taken",
                remedy="come back later; [webrtc] max_peers sets how many may be here",
            )
        if media_session_id is not None and (
            media_session_id in self._peers or self._registry.by_id(media_session_id) is not None
        ):
            raise MediaSessionInUse(
                f"the media session {media_session_id!r} exists already", remedy="choose another id"
            )

    def _check_name(self, attempt: Attempt) -> None:
        key = (attempt.app, attempt.name)
        stream = self._registry.find(attempt.name, attempt.app)
        is_live = stream is not None and stream.facts.app == attempt.app
        if key in self._reserved or is_live:
            raise NameInUse(
                f"stream {attempt.name!r} is being published already",
                remedy="choose another stream name, or stop the other publisher",
            )

    def _new_peer(
        self,
        kind: PeerKind,
        attempt: Attempt,
        media_session_id: str | None,
        make_sink: Callable[[Peer], MediaSink],
        on_change: OnChange | None,
    ) -> Peer:
        return Peer(
            self._context,
            kind,
            attempt,
            media_session_id or str(uuid.uuid4()),
            make_sink=make_sink,
            on_change=on_change,
            on_over=self._forget,
        )

    def _agree(self, peer: Peer, answer: Callable[[Transport], negotiate.Agreement]) -> negotiate.Agreement:
        try:
            agreement = answer(peer.way_to_us())
        except AircheckError:
            peer.abandon()
            raise
        peer.agree(agreement)
        self._peers[peer.id] = peer
        self._newest_s = self._context.clock.monotonic_s()
        self._pace_port(self._newest_s)
        self.accepted += 1
        _log.info("WebRTC peer accepted peer=%s address=%s", peer, peer.attempt.remote_address)
        return agreement

    # connected

    def _make_publisher(self, peer: Peer, admission: Admission, wants_recording: bool | None) -> MediaSink:
        attempt = peer.attempt
        self._reserved.pop((attempt.app, attempt.name), None)
        stream = self._new_stream(peer, admission)
        stream.wants_recording = wants_recording
        try:
            self._registry.publish(stream)
        except StreamNameInUse as error:
            raise PeerEnded(EndReason.STOPPED, Info.NAME_IN_USE) from error
        return Publisher(peer.lines, peer, stream, self._registry, self._context.clock)

    def _make_viewer(self, peer: Peer, stream: Stream) -> MediaSink:
        if not stream.is_live:
            raise PeerEnded(EndReason.UNPUBLISHED, Info.PUBLISHER_STOP)

        def ended(reason: EndReason) -> None:
            peer.close(reason, Info.PUBLISHER_STOP)

        viewer = Viewer(
            peer.lines,
            peer,
            stream,
            self._context.clock,
            self.transcoding,
            promised=self._promised_by(stream),
            on_ended=ended,
        )
        viewer.start()
        self._registry.viewer_joined(peer.attempt)
        return viewer

    def _promised_by(self, stream: Stream) -> tuple[Track, ...]:
        """What is to come of a stream whose publisher is a peer: who watches early can prepare for it."""
        publisher = self._peers.get(stream.id)
        return promised_tracks(publisher.lines) if publisher is not None else ()

    def _new_stream(self, peer: Peer, admission: Admission) -> Stream:
        attempt = peer.attempt
        facts = StreamFacts(
            id=peer.id,
            name=attempt.name,
            app=attempt.app,
            session_id=attempt.session_id,
            protocol=attempt.protocol,
            remote_address=peer.remote_address,
            login=admission.login or attempt.session_id,
            published_ns=self._context.clock.wall_ns(),
        )
        return Stream(facts, back_buffer_bytes=self.rules.back_buffer_bytes, on_close=peer.close)

    # time, and the end

    def _tick(self) -> None:
        self._ticker = self._loop.call_later(TICK_S, self._tick)
        now_s = self._context.clock.monotonic_s()
        self._pace_port(now_s)
        for peer in self:
            try:
                peer.tick(now_s)
            except Exception:
                peer.break_off()

    def _forget(self, peer: Peer) -> None:
        self._peers.pop(peer.id, None)
        if peer.kind is PeerKind.PLAY:
            self._registry.viewer_left(peer.attempt)
        self._media.update(peer.notices())
        self._sent_packets += peer.sent_packets
        key = (peer.attempt.app, peer.attempt.name)
        if self._reserved.get(key) is peer:
            del self._reserved[key]
        self.ended[peer.info] += 1

    def _pace_port(self, now_s: float) -> None:
        is_new = now_s - self._newest_s < NEW_S
        is_quick = is_new or any(peer.kind is PeerKind.PLAY for peer in self._peers.values())
        self.port.interval_s = QUICK_INTERVAL_S if is_quick else INTERVAL_S


class _Counted:
    """Counts and logs what is refused on the way through."""

    def __init__(self, refused: Counter[str], attempt: Attempt) -> None:
        self._refused = refused
        self._attempt = attempt

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if kind is not None:
            self._refused[kind.__name__] += 1
            _log.warning(
                "WebRTC peer refused stream=%s app=%s session=%s address=%s reason=%s error=%s",
                self._attempt.name,
                self._attempt.app,
                self._attempt.session_id,
                self._attempt.remote_address,
                kind.__name__,
                error,
            )


def _parse(offer: str) -> sdp.Description:
    try:
        description = sdp.parse(offer)
    except sdp.SdpError as error:
        raise BadOffer(
            f"the offer cannot be read: {error}", remedy="send the SDP as the client made it"
        ) from error
    if not description.media:
        raise BadOffer("the offer has no media", remedy="offer audio, video or both")
    return description


def _admitted(admission: Admission) -> Admission:
    if not admission.is_allowed:
        raise NotAllowed(admission.reason, remedy=admission.remedy)
    return admission
