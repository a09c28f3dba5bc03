"""Pictures of one video source: parts of frames as RTP brings them become access units and tracks of the hub.

A changed decoder configuration (H.264, H.265, AV1) makes a new `Track`; VP8 and VP9 change the size of their
pictures within a track, as their files do too.
"""

from __future__ import annotations

import base64
import binascii
from abc import ABC, abstractmethod
from collections.abc import Mapping

from aircheck.media import av1, h264, h265, vp8, vp9
from aircheck.media.bits import BitReader, BitstreamError, unescape
from aircheck.media.track import Codec, Track

VIDEO_TIMESCALE = 90_000

_HEAD_BYTES = 64
"""Of a slice or a parameter set: what is read lies before it."""


class Pictures(ABC):
    """`make` returns an access unit and whether it is a key frame, and keeps `track` up to date.

    There is a track from the first key frame on whose configuration is known. Raises BitstreamError, also for
    a key frame that nobody can decode for want of a configuration.
    """

    codec: Codec

    def __init__(self, track_id: int) -> None:
        self.track: Track | None = None
        self._track_id = track_id

    @abstractmethod
    def make(self, parts: list[bytes]) -> tuple[bytes, bool]: ...

    def _take(self, config: bytes, width: int, height: int) -> None:
        known = self.track
        if known is None or known.config != config:
            self.track = Track(self._track_id, self.codec, VIDEO_TIMESCALE, config, width, height)


class Vp8Pictures(Pictures):
    codec = Codec.VP8

    def make(self, parts: list[bytes]) -> tuple[bytes, bool]:
        (frame,) = parts
        is_key = vp8.is_keyframe(frame)
        if is_key:
            self._take(b"", *vp8.parse_key_frame(frame))
        return frame, is_key


class Vp9Pictures(Pictures):
    codec = Codec.VP9

    def make(self, parts: list[bytes]) -> tuple[bytes, bool]:
        (frame,) = parts
        if not vp9.is_keyframe(frame):
            return frame, False
        header = vp9.parse_frame_header(frame)
        config = vp9.build_config(header)
        if self.track is None or not _is_same_vp9(self.track.config, config):
            self._take(config, header.width, header.height)
        return frame, True


def _is_same_vp9(known: bytes, config: bytes) -> bool:
    """Whether nothing but the level differs, which follows from the size of the pictures."""
    return known[0] == config[0] and known[2:] == config[2:]


class H264Pictures(Pictures):
    """The parameter sets that a key frame refers to become the configuration, and stand before it."""

    codec = Codec.H264

    def __init__(self, track_id: int, fmtp: Mapping[str, str]) -> None:
        super().__init__(track_id)
        self._sps: dict[int, bytes] = {}
        self._pps: dict[int, bytes] = {}
        for unit in _sets_of_description(fmtp.get("sprop-parameter-sets", "")):
            self._learn(unit)

    def make(self, parts: list[bytes]) -> tuple[bytes, bool]:
        units: list[bytes] = []
        idr: bytes | None = None
        for unit in parts:
            kind = unit[0] & 0x1F
            if kind in (h264.NAL_SPS, h264.NAL_PPS):
                self._learn(unit)
            elif kind != h264.NAL_AUD:
                units.append(unit)
                if kind == h264.NAL_IDR and idr is None:
                    idr = unit
        if not units:
            raise BitstreamError("an access unit of parameter sets alone")
        if idr is not None:
            units = [*self._configure(idr), *units]
        return h264.join_length_prefixed(units), idr is not None

    def _learn(self, unit: bytes) -> None:
        bits = BitReader(unescape(unit[:_HEAD_BYTES]))
        if unit[0] & 0x1F == h264.NAL_PPS:
            bits.skip(8)
            self._pps[bits.read_ue()] = unit
        elif unit[0] & 0x1F == h264.NAL_SPS:
            bits.skip(32)
            self._sps[bits.read_ue()] = unit

    def _configure(self, idr: bytes) -> tuple[bytes, bytes]:
        """Take the configuration of a key frame: its parameter sets."""
        bits = BitReader(unescape(idr[:_HEAD_BYTES]))
        bits.skip(8)
        bits.read_ue()  # first_mb_in_slice
        bits.read_ue()  # slice_type
        pps = self._pps.get(bits.read_ue())
        if pps is None:
            raise BitstreamError("a key frame without its picture parameter set")
        bits = BitReader(unescape(pps[:_HEAD_BYTES]))
        bits.skip(8)
        bits.read_ue()  # pic_parameter_set_id
        sps = self._sps.get(bits.read_ue())
        if sps is None:
            raise BitstreamError("a key frame without its sequence parameter set")
        first = h264.parse_sps(sps)
        self._take(h264.build_config([sps], [pps]), first.width, first.height)
        return sps, pps


def _sets_of_description(value: str) -> list[bytes]:
    """What `sprop-parameter-sets` holds; what is no base64 is as good as absent."""
    units = []
    for text in value.split(","):
        try:
            unit = base64.b64decode(text, validate=True)
            if unit:
                units.append(unit)
        except (ValueError, binascii.Error):
            continue
    return units


class H265Pictures(Pictures):
    """The parameter sets last seen become the configuration of a key frame, and stand before it."""

    codec = Codec.H265
    _SETS = (h265.NAL_VPS, h265.NAL_SPS, h265.NAL_PPS)

    def __init__(self, track_id: int) -> None:
        super().__init__(track_id)
        self._sets: dict[int, bytes] = {}

    def make(self, parts: list[bytes]) -> tuple[bytes, bool]:
        units: list[bytes] = []
        is_key = False
        for unit in parts:
            kind = h265.nal_unit_type(unit)
            if kind in self._SETS:
                self._sets[kind] = unit
            elif kind != h265.NAL_AUD:
                units.append(unit)
                is_key = is_key or h265.is_random_access(kind)
        if not units:
            raise BitstreamError("an access unit of parameter sets alone")
        if is_key:
            units = [*self._configure(), *units]
        return h264.join_length_prefixed(units), is_key

    def _configure(self) -> tuple[bytes, bytes, bytes]:
        if len(self._sets) < len(self._SETS):
            raise BitstreamError("a key frame without its parameter sets")
        vps, sps, pps = (self._sets[kind] for kind in self._SETS)
        first = h265.parse_sps(sps)
        self._take(h265.build_config([vps], [sps], [pps]), first.width, first.height)
        return vps, sps, pps


class Av1Pictures(Pictures):
    codec = Codec.AV1

    def make(self, parts: list[bytes]) -> tuple[bytes, bool]:
        unit = b"".join(parts)
        config = b""
        if any(part[0] >> 3 & 15 == av1.OBU_SEQUENCE_HEADER for part in parts):
            config = av1.config_of_temporal_unit(unit)
        if config:
            self._take(config, *av1.picture_size(config))
        return unit, bool(config)


def pictures_of(codec: Codec, track_id: int, fmtp: Mapping[str, str]) -> Pictures:
    match codec:
        case Codec.VP8:
            return Vp8Pictures(track_id)
        case Codec.VP9:
            return Vp9Pictures(track_id)
        case Codec.H264:
            return H264Pictures(track_id, fmtp)
        case Codec.H265:
            return H265Pictures(track_id)
        case Codec.AV1:
            return Av1Pictures(track_id)
        case _:
            raise ValueError(f"{codec} has no pictures")
