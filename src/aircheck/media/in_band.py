"""Whether key frames carry their decoder configuration with them, whatever a file says of it elsewhere.

Some players (Chromium is one) set up their decoder once, by the first configuration that a file has, and
never look at another one. Parameter sets in the frames are all that tells such a player of a change, and of
its opposite when somebody seeks back to what came before.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from itertools import islice

from aircheck.media import av1, h264, h265
from aircheck.media.bits import BitstreamError
from aircheck.media.packet import Payload
from aircheck.media.track import Codec, Track

_MAX_UNITS = 64
"""So many NAL units or OBUs, empty ones too, are looked at for the first one of a picture."""


def carries_configuration(track: Track, key_frame: Payload) -> bool:
    """Whether a decoder can begin with this key frame and nothing else; not when it cannot be read."""
    with suppress(BitstreamError):
        match track.codec:
            case Codec.H264:
                needed = {h264.NAL_SPS, h264.NAL_PPS}
                slices = range(h264.NAL_SLICE, h264.NAL_IDR + 1)
                return _is_before(key_frame, _nal_length_size(track), h264.nal_unit_type, needed, slices)
            case Codec.H265:
                needed = {h265.NAL_VPS, h265.NAL_SPS, h265.NAL_PPS}
                slices = range(h265.NAL_VPS)
                return _is_before(key_frame, _nal_length_size(track), h265.nal_unit_type, needed, slices)
            case Codec.AV1:
                kinds = (obu.type for obu in islice(av1.split_obus(key_frame), _MAX_UNITS))
                return av1.OBU_SEQUENCE_HEADER in kinds
            case _:
                return True  # VP8 and VP9 say all in each key frame
    return False


def _nal_length_size(track: Track) -> int:
    parse = h265.parse_config if track.codec is Codec.H265 else h264.parse_config
    return parse(track.config).nal_length_size


def _is_before(
    key_frame: Payload, length_size: int, type_of: Callable[[Payload], int], needed: set[int], slices: range
) -> bool:
    """Whether units of all these types stand before the first slice."""
    for unit in h264.split_nal_units(key_frame, length_size, most=_MAX_UNITS):
        kind = type_of(unit)
        if kind in slices:
            break
        needed.discard(kind)
    return not needed
