import itertools
from collections.abc import Sequence
from typing import Any

import pytest
from helpers.flv_media import Clip, demux, encode
from hypothesis import given, settings
from hypothesis import strategies as st

from aircheck.ingest.flv_demux import SETTLE_NS, FlvDemuxer, Message
from aircheck.media.packet import Batch, Packet
from aircheck.media.track import DATA_TRACK, Codec
from aircheck.wire import amf, flv

NOW_NS = 1_700_000_000_000_000_000
WRAP = 1 << 32

AVC_HEADER = (9, 0, encode("libx264").messages()[1][2])
AAC_HEADER = (8, 0, b"\xaf\0\x11\x90")
KEY, INTER, AAC = b"\x17\1\0\0\0\0\0\0\2\x65\x88", b"\x27\1\0\0\0\0\0\0\2\x41\x9a", b"\xaf\1\x21\0"


class Bench:
    """A demuxer with the notices that it gave."""

    def __init__(self, *messages: Message) -> None:
        self.notices: list[tuple[str, dict[str, Any]]] = []
        self.demuxer = FlvDemuxer(on_notice=lambda name, facts: self.notices.append((name, facts)))
        self.packets: list[Packet] = []
        """Of audio and video."""
        self.data: list[Packet] = []
        self.feed(*messages)

    def feed(self, *messages: Message) -> Batch:
        batch = self.demuxer.feed(messages, NOW_NS)
        self.packets += batch.without_data().packets
        self.data += [packet for packet in batch.packets if packet.track is DATA_TRACK]
        return batch

    def of(self, codec: Codec) -> list[Packet]:
        return [packet for packet in self.packets if packet.track.codec is codec]

    @property
    def counted(self) -> dict[str, int]:
        return self.demuxer.notices()


def fed(clip: Clip, messages_at_a_time: int = 7) -> Bench:
    bench = Bench()
    messages = clip.messages()
    for start in range(0, len(messages), messages_at_a_time):
        bench.feed(*messages[start : start + messages_at_a_time])
    return bench


def deltas(times: Sequence[int]) -> set[int]:
    return {later - earlier for earlier, later in itertools.pairwise(times)}


# ------------------------------------------------------------- against the encoders and libavformat

CLIPS = [
    ("libx264", "aac"),
    ("libx264", "libmp3lame"),
    ("libx265", "libopus"),
    ("libsvtav1", "flac"),
    ("libvpx-vp9", "ac3"),
    ("libx264", "aac", "libopus"),
    ("libx265", "libx264", "libopus", "aac"),
]


@pytest.mark.parametrize("codecs", CLIPS, ids="+".join)
def test_packets_are_those_that_libavformat_reads(codecs: tuple[str, ...]) -> None:
    clip = encode(*codecs)
    bench = fed(clip)
    _, expected = demux(clip.data)
    found = [
        (
            packet.track.kind.value,
            packet.pts * 1000 / packet.track.timescale,
            packet.dts * 1000 / packet.track.timescale,
            packet.is_keyframe,
            bytes(packet.data),
        )
        for packet in bench.packets
    ]
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours[0] == theirs.kind
        assert ours[1:3] == pytest.approx((theirs.pts_ms, theirs.dts_ms), abs=1.01)
        assert ours[3:] == (theirs.is_keyframe, without_delimiter(theirs.data))
    assert len(bench.demuxer.tracks) == len(codecs)


def without_delimiter(data: bytes) -> bytes:
    return data.removeprefix(b"\x12\0")


@pytest.mark.parametrize(
    ("codecs", "rate"),
    [
        (codecs, rate)
        for codecs in CLIPS[:5]
        for rate in (48000, 44100)
        if rate == 48000 or "libopus" not in codecs
    ],
)
def test_audio_times_are_the_encoders_to_the_sample(codecs: tuple[str, ...], rate: int) -> None:
    clip = encode(*codecs, rate=rate)
    bench = fed(clip)
    encoded = [packet.pts_s * rate for packet in clip.encoded if packet.stream == 1 and packet.data]
    found = [packet.pts for packet in bench.packets if packet.track.is_audio]
    assert [pts - found[0] for pts in found] == [pts - encoded[0] for pts in encoded]
    assert bench.demuxer.counters.audio_resyncs == 0


