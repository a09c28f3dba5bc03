import contextlib

import pytest
from helpers.flv_media import encode, write_file
from hypothesis import given
from hypothesis import strategies as st

from aircheck.media.track import Codec
from aircheck.wire import flv
from aircheck.wire.flv import (
    AUDIO_MESSAGE,
    DATA_MESSAGE,
    VIDEO_MESSAGE,
    AudioPacketType,
    FrameType,
    MalformedTag,
    MultitrackType,
    VideoPacketType,
)

VIDEO_CODECS = tuple(flv.VIDEO_FOURCCS.values())
AUDIO_CODECS = (*flv.AUDIO_FOURCCS.values(), Codec.PCMA, Codec.PCMU, Codec.SPEEX)
TIMED = (Codec.H264, Codec.H265)


@given(
    st.sampled_from(VIDEO_CODECS),
    st.booleans(),
    st.integers(-(1 << 23), (1 << 23) - 1),
    st.integers(0, 255),
    st.binary(max_size=40),
)
def test_a_video_frame_reads_back(
    codec: Codec, is_keyframe: bool, composition_time_ms: int, track_index: int, body: bytes
) -> None:
    head = flv.video_header(
        codec,
        VideoPacketType.CODED_FRAMES,
        is_keyframe=is_keyframe,
        composition_time_ms=composition_time_ms if codec in TIMED else 0,
        track_index=track_index,
    )
    (tag,) = flv.parse_video(head + body)
    assert (tag.codec, tag.is_keyframe, tag.track_index) == (codec, is_keyframe, track_index)
    assert tag.composition_time_ms == (composition_time_ms if codec in TIMED else 0)
    assert tag.packet_type in (VideoPacketType.CODED_FRAMES, VideoPacketType.CODED_FRAMES_X)
    assert tag.body == body


@given(st.sampled_from(AUDIO_CODECS), st.integers(0, 255), st.binary(max_size=40))
def test_an_audio_frame_reads_back(codec: Codec, track_index: int, body: bytes) -> None:
    if not flv.can_carry(codec, track_index):
        track_index = 0
    head = flv.audio_header(codec, AudioPacketType.CODED_FRAMES, track_index=track_index, sample_rate=8000)
    (tag,) = flv.parse_audio(head + body)
    assert (tag.codec, tag.packet_type) == (codec, AudioPacketType.CODED_FRAMES)
    assert (tag.track_index, tag.body) == (track_index, body)


@given(st.sampled_from(VIDEO_CODECS), st.integers(0, 255), st.binary(max_size=40))
def test_a_sequence_start_reads_back(codec: Codec, track_index: int, body: bytes) -> None:
    head = flv.video_header(codec, VideoPacketType.SEQUENCE_START, track_index=track_index)
    (tag,) = flv.parse_video(head + body)
    assert (tag.codec, tag.packet_type, tag.body) == (codec, VideoPacketType.SEQUENCE_START, body)


@pytest.mark.parametrize(
    ("body", "codec", "packet_type", "composition_time_ms", "data"),
    [
        ("17000000000164", Codec.H264, VideoPacketType.SEQUENCE_START, 0, "0164"),
        ("270100005065", Codec.H264, VideoPacketType.CODED_FRAMES, 80, "65"),
        ("2701ffffd865", Codec.H264, VideoPacketType.CODED_FRAMES, -40, "65"),
        ("1702000000", Codec.H264, VideoPacketType.SEQUENCE_END, 0, ""),
        ("1c0000000001", Codec.H265, VideoPacketType.SEQUENCE_START, 0, "01"),
        ("916876633100002826", Codec.H265, VideoPacketType.CODED_FRAMES, 40, "26"),
        ("a36876633126", Codec.H265, VideoPacketType.CODED_FRAMES_X, 0, "26"),
        ("906176303181", Codec.AV1, VideoPacketType.SEQUENCE_START, 0, "81"),
        ("a176703038aa", Codec.VP8, VideoPacketType.CODED_FRAMES, 0, "aa"),
        ("956176303180", Codec.AV1, VideoPacketType.MPEG2TS_SEQUENCE_START, 0, "80"),
        # ModEx: a timestamp offset of 500,000 ns, then one of 256 bytes that nobody knows.
        ("a70207a12007ff00ff" + "00" * 256 + "136876633126", Codec.H265, 3, 0, "26"),
    ],
)
def test_video_as_encoders_send_it(
    body: str, codec: Codec, packet_type: int, composition_time_ms: int, data: str
) -> None:
    (tag,) = flv.parse_video(bytes.fromhex(body))
    assert (tag.codec, tag.packet_type, tag.composition_time_ms) == (codec, packet_type, composition_time_ms)
    assert tag.body == bytes.fromhex(data)
    assert tag.timestamp_offset_ns == (500_000 if body.startswith("a7") else 0)


