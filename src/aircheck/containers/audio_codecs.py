"""Decoders and encoders of sound, as libavcodec has them.

One convention of time holds for all of them, the one that publishers and files use too: **the pts of a packet
is where the first sample begins that a decoder makes of it**. What a codec puts in front of the sound
(priming, pre-skip, overlap) is therefore part of the time line: decoders are kept from cutting it off, and an
encoder's first packet begins by its priming before the first sample that it was given.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Any

import av
from av.codec.context import CodecContext, Flags, Flags2

from aircheck.errors import ContainerError
from aircheck.media import aac, opus
from aircheck.media.packet import Packet
from aircheck.media.track import Codec, Track

_DECODERS = {
    Codec.AAC: "aac",
    Codec.OPUS: "opus",
    Codec.MP3: "mp3float",
    Codec.FLAC: "flac",
    Codec.AC3: "ac3",
    Codec.PCMA: "pcm_alaw",
    Codec.PCMU: "pcm_mulaw",
    Codec.SPEEX: "speex",
}
_NEED_LAYOUT = frozenset((Codec.OPUS, Codec.PCMA, Codec.PCMU, Codec.SPEEX))
"""Their packets do not say how many channels there are; of these codecs no more than two are recorded."""

_ENCODERS = {Codec.AAC: ("aac", "fltp"), Codec.OPUS: ("libopus", "flt")}
_LAYOUTS = {1: "mono", 2: "stereo"}

BITRATE_MODES = range(6)
_BITS_PER_S_OF_CHANNEL = (64_000, 20_000, 28_000, 36_000, 48_000, 56_000)
"""By bitrate mode, at 32 kHz and more. Mode 5 makes 112 kbit/s of stereo."""
_FULL_RATE = 32_000


@dataclass(frozen=True, slots=True)
class AudioTarget:
    """What sound is encoded to: AAC at any rate of `aac.SAMPLE_RATES`, or Opus, which is always 48 kHz.

    `bitrate_mode` is 0 for a constant rate of 128 kbit/s (stereo), 1 to 5 for a variable one from 40 to 112.
    libavcodec's AAC encoder has no quality-driven mode worth using (its manual calls it experimental),
    but its bit rate is an average: silence takes next to nothing. So modes 1 to 5 are averages. The
    nominal rates hold from 32 kHz on; below they shrink with the sample rate, to half at most.

    Raises ContainerError for what cannot be encoded.
    """

    codec: Codec = Codec.AAC
    sample_rate: int = 44_100
    channels: int = 2
    bitrate_mode: int = 5

    def __post_init__(self) -> None:
        rates = (opus.SAMPLE_RATE,) if self.codec is Codec.OPUS else aac.SAMPLE_RATES
        if (
            self.codec not in _ENCODERS
            or self.sample_rate not in rates
            or self.channels not in _LAYOUTS
            or self.bitrate_mode not in BITRATE_MODES
        ):
            raise ContainerError(
                f"sound cannot be encoded to {self}",
                remedy=f"choose one of {', '.join(map(str, rates))} Hz, 1 or 2 channels, bitrate mode 0 to 5",
            )

    @property
    def bits_per_s(self) -> int:
        share = max(Fraction(1, 2), min(Fraction(1), Fraction(self.sample_rate, _FULL_RATE)))
        return int(_BITS_PER_S_OF_CHANNEL[self.bitrate_mode] * self.channels * share)

    @property
    def layout(self) -> str:
        return _LAYOUTS[self.channels]

    @property
    def sample_format(self) -> str:
        return _ENCODERS[self.codec][1]


@cache
def can_decode(codec: Codec) -> bool:
    """Whether the installed libavcodec understands this codec of sound."""
    if codec not in _DECODERS:
        return False
    try:
        av.codec.Codec(_DECODERS[codec], "r")
    except ValueError:  # av's UnknownCodecError
        return False
    return True


def open_decoder(track: Track) -> Any:
    """A decoder for the track. Raises av.FFmpegError or ValueError when its configuration makes no sense."""
    decoder: Any = CodecContext.create(_DECODERS[track.codec], "r")
    if track.config:
        decoder.extradata = track.config
    if track.sample_rate:
        decoder.sample_rate = track.sample_rate
    if track.codec in _NEED_LAYOUT:
        decoder.layout = _LAYOUTS.get(track.channels, "mono")
    decoder.flags2 |= Flags2.skip_manual
    decoder.open()
    return decoder


class AudioEncoder:
    """Encodes frames of the target's format that follow each other without a hole."""

    def __init__(self, track_id: int, target: AudioTarget) -> None:
        """Raises ContainerError when there is no such encoder."""
        name, sample_format = _ENCODERS[target.codec]
        try:
            context: Any = CodecContext.create(name, "w")
            context.sample_rate, context.layout = target.sample_rate, target.layout
            context.format, context.bit_rate = sample_format, target.bits_per_s
            context.time_base = Fraction(1, target.sample_rate)
            context.flags |= Flags.global_header
            context.open()
        except (av.FFmpegError, ValueError) as error:
            raise ContainerError(
                f"sound cannot be encoded to {target}: {error}",
                remedy="the installed av wheel lacks this encoder: reinstall av from PyPI",
            ) from error
        self._context = context
        self._target = target
        self.track = Track(
            track_id,
            target.codec,
            target.sample_rate,
            bytes(context.extradata),
            sample_rate=target.sample_rate,
            channels=target.channels,
        )

    def renewed(self) -> AudioEncoder:
        """A new encoder of the same track: one output is one track, because recorders compare the objects."""
        encoder = AudioEncoder(self.track.id, self._target)
        encoder.track = self.track
        return encoder

    def encode(self, frame: Any) -> list[Packet]:
        """`frame.pts` counts samples; frames may have any length. Raises av.FFmpegError, as for NaN."""
        return self._packets(self._context.encode(frame))

    def drain(self) -> list[Packet]:
        """What is still inside; the encoder is of no more use then."""
        return self._packets(self._context.encode(None))

    def _packets(self, encoded: Iterable[Any]) -> list[Packet]:
        track = self.track
        return [Packet(track, packet.pts, packet.pts, True, bytes(packet)) for packet in encoded]
