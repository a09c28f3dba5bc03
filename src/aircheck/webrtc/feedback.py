"""Feedback: what a publishing peer is told, so that it sends well.

Missing packets are asked for at once, a key frame where pictures cannot be decoded; arrivals (or a bit rate,
where the peer wants that) tell it how fast it may send, reports how it fares.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from aircheck.webrtc.media import MediaTransport
from aircheck.webrtc.receive_track import ReceiveTrack
from aircheck.wire.rtp.rtcp import (
    FullIntraRequest,
    Nack,
    PictureLossIndication,
    ReceiverEstimatedMaximumBitrate,
    ReceiverReport,
    Report,
    SourceDescription,
    serialize_compound,
)
from aircheck.wire.rtp.transport_feedback import ArrivalLog

ARRIVALS_INTERVAL_S = 0.05
REPORT_INTERVAL_S = 1.0
NACK_MAX_NUMBERS = 256
"""So that one fits in a packet, even if each needs an entry of its own."""

UNLIMITED_BPS = 30_000_000


class Feedback:
    """All of it goes through `transport`, as reduced-size RTCP (RFC 5506) but for the reports."""

    def __init__(
        self, tracks: Sequence[ReceiveTrack], transport: MediaTransport, *, max_bitrate_bps: int
    ) -> None:
        self.arrivals = ArrivalLog()
        self._tracks = tracks
        self._transport = transport
        self._ssrc = secrets.randbits(32)
        self._cname = secrets.token_hex(8)
        self._bitrate_bps = max_bitrate_bps or UNLIMITED_BPS
        self._wants_bitrate = any(
            "goog-remb" in one.feedback and "transport-cc" not in one.feedback
            for track in tracks
            for one in track.line.formats
        )
        self._arrivals_told_s = 0.0
        self._reported_s = 0.0
        self._fir_number = 0

    def after_packets(self, now_s: float) -> None:
        """The packets of one drain are handled: ask for what they showed to be missing."""
        for track in self._tracks:
            track.give_up(now_s)
            if track.ssrc is not None:
                numbers = track.wanted(now_s)
                for at in range(0, len(numbers), NACK_MAX_NUMBERS):
                    self._send(Nack(self._ssrc, track.ssrc, numbers[at : at + NACK_MAX_NUMBERS]))
            if track.wants_key(now_s):
                self._ask(track, now_s)
        if now_s - self._arrivals_told_s >= ARRIVALS_INTERVAL_S and self.arrivals:
            self._tell_arrivals(now_s)

    def tick(self, now_s: float) -> None:
        self.after_packets(now_s)
        if now_s - self._reported_s >= REPORT_INTERVAL_S:
            self._reported_s = now_s
            self._report(now_s)

    def ask_for_keyframes(self, now_s: float) -> None:
        for track in self._tracks:
            if track.is_video and track.may_ask(now_s):
                self._ask(track, now_s)

    def _ask(self, track: ReceiveTrack, now_s: float) -> None:
        """The request is for the source of the media; that of retransmissions would not understand it."""
        if track.ssrc is None:
            return
        track.key_asked(now_s)
        feedback = frozenset[str]().union(*(one.feedback for one in track.line.formats))
        if "nack pli" in feedback or "ccm fir" not in feedback:
            self._send(PictureLossIndication(self._ssrc, track.ssrc))
        else:
            self._fir_number = self._fir_number + 1 & 0xFF
            self._send(FullIntraRequest(self._ssrc, ((track.ssrc, self._fir_number),)))

    def _tell_arrivals(self, now_s: float) -> None:
        self._arrivals_told_s = now_s
        media_ssrc = next((track.ssrc for track in self._tracks if track.ssrc is not None), 0)
        for report in self.arrivals.report(self._ssrc, media_ssrc):
            self._send(report)

    def _report(self, now_s: float) -> None:
        blocks = tuple(block for track in self._tracks if (block := track.report(now_s)) is not None)
        if not blocks:
            return
        reports: list[Report] = [
            ReceiverReport(self._ssrc, blocks),
            SourceDescription(((self._ssrc, self._cname),)),
        ]
        if self._wants_bitrate:
            ssrcs = tuple(block.ssrc for block in blocks)
            reports.append(ReceiverEstimatedMaximumBitrate(self._ssrc, self._bitrate_bps, ssrcs))
        self._transport.send_rtcp(serialize_compound(reports))

    def _send(self, report: Report) -> None:
        self._transport.send_rtcp(report.serialize())
