"""Retransmission payloads (RFC 4588): the original sequence number before the original payload."""

from __future__ import annotations

OSN_BYTES = 2
"""Of the original sequence number. A retransmission that is shorter probes the path and repeats nothing."""


def original_sequence_number(packet: bytes, start: int) -> int:
    """Of a retransmission whose payload begins at `start` and has at least `OSN_BYTES`."""
    return packet[start] << 8 | packet[start + 1]