def test_tracks_tell_what_the_encoders_were_told() -> None:
    tracks = fed(encode("libx265", "libx264", "libopus", "aac", size=(130, 98))).demuxer.tracks
    assert {track.codec for track in tracks} == {Codec.H265, Codec.H264, Codec.OPUS, Codec.AAC}
    assert [track.id for track in tracks] == [1, 2, 3, 4]
    for track in tracks:
        assert (track.width, track.height) == ((130, 98) if track.is_video else (0, 0))
        assert track.timescale == (1000 if track.is_video else 48000)
        assert (track.sample_rate, track.channels) == ((0, 0) if track.is_video else (48000, 2))


@pytest.mark.parametrize("messages_at_a_time", [1, 2, 1000])
def test_how_messages_are_batched_changes_nothing(messages_at_a_time: int) -> None:
    clip = encode("libx264", "aac")
    bench, other = fed(clip), fed(clip, messages_at_a_time)
    assert bench.packets == other.packets


def test_classic_frames_are_no_views_of_their_messages() -> None:
    bench = Bench(AVC_HEADER, AAC_HEADER, (9, 0, KEY), (8, 0, AAC), (9, 40, INTER), (8, 21, AAC))
    assert [type(packet.data) for packet in bench.packets[2:]] == [bytes, bytes]


# ------------------------------------------------------------------------------------- batches, tracks


def test_a_batch_tells_size_key_frames_and_new_tracks() -> None:
    bench = Bench()
    headers = bench.feed(AVC_HEADER, AAC_HEADER)
    assert (headers.packets, headers.size_bytes, headers.tracks_changed) == ([], 0, False)
    first = bench.feed((9, 0, KEY), (8, 0, AAC))
    assert (first.size_bytes, first.tracks_changed, first.has_video_keyframe) == (8, True, True)
    second = bench.feed((9, 40, INTER), (8, 21, AAC))
    assert (second.size_bytes, second.tracks_changed, second.has_video_keyframe) == (8, False, False)
    assert second.arrival_ns == NOW_NS
    third = bench.feed((9, 80, KEY))
    assert (third.tracks_changed, third.has_video_keyframe) == (False, True)


def test_a_repeated_sequence_header_changes_nothing() -> None:
    bench = Bench(AVC_HEADER, (9, 0, KEY))
    batch = bench.feed((9, 40, AVC_HEADER[2]), (9, 40, KEY))
    assert not batch.tracks_changed
    assert batch.packets[0].track is bench.packets[0].track


def test_a_changed_sequence_header_makes_a_new_track_of_the_same_id() -> None:
    other = encode("libx264", size=(130, 98)).messages()[1][2]
    bench = Bench(AVC_HEADER, AAC_HEADER, (9, 0, KEY), (8, 0, AAC))
    assert not bench.feed((9, 40, other), (8, 21, AAC)).tracks_changed
    batch = bench.feed((9, 40, KEY))
    assert batch.tracks_changed
    assert batch.has_video_keyframe
    track = batch.packets[0].track
    assert (track.id, track.width, track.height) == (1, 130, 98)
    assert bench.demuxer.tracks == (track, bench.packets[1].track)


def test_headers_that_no_frame_follows_are_not_announced() -> None:
    other = encode("libx264", size=(130, 98)).messages()[1][2]
    bench = Bench(AVC_HEADER, (9, 0, KEY), (9, 40, other))
    assert not bench.feed((9, 40, AVC_HEADER[2])).tracks_changed
    batch = bench.feed((9, 80, KEY))
    assert batch.tracks_changed, "recorders compare the objects"
    assert batch.packets[0].track == bench.packets[0].track
    assert not bench.feed((9, 120, KEY)).tracks_changed


