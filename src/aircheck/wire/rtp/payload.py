"""What payload formats have in common."""

from __future__ import annotations

from typing import Protocol

MTU_BYTES = 1200
"""Of a payload with its RTP header: fits in any path with room for SRTP, UDP, IPv6 and a tunnel."""

MAX_FRAME_BYTES = 16 * 1024 * 1024
"""No browser sends so large a frame: beyond it somebody only wants our memory."""


class Depacketizer(Protocol):
    """Puts one frame together at a time from payloads in order. `push` and `finish` raise RtpError."""

    def begins_frame(self, packet: bytes, start: int, end: int) -> bool:
        """Whether nothing of the frame can have come before this payload."""
        ...

    def push(self, packet: bytes, start: int, end: int) -> None:
        """Take the payload that lies between `start` and `end` of a packet (at least one byte)."""
        ...

    def finish(self) -> list[bytes]:
        """The frame's parts; then the next frame begins."""
        ...

    def reset(self) -> None:
        """Forget the frame that was begun."""
        ...


class Packetizer(Protocol):
    def packetize(self, frame: bytes, *, is_keyframe: bool) -> list[bytes]:
        """The payloads of a frame, in order; the last is to be marked where it is a picture."""
        ...
