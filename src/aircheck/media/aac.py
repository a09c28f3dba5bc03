"""AAC: AudioSpecificConfig (ISO/IEC 14496-3, 1.6.2.1) and the ADTS header (13818-7, 6.2)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from aircheck.media.bits import BitReader, BitstreamError
from aircheck.media.packet import Payload

SAMPLE_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)

LOW_COMPLEXITY = 2
SPECTRAL_BAND_REPLICATION = 5
PARAMETRIC_STEREO = 29

_EXPLICIT_RATE = 15
_ESCAPED_OBJECT_TYPE = 31
_SYNC_EXTENSION = 0x2B7
_GENERAL_AUDIO = frozenset((1, 2, 3, 4, 6, 7, 17, 19, 20, 21, 22, 23))
_CHANNELS = (0, 1, 2, 3, 4, 5, 6, 8, 0, 0, 0, 7, 8, 0, 8, 0)
_ADTS_HEADER_BYTES = 7


@dataclass(frozen=True, slots=True)
class AudioSpecificConfig:
    """What an AudioSpecificConfig tells.

    `core_sample_rate` is the rate of the coded frames: one frame is `frame_samples` of its ticks. HE-AAC
    plays at `sample_rate`, twice as high. `channels` is 0 when the stream itself lists its channels.
    """

    object_type: int
    core_sample_rate: int
    sample_rate: int
    channels: int
    frame_samples: int = 1024


def parse_config(config: Payload) -> AudioSpecificConfig:
    """Read an AudioSpecificConfig. Raises BitstreamError."""
    bits = BitReader(config)
    object_type = _read_object_type(bits)
    core_rate = rate = _read_sample_rate(bits)
    channels = _CHANNELS[bits.read(4)]
    if object_type in (SPECTRAL_BAND_REPLICATION, PARAMETRIC_STEREO):
        channels = 2 if object_type == PARAMETRIC_STEREO else channels
        rate = _read_sample_rate(bits)
        object_type = _read_object_type(bits)
        is_short = object_type in _GENERAL_AUDIO and bits.read_flag()
        return AudioSpecificConfig(object_type, core_rate, rate, channels, 960 if is_short else 1024)
    if object_type not in _GENERAL_AUDIO:
        return AudioSpecificConfig(object_type, core_rate, rate, channels)
    is_short = bits.read_flag()
    if bits.read_flag():  # dependsOnCoreCoder
        bits.skip(14)
    bits.skip(1)  # extensionFlag
    rate = _read_extension_rate(bits, rate)
    return AudioSpecificConfig(object_type, core_rate, rate, channels, 960 if is_short else 1024)


def _read_object_type(bits: BitReader) -> int:
    object_type = bits.read(5)
    return 32 + bits.read(6) if object_type == _ESCAPED_OBJECT_TYPE else object_type


def _read_sample_rate(bits: BitReader) -> int:
    index = bits.read(4)
    rate = bits.read(24) if index == _EXPLICIT_RATE else _rate_of(index)
    if not rate:
        raise BitstreamError("a sample rate of 0 Hz")
    return rate


def _rate_of(index: int) -> int:
    if index >= len(SAMPLE_RATES):
        raise BitstreamError(f"sample rate index {index} is reserved")
    return SAMPLE_RATES[index]


def _read_extension_rate(bits: BitReader, rate: int) -> int:
    """The rate of SBR that is announced behind the plain configuration (1.6.5.3), else `rate`."""
    if bits.bits_left < 17 or bits.read(11) != _SYNC_EXTENSION:
        return rate
    if _read_object_type(bits) != SPECTRAL_BAND_REPLICATION or not bits.bits_left or not bits.read_flag():
        return rate
    return _read_sample_rate(bits)


def build_config(object_type: int, sample_rate: int, channels: int) -> bytes:
    """An AudioSpecificConfig of plain AAC. Raises BitstreamError for a channel count without a code."""
    if channels not in _CHANNELS[1:]:
        raise BitstreamError(f"AAC has no configuration for {channels} channels")
    layout = _CHANNELS.index(channels)
    if sample_rate in SAMPLE_RATES:
        bits = object_type << 11 | SAMPLE_RATES.index(sample_rate) << 7 | layout << 3
        return bits.to_bytes(2, "big")
    bits = (object_type << 28 | _EXPLICIT_RATE << 24 | sample_rate) << 7 | layout << 3
    return bits.to_bytes(5, "big")


def is_adts(data: Payload) -> bool:
    """Whether data begins with an ADTS header. A raw AAC frame cannot: its first element would be END."""
    return len(data) >= _ADTS_HEADER_BYTES and data[0] == 0xFF and data[1] & 0xF6 == 0xF0


def parse_adts_config(data: Payload) -> bytes:
    """The AudioSpecificConfig that an ADTS header stands for. Raises BitstreamError."""
    if not is_adts(data):
        raise BitstreamError("no ADTS header")
    object_type = (data[2] >> 6) + 1
    layout = (data[2] & 1) << 2 | data[3] >> 6
    return build_config(object_type, _rate_of(data[2] >> 2 & 15), _CHANNELS[layout] or 2)


def without_adts(data: bytes) -> bytes:
    """The raw frames of one or more ADTS frames; what is none is left. Raises BitstreamError."""
    if not is_adts(data):
        return data
    if (data[3] & 3) << 11 | data[4] << 3 | data[5] >> 5 == len(data):
        return data[_ADTS_HEADER_BYTES if data[1] & 1 else _ADTS_HEADER_BYTES + 2 :]
    return b"".join(split_adts(data))


def split_adts(data: Payload) -> Iterator[memoryview]:
    """The raw frames of one or more ADTS frames. Raises BitstreamError where the chain breaks."""
    view = memoryview(data)
    while view:
        if not is_adts(view):
            raise BitstreamError("no ADTS header where the next frame should begin")
        size_bytes = (view[3] & 3) << 11 | view[4] << 3 | view[5] >> 5
        header_bytes = _ADTS_HEADER_BYTES if view[1] & 1 else _ADTS_HEADER_BYTES + 2
        if not header_bytes <= size_bytes <= len(view):
            raise BitstreamError(f"an ADTS frame of {size_bytes} bytes in {len(view)}")
        if size_bytes > header_bytes:
            yield view[header_bytes:size_bytes]
        view = view[size_bytes:]