def test_a_codec_may_change_within_a_track() -> None:
    bench = Bench(AAC_HEADER, (8, 1000, AAC), (8, 1021, b"\x90Opus"), (8, 1021, b"\x91Opus\xfc\xff\xfe"))
    opus = bench.of(Codec.OPUS)
    assert [(packet.track.id, packet.pts) for packet in opus] == [(1, 1000 * 48 + 1024)]


def test_key_frames_of_a_second_video_track_are_not_those_of_the_stream() -> None:
    second = b"\x96\x01avc1\1"
    bench = Bench(AVC_HEADER, (9, 0, KEY), (9, 0, b"\x96\x00avc1\1" + AVC_HEADER[2][5:]))
    batch = bench.feed((9, 40, second + b"\0\0\0" + KEY[5:]))
    assert batch.packets[0].is_keyframe
    assert batch.packets[0].track.id == 2
    assert not batch.has_video_keyframe


def test_the_stream_is_settled_with_audio_and_video_or_after_a_while() -> None:
    bench = Bench()
    assert not bench.demuxer.is_settled(NOW_NS + 10 * SETTLE_NS)
    bench.feed(AVC_HEADER)
    assert not bench.demuxer.is_settled(NOW_NS + SETTLE_NS - 1)
    assert bench.demuxer.is_settled(NOW_NS + SETTLE_NS)
    bench.feed(AAC_HEADER)
    assert bench.demuxer.is_settled(NOW_NS)


def test_a_track_that_appears_later_is_announced() -> None:
    bench = Bench(AVC_HEADER, (9, 0, KEY))
    assert bench.feed(AAC_HEADER, (8, 5000, AAC)).tracks_changed
    assert [track.codec for track in bench.demuxer.tracks] == [Codec.H264, Codec.AAC]


# ----------------------------------------------------------------------------------------- audio


def test_an_aac_frame_that_begins_with_zero_is_a_frame() -> None:
    bench = Bench(AAC_HEADER, (8, 0, b"\xaf\1\0\x11\x90\x56\xe5\0"))
    assert [bytes(packet.data) for packet in bench.packets] == [b"\0\x11\x90\x56\xe5\0"]


def test_empty_aac_configurations_and_frames_are_skipped_and_counted() -> None:
    bench = Bench((8, 0, b"\xaf\0"), AAC_HEADER, (8, 0, b"\xaf\1"), (8, 0, b"\xaf"), (8, 0, b""), (8, 0, AAC))
    assert len(bench.packets) == 1
    assert bench.counted == {"empty_frames": 4}


