"""Frames of one video source: which packets belong together, and whether all of them are there."""

from __future__ import annotations

from aircheck.wire.rtp.errors import RtpError
from aircheck.wire.rtp.payload import MAX_FRAME_BYTES, Depacketizer


class FrameAssembler:
    """Packets in order and holes go in, whole frames come out.

    A frame is bad when a packet of it is missing, when a payload makes no sense, and when the next timestamp
    comes before the marker: on a request for a key frame Chromium throws the rest of a frame away without
    leaving a hole in the sequence. After a hole, a frame is trusted only if it provably begins there.
    """

    __slots__ = (
        "_has_hole",
        "_is_bad",
        "_is_open",
        "_size_bytes",
        "bad_frames",
        "depacketizer",
        "is_broken",
        "malformed",
        "timestamp",
        "truncated",
    )

    def __init__(self, depacketizer: Depacketizer) -> None:
        self.depacketizer = depacketizer
        self.timestamp = 0
        self.is_broken = False
        """A frame was bad since this was last set to False."""
        self.bad_frames = 0
        self.truncated = 0
        """Of the bad frames, those that ended without a marker."""
        self.malformed = 0
        """Payloads that made no sense."""
        self._is_open = False
        self._is_bad = False
        self._has_hole = False
        self._size_bytes = 0

    def lose(self) -> None:
        """Packets are missing here."""
        self.is_broken = True
        self._has_hole = True
        if self._is_open:
            self._is_bad = True

    def push(self, timestamp: int, marker: int, packet: bytes, start: int, end: int) -> list[bytes] | None:
        """The parts of a frame when this packet completes it; `marker` is not 0 at the end of a frame."""
        if start >= end:
            return None  # padding, to probe the path
        if self._is_open:
            if timestamp == self.timestamp:
                self._has_hole = False  # the hole was in the middle of this frame
            else:
                self.truncated += not self._is_bad
                self._drop()
        if not self._is_open:
            self._open(timestamp, packet, start, end)
        if not self._is_bad:
            self._take(packet, start, end)
        if not marker:
            return None
        return self._close()

    def _open(self, timestamp: int, packet: bytes, start: int, end: int) -> None:
        self._is_open = True
        self.timestamp = timestamp
        self._size_bytes = 0
        if self._has_hole:
            self._has_hole = False
            self._is_bad = not self.depacketizer.begins_frame(packet, start, end)

    def _take(self, packet: bytes, start: int, end: int) -> None:
        self._size_bytes += end - start
        try:
            self.depacketizer.push(packet, start, end)
            if self._size_bytes > MAX_FRAME_BYTES:
                raise RtpError(f"a frame of more than {MAX_FRAME_BYTES} bytes")
        except RtpError:
            self.malformed += 1
            self._is_bad = True

    def _close(self) -> list[bytes] | None:
        if not self._is_bad:
            try:
                parts = self.depacketizer.finish()
            except RtpError:
                self.malformed += 1
            else:
                self._is_open = False
                return parts
        self._drop()
        return None

    def _drop(self) -> None:
        self.depacketizer.reset()
        self.bad_frames += 1
        self.is_broken = True
        self._is_open = self._is_bad = False
