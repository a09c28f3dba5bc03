"""Key frames that carry their decoder configuration with them, whatever a file says of it elsewhere.

Some players (Chromium is one) set up their decoder once, by the first configuration that a file has, and
never look at another one. Parameter sets in the frames are all that tells such a player of a change, and of
its opposite when somebody seeks back to what came before.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from aircheck.media import av1, h264, h265
from aircheck.media.bits import BitstreamError
from aircheck.media.packet import Payload
from aircheck.media.track import Codec, Track

_AV1_RECORD_BYTES = 4


class InBandConfiguration:
    """What key frames of a track need; nothing when every key frame has it by nature (VP8, VP9).

    A configuration that cannot be read is left out, and a frame that cannot be read stays as it is.
    """

    def __init__(self, track: Track) -> None:
        self._codec = track.codec
        is_h265 = track.codec is Codec.H265
        self._type_of = h265.nal_unit_type if is_h265 else h264.nal_unit_type
        self._slices = range(h265.NAL_VPS) if is_h265 else range(h264.NAL_SLICE, h264.NAL_IDR + 1)
        self._delimiter = h265.NAL_AUD if is_h265 else h264.NAL_AUD
        self._nal_length_size = 4
        self._units: Sequence[bytes] = ()
        with suppress(BitstreamError):
            self._read(track)

    def _read(self, track: Track) -> None:
        match track.codec:
            case Codec.H264:
                avc = h264.parse_config(track.config)
                self._nal_length_size, self._units = avc.nal_length_size, (*avc.sps, *avc.pps)
            case Codec.H265:
                hevc = h265.parse_config(track.config)
                self._nal_length_size, self._units = hevc.nal_length_size, (*hevc.vps, *hevc.sps, *hevc.pps)
            case Codec.AV1:
                self._units = (track.config[_AV1_RECORD_BYTES:],)
            case _:
                pass

    @property
    def has_units(self) -> bool:
        return bool(self._units)

    def is_in(self, key_frame: Payload) -> bool:
        """Whether a key frame can be decoded by what is in it."""
        with suppress(BitstreamError):
            return not self._units or self._lacks_at(key_frame) is None
        return False

    def complete(self, key_frame: Payload) -> Payload:
        """The key frame with the configuration in front of its pictures, if it does not have one."""
        start = None
        with suppress(BitstreamError):
            start = self._lacks_at(key_frame)
        if start is None:
            return key_frame
        if self._codec is Codec.AV1:
            return b"".join((*self._units, key_frame))
        size = self._nal_length_size
        framed = (part for unit in self._units for part in (len(unit).to_bytes(size, "big"), unit))
        return b"".join((key_frame[:start], *framed, key_frame[start:]))

    def _lacks_at(self, key_frame: Payload) -> int | None:
        """Where in a key frame its configuration belongs; None when it is there, or there is no picture."""
        if self._codec is Codec.AV1:
            return 0 if av1.find_sequence_header(key_frame) is None else None
        missing, start = set(map(self._type_of, self._units)), 0
        for unit in h264.split_nal_units(key_frame, self._nal_length_size):
            kind = self._type_of(unit)
            if kind == self._delimiter:  # stands before everything else
                start = self._nal_length_size + len(unit)
            elif kind in self._slices:
                return start if missing else None
            missing.discard(kind)
        return None