@pytest.mark.parametrize(
    ("body", "codec", "packet_type", "channels", "data"),
    [
        ("af001210", Codec.AAC, AudioPacketType.SEQUENCE_START, 2, "1210"),
        ("af010021", Codec.AAC, AudioPacketType.CODED_FRAMES, 2, "0021"),
        ("af", Codec.AAC, AudioPacketType.CODED_FRAMES, 2, ""),
        ("2ffffb", Codec.MP3, AudioPacketType.CODED_FRAMES, 2, "fffb"),
        ("e2fffb", Codec.MP3, AudioPacketType.CODED_FRAMES, 1, "fffb"),
        ("72d5", Codec.PCMA, AudioPacketType.CODED_FRAMES, 1, "d5"),
        ("83ff", Codec.PCMU, AudioPacketType.CODED_FRAMES, 2, "ff"),
        ("b201", Codec.SPEEX, AudioPacketType.CODED_FRAMES, 1, "01"),
        ("6201", None, AudioPacketType.CODED_FRAMES, 1, "01"),
        ("904f7075734f", Codec.OPUS, AudioPacketType.SEQUENCE_START, 0, "4f"),
        ("91664c6143ff", Codec.FLAC, AudioPacketType.CODED_FRAMES, 0, "ff"),
        ("944f7075730102", Codec.OPUS, AudioPacketType.MULTICHANNEL_CONFIG, 0, "0102"),
        ("9165632d330b77", None, AudioPacketType.CODED_FRAMES, 0, "0b77"),
    ],
)
def test_audio_as_encoders_send_it(
    body: str, codec: Codec | None, packet_type: AudioPacketType, channels: int, data: str
) -> None:
    (tag,) = flv.parse_audio(bytes.fromhex(body))
    assert (tag.codec, tag.packet_type, tag.channels) == (codec, packet_type, channels)
    assert tag.body == bytes.fromhex(data)


def test_a_codec_we_do_not_know_is_named() -> None:
    assert flv.parse_video(b"\x12\0\0")[0].codec_name == "Sorenson H.263"
    assert flv.parse_video(b"\x91vvc1\0\0\0x")[0].codec_name == "vvc1"
    assert flv.parse_audio(b"\x62\0")[0].codec_name == "Nellymoser"
    assert flv.parse_audio(b"\x91ec-3\0")[0].codec_name == "ec-3"


def test_command_frames_and_silence_hold_no_tags() -> None:
    assert flv.parse_video(b"\x57\0") == ()
    assert flv.parse_video(b"\xd1\0") == ()
    assert flv.parse_audio(b"") == ()


def test_metadata_is_read_whatever_the_frame_type_says() -> None:
    (tag,) = flv.parse_video(b"\xd4hvc1\2\0\x09colorInfo")
    assert tag.packet_type is VideoPacketType.METADATA
    assert tag.body == b"\2\0\x09colorInfo"


tracks = st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=30)), min_size=1, max_size=4)


@given(tracks)
def test_many_tracks_of_one_codec_come_in_one_message(parts: list[tuple[int, bytes]]) -> None:
    body = bytes((0x96, MultitrackType.MANY_TRACKS << 4 | VideoPacketType.CODED_FRAMES_X)) + b"hvc1"
    body += b"".join(bytes((index,)) + len(data).to_bytes(3, "big") + data for index, data in parts)
    tags = flv.parse_video(body)
    assert [(tag.track_index, bytes(tag.body)) for tag in tags] == parts
    assert {tag.codec for tag in tags} == {Codec.H265}


