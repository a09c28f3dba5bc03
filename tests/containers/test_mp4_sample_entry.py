"""Sample entries: the same bytes as libavformat's, where it can write them."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
from helpers.mp4_media import Clip
from helpers.tools import requires

from aircheck.containers.mp4.sample_entry import (
    SUPPORTED_CODECS,
    EntryFacts,
    parse_sample_entry,
    sample_entry,
)
from aircheck.errors import ContainerError
from aircheck.media.track import Codec, Track


def entry_of_libavformat(clip: Clip, position: int) -> bytes:
    data = clip.path.read_bytes()
    start = -1
    for _ in range(position + 1):
        start = data.index(b"stsd", start + 1)
    (size,) = struct.unpack_from(">I", data, start + 12)
    return data[start + 12 : start + 12 + size]


def children_of(entry: bytes, header: int) -> dict[bytes, bytes]:
    found, offset = {}, header
    while offset < len(entry):
        size, kind = struct.unpack_from(">I4s", entry, offset)
        found[kind] = entry[offset : offset + size]
        offset += size
    return found


@requires("ffmpeg")
@pytest.mark.parametrize(
    ("codecs", "kind", "config_box"),
    [
        (("h264", "aac"), b"avc1", b"avcC"),
        (("h265", "aac"), b"hvc1", b"hvcC"),
        (("av1", "opus"), b"av01", b"av1C"),
    ],
)
def test_video_entries_equal_those_of_libavformat(
    codecs: tuple[str, ...], kind: bytes, config_box: bytes, clip_of: Callable[..., Clip]
) -> None:
    clip = clip_of(*codecs)
    ours, theirs = sample_entry(clip.tracks[0]), entry_of_libavformat(clip, 0)
    assert ours[4:8] == theirs[4:8] == kind
    # libavformat puts its own name into the 32 bytes of the compressor's.
    assert ours[8:50] + ours[82:86] == theirs[8:50] + theirs[82:86]
    assert children_of(ours, 86) == {config_box: children_of(theirs, 86)[config_box]}


@requires("ffmpeg")
@pytest.mark.parametrize(
    ("codecs", "config_box"),
    [(("opus",), b"dOps"), (("flac",), b"dfLa")],
    ids=["opus", "flac"],
)
def test_audio_entries_equal_those_of_libavformat(
    codecs: tuple[str, ...], config_box: bytes, clip_of: Callable[..., Clip]
) -> None:
    clip = clip_of(*codecs)
    ours, theirs = sample_entry(clip.tracks[0]), entry_of_libavformat(clip, 0)
    assert ours[4:36] == theirs[4:36]
    assert children_of(ours, 36)[config_box] == children_of(theirs, 36)[config_box]


@requires("ffmpeg")
@pytest.mark.parametrize("codec", ["aac", "mp3"])
def test_esds_equals_that_of_libavformat_but_for_number_buffer_size_and_bit_rates(
    codec: str, clip_of: Callable[..., Clip]
) -> None:
    clip = clip_of(codec)
    ours, theirs = sample_entry(clip.tracks[0]), entry_of_libavformat(clip, 0)
    ours, theirs = children_of(ours, 36)[b"esds"], children_of(theirs, 36)[b"esds"]
    # It also numbers the elementary stream, where 14496-14 (3.1.2) asks for 0.
    number, rates = slice(17, 19), slice(27, 38)
    assert ours[number] == bytes(2)
    assert ours[rates] == bytes(11)
    for part in (slice(0, number.start), slice(number.stop, rates.start), slice(rates.stop, None)):
        assert ours[part] == theirs[part]


@requires("ffmpeg")
@pytest.mark.parametrize("codec", ["h264", "h265", "av1", "vp9", "aac", "opus", "mp3", "flac", "ac3"])
def test_entry_tells_what_the_track_was(codec: str, clip_of: Callable[..., Clip]) -> None:
    codecs = {"h265": ("h265", "aac"), "av1": ("av1", "opus"), "vp9": ("vp9", "opus"), "ac3": ("h264", "ac3")}
    track = next(t for t in clip_of(*codecs.get(codec, (codec,))).tracks if t.codec == codec)
    expected = EntryFacts(track.codec, track.width, track.height, track.sample_rate, track.channels)
    assert parse_sample_entry(sample_entry(track)) == expected


def test_vp9_without_configuration_and_ac3_are_written_all_the_same() -> None:
    entry = sample_entry(Track(0, Codec.VP9, 1000, b"", 640, 360))
    assert children_of(entry, 86)[b"vpcC"][8:12] == b"\x01\0\0\0"
    surround = sample_entry(Track(0, Codec.AC3, 48000, sample_rate=48000, channels=6))
    bits = int.from_bytes(children_of(surround, 36)[b"dac3"][8:], "big")
    assert (bits >> 22, bits >> 17 & 31, bits >> 11 & 7, bits >> 10 & 1) == (0, 8, 7, 1)


@pytest.mark.parametrize("codec", sorted(set(Codec) - SUPPORTED_CODECS))
def test_codec_that_mp4_cannot_hold_is_refused_with_a_remedy(codec: Codec) -> None:
    with pytest.raises(ContainerError) as caught:
        sample_entry(Track(0, codec, 1000, b"x"))
    assert caught.value.remedy


@pytest.mark.parametrize("codec", [Codec.H264, Codec.AAC, Codec.OPUS])
def test_missing_configuration_is_refused_with_a_remedy(codec: Codec) -> None:
    with pytest.raises(ContainerError) as caught:
        sample_entry(Track(0, codec, 48000))
    assert caught.value.remedy


def test_opus_configuration_must_be_an_opus_head() -> None:
    with pytest.raises(ContainerError, match="OpusHead"):
        sample_entry(Track(0, Codec.OPUS, 48000, b"\x11\x90"))
