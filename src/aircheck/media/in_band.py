"""Key frames that carry their decoder configuration with them, whatever a file says of it elsewhere.

Some players set up their decoder once, by the first configuration that a file has, and never look at another
one. Parameter sets in the frames are all that tells such a player of a change.
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

    A configuration that cannot be read is left out, a frame that cannot be read is taken to lack it.
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

    def is_in(self, key_frame: Payload) -> bool:
        """Whether a key frame can be decoded by what is in it."""
        try:
            match self._codec:
                case Codec.H264 | Codec.H265:
                    return self._has_parameter_sets(key_frame)
                case Codec.AV1:
                    return av1.find_sequence_header(key_frame) is not None
                case _:
                    return True
        except BitstreamError:
            return False

    def _has_parameter_sets(self, key_frame: Payload) -> bool:
        missing = set(map(self._type_of, self._units))
        for unit in h264.split_nal_units(key_frame, self._nal_length_size):
            if not missing or self._type_of(unit) in self._slices:
                break
            missing.discard(self._type_of(unit))
        return not missing

    def complete(self, key_frame: Payload) -> Payload:
        """The key frame with the configuration in front of its pictures, if it does not have one."""
        if not self._units or self.is_in(key_frame):
            return key_frame
        if self._codec is Codec.AV1:
            return b"".join((*self._units, key_frame))
        start, size = self._delimiter_bytes(key_frame), self._nal_length_size
        framed = (part for unit in self._units for part in (len(unit).to_bytes(size, "big"), unit))
        return b"".join((key_frame[:start], *framed, key_frame[start:]))

    def _delimiter_bytes(self, key_frame: Payload) -> int:
        """Size of the access unit delimiter, which stands before everything else."""
        with suppress(BitstreamError):
            first = next(h264.split_nal_units(key_frame, self._nal_length_size), None)
            if first is not None and self._type_of(first) == self._delimiter:
                return self._nal_length_size + len(first)
        return 0