@given(st.lists(st.tuples(st.sampled_from(sorted(flv.AUDIO_FOURCCS)), st.binary(max_size=30)), min_size=1))
def test_many_tracks_of_many_codecs_come_in_one_message(parts: list[tuple[bytes, bytes]]) -> None:
    kind = MultitrackType.MANY_TRACKS_MANY_CODECS << 4 | AudioPacketType.CODED_FRAMES
    body = bytes((0x95, kind)) + b"".join(
        fourcc + bytes((index % 256,)) + len(data).to_bytes(3, "big") + data
        for index, (fourcc, data) in enumerate(parts)
    )
    tags = flv.parse_audio(body)
    assert [(tag.codec, bytes(tag.body)) for tag in tags] == [
        (flv.AUDIO_FOURCCS[fourcc], data) for fourcc, data in parts
    ]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x17",
        b"\x17\1\0\0",
        b"\x17\3\0\0\0",
        b"\x90hvc",
        b"\x91hvc1\0\0",
        b"\x99hvc1",
        b"\x97\5\0\0",
        b"\x96\x01hvc",
        b"\x96\x36hvc1\0",
        b"\x96\x31hvc1\0",
        b"\x96\x13hvc1\0\0\0\5abc",
    ],
)
def test_torn_video_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedTag):
        flv.parse_video(body)


@pytest.mark.parametrize("body", [b"\xaf\2", b"\x91Opu", b"\x93Opus", b"\x98Opus", b"\x95\x15Opus\0"])
def test_torn_audio_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedTag):
        flv.parse_audio(body)


@given(st.binary(max_size=60) | st.binary(max_size=60).map(b"\x96".__add__))
def test_garbage_is_malformed_or_tags(body: bytes) -> None:
    for parse in (flv.parse_video, flv.parse_audio):
        with contextlib.suppress(MalformedTag):
            parse(body)


def test_a_composition_time_beyond_24_bits_is_our_own_mistake() -> None:
    with pytest.raises(ValueError, match="24 bits"):
        flv.video_header(Codec.H264, VideoPacketType.CODED_FRAMES, composition_time_ms=1 << 23)


def test_generated_key_frames_are_key_frames() -> None:
    (tag,) = flv.parse_video(bytes((FrameType.GENERATED_KEY << 4 | 7, 1, 0, 0, 0, 0)))
    assert tag.is_keyframe


def test_a_file_of_libavformat_is_written_again_byte_by_byte() -> None:
    data = encode("libx264", "aac").data
    messages = [
        (tag.type_id, tag.timestamp_ms, bytes(tag.payload))
        for tag in flv.split_tags(data, flv.parse_file_header(data))
    ]
    assert write_file(messages) == data


@given(
    st.lists(
        st.tuples(
            st.sampled_from((AUDIO_MESSAGE, VIDEO_MESSAGE, DATA_MESSAGE)),
            st.integers(0, (1 << 32) - 1),
            st.binary(max_size=30),
        ),
        max_size=8,
    ),
    st.integers(0, 40),
)
def test_tags_of_a_torn_file_are_those_that_are_whole(
    messages: list[tuple[int, int, bytes]], cut: int
) -> None:
    data = write_file(messages)
    torn = data[: max(len(data) - cut, 13)]
    tags = list(flv.split_tags(torn, flv.parse_file_header(torn)))
    assert [(tag.type_id, tag.timestamp_ms, bytes(tag.payload)) for tag in tags] == messages[: len(tags)]
    assert len(torn) - (tags[-1].end if tags else 13) < 30 + 15
    if not cut:
        assert len(tags) == len(messages)


def test_what_is_no_flv_file_is_malformed() -> None:
    with pytest.raises(MalformedTag):
        flv.parse_file_header(b"FLX" + bytes(20))
    with pytest.raises(MalformedTag):
        list(flv.split_tags(bytes(40), 0))
