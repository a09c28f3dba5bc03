"""How each codec lies in a PES packet: Annex B pictures, ADTS frames, Opus with control headers."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

from aircheck.containers.mpegts.id3 import FORMAT_ID
from aircheck.containers.mpegts.packets import FIRST_STREAM_PID
from aircheck.containers.mpegts.psi import PROGRAM, StreamEntry
from aircheck.errors import ContainerError
from aircheck.media import aac, ac3, h264, h265, mp3, opus
from aircheck.media.bits import BitstreamError
from aircheck.media.packet import Payload
from aircheck.media.track import Codec, Track

_STREAM_TYPES = {
    Codec.H264: 0x1B,
    Codec.H265: 0x24,
    Codec.AAC: 0x0F,
    Codec.MP3: 0x03,
    Codec.AC3: 0x81,
    Codec.OPUS: 0x06,
    Codec.AMF0: 0x15,
}
_MP3_LOW_RATES = 0x04
"""MPEG-2 audio: sample rates below 32 kHz."""
_REGISTRATIONS = {Codec.H265: b"HEVC", Codec.AC3: b"AC-3", Codec.OPUS: b"Opus"}
_VIDEO_STREAM_ID, _AUDIO_STREAM_ID, _PRIVATE_STREAM_ID = 0xE0, 0xC0, 0xBD

_H265_AUD = 35
_START_CODE = b"\0\0\0\1"
_ADTS_HEADER_BYTES = 7
_MAX_ADTS_FRAME = 0x1FFF - _ADTS_HEADER_BYTES
_ADTS_LAYOUTS = {0: 0, 1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 6, 8: 7}
_OPUS_CONTROL = b"\x7f\xe0"
_OPUS_EXTENSION = 0x80


_ID3 = struct.pack(">H4sB4sB", 0xFFFF, FORMAT_ID, 0xFF, FORMAT_ID, 0)
"""Application and format are registered ones; the only metadata service of the program."""
_METADATA_DESCRIPTOR = struct.pack(">BB", 0x26, len(_ID3) + 1) + _ID3 + b"\x0f"
_METADATA_POINTER = struct.pack(">BB", 0x25, len(_ID3) + 3) + _ID3 + struct.pack(">BH", 0x1F, PROGRAM)
"""Descriptors of timed metadata (ISO/IEC 13818-1, 2.6.58 and 2.6.60)."""


def can_hold(codec: Codec) -> bool:
    return codec in _STREAM_TYPES


SoundFraming = Callable[[list[Payload]], list[Payload]]
"""Frames that follow each other as the bytes of the elementary stream."""


def picture_framing(track: Track) -> AnnexB:
    """Raises ContainerError for what MPEG-TS cannot hold."""
    try:
        match track.codec:
            case Codec.H264:
                return AnnexB.h264(track)
            case Codec.H265:
                return AnnexB.h265(track)
    except BitstreamError as error:
        raise _no_config(track, error) from error
    raise _cannot_hold(track)


def sound_framing(track: Track) -> SoundFraming:
    """Raises ContainerError for what MPEG-TS cannot hold."""
    try:
        match track.codec:
            case Codec.AAC:
                return Adts.of(track)
            case Codec.OPUS:
                return _with_opus_control
            case Codec.MP3 | Codec.AC3:
                return list
    except BitstreamError as error:
        raise _no_config(track, error) from error
    raise _cannot_hold(track)


def _cannot_hold(track: Track) -> ContainerError:
    return ContainerError(
        f"MPEG-TS cannot hold {track.codec} (track {track.id})", remedy="record this stream to Matroska"
    )


def _no_config(track: Track, error: BitstreamError) -> ContainerError:
    return ContainerError(
        f"track {track.id} ({track.codec}): {error}",
        remedy="begin recording when the publisher has sent its sequence header, or record to MP4",
    )


def stream_id(track: Track, index: int) -> int:
    """Of the PES packets of the `index`-th track."""
    if track.is_video:
        return _VIDEO_STREAM_ID + index
    is_private = track.is_data or track.codec in _REGISTRATIONS
    return _PRIVATE_STREAM_ID if is_private else _AUDIO_STREAM_ID + index


def stream_entry(track: Track, index: int) -> StreamEntry:
    stream_type = _STREAM_TYPES[track.codec]
    if track.codec is Codec.MP3 and track.sample_rate < 32000:
        stream_type = _MP3_LOW_RATES
    if track.is_data:
        return StreamEntry(
            FIRST_STREAM_PID + index, stream_type, _METADATA_DESCRIPTOR, program_descriptors=_METADATA_POINTER
        )
    descriptors = b""
    name = _REGISTRATIONS.get(track.codec)
    if name is not None:
        descriptors = b"\x05\x04" + name
    if track.codec is Codec.OPUS:
        descriptors += bytes((0x7F, 2, _OPUS_EXTENSION, track.channels or 2))
    return StreamEntry(FIRST_STREAM_PID + index, stream_type, descriptors)


# --- pictures -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AnnexB:
    """Start codes for lengths, a delimiter before each picture, parameter sets before each key frame.

    What a publisher put there himself is not put there again.
    """

    nal_length_size: int
    delimiter: bytes
    plain_head: bytes
    parameter_sets: bytes
    type_mask: int
    delimiter_type: int
    parameter_set_type: int

    @classmethod
    def h264(cls, track: Track) -> AnnexB:
        config = h264.parse_config(track.config)
        sets = b"".join(_START_CODE + unit for unit in (*config.sps, *config.pps))
        delimiter = _START_CODE + b"\x09\xf0"
        return cls(
            config.nal_length_size, delimiter, delimiter + _START_CODE, sets, 0x1F, h264.NAL_AUD, h264.NAL_SPS
        )

    @classmethod
    def h265(cls, track: Track) -> AnnexB:
        config = h265.parse_config(track.config)
        sets = b"".join(_START_CODE + unit for unit in (*config.vps, *config.sps, *config.pps))
        delimiter = _START_CODE + b"\x46\x01\x50"
        # The type is the six bits behind the first.
        return cls(
            config.nal_length_size,
            delimiter,
            delimiter + _START_CODE,
            sets,
            0x7E,
            _H265_AUD << 1,
            h265.NAL_SPS << 1,
        )

    def is_plain(self, data: Payload) -> bool:
        """Whether a picture is one unit, no delimiter: all that it needs before it is `plain_head`."""
        prefix, size = self.nal_length_size, len(data)
        return (
            size > prefix
            and int.from_bytes(data[:prefix], "big") == size - prefix
            and data[prefix] & self.type_mask != self.delimiter_type
        )

    def __call__(self, data: Payload, is_keyframe: bool) -> list[Payload]:
        view = memoryview(data)
        parts: list[Payload] = []
        kinds: list[int] = []
        position, end, prefix = 0, len(view), self.nal_length_size
        while position + prefix < end:
            start = position + prefix
            # A length beyond the end is the publisher's mistake: what there is of the unit is kept.
            position = start + int.from_bytes(view[position:start], "big")
            if position > start:
                kinds.append(view[start] & self.type_mask)
                parts += _START_CODE, view[start:position]
        has_delimiter = kinds[:1] == [self.delimiter_type]
        if is_keyframe and self.parameter_set_type not in kinds:
            parts.insert(2 if has_delimiter else 0, self.parameter_sets)
        if not has_delimiter:
            parts.insert(0, self.delimiter)
        return parts


# --- sound --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Adts:
    """A header for each raw AAC frame; all but the length is the same in all of them."""

    header_of: _AdtsHeaders

    @classmethod
    def of(cls, track: Track) -> Adts:
        config = aac.parse_config(track.config)
        if not 1 <= config.object_type <= 4 or config.core_sample_rate not in aac.SAMPLE_RATES:
            raise BitstreamError(
                f"AAC of object type {config.object_type} at {config.core_sample_rate} Hz has no ADTS header"
            )
        rate = aac.SAMPLE_RATES.index(config.core_sample_rate)
        layout = _ADTS_LAYOUTS.get(config.channels, 0)
        return cls(_adts_headers(0xFFF1 << 12 | (config.object_type - 1) << 10 | rate << 6 | layout << 2))

    def __call__(self, frames: list[Payload]) -> list[Payload]:
        if max(map(len, frames)) > _MAX_ADTS_FRAME:
            frames = [frame[:_MAX_ADTS_FRAME] for frame in frames]
        return _interleaved(list(map(self.header_of.__getitem__, map(len, frames))), frames)


class _AdtsHeaders(dict[int, bytes]):
    """Headers by the size of their frames; all streams of one kind share them."""

    def __init__(self, fixed: int) -> None:
        self._fields = fixed << 28 | 0x7FF << 2
        """Behind the length a buffer fullness that says "variable rate", and one block."""

    def __missing__(self, size: int) -> bytes:
        header = (self._fields | size + _ADTS_HEADER_BYTES << 13).to_bytes(7, "big")
        self[size] = header
        return header


@cache
def _adts_headers(fixed: int) -> _AdtsHeaders:
    return _AdtsHeaders(fixed)


def _with_opus_control(frames: list[Payload]) -> list[Payload]:
    """A control header before each packet (Opus in MPEG-TS, 3.3): its size, 255 at a time."""
    sizes = [divmod(len(frame), 255) for frame in frames]
    return _interleaved([_OPUS_CONTROL + b"\xff" * whole + bytes((rest,)) for whole, rest in sizes], frames)


def _interleaved(headers: list[bytes], frames: list[Payload]) -> list[Payload]:
    parts: list[Payload] = [b""] * (2 * len(frames))
    parts[::2] = headers
    parts[1::2] = frames
    return parts


def frame_samples(track: Track, data: Payload) -> int:
    """Samples (of the track's timescale for AAC, else of its rate) that readers will count for a frame."""
    try:
        match track.codec:
            case Codec.AAC:
                return aac.parse_config(track.config).frame_samples
            case Codec.OPUS:
                return opus.packet_samples(data)
            case Codec.MP3:
                return mp3.parse_header(data).samples
            case _:
                return ac3.FRAME_SAMPLES
    except BitstreamError:
        return 0


def split_frames(codec: Codec, body: bytes) -> Iterator[tuple[int, int]]:
    """Payload size and samples of each frame in a PES packet of ours. Ends at what is no frame."""
    try:
        match codec:
            case Codec.AAC:
                yield from ((len(frame), 1024) for frame in aac.split_adts(body))
            case Codec.OPUS:
                yield from _split_opus(body)
            case Codec.MP3:
                yield from ((len(frame), samples) for frame, samples in mp3.split_frames(body))
            case _:
                yield from ((len(frame), samples) for frame, samples in ac3.split_frames(body))
    except BitstreamError:
        return


def _split_opus(body: bytes) -> Iterator[tuple[int, int]]:
    position = 0
    while body[position : position + 2] == _OPUS_CONTROL:
        position += 2
        size = 0
        while body[position : position + 1] == b"\xff":
            size, position = size + 255, position + 1
        size += body[position]
        frame = body[position + 1 : position + 1 + size]
        yield size, opus.packet_samples(frame)
        position += 1 + size
