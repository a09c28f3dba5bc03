"""Sound in RTP: a frame is a payload (Opus: RFC 7587; PCMA and PCMU: RFC 3551)."""

from __future__ import annotations


class AudioPacketizer:
    def packetize(self, frame: bytes, *, is_keyframe: bool) -> list[bytes]:
        return [frame]
