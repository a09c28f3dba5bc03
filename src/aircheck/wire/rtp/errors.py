"""What a remote can get wrong in RTP and RTCP."""

from __future__ import annotations

from aircheck.wire.errors import RemoteProtocolError


class RtpError(RemoteProtocolError):
    """Bytes that are no RTP, no RTCP, or no payload of the agreed format: the packet is dropped."""
