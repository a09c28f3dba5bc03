"""One peer from its offer to its end: checks, handshake, then media in the clear to whoever feeds on it."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from aircheck.clock import Clock
from aircheck.facts import EndReason
from aircheck.hub.gatekeeper import Attempt
from aircheck.webrtc import negotiate
from aircheck.webrtc.answers import Transport, ice_fragment
from aircheck.webrtc.dtls import DtlsError, DtlsSession, Identity
from aircheck.webrtc.errors import BadFragment
from aircheck.webrtc.ice import IceAgent
from aircheck.webrtc.media import MediaLine, MediaSink
from aircheck.webrtc.paths import Path
from aircheck.webrtc.port import Port
from aircheck.webrtc.srtp import SrtpSession
from aircheck.webrtc.states import INFO_OF_END, Info, PeerKind, PeerState, PeerTimeouts
from aircheck.wire import sdp, stun

_log = logging.getLogger(__name__)

EARLY_PACKETS_MAX = 512
"""Media that overtakes the end of the handshake, kept until the keys are there."""


OnChange = Callable[["Peer"], None]
MakeSink = Callable[["Peer"], MediaSink]


@dataclass(frozen=True, slots=True)
class PeerContext:
    """What all peers share."""

    port: Port
    identity: Identity
    clock: Clock
    timeouts: PeerTimeouts
    errors: Counter[str]
    candidates: Callable[[], tuple[str, ...]]
    """The ways to the port, as values of `a=candidate`."""


class Peer:
    """Implements the port's `PeerHandler` and the media side's `MediaTransport`.

    `make_sink` is called once connected: what it raises as an AircheckError fails the peer with that text.
    `on_change` is called on the loop at each change of `state`. `id` is the media session.
    """

    def __init__(
        self,
        context: PeerContext,
        kind: PeerKind,
        attempt: Attempt,
        media_session_id: str,
        *,
        make_sink: MakeSink,
        on_change: OnChange | None,
        on_over: Callable[[Peer], None],
    ) -> None:
        self.id = media_session_id
        self.kind = kind
        self.attempt = attempt
        self.state = PeerState.NEW
        self.info = ""
        self.end_reason: EndReason | None = None
        self.answer = ""
        self.lines: tuple[MediaLine, ...] = ()
        self.sink: MediaSink | None = None
        self.sent_packets = self.unsent_packets = 0
        self._context = context
        self._make_sink = make_sink
        self._on_change = on_change
        self._on_over = on_over
        self._ice: IceAgent[Path] = IceAgent()
        self._ufrags: set[str] = set()
        self._agreement: negotiate.Agreement | None = None
        self._dtls: DtlsSession | None = None
        self._srtp: SrtpSession | None = None
        self._early: list[bytes] = []
        self._last_notices: Mapping[str, int] = {}
        self._created_s = self._heard_s = self._media_s = context.clock.monotonic_s()

    def __str__(self) -> str:
        return f"{self.kind} {self.stream_name} session={self.attempt.session_id}"

    @property
    def stream_name(self) -> str:
        return self.attempt.name

    @property
    def is_connected(self) -> bool:
        return self.state is PeerState.CONNECTED

    @property
    def is_closed(self) -> bool:
        return self.state.is_over

    @property
    def etag(self) -> str:
        """Names the ICE session: it changes with a restart (RFC 9725 4.3.1). With its quotation marks."""
        return f'"{self._ice.credentials.ufrag}"'

    @property
    def remote_address(self) -> str:
        """Where its media comes from; empty before the first check."""
        return str(self._ice.selected) if self._ice.selected is not None else ""

    @property
    def transport(self) -> str:
        """`udp` or `tcp`; empty before the first check."""
        return self._ice.selected.transport if self._ice.selected is not None else ""

    def notices(self) -> Mapping[str, int]:
        """What was odd in its media, by kind."""
        counts = dict(self.sink.notices() if self.sink is not None else self._last_notices)
        if self.unsent_packets:
            counts["unsent_packets"] = self.unsent_packets
        return counts

    # signalling

    def way_to_us(self) -> Transport:
        """What the answer says of it; from now on checks with these credentials find this peer."""
        self._register_ufrags()
        credentials = self._ice.credentials
        context = self._context
        return Transport(
            credentials.ufrag, credentials.password, context.identity.fingerprint, context.candidates()
        )

    def agree(self, agreement: negotiate.Agreement) -> None:
        """What the offer and our answer came to; from now on the peer may connect."""
        self._agreement = agreement
        self.answer = agreement.answer
        self.lines = agreement.lines

    def abandon(self) -> None:
        """Its offer could not be answered: no one will come."""
        for ufrag in self._ufrags:
            self._context.port.remove_ufrag(ufrag)

    def add_candidates(self, fragment: str) -> None:
        """Take a trickled piece. Its candidates are not needed: checks show where the peer is.

        Raises BadFragment.
        """
        _parse_fragment(fragment)

    def restart_ice(self, fragment: str) -> str:
        """New credentials for a peer that changed networks; returns our piece. Raises BadFragment."""
        parsed = _parse_fragment(fragment)
        if not parsed.ufrag or not parsed.password:
            raise BadFragment(
                "an ICE restart without new credentials", remedy="send a=ice-ufrag and a=ice-pwd"
            )
        self._ice.restart()
        self._heard_s = self._context.clock.monotonic_s()
        return ice_fragment(self.lines[0], self.way_to_us())

    def close(self, reason: EndReason = EndReason.UNPUBLISHED, info: str = "") -> None:
        """End in good order, behind all that has come until now. Idempotent."""
        if not self.state.is_over:
            self._context.port.drain()
        self.end(PeerState.CLOSED, reason, info or INFO_OF_END.get(reason, Info.USER))

    def end(self, state: PeerState, reason: EndReason, info: str) -> None:
        if self.state.is_over:
            return
        self._say_goodbye()
        sink, self.sink = self.sink, None
        self._last_notices = sink.notices() if sink is not None else {}
        for path in list(self._ice.paths):
            self._context.port.forget_path(path)
        self.abandon()
        self._dtls = self._srtp = None
        self._early = []
        self.state, self.info, self.end_reason = state, info, reason
        if sink is not None:
            self._close_sink(sink, reason)
        log = _log.info if state is PeerState.CLOSED else _log.warning
        log("WebRTC peer ended peer=%s state=%s reason=%s info=%s", self, state, reason, info)
        self._on_over(self)
        self._tell()

    def break_off(self) -> None:
        """A mistake of ours, just caught, costs this peer its session, and nobody else anything."""
        self._context.errors["internal"] += 1
        _log.exception("WebRTC peer broken off peer=%s", self)
        self.end(PeerState.CLOSED, EndReason.INTERNAL_ERROR, Info.INTERNAL)

    def _close_sink(self, sink: MediaSink, reason: EndReason) -> None:
        try:
            sink.close(reason)
        except Exception:
            self._context.errors["internal"] += 1
            _log.exception("media of a WebRTC peer do not end peer=%s", self)

    # what the port calls

    def check(self, request: stun.Message, path: Path, now_s: float) -> bytes | None:
        answer = self._ice.check(request, path, path.address)
        if answer is None:
            return None
        self._heard_s = now_s
        for surplus in self._ice.surplus():
            self._context.port.forget_path(surplus)
        if self.state is PeerState.NEW and self._ice.selected is not None:
            self._change(PeerState.CHECKED)
        return answer

    def path_lost(self, path: Path) -> None:
        self._ice.forget(path)

    def receive_dtls(self, datagram: bytes, path: Path, now_s: float) -> None:
        self._heard_s = now_s
        self._shake(lambda dtls: dtls.receive(datagram))
        if self._dtls is not None and self._dtls.is_closed:
            reason = EndReason.UNPUBLISHED if self.kind is PeerKind.PUBLISH else EndReason.DISCONNECTED
            self.end(PeerState.CLOSED, reason, Info.DISCONNECT)

    def receive_media(self, packets: list[bytes], path: Path, arrival_ns: int, now_s: float) -> None:
        srtp, sink = self._srtp, self.sink
        if srtp is None or sink is None:
            self._keep_early(packets)
            return
        if self._early:
            packets, self._early = self._early + packets, []
        rtp = []
        rtcp = []
        for packet in packets:
            # RFC 5761 4: packet types of RTCP lie where no RTP payload type may.
            if len(packet) > 1 and 192 <= packet[1] <= 223:
                rtcp.append(packet)
            else:
                rtp.append(packet)
        clear = srtp.unprotect(rtp) if rtp else ()
        if clear:
            self._heard_s = self._media_s = now_s
            sink.receive_rtp(clear, arrival_ns, now_s)
        for packet in rtcp:
            plain = srtp.unprotect_rtcp(packet)
            if plain is not None:
                self._heard_s = now_s
                sink.receive_rtcp(plain, arrival_ns, now_s)

    # what the media side calls

    def send_rtp(self, packets: Sequence[bytes]) -> None:
        srtp, path = self._srtp, self._ice.selected
        if srtp is None or path is None:
            self.unsent_packets += len(packets)
            return
        protect, send = srtp.protect, path.send
        sent = sum(send(protect(packet)) for packet in packets)
        self.sent_packets += sent
        self.unsent_packets += len(packets) - sent

    def send_rtcp(self, packet: bytes) -> None:
        srtp, path = self._srtp, self._ice.selected
        if srtp is not None and path is not None:
            path.send(srtp.protect_rtcp(packet))

    # what time does

    def tick(self, now_s: float) -> None:
        """About every 50 ms."""
        if self.state is PeerState.CONNECTED:
            self._tick_connected(now_s)
        elif not self.state.is_over:
            self._tick_connecting(now_s)

    def _tick_connected(self, now_s: float) -> None:
        timeouts = self._context.timeouts
        if now_s - self._heard_s > timeouts.silence_s:
            self.end(PeerState.FAILED, EndReason.TIMED_OUT, Info.KEEP_ALIVE)
        elif self._is_publisher and timeouts.media_s and now_s - self._media_s > timeouts.media_s:
            self.end(PeerState.FAILED, EndReason.NO_MEDIA, Info.RTP_ACTIVITY)
        elif self.sink is not None:
            self.sink.tick(now_s)

    def _tick_connecting(self, now_s: float) -> None:
        if now_s - self._created_s > self._context.timeouts.connect_s:
            info = Info.ICE_TIMEOUT if self.state is PeerState.NEW else Info.DTLS_ERROR
            self.end(PeerState.FAILED, EndReason.TIMED_OUT, info)
        elif self._begins_handshake:
            self._shake(lambda dtls: dtls.begin())
        elif self._dtls is not None:
            timeout_s = self._dtls.timeout_s()
            if timeout_s is not None and timeout_s <= 0:
                self._shake(lambda dtls: dtls.handle_timeout())

    @property
    def _begins_handshake(self) -> bool:
        is_client = self._agreement is not None and self._agreement.is_client
        return is_client and self.state is PeerState.CHECKED and self._dtls is None

    @property
    def _is_publisher(self) -> bool:
        return self.kind is PeerKind.PUBLISH

    # the handshake

    def _shake(self, step: Callable[[DtlsSession], list[bytes]]) -> None:
        if self.state.is_over or self._agreement is None:
            return
        if self._dtls is None:
            agreement = self._agreement
            self._dtls = DtlsSession(
                self._context.identity, agreement.fingerprint, is_client=agreement.is_client
            )
        try:
            self._send_all(step(self._dtls))
        except DtlsError as error:
            self._context.errors["dtls"] += 1
            _log.warning("DTLS failed peer=%s address=%s error=%s", self, self.remote_address, error.message)
            self.end(PeerState.FAILED, EndReason.PROTOCOL_ERROR, Info.DTLS_ERROR)
            return
        if self._dtls.is_connected and self._srtp is None:
            self._connected(self._dtls)

    def _connected(self, dtls: DtlsSession) -> None:
        assert dtls.keys is not None
        self._srtp = SrtpSession(dtls.keys, self._context.errors)
        self._media_s = self._context.clock.monotonic_s()
        try:
            self.sink = self._make_sink(self)
        except PeerEnded as ended:
            self.end(PeerState.FAILED, ended.reason, ended.info)
            return
        _log.info(
            "WebRTC peer connected peer=%s address=%s transport=%s srtp=%s",
            self,
            self.remote_address,
            self.transport,
            dtls.keys.profile.name.decode(),
        )
        self._change(PeerState.CONNECTED)

    def _keep_early(self, packets: list[bytes]) -> None:
        if self._srtp is None and len(self._early) + len(packets) <= EARLY_PACKETS_MAX:
            self._early += packets
        else:
            self._context.errors["early_media"] += len(packets)

    def _say_goodbye(self) -> None:
        if self._dtls is not None:
            self._send_all(self._dtls.close())

    def _send_all(self, datagrams: Sequence[bytes]) -> None:
        path = self._ice.selected
        if path is not None:
            for datagram in datagrams:
                path.send(datagram)

    # bookkeeping

    def _register_ufrags(self) -> None:
        """Let the port know the credentials that are valid now, and forget the others."""
        valid = {one.ufrag for one in self._ice.generations}
        for ufrag in self._ufrags - valid:
            self._context.port.remove_ufrag(ufrag)
        for ufrag in valid - self._ufrags:
            self._context.port.add_ufrag(ufrag, self)
        self._ufrags = valid

    def _change(self, state: PeerState) -> None:
        self.state = state
        self._tell()

    def _tell(self) -> None:
        if self._on_change is not None:
            try:
                self._on_change(self)
            except Exception:
                self._context.errors["internal"] += 1
                _log.exception("a change of a WebRTC peer could not be told peer=%s", self)


class PeerEnded(Exception):
    """Raised by a `MakeSink` that finds no place for a peer that has connected."""

    def __init__(self, reason: EndReason, info: str) -> None:
        super().__init__(info)
        self.reason = reason
        self.info = info


def _parse_fragment(text: str) -> sdp.Fragment:
    try:
        return sdp.parse_fragment(text)
    except sdp.SdpError as error:
        raise BadFragment(f"not a fragment of a description: {error}") from error
