"""Sample entries: what `stsd` tells a decoder (the box of each codec's own specification).

A `Track` already carries the decoder configuration as MP4 stores it, so that an entry is a fixed header
and one configuration box. libavformat writes the same bytes where it can (a test compares them); for VP9 and
AC-3 it would have to see a packet first.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from aircheck.containers.mp4.boxes import box, children, full_box
from aircheck.errors import ContainerError
from aircheck.media.track import Codec, Kind, Track

VISUAL_ENTRY_HEADER = 86
AUDIO_ENTRY_HEADER = 36

_OTI_AAC = 0x40
_OTI_MP3 = 0x6B
_OTI_MP3_MPEG2 = 0x69

_VIDEO_BOXES = {
    Codec.H264: (b"avc1", b"avcC"),
    Codec.H265: (b"hvc1", b"hvcC"),
    Codec.AV1: (b"av01", b"av1C"),
    Codec.VP9: (b"vp09", b"vpcC"),
}
_VIDEO_CONFIGS = frozenset(config for _, config in _VIDEO_BOXES.values())
_VP9_UNKNOWN = bytes((0, 10, 0x82, 2, 2, 2, 0, 0))
"""Profile 0, level 1.0, 8 bits 4:2:0 limited range, colour unspecified, no initialization data."""

_CODECS = {
    b"avc1": Codec.H264,
    b"avc3": Codec.H264,
    b"hvc1": Codec.H265,
    b"hev1": Codec.H265,
    b"av01": Codec.AV1,
    b"vp09": Codec.VP9,
    b"mp4a": Codec.AAC,
    b"Opus": Codec.OPUS,
    b"fLaC": Codec.FLAC,
    b"ac-3": Codec.AC3,
}

SUPPORTED_CODECS = frozenset(
    (*_VIDEO_BOXES, Codec.AAC, Codec.OPUS, Codec.MP3, Codec.FLAC, Codec.AC3, Codec.AMF0)
)
"""What this writer can put into an MP4 file."""

_DATA_MIME_TYPE = b"application/x-amf"
_DATA_ENTRY = box(b"mett", struct.pack(">6xH", 1), b"\0", _DATA_MIME_TYPE + b"\0")
"""Timed metadata of a MIME type (14496-12, 12.3.3): no content encoding, then the type."""

_NEED_CONFIG = frozenset((Codec.H264, Codec.H265, Codec.AV1, Codec.AAC, Codec.OPUS, Codec.FLAC))


@dataclass(frozen=True, slots=True)
class EntryFacts:
    """What a sample entry tells about its track."""

    codec: Codec
    width: int = 0
    height: int = 0
    sample_rate: int = 0
    channels: int = 0


def sample_entry(track: Track) -> bytes:
    """The track's sample entry box. Raises ContainerError for what MP4 cannot hold."""
    if track.codec not in SUPPORTED_CODECS:
        raise ContainerError(
            f"MP4 cannot hold {track.codec} (track {track.id})",
            remedy="record this stream to Matroska, or have the track transcoded",
        )
    if track.codec in _NEED_CONFIG and not track.config:
        raise ContainerError(
            f"track {track.id} ({track.codec}) has no decoder configuration",
            remedy="begin recording when the publisher has sent its sequence header",
        )
    match track.codec.kind:
        case Kind.VIDEO:
            return _video_entry(track)
        case Kind.AUDIO:
            return _audio_entry(track)
        case _:
            return _DATA_ENTRY


def _video_entry(track: Track) -> bytes:
    kind, config_kind = _VIDEO_BOXES[track.codec]
    if track.codec is Codec.VP9:
        config = full_box(config_kind, 1, 0, track.config or _VP9_UNKNOWN)
    else:
        config = box(config_kind, track.config)
    header = struct.pack(">6xH16xHHIIIH32xHh", 1, track.width, track.height, 0x480000, 0x480000, 0, 1, 24, -1)
    return box(kind, header, config)


def _audio_entry(track: Track) -> bytes:
    rate = 48000 if track.codec is Codec.OPUS else track.sample_rate
    header = struct.pack(">6xH8xHH4xI", 1, track.channels or 2, 16, (rate if rate < 65536 else 0) << 16)
    match track.codec:
        case Codec.AAC:
            return box(b"mp4a", header, _esds(_OTI_AAC, track.config))
        case Codec.MP3:
            return box(b"mp4a", header, _esds(_OTI_MP3, b""))
        case Codec.OPUS:
            return box(b"Opus", header, _dops(track.config))
        case Codec.FLAC:
            # The one metadata block that is there is the last one (FLAC in ISOBMFF, 3.3.2).
            return box(b"fLaC", header, full_box(b"dfLa", 0, 0, b"\x80\x00\x00\x22", track.config))
        case _:
            return box(b"ac-3", header, _dac3(track))


def _esds(object_type: int, config: bytes) -> bytes:
    """ES descriptor (ISO/IEC 14496-1, 7.2.6.5), each length in four bytes as everybody writes it."""
    specific = _descriptor(0x05, config) if config else b""
    decoder = _descriptor(0x04, bytes((object_type, 0x15)) + bytes(11) + specific)
    return full_box(b"esds", 0, 0, _descriptor(0x03, b"\0\0\0" + decoder + _descriptor(0x06, b"\x02")))


