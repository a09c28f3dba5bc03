import pytest
from helpers.flv_media import demux, encode, write_file
from hypothesis import given
from hypothesis import strategies as st

from aircheck.ingest.flv_demux import FlvDemuxer
from aircheck.media.packet import Packet
from aircheck.media.track import DATA_TRACK, Codec, Track
from aircheck.playback.flv_mux import FlvMuxer
from aircheck.wire import amf

CLIPS = [
    ("libx264", "aac"),
    ("libx264", "libmp3lame"),
    ("libx265", "libopus"),
    ("libsvtav1", "flac"),
    ("libvpx-vp9", "ac3"),
    ("libx264", "aac", "libopus"),
    ("libx264", "libx265"),
]
PCMU = Track(1, Codec.PCMU, 8000, sample_rate=8000, channels=1)


def stream_of(*codecs: str, **options: int) -> tuple[tuple[Track, ...], list[Packet]]:
    demuxer = FlvDemuxer()
    packets = demuxer.feed(encode(*codecs, **options).messages(), 0).without_data().packets
    return demuxer.tracks, packets


def as_values(packets: list[Packet]) -> list[tuple[int, Codec, int, int, bool, bytes]]:
    return [(p.track.id, p.track.codec, p.pts, p.dts, p.is_keyframe, bytes(p.data)) for p in packets]


@pytest.mark.parametrize("codecs", CLIPS, ids="+".join)
def test_libavformat_reads_the_packets_that_went_in(codecs: tuple[str, ...]) -> None:
    tracks, packets = stream_of(*codecs)
    muxer = FlvMuxer(tracks)
    _, found = demux(write_file([*muxer.header_messages(), *muxer.to_messages(packets)]))
    assert [(p.kind, p.is_keyframe, p.data.removeprefix(b"\x12\0")) for p in found] == [
        (p.track.kind.value, p.is_keyframe, bytes(p.data)) for p in packets
    ]
    for theirs, ours in zip(found, packets, strict=True):
        times_ms = [ticks * 1000 / ours.track.timescale for ticks in (ours.pts, ours.dts)]
        assert (theirs.pts_ms, theirs.dts_ms) == pytest.approx(times_ms, abs=0.51)


@pytest.mark.parametrize("codecs", CLIPS, ids="+".join)
def test_what_is_muxed_demuxes_to_the_same(codecs: tuple[str, ...]) -> None:
    tracks, packets = stream_of(*codecs)
    muxer, demuxer = FlvMuxer(tracks), FlvDemuxer()
    again = demuxer.feed([*muxer.header_messages(), *muxer.to_messages(packets)], 0).without_data().packets
    assert as_values(again) == as_values(packets)
    assert demuxer.tracks == tracks


def test_the_messages_of_libavformat_come_out_as_they_went_in() -> None:
    clip = encode("libx264", "aac")
    tracks, packets = stream_of("libx264", "aac")
    muxer = FlvMuxer(tracks)
    written = muxer.header_messages()[1:] + muxer.to_messages(packets)
    sequence_end = b"\x17\2\0\0\0"
    read = [m for m in clip.messages() if m[0] != 18 and m[2] != sequence_end]
    assert [(kind, body) for kind, _, body in written] == [(kind, body) for kind, _, body in read]
    for (_, ours, _), (_, theirs, _) in zip(written, read, strict=True):
        assert ours == pytest.approx(theirs, abs=1), "audio on its grid was rounded twice"


def test_metadata_describes_the_tracks_and_further_ones_beside_them() -> None:
    tracks, _ = stream_of("libx265", "aac", "libopus")
    _, _, body = FlvMuxer(tracks).header_messages()[0]
    name, members = amf.parse(body)
    assert name == "onMetaData"
    assert isinstance(members, amf.EcmaArray)
    assert members["videocodecid"] == int.from_bytes(b"hvc1", "big")
    assert (members["width"], members["height"]) == (64, 48)
    assert (members["audiocodecid"], members["audiosamplerate"], members["stereo"]) == (10, 48000, True)
    further = members["audioTrackIdInfoMap"]
    assert isinstance(further, dict)
    assert further["1"]["audiocodecid"] == int.from_bytes(b"Opus", "big")


def test_a_publisher_asks_for_its_metadata_to_be_kept() -> None:
    tracks, _ = stream_of("libx264", "aac")
    _, _, body = FlvMuxer(tracks).header_messages(is_publishing=True)[0]
    assert amf.parse(body)[:2] == ["@setDataFrame", "onMetaData"]


def test_time_begins_at_the_origin() -> None:
    tracks, packets = stream_of("libx264", "aac")
    messages = FlvMuxer(tracks, origin_ms=200).to_messages(packets)
    for (_, timestamp, _), packet in zip(messages, packets, strict=True):
        ms = packet.dts * 1000 / packet.track.timescale
        assert timestamp == pytest.approx(max(ms - 200, 0), abs=0.51)


def test_timestamps_wrap_at_32_bits() -> None:
    packet = Packet(PCMU, (1 << 32) * 8 + 80, (1 << 32) * 8 + 80, True, b"\xff")
    assert FlvMuxer([PCMU]).to_messages([packet]) == [(8, 10, b"\x82\xff")]


def test_a_new_configuration_sends_its_header_before_its_first_packet() -> None:
    tracks, packets = stream_of("libx264")
    (changed,), others = stream_of("libx264", size=(130, 98))
    muxer = FlvMuxer(tracks)
    muxer.to_messages(packets[:1])
    messages = muxer.to_messages(others[:2])
    assert [body[:2] for _, _, body in messages] == [b"\x17\0", b"\x17\1", b"\x27\1"]
    assert messages[0][2][5:] == changed.config


def test_a_track_that_appears_later_is_sent_on_its_own_number() -> None:
    tracks, packets = stream_of("libx264", "aac", "libopus")
    muxer = FlvMuxer(tracks[:2])
    opus = [packet for packet in packets if packet.track.codec is Codec.OPUS]
    messages = muxer.to_messages(opus[:1])
    assert [body[:7] for _, _, body in messages] == [b"\x95\0Opus\1", b"\x95\1Opus\1"]


def test_what_rtmp_has_no_code_for_is_left_out() -> None:
    tracks, packets = stream_of("libx264", "aac")
    second = Track(3, Codec.PCMU, 8000, sample_rate=8000, channels=1)
    muxer = FlvMuxer([*tracks, second])
    assert len(muxer.to_messages([*packets[:2], Packet(second, 0, 0, True, b"x")])) == 2


def test_data_messages_go_out_as_they_came_in() -> None:
    tracks, packets = stream_of("libx264", "aac")
    text = amf.serialize("onTextData", {"text": "hello"})
    muxer = FlvMuxer([*tracks, DATA_TRACK], origin_ms=20)
    messages = muxer.to_messages([packets[0], Packet(DATA_TRACK, 90 * 120, 90 * 120, True, text)])
    assert messages[1:] == [(18, 100, text)]


@given(st.integers(-(1 << 40), 1 << 40), st.integers(-(1 << 30), 1 << 30), st.integers(-(1 << 30), 1 << 30))
def test_no_time_is_too_strange_to_be_written(dts: int, delay: int, origin_ms: int) -> None:
    track = Track(1, Codec.H264, 90000, config=b"")
    ((_, timestamp, body),) = FlvMuxer([track], origin_ms=origin_ms).to_messages(
        [Packet(track, dts + delay, dts, True, b"\0")]
    )
    assert 0 <= timestamp < 1 << 32
    assert len(body) == 6
