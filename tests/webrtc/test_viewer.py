"""A viewer by itself: what leaves for what the hub delivers and for what the remote asks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from itertools import pairwise

import pytest
from helpers.packets import AUDIO, batch, new_stream
from helpers.patience import until
from helpers.rtp_media import HandClock

from aircheck.clock import Clock, SystemClock
from aircheck.containers.test_pattern import Pattern, encode_pattern
from aircheck.facts import EndReason
from aircheck.hub.stream import Stream
from aircheck.media import h264
from aircheck.media.packet import Packet
from aircheck.media.track import Codec, Kind, Track
from aircheck.webrtc import viewer as viewer_module
from aircheck.webrtc.media import Direction, Format, MediaLine
from aircheck.webrtc.pacer import BURST_PACKETS
from aircheck.webrtc.transcoding import Transcoding
from aircheck.webrtc.viewer import Viewer, wanted_of
from aircheck.wire.rtp.packet import RtpPacket
from aircheck.wire.rtp.rtcp import Nack, PictureLossIndication, SenderReport, parse_compound

SSRC, RTX_SSRC = 1000, 1001
H264_LINE = MediaLine(
    "0", Kind.VIDEO, (Format(96, Codec.H264, 90_000, 1, 97),), {}, (SSRC, RTX_SSRC), Direction.SENDONLY
)
OPUS_LINE = MediaLine("1", Kind.AUDIO, (Format(111, Codec.OPUS, 48_000, 2),), {}, (2000,), Direction.SENDONLY)
CONFIG = encode_pattern(Pattern(duration_s=1, width=160, height=90)).video.config
(SPS,), (PPS,) = h264.parse_config(CONFIG).sps, h264.parse_config(CONFIG).pps
PICTURES = Track(1, Codec.H264, 1000, CONFIG, width=160, height=90)
OPUS = Track(2, Codec.OPUS, 48_000, sample_rate=48_000, channels=2)


class Wire:
    """A transport that keeps what it was given."""

    def __init__(self) -> None:
        self.packets: list[RtpPacket] = []
        self.reports: list[object] = []
        self.unsent_packets = 0

    def send_rtp(self, packets: Sequence[bytes]) -> None:
        self.packets += map(RtpPacket.parse, packets)

    def send_rtcp(self, packet: bytes) -> None:
        self.reports += parse_compound(packet)

    def of(self, ssrc: int) -> list[RtpPacket]:
        return [packet for packet in self.packets if packet.ssrc == ssrc]


def picture(
    ms: int, *, is_key: bool = False, size: int = 50, pts: int | None = None, track: Track = PICTURES
) -> Packet:
    unit = bytes((0x65 if is_key else 0x41,)) + bytes(size)
    return Packet(track, ms if pts is None else pts, ms, is_key, len(unit).to_bytes(4, "big") + unit)


def sound(samples: int) -> Packet:
    return Packet(OPUS, samples, samples, True, b"\xfc\xff\xfe")


class Watched:
    """A stream with H.264 and Opus, and who watches it."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock = clock or SystemClock()
        self.stream = new_stream()
        self.stream.back_buffer.limit_bytes = 1 << 20
        self.wire = Wire()
        self.transcoding = Transcoding()
        self.asked = 0
        self.ends: list[EndReason] = []
        self.feed(picture(0), sound(0), changed=True)

    def feed(self, *packets: Packet, changed: bool = False) -> None:
        self.stream.publish(batch(list(packets), changed=changed))

    def ask(self) -> None:
        self.asked += 1

    def watch(self, *lines: MediaLine, promised: Sequence[Track] = ()) -> Viewer:
        viewer = Viewer(
            lines or (H264_LINE, OPUS_LINE),
            self.wire,
            self.stream,
            self.clock,
            self.transcoding,
            promised=promised,
            on_ended=self.ends.append,
        )
        viewer.start()
        return viewer


