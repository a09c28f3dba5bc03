"""Retransmission payloads (RFC 4588): the original sequence number before the original payload."""

from __future__ import annotations

from aircheck.wire.rtp.errors import RtpError

OSN_BYTES = 2


def original_sequence_number(packet: bytes, start: int, end: int) -> int:
    """Of a retransmission whose payload is so bounded; its own payload begins `OSN_BYTES` later.

    Raises RtpError; a retransmission without a byte probes the path and has no original.
    """
    if end - start < OSN_BYTES:
        raise RtpError("a retransmission without its original sequence number", data=packet)
    return packet[start] << 8 | packet[start + 1]
