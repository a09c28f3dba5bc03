"""What a receiver reports of a source: loss and jitter (RFC 3550, 6.4.1, A.3 and A.8)."""

from __future__ import annotations

from aircheck.media.timeline import nearest
from aircheck.wire.rtp.rtcp import ReportBlock

_MAX_TRANSIT_STEP_S = 10
"""A clock that was set, not a packet that was late."""


class Reception:
    """Statistics of one source. `received` counts its own packets, not those sent again."""

    __slots__ = (
        "_last_sr",
        "_last_sr_s",
        "_prior_expected",
        "_prior_received",
        "_transit",
        "clock_rate",
        "jitter",
        "received",
    )

    def __init__(self, clock_rate: int) -> None:
        self.clock_rate = clock_rate
        self.received = 0
        self.jitter = 0.0
        """In ticks of the source's clock."""
        self._transit: int | None = None
        self._prior_expected = 0
        self._prior_received = 0
        self._last_sr = 0
        self._last_sr_s = 0.0

    def arrived(self, timestamp: int, now_s: float) -> None:
        """The first packet of a frame came: those that follow say nothing more about the path."""
        transit = int(now_s * self.clock_rate) - timestamp & 0xFFFFFFFF
        if self._transit is not None:
            step = abs(nearest(transit - self._transit))
            if step < _MAX_TRANSIT_STEP_S * self.clock_rate:
                self.jitter += (step - self.jitter) / 16
        self._transit = transit

    def sender_reported(self, ntp: int, now_s: float) -> None:
        self._last_sr = ntp >> 16 & 0xFFFFFFFF
        self._last_sr_s = now_s

    def restart(self) -> None:
        """The source began a new sequence."""
        self.received = self._prior_expected = self._prior_received = 0
        self._transit = None

    def block(self, ssrc: int, first: int, highest: int, now_s: float) -> ReportBlock:
        """A report of what has come since the last one; `first` and `highest` are numbers counted on."""
        expected = highest - first + 1
        expected_since = expected - self._prior_expected
        lost_since = expected_since - (self.received - self._prior_received)
        self._prior_expected, self._prior_received = expected, self.received
        fraction = min(255, lost_since * 256 // expected_since) if expected_since > 0 < lost_since else 0
        delay = int((now_s - self._last_sr_s) * 65536) & 0xFFFFFFFF if self._last_sr_s else 0
        return ReportBlock(
            ssrc,
            fraction,
            expected - self.received,
            highest & 0xFFFFFFFF,
            int(self.jitter),
            self._last_sr,
            delay,
        )
