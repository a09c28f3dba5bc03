"""Elementary streams as libavformat hands them out, framed as our packets are: as MP4 stores them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

from aircheck.errors import ContainerError
from aircheck.media import aac, flac, h264, h265
from aircheck.media.bits import BitstreamError
from aircheck.media.packet import Packet
from aircheck.media.track import Codec, Track

_CODECS = {"hevc": Codec.H265, "pcm_alaw": Codec.PCMA, "pcm_mulaw": Codec.PCMU}
_HAVE_CONFIG = frozenset((Codec.H264, Codec.H265, Codec.AV1, Codec.AAC, Codec.OPUS))
_MICROSECONDS = 1_000_000
_MAX_WAITING = 64
_PARAMETER_SETS_AND_DELIMITERS = {Codec.H264: (7, 8, 9), Codec.H265: (32, 33, 34, 35)}

_Framing = Callable[[bytes], bytes]


class Lane:
    """One stream. Times count from `zero_s` of the file."""

    def __init__(self, number: int, stream: Any, zero_s: Fraction) -> None:
        base = Fraction(stream.time_base)
        timescale = base.denominator if base.numerator == 1 else _MICROSECONDS
        self._ticks = base * timescale
        self._is_in_ticks = self._ticks == 1
        self._zero = round(zero_s * timescale)
        self.track, self._framing = _describe(number, stream, timescale)
        self._waiting: list[Packet] = []
        self._has_dts = False

    def reset(self) -> None:
        """Reading goes on elsewhere."""
        self._waiting, self._has_dts = [], False

    def translate(self, packet: Any) -> Iterator[Packet]:
        """No packet, or several: the first ones of Matroska have no dts, and wait for one that has."""
        if not packet.size or (packet.pts is None and packet.dts is None):
            return
        pts = packet.pts if packet.pts is not None else packet.dts
        dts = packet.dts if packet.dts is not None else pts
        found = Packet(self.track, self._time(pts), self._time(dts), packet.is_keyframe, self._frame(packet))
        if self._has_dts or not self.track.is_video:
            yield found
            return
        if packet.dts is None and len(self._waiting) < _MAX_WAITING:
            self._waiting.append(found)
            return
        self._has_dts = True
        yield from self._timed(found)
        yield found

    def flush(self) -> Iterator[Packet]:
        """What still waits at the end."""
        waiting, self._waiting = self._waiting, []
        yield from waiting

    def _timed(self, first: Packet) -> Iterator[Packet]:
        """What waited, decoded a tick before each other: nobody shows it before its pts."""
        waiting, self._waiting = self._waiting, []
        dts = min([first.dts, *(packet.pts for packet in waiting)]) - len(waiting)
        for number, packet in enumerate(waiting):
            packet.dts = dts + number
            yield packet

    def _time(self, ticks: int) -> int:
        return (ticks if self._is_in_ticks else int(ticks * self._ticks)) - self._zero

    def _frame(self, packet: Any) -> bytes:
        data = bytes(packet)
        return data if self._framing is None else self._framing(data)


def _describe(number: int, stream: Any, timescale: int) -> tuple[Track, _Framing | None]:
    """Raises ContainerError for a codec that we do not know, or without the configuration it needs."""
    context = stream.codec_context
    codec = _codec_of(context)
    if not (context.width if stream.type == "video" else context.sample_rate):
        raise turned_up_late(f"track {number} ({codec})")
    extradata = bytes(context.extradata or b"")
    try:
        config, framing = _config_of(codec, extradata, context)
    except BitstreamError as error:
        raise ContainerError(
            f"track {number} ({codec}) has a configuration that cannot be read: {error}",
            remedy="convert the file with ffmpeg first",
        ) from error
    track = Track(
        number,
        codec,
        timescale,
        config,
        width=context.width if codec.kind == "video" else 0,
        height=context.height if codec.kind == "video" else 0,
        sample_rate=context.sample_rate if codec.kind == "audio" else 0,
        channels=context.layout.nb_channels if codec.kind == "audio" else 0,
    )
    return track, framing


def turned_up_late(what: str) -> ContainerError:
    """MPEG-TS and FLV say what a track is only where it begins."""
    return ContainerError(
        f"{what} turned up late: what it is cannot be told from where files are looked into",
        remedy="play the file whole; recordings in MP4 or Matroska can be cut",
    )


def _codec_of(context: Any) -> Codec:
    name = context.codec.canonical_name if context.codec is not None else context.name
    try:
        return _CODECS.get(name) or Codec(name)
    except ValueError:
        raise ContainerError(
            f"{name} is a codec that cannot be cut here", remedy="convert the file with ffmpeg first"
        ) from None


def _config_of(codec: Codec, extradata: bytes, context: Any) -> tuple[bytes, _Framing | None]:
    """The configuration as `Track` has it, and what turns the container's framing into ours."""
    match codec:
        case Codec.H264 | Codec.H265 if extradata[:3] in (b"\0\0\1", b"\0\0\0"):
            return _config_of_annex_b(codec, extradata), _annex_b_framing(codec)
        case Codec.AAC if not extradata:
            return aac.build_config(2, context.sample_rate, context.layout.nb_channels), aac.without_adts
        case Codec.AAC:
            return extradata, aac.without_adts
        case Codec.FLAC:
            return flac.find_stream_info(extradata), None
        case _:
            return (extradata if codec in _HAVE_CONFIG else b""), None


def _config_of_annex_b(codec: Codec, extradata: bytes) -> bytes:
    units = h264.split_annex_b(extradata)
    if codec is Codec.H264:
        kinds = [h264.nal_unit_type(unit) for unit in units]
        sets = [
            [unit for unit, kind in zip(units, kinds, strict=True) if kind == wanted] for wanted in (7, 8)
        ]
        return h264.build_config(*sets)
    kinds = [h265.nal_unit_type(unit) for unit in units]
    sets = [
        [unit for unit, kind in zip(units, kinds, strict=True) if kind == wanted] for wanted in (32, 33, 34)
    ]
    return h265.build_config(*sets)


def _annex_b_framing(codec: Codec) -> _Framing:
    """Lengths for start codes. What the configuration says is not said again in the stream."""
    left_out = _PARAMETER_SETS_AND_DELIMITERS[codec]
    kind_of = h264.nal_unit_type if codec is Codec.H264 else h265.nal_unit_type

    def framing(data: bytes) -> bytes:
        units = [unit for unit in h264.split_annex_b(data) if kind_of(unit) not in left_out]
        return h264.join_length_prefixed(units)

    return framing
