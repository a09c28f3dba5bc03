"""VP8: what a key frame tells (RFC 6386, 9.1)."""

from __future__ import annotations

from aircheck.media.bits import BitstreamError
from aircheck.media.packet import Payload

_START_CODE = b"\x9d\x01\x2a"


def is_keyframe(frame: Payload) -> bool:
    return len(frame) > 0 and not frame[0] & 1


def parse_key_frame(frame: Payload) -> tuple[int, int]:
    """Width and height. Raises BitstreamError for anything but a key frame."""
    if len(frame) < 10 or not is_keyframe(frame) or bytes(frame[3:6]) != _START_CODE:
        raise BitstreamError("no VP8 key frame")
    width, height = (int.from_bytes(frame[at : at + 2], "little") & 0x3FFF for at in (6, 8))
    if not (width and height):
        raise BitstreamError(f"a VP8 picture of {width} x {height}")
    return width, height