@pytest.mark.parametrize(
    ("config", "timescale", "sample_rate", "step"),
    [
        ("1210", 44100, 44100, 1024),
        ("1214", 44100, 44100, 960),
        ("131056e598", 24000, 48000, 1024),
        ("2b118800", 24000, 48000, 1024),
    ],
)
def test_aac_frames_lie_on_the_grid_of_the_core_rate(
    config: str, timescale: int, sample_rate: int, step: int
) -> None:
    bench = Bench((8, 0, b"\xaf\0" + bytes.fromhex(config)))
    bench.feed(*((8, number * step * 1000 // timescale, AAC) for number in range(500)))
    assert deltas([packet.pts for packet in bench.packets]) == {step}
    track = bench.demuxer.tracks[0]
    assert (track.timescale, track.sample_rate) == (timescale, sample_rate)


def test_a_hole_in_the_audio_stays_a_hole() -> None:
    bench = Bench(AAC_HEADER, *((8, ts, AAC) for ts in (0, 21, 43, 107, 128)))
    assert [packet.pts for packet in bench.packets] == [0, 1024, 2048, 107 * 48, 107 * 48 + 1024]
    assert bench.counted == {"audio_resyncs": 1}


def test_aac_without_a_configuration_is_taken_from_its_adts_headers() -> None:
    adts = encode("aac", frames=10, container="adts")
    bench = Bench((8, 0, b"\xaf\1" + adts.data))
    assert [bytes(packet.data) for packet in bench.packets] == [packet.data for packet in adts.encoded]
    assert deltas([packet.pts for packet in bench.packets]) == {1024}
    assert bench.demuxer.tracks[0].config == bytes.fromhex("1190")


def test_raw_aac_without_a_configuration_is_dropped_and_counted() -> None:
    bench = Bench((8, 0, AAC), AAC_HEADER, (8, 21, AAC))
    assert len(bench.packets) == 1
    assert bench.counted == {"frames_before_header": 1}


@pytest.mark.parametrize(
    ("head", "codec", "channels"), [(0x72, Codec.PCMA, 1), (0x82, Codec.PCMU, 1), (0x83, Codec.PCMU, 2)]
)
def test_g711_counts_its_bytes(head: int, codec: Codec, channels: int) -> None:
    body = bytes((head,)) + bytes(160 * channels)
    bench = Bench(*((8, ts, body) for ts in (0, 20, 40)))
    assert [packet.pts for packet in bench.packets] == [0, 160, 320]
    track = bench.demuxer.tracks[0]
    assert (track.codec, track.timescale, track.channels) == (codec, 8000, channels)


def test_mp3_frames_that_share_a_message_are_taken_apart() -> None:
    frames = [packet.data for packet in encode("libmp3lame").encoded[:4]]
    bench = Bench((8, 0, b"\x2f" + frames[0] + frames[1]), (8, 48, b"\x2f" + frames[2] + frames[3]))
    assert [bytes(packet.data) for packet in bench.packets] == frames
    assert deltas([packet.pts for packet in bench.packets]) == {1152}


def test_flac_that_fills_in_its_totals_at_the_end_changes_nothing() -> None:
    bench = fed(encode("flac"), messages_at_a_time=1)
    assert len({id(packet.track) for packet in bench.packets} | {id(bench.demuxer.tracks[0])}) == 1


def test_opus_without_a_header_gets_one() -> None:
    bench = Bench((8, 0, b"\x90Opus"), (8, 0, b"\x94Opus\1\1"), (8, 0, b"\x91Opus\xfc\xff\xfe"))
    track = bench.demuxer.tracks[0]
    assert (track.channels, track.config[:10]) == (1, b"OpusHead\1\1")
    assert bench.counted == {}


def test_opus_packets_are_as_long_as_they_say_and_senseless_ones_are_counted() -> None:
    first, double, senseless = (
        b"\x91Opus\xfc\xff\xfe\xfd",
        b"\x91Opus\xfd\xff\xfe\xfd",
        b"\x91Opus\xff\0\xfe\xfd",
    )
    bench = Bench((8, 0, b"\x90Opus"), (8, 0, first), (8, 20, double), (8, 60, senseless), (8, 60, first))
    assert [packet.pts for packet in bench.packets] == [0, 960, 2880]
    assert [bytes(packet.data) for packet in bench.packets] == [first[5:], double[5:], first[5:]]
    assert bench.counted == {"malformed_tags": 1, "early_timestamps": 1}


# ----------------------------------------------------------------------------------------- video


@pytest.mark.parametrize("composition_ms", [0, 1, 80, 1000])
def test_presentation_is_decoding_plus_composition_time(composition_ms: int) -> None:
    inter = b"\x27\1" + composition_ms.to_bytes(3, "big") + INTER[5:]
    bench = Bench(AVC_HEADER, (9, 0, KEY), (9, 40, inter))
    assert (bench.packets[1].dts, bench.packets[1].pts) == (40, 40 + composition_ms)


def test_a_negative_composition_time_moves_decoding_not_presentation() -> None:
    early = b"\x27\1" + (-40).to_bytes(3, "big", signed=True) + INTER[5:]
    bench = Bench(AVC_HEADER, (9, 0, KEY), (9, 40, INTER), (9, 120, early), (9, 160, INTER), (9, 200, early))
    assert [(packet.dts, packet.pts) for packet in bench.packets] == [
        (0, 0),
        (40, 40),
        (80, 80),
        (120, 160),
        (160, 160),
    ]


def test_an_absurd_composition_time_is_counted_and_left_out() -> None:
    absurd = b"\x27\1\x7f\xff\xff" + INTER[5:]
    bench = Bench(AVC_HEADER, (9, 0, KEY), (9, 40, absurd))
    assert (bench.packets[1].dts, bench.packets[1].pts) == (40, 40)
    assert bench.counted == {"bad_composition_times": 1}


def test_frames_before_the_header_are_dropped_and_counted() -> None:
    bench = Bench((9, 0, KEY), (9, 40, INTER), AVC_HEADER, (9, 80, KEY))
    assert [packet.dts for packet in bench.packets] == [80]
    assert bench.counted == {"frames_before_header": 2}


def test_annex_b_without_a_header_is_told_apart() -> None:
    bench = Bench((9, 0, b"\x17\1\0\0\0\0\0\0\1\x67\x42"))
    assert bench.counted == {"annex_b_frames": 1}
    assert bench.notices[0][0] == "annex_b_frames"


def test_classic_h265_is_the_same_as_enhanced() -> None:
    bench = fed(encode("libx265"))
    header = next(body for kind, _, body in encode("libx265").messages() if body.startswith(b"\x90hvc1"))
    classic = Bench((9, 0, b"\x1c\0\0\0\0" + header[5:]))
    for packet in bench.packets:
        head = b"\x1c\1" if packet.is_keyframe else b"\x2c\1"
        composition = (packet.pts - packet.dts).to_bytes(3, "big")
        classic.feed((9, packet.dts, head + composition + bytes(packet.data)))
    assert classic.packets == bench.packets


def test_vp8_needs_no_header_but_a_key_frame() -> None:
    frames = encode("libvpx", frames=12, size=(130, 98), container="matroska").encoded
    bench = Bench((9, 0, b"\xa1vp08" + frames[1].data))
    for number, frame in enumerate(frames):
        bench.feed((9, number * 40, (b"\x91vp08" if frame.is_keyframe else b"\xa1vp08") + frame.data))
    track = bench.demuxer.tracks[0]
    assert (track.codec, track.width, track.height) == (Codec.VP8, 130, 98)
    assert len(bench.packets) == len(frames)
    assert bench.counted == {"frames_before_header": 1}


def test_av1_that_announces_itself_as_mpeg2_ts_is_described_by_its_key_frame() -> None:
    key_frame = encode("libsvtav1", frames=1).encoded[0].data
    bench = Bench((9, 0, b"\x95av01\x80\4\0\0"), (9, 0, b"\x91av01" + key_frame))
    assert bytes(bench.packets[0].data) == key_frame[2:]
    assert (bench.demuxer.tracks[0].width, bench.demuxer.tracks[0].height) == (64, 48)
    assert bench.counted == {"ignored_messages": 1}


def test_a_temporal_unit_of_nothing_but_its_delimiter_is_empty() -> None:
    bench = fed(encode("libsvtav1"))
    count = len(bench.packets)
    bench.feed((9, 5000, b"\xa1av01\x12\0\x12\0"))
    assert len(bench.packets) == count
    assert bench.counted == {"empty_frames": 1}


def test_tracks_of_many_codecs_in_one_message() -> None:
    parts = [(b"avc1", AVC_HEADER[2][5:]), (b"hvc1", fed(encode("libx265")).demuxer.tracks[0].config)]
    headers, frames = b"\x96\x20", b"\xa6\x23"
    for index, (fourcc, config) in enumerate(parts):
        headers += fourcc + bytes((index,)) + len(config).to_bytes(3, "big") + config
        frames += fourcc + bytes((index,)) + b"\0\0\2" + bytes((index, 9))
    bench = Bench((9, 0, headers), (9, 7, frames))
    assert [(p.track.id, p.track.codec, p.dts, bytes(p.data)) for p in bench.packets] == [
        (1, Codec.H264, 7, b"\0\x09"),
        (2, Codec.H265, 7, b"\1\x09"),
    ]


def test_a_header_whose_parameter_sets_are_beyond_us_still_makes_a_track() -> None:
    config = bytes.fromhex("0142c01effe1000367ffff01000268ce")
    bench = Bench((9, 0, b"\x17\0\0\0\0" + config), (9, 0, KEY))
    assert (bench.demuxer.tracks[0].config, bench.demuxer.tracks[0].width) == (config, 0)
    assert bench.counted == {"malformed_headers": 1}


def test_a_header_of_garbage_leaves_the_track_as_it_was() -> None:
    bench = Bench(AVC_HEADER, (9, 0, KEY), (9, 40, b"\x17\0\0\0\0\x02garbage"), (9, 40, INTER))
    assert bench.packets[1].track is bench.packets[0].track
    assert bench.counted == {"malformed_headers": 1}


# ------------------------------------------------------------------------------- metadata, the unsupported


def test_metadata_is_kept_but_makes_no_tracks() -> None:
    members = {"width": 1280.0, "videocodecid": "avc1"}
    bench = Bench((18, 0, amf.serialize("@setDataFrame", "onMetaData", amf.EcmaArray(members))))
    assert bench.demuxer.metadata == members
    assert bench.demuxer.tracks == ()
    bench.feed((18, 0, amf.serialize("onMetaData", {})))
    assert bench.demuxer.metadata == {}
    bench.feed(
        (18, 0, amf.serialize("onMetaData")),
        (18, 0, amf.serialize("@clearDataFrame", "onMetaData")),
        (18, 0, b""),
        (18, 0, b"\x02"),
    )
    assert bench.counted == {"ignored_messages": 2, "malformed_metadata": 1}
    assert bench.data == []


TEXT, CUE = amf.serialize("onTextData", {"text": "hello"}), amf.serialize("onCuePoint", {"name": "a"})


def test_data_messages_become_packets_on_the_time_of_the_media() -> None:
    bench = Bench(
        AVC_HEADER, AAC_HEADER, (9, 5_000, KEY), (8, 5_010, AAC), (18, 5_025, TEXT), (18, 5_025, CUE)
    )
    batch = bench.feed((9, 5_040, INTER), (18, 5_032, amf.serialize("@setDataFrame") + TEXT))
    assert [(p.pts, p.dts, p.data) for p in bench.data] == [
        (5_025 * 90, 5_025 * 90, TEXT),
        (5_025 * 90 + 1, 5_025 * 90 + 1, CUE),
        (5_032 * 90, 5_032 * 90, TEXT),
    ]
    assert batch.has_data
    assert not batch.tracks_changed, "media goes on as before"
    assert batch.size_bytes == sum(len(p.data) for p in batch.packets)
    assert [track.id for track in bench.demuxer.tracks] == [1, 2], "data has no number among the media"
    assert bench.counted == {}


def test_data_before_any_media_waits_for_its_first_packet() -> None:
    bench = Bench((18, 0, TEXT), AVC_HEADER)
    assert bench.data == []
    batch = bench.feed((18, 7_000, CUE), (9, 90_000, KEY), (18, 90_020, TEXT))
    assert [p.track.codec for p in batch.packets] == [Codec.H264, Codec.AMF0, Codec.AMF0, Codec.AMF0]
    assert [(p.dts, p.data) for p in bench.data] == [
        (90_000 * 90, TEXT),
        (90_000 * 90 + 1, CUE),
        (90_020 * 90, TEXT),
    ]
    assert bench.counted == {}


def test_too_much_data_before_any_media_is_counted() -> None:
    large = amf.serialize("onTextData", "x" * 60_000)
    bench = Bench(*((18, 0, large) for _ in range(6)), AVC_HEADER, (9, 0, KEY))
    assert len(bench.data) == 4
    assert bench.counted == {"ignored_messages": 2}


@pytest.mark.parametrize("timestamp", [0, 41_001, 4_000_000_000])
def test_data_whose_time_is_not_the_medias_is_put_where_that_stands(timestamp: int) -> None:
    bench = Bench(AVC_HEADER, (9, 40_000, KEY), (18, timestamp, TEXT), (9, 40_040, INTER))
    assert [p.dts for p in bench.data] == [40_000 * 90]
    assert [p.dts for p in bench.packets] == [40_000, 40_040], "its clock is nobody else's"
    assert bench.counted == {"displaced_data": 1}


def test_data_follows_a_clock_that_wraps_and_one_that_begins_anew() -> None:
    bench = Bench(AVC_HEADER, (9, WRAP - 20, KEY), (9, 20, INTER), (18, 30, TEXT))
    bench.feed((9, 200_000, INTER), (9, 40, KEY), (18, 60, CUE), (9, 80, INTER))
    dts = {p.dts for p in bench.packets}
    text, cue = (p.dts // 90 for p in bench.data)
    assert text - 10 in dts
    assert {cue - 20, cue + 20} <= dts


def test_a_batch_without_data_is_marked_so() -> None:
    bench = Bench(AVC_HEADER, (9, 0, KEY), (18, 0, TEXT))
    assert not bench.feed((9, 40, INTER)).has_data


def test_the_last_color_info_is_kept_until_it_is_taken_back() -> None:
    info = {"colorConfig": {"bitDepth": 10.0}}
    bench = Bench((9, 0, b"\xd4hvc1" + amf.serialize("colorInfo", info)))
    assert bench.demuxer.color_info == info
    bench.feed((9, 0, b"\xd4hvc1" + amf.serialize("colorInfo", amf.UNDEFINED)))
    assert bench.demuxer.color_info is None


@pytest.mark.parametrize(
    ("type_id", "body", "name"),
    [
        (8, b"\x62\1", "Nellymoser"),
        (9, b"\x22\0", "Sorenson H.263"),
        (9, b"\x91vvc1\0\0\0\0", "vvc1"),
    ],
)
def test_codecs_that_cannot_be_recorded_are_named(type_id: int, body: bytes, name: str) -> None:
    bench = Bench((type_id, 0, body), (type_id, 40, body))
    assert bench.packets == []
    assert bench.demuxer.unsupported == name
    assert bench.counted == {"unsupported_frames": 2}
    assert bench.notices == [("unsupported_frames", {"count": 1, "codec": name})]


def test_speex_is_wideband_and_mono_with_frames_of_20_ms() -> None:
    """Two tags of two frames each, at submode 0 (nothing but their heads), and a terminator."""
    frames = bytes([0b00000_100, 0b0_00000_10, 0b00_01111_0])
    bench = Bench((8, 0, b"\xb2" + frames), (8, 40, b"\xb2" + frames))
    assert [(p.track.codec, p.track.sample_rate, p.track.channels) for p in bench.packets] == [
        (Codec.SPEEX, 16_000, 1)
    ] * 2
    assert [packet.pts for packet in bench.packets] == [0, 640]
    assert bench.counted == {}


# ----------------------------------------------------------------------------------------- timestamps


def test_timestamps_wrap_at_32_bits() -> None:
    start = WRAP - 1000
    bench = Bench(AVC_HEADER, AAC_HEADER)
    bench.feed(*((9, (start + ts) % WRAP, KEY) for ts in range(0, 4000, 40)))
    bench.feed(*((8, (start + number * 64 // 3) % WRAP, AAC) for number in range(180)))
    video, audio = bench.of(Codec.H264), bench.of(Codec.AAC)
    assert [packet.dts for packet in video] == list(range(start, start + 4000, 40))
    assert deltas([packet.pts for packet in audio]) == {1024}
    assert audio[0].pts == start * 48
    assert bench.counted == {}


def test_an_encoder_that_begins_anew_goes_on_and_keeps_its_lips_in_step() -> None:
    video_times = [(9, ts, KEY) for ts in range(0, 2000, 40)]
    audio_times = [(8, 7 + number * 64 // 3, AAC) for number in range(93)]
    run = sorted(video_times + audio_times, key=lambda message: message[1])
    bench = Bench(AVC_HEADER, AAC_HEADER)
    bench.feed(*((kind, ts + 100_000, body) for kind, ts, body in run))
    bench.feed(*run)
    video, audio = bench.of(Codec.H264), bench.of(Codec.AAC)
    assert video[50].dts - audio[92].pts / 48 == pytest.approx(20, abs=1), "right after the latest packet"
    assert deltas([packet.dts for packet in video[50:]]) == {40}
    assert audio[93].pts / 48 - video[50].dts == pytest.approx(7, abs=10)
    facts = next(facts for name, facts in bench.notices if name == "timestamp_jumps")
    assert (facts["from_ms"], facts["timestamp"], facts["count"]) == (101_960, 0, 1)
    assert bench.counted["timestamp_jumps"] == 1


def test_a_forward_jump_is_kept_and_told() -> None:
    bench = Bench(AVC_HEADER, AAC_HEADER, (9, 0, KEY), (8, 0, AAC), (9, 60_000, KEY), (8, 60_000, AAC))
    assert [packet.dts for packet in bench.of(Codec.H264)] == [0, 60_000]
    assert [packet.pts for packet in bench.of(Codec.AAC)] == [0, 60_000 * 48]
    assert bench.counted == {"timestamp_gaps": 2, "audio_resyncs": 1}


def test_equal_timestamps_become_growing_ones() -> None:
    bench = Bench(AVC_HEADER, (9, 0, KEY), (9, 40, INTER), (9, 40, INTER), (9, 80, INTER))
    assert [packet.dts for packet in bench.packets] == [0, 40, 41, 80]
    assert bench.counted == {"early_timestamps": 1}


# --------------------------------------------------------------------------------------------- garbage


def test_a_flood_of_garbage_is_no_flood_of_notices() -> None:
    bench = Bench(*((9, 0, b"\x17"),) * 250)
    assert bench.counted == {"malformed_tags": 250}
    assert [facts["count"] for _, facts in bench.notices] == [1, 10, 100]


SEEDS = [
    message
    for codecs in (*CLIPS, ("libmp3lame",))
    for message in encode(*codecs).messages()[:12]
    if len(message[2]) < 4000
]


@st.composite
def strange_messages(draw: st.DrawFn) -> Message:
    """A real message with its time and some octets changed, or one of random octets."""
    type_id, timestamp, body = draw(st.sampled_from(SEEDS))
    octets = bytearray(draw(st.one_of(st.just(body), st.binary(max_size=30))))
    for position, value in draw(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 255)), max_size=3)):
        if position < len(octets):
            octets[position] = value
    cut = draw(st.one_of(st.just(len(octets)), st.integers(0, len(octets))))
    times = st.one_of(st.just(timestamp), st.integers(0, 3000), st.integers(0, WRAP - 1))
    return draw(st.sampled_from((type_id, 8, 9, 18, 22))), draw(times), bytes(octets[:cut])


@settings(max_examples=300)
@given(st.lists(strange_messages(), max_size=40))
def test_whatever_comes_packets_are_in_order_and_nothing_is_raised(messages: list[Message]) -> None:
    bench = Bench()
    for message in messages:
        batch = bench.feed(message)
        assert batch.size_bytes == sum(len(packet.data) for packet in batch.packets)
    last: dict[int, tuple[int, int]] = {}
    for packet in bench.packets:
        timescale, dts = last.get(packet.track.id, (packet.track.timescale, -WRAP * 48000))
        assert packet.track.timescale != timescale or packet.dts > dts
        assert packet.pts >= packet.dts
        assert len(packet.data) > 0
        last[packet.track.id] = (packet.track.timescale, packet.dts)
    assert {packet.track.id for packet in bench.packets} <= {track.id for track in bench.demuxer.tracks}


def test_classic_messages_of_the_wire_module_are_the_fast_ones() -> None:
    head = flv.video_header(Codec.H264, flv.VideoPacketType.CODED_FRAMES, composition_time_ms=80)
    bench = Bench(AVC_HEADER, (9, 0, head + b"\0\0\0\1\x65"))
    assert (bench.packets[0].pts, bench.packets[0].is_keyframe) == (80, True)