def _descriptor(tag: int, body: bytes) -> bytes:
    size = len(body)
    return (
        bytes((tag, size >> 21 | 0x80, size >> 14 & 0x7F | 0x80, size >> 7 & 0x7F | 0x80, size & 0x7F)) + body
    )


def _dops(head: bytes) -> bytes:
    """`dOps` from OpusHead: the same fields, big-endian and without the magic (Opus in ISOBMFF, 4.3.2)."""
    if len(head) < 19 or head[:8] != b"OpusHead":
        raise ContainerError("the Opus configuration is no OpusHead packet (RFC 7845 5.1)")
    channels, pre_skip, rate, gain = struct.unpack_from("<xBHIh", head, 8)
    return box(b"dOps", struct.pack(">BBHIh", 0, channels, pre_skip, rate, gain), head[18:])


_AC3_MODES = {1: 1, 2: 2, 3: 3, 4: 6, 5: 7, 6: 7}
_AC3_RATES = {48000: 0, 44100: 1, 32000: 2}


def _dac3(track: Track) -> bytes:
    """AC3SpecificBox (ETSI TS 102 366, F.4) from what the track tells; decoders look into the frames."""
    fscod = _AC3_RATES.get(track.sample_rate, 0)
    acmod, has_lfe, bsid, bit_rate_code = _AC3_MODES.get(track.channels, 2), track.channels == 6, 8, 15
    bits = fscod << 22 | bsid << 17 | acmod << 11 | has_lfe << 10 | bit_rate_code << 5
    return box(b"dac3", bits.to_bytes(3, "big"))


def parse_sample_entry(entry: bytes) -> EntryFacts:
    """Facts of a sample entry. Raises ValueError when it is torn or of a codec that is not ours."""
    if entry == _DATA_ENTRY:
        return EntryFacts(Codec.AMF0)
    codec = _CODECS.get(entry[4:8])
    if codec is None or len(entry) < AUDIO_ENTRY_HEADER:
        raise ValueError(f"unknown sample entry {entry[4:8]!r}")
    if codec.kind is Kind.VIDEO:
        return EntryFacts(codec, *picture_size(entry))
    channels, rate = struct.unpack_from(">H6xH", entry, 24)
    if codec is Codec.AAC and _object_type(entry) in (_OTI_MP3, _OTI_MP3_MPEG2):
        codec = Codec.MP3
    return EntryFacts(codec, sample_rate=rate, channels=channels)


def stored_config(entry: bytes) -> bytes:
    """The decoder configuration in a video sample entry, as `Track` has it."""
    for span in children(entry, VISUAL_ENTRY_HEADER, len(entry)):
        if span.kind in _VIDEO_CONFIGS:
            return entry[span.body + (4 if span.kind == b"vpcC" else 0) : span.end]
    return b""


def picture_size(entry: bytes) -> tuple[int, int]:
    """Width and height of the pictures of a video sample entry."""
    width, height = struct.unpack_from(">HH", entry, 32)
    return width, height


_SQUARE = box(b"pasp", struct.pack(">II", 1, 1))


def stored_entries(entries: Sequence[bytes]) -> Sequence[bytes]:
    """The sample entries of a track as a file has them: `plain_entry` is the opposite.

    Where pictures of several shapes share a track, each entry says that its pixels are square. libavformat,
    and with it most players, would else stretch all of them by the shape of the last entry.
    """
    first_width, first_height = picture_size(entries[0]) if len(entries) > 1 else (0, 0)
    if all(width * first_height == height * first_width for width, height in map(picture_size, entries[1:])):
        return entries
    return [box(entry[4:8], entry[8:], _SQUARE) for entry in entries]


def plain_entry(stored: bytes) -> bytes:
    """A sample entry without what was added to it in the file."""
    return box(stored[4:8], stored[8 : -len(_SQUARE)]) if stored.endswith(_SQUARE) else stored


def shown_size(entries: Sequence[bytes]) -> tuple[int, int]:
    """The size at which a track with these sample entries is shown: 0 x 0 of sound and data.

    That of the largest pictures of the first ones' shape: players scale all of a track to its size, and take
    another shape of that than the first sample entry has for pixels that are not square.
    """
    if _CODECS.get(entries[0][4:8], Codec.AMF0).kind is not Kind.VIDEO:
        return 0, 0
    sizes = [picture_size(entry) for entry in entries]
    first_width, first_height = sizes[0]
    return max((width, height) for width, height in sizes if width * first_height == height * first_width)


def _object_type(entry: bytes) -> int:
    for span in children(entry, AUDIO_ENTRY_HEADER, len(entry)):
        if span.kind == b"esds":
            # ES_DescrTag and its length, ES_ID and flags; then DecoderConfigDescrTag, length, type.
            return entry[span.body + 4 + 5 + 3 + 5]
    return _OTI_AAC
