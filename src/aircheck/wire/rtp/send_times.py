"""When a packet was sent, by the clock of its sender, as header extensions tell.

abs-send-time (http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time) is one clock for all sources of a
sender; the transmission offset (RFC 5450) says how long after its capture a picture was sent.
"""

from __future__ import annotations

ABS_SEND_TIME_URI = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time"
TRANSMISSION_OFFSET_URI = "urn:ietf:params:rtp-hdrext:toffset"

WRAP_S = 64
"""The absolute send time begins anew after so many seconds."""

SIZE_BYTES = 3
"""Of the data of either."""

_TICKS_PER_S = 1 << 18


def read_abs_send_time_s(packet: bytes, at: int) -> float:
    return int.from_bytes(packet[at : at + SIZE_BYTES], "big") / _TICKS_PER_S


def read_transmission_offset(packet: bytes, at: int) -> int:
    """In ticks of the source's clock."""
    return int.from_bytes(packet[at : at + SIZE_BYTES], "big", signed=True)