@pytest.fixture
async def watched() -> AsyncIterator[Watched]:
    world = Watched()
    yield world
    world.transcoding.close()


async def test_a_viewer_begins_at_a_key_frame_with_parameter_sets(watched: Watched) -> None:
    watched.stream.on_keyframe_wanted = watched.ask
    watched.watch()
    assert watched.asked == 1
    watched.feed(picture(40), sound(1920))
    assert watched.wire.packets == []
    watched.feed(picture(80, is_key=True), sound(3840))
    first, opus = watched.wire.packets
    assert first.payload[0] & 0x1F == 24, "parameter sets and picture in one packet"
    assert SPS in first.payload
    assert PPS in first.payload
    assert first.is_marked
    assert (opus.payload, opus.payload_type, opus.is_marked) == (b"\xfc\xff\xfe", 111, False)


async def test_sound_waits_only_so_long_for_a_picture(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(viewer_module, "SOUND_WAITS_S", 0.0)
    watched.watch()
    watched.feed(picture(40), sound(1920))
    assert [packet.ssrc for packet in watched.wire.packets] == [2000]


async def test_tracks_that_are_promised_are_prepared_for(watched: Watched) -> None:
    watched.stream = new_stream("sound first")
    watched.stream.on_keyframe_wanted = watched.ask
    watched.feed(sound(0), changed=True)
    promised = (replace(PICTURES, config=b"", width=0, height=0),)
    wanted = wanted_of(watched.stream, watched.transcoding, promised)
    assert set(wanted[Kind.VIDEO].codecs) == {Codec.H264}
    assert Codec.OPUS in wanted[Kind.AUDIO].codecs
    viewer = watched.watch(promised=promised)
    watched.feed(sound(960))
    assert [packet.ssrc for packet in watched.wire.packets] == [2000]
    viewer.tick(1.0)
    assert watched.asked == 1, "not for pictures that nobody has begun to send"
    watched.feed(picture(40, is_key=True), changed=True)
    assert SPS in watched.wire.of(SSRC)[0].payload


async def test_timestamps_follow_media_time(watched: Watched) -> None:
    watched.watch()
    watched.feed(picture(1000, is_key=True), sound(48_000), picture(1040), sound(48_960))
    pictures, sounds = watched.wire.of(SSRC), watched.wire.of(2000)
    assert (pictures[1].timestamp - pictures[0].timestamp) & 0xFFFFFFFF == 3600
    assert (sounds[1].timestamp - sounds[0].timestamp) & 0xFFFFFFFF == 960
    assert (pictures[1].sequence_number - pictures[0].sequence_number) & 0xFFFF == 1


async def test_sender_reports_put_sound_and_pictures_on_one_clock(watched: Watched) -> None:
    viewer = watched.watch()
    watched.feed(picture(1000, is_key=True), sound(48_000))
    viewer.tick(100.0)
    reports = {one.ssrc: one for one in watched.wire.reports if isinstance(one, SenderReport)}
    picture_age = (reports[SSRC].rtp_timestamp - watched.wire.of(SSRC)[0].timestamp & 0xFFFFFFFF) / 90_000
    sound_age = (reports[2000].rtp_timestamp - watched.wire.of(2000)[0].timestamp & 0xFFFFFFFF) / 48_000
    assert reports[SSRC].ntp == reports[2000].ntp
    assert abs(picture_age - sound_age) < 0.001
    assert 0 <= picture_age < 1


async def test_what_is_lost_is_sent_again_once(watched: Watched) -> None:
    viewer = watched.watch()
    watched.feed(picture(40, is_key=True), picture(80))
    lost = watched.wire.of(SSRC)[1]
    nack = Nack(1, SSRC, (lost.sequence_number, (lost.sequence_number + 500) & 0xFFFF)).serialize()
    viewer.receive_rtcp(nack, 0, 50.0)
    viewer.receive_rtcp(nack, 0, 50.001)
    (again,) = watched.wire.of(RTX_SSRC)
    assert again.payload_type == 97
    assert again.payload == lost.sequence_number.to_bytes(2, "big") + lost.payload
    assert again.timestamp == lost.timestamp
    viewer.receive_rtcp(nack, 0, 51.0)
    assert len(watched.wire.of(RTX_SSRC)) == 2


async def test_a_viewer_who_lost_the_picture_has_the_publisher_asked(watched: Watched) -> None:
    watched.stream.on_keyframe_wanted = watched.ask
    viewer = watched.watch()
    await asyncio.sleep(0.51)
    loss = PictureLossIndication(1, SSRC).serialize()
    for _ in range(5):
        viewer.receive_rtcp(loss, 0, 50.0)
    assert watched.asked == 2, "not once for each request"


async def test_who_comes_late_gets_the_last_pictures_for_this_instant(watched: Watched) -> None:
    first = watched.watch()
    watched.feed(picture(1000, is_key=True))
    for ms in range(1040, 2000, 40):
        watched.feed(picture(ms))
    first.close(EndReason.DISCONNECTED)
    watched.wire.packets.clear()
    watched.watch()
    watched.feed(picture(2000))
    pictures = watched.wire.of(SSRC)
    assert len(pictures) == 26
    steps = [(b.timestamp - a.timestamp) & 0xFFFFFFFF for a, b in pairwise(pictures)]
    assert set(steps[:-1]) == {90}
    assert steps[-1] == 3600


async def test_large_frames_are_spread_out(watched: Watched) -> None:
    watched.watch(H264_LINE)
    watched.feed(picture(40, is_key=True, size=300_000))
    assert len(watched.wire.packets) == BURST_PACKETS
    await until(lambda: watched.wire.packets[-1].is_marked)
    numbers = [packet.sequence_number for packet in watched.wire.packets]
    assert [(b - a) & 0xFFFF for a, b in pairwise(numbers)] == [1] * (len(numbers) - 1)


async def test_a_viewer_whose_connection_is_full_goes_on_at_a_key_frame(watched: Watched) -> None:
    viewer = watched.watch(H264_LINE)
    watched.feed(picture(40, is_key=True))
    watched.wire.unsent_packets += 1
    watched.feed(picture(80))
    watched.feed(picture(120))
    watched.feed(picture(160, is_key=True))
    watched.feed(picture(200))
    assert len(watched.wire.packets) == 3
    assert viewer.dropped_frames == 2


def ask_for(viewer: Viewer, packets: Sequence[RtpPacket], now_s: float) -> None:
    viewer.receive_rtcp(Nack(1, SSRC, [one.sequence_number for one in packets]).serialize(), 0, now_s)


async def test_requests_do_not_multiply_what_a_full_link_has_to_take(watched: Watched) -> None:
    viewer = watched.watch(H264_LINE)
    watched.feed(picture(40, is_key=True, size=30_000))
    lost = watched.wire.of(SSRC)
    for tick in range(200):
        ask_for(viewer, lost, 50 + tick * 0.02)
    assert len(watched.wire.of(RTX_SSRC)) <= 5 * len(lost)


async def test_a_path_that_loses_too_much_gets_no_pictures_until_the_next_key_frame(watched: Watched) -> None:
    watched.stream.on_keyframe_wanted = watched.ask
    viewer = watched.watch()
    watched.feed(picture(40, is_key=True, size=60_000), sound(1920))
    pictures = watched.wire.of(SSRC)
    ask_for(viewer, pictures[::2], 50.0)
    watched.wire.packets.clear()
    watched.feed(picture(80), sound(3840))
    ask_for(viewer, pictures, 51.0)
    assert {packet.ssrc for packet in watched.wire.packets} == {2000}, "sound goes on, the past does not"
    watched.feed(picture(120, is_key=True), picture(160))
    assert len(watched.wire.of(SSRC)) == 2
    assert viewer.pauses == 1


async def test_a_publisher_is_asked_ever_less_often_for_who_key_frames_do_not_help() -> None:
    clock = HandClock()
    watched = Watched(clock)
    watched.stream.on_keyframe_wanted = watched.ask
    viewer = watched.watch(H264_LINE)
    asked_at_s = []
    for ms in range(0, 40_000, 100):
        clock.now_s += 0.1
        asked = watched.asked
        viewer.receive_rtcp(PictureLossIndication(1, SSRC).serialize(), 0, clock.monotonic_s())
        if watched.asked > asked:
            asked_at_s.append(ms / 1000)
            watched.feed(picture(ms, is_key=True))
    pauses_s = [round(after - before) for before, after in pairwise(asked_at_s)]
    assert pauses_s[-1] == 8
    assert pauses_s == sorted(pauses_s)
    assert len(asked_at_s) < 12
    watched.transcoding.close()


async def test_junk_disturbs_nobody(watched: Watched) -> None:
    viewer = watched.watch(H264_LINE)
    junk = Packet(PICTURES, 40, 40, True, b"\0\0\xff\xff\x65")
    watched.feed(junk, picture(80))
    viewer.receive_rtcp(b"\x80", 0, 1.0)
    viewer.receive_rtcp(Nack(1, 5, (1, 2)).serialize(), 0, 1.0)
    assert watched.stream.is_watched
    assert viewer.dropped_frames == 1


async def test_prefixes_of_other_sizes_are_understood(watched: Watched) -> None:
    short = Track(
        1, Codec.H264, 1000, config=PICTURES.config[:4] + b"\xfd" + PICTURES.config[5:], width=320, height=180
    )
    watched.watch(H264_LINE)
    watched.feed(Packet(short, 40, 40, True, b"\0\3\x65\1\2"), changed=True)
    assert watched.wire.packets[0].payload.endswith(b"\0\3\x65\1\2")


async def test_b_frames_are_noted_for_all_viewers(watched: Watched) -> None:
    watched.watch(H264_LINE)
    watched.feed(picture(40, is_key=True), picture(80, pts=160), picture(120, pts=120))
    assert watched.transcoding.has_b_frames(watched.stream)
    assert len(watched.transcoding) == 1
    assert len(watched.wire.packets) == 2
    wanted = wanted_of(watched.stream, watched.transcoding)
    assert wanted[Kind.VIDEO].codecs == (Codec.H264,)
    assert wanted[Kind.VIDEO].h264_profile == 0


async def test_transcoding_ends_with_its_last_listener(watched: Watched) -> None:
    aac = new_stream("aac")
    aac.publish(batch([Packet(AUDIO, 0, 0, True, b"x")], changed=True))
    watched.stream = aac
    viewers = [watched.watch(OPUS_LINE) for _ in range(2)]
    assert len(watched.transcoding) == 1
    viewers[0].close(EndReason.DISCONNECTED)
    assert len(watched.transcoding) == 1
    viewers[1].close(EndReason.DISCONNECTED)
    assert len(watched.transcoding) == 0
    assert not aac.is_watched


async def test_the_end_of_the_publication_is_told_once(watched: Watched) -> None:
    viewer = watched.watch()
    watched.stream.end(EndReason.UNPUBLISHED, 1)
    viewer.close(EndReason.UNPUBLISHED)
    viewer.ended(EndReason.UNPUBLISHED)
    assert watched.ends == [EndReason.UNPUBLISHED]


def test_a_viewer_is_offered_what_the_stream_has_or_can_become() -> None:
    stream = Stream(new_stream().facts)
    hevc = Track(1, Codec.H265, 1000)
    stream.tracks = (hevc, AUDIO)
    wanted = wanted_of(stream, Transcoding())
    assert wanted[Kind.VIDEO].codecs == (Codec.H265, Codec.H264)
    assert wanted[Kind.AUDIO].codecs == (Codec.OPUS,)
