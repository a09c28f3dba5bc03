"""What a browser sends becomes packets of the hub: whole, in order, in step."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace
from pathlib import Path
from unittest.mock import ANY

import pytest
from helpers.impairment import Impairment
from helpers.packets import new_stream
from helpers.rtp_media import (
    FORMATS,
    Batches,
    Publication,
    SendTrack,
    durations_ms,
    line,
    make_clip,
    renumbered,
    repeated,
    track_of_clip,
)
from helpers.tools import requires
from hypothesis import given, settings
from hypothesis import strategies as st

from aircheck.facts import EndReason
from aircheck.media.packet import Packet
from aircheck.media.track import Codec, Kind
from aircheck.wire.rtp.packet import RtpPacket
from aircheck.wire.rtp.rtcp import (
    FullIntraRequest,
    PictureLossIndication,
    ReceiverEstimatedMaximumBitrate,
    ReceiverReport,
    SenderReport,
)
from aircheck.wire.rtp.transport_feedback import TransportFeedback

pytestmark = requires("ffmpeg")

VIDEO = (Codec.VP8, Codec.VP9, Codec.H264, Codec.H265, Codec.AV1)


def publish(
    clips: Path, video: Codec | None, audio: Codec | None, seconds: int = 4, **options: object
) -> tuple[Publication, Batches]:
    clip = make_clip(clips, video, audio, seconds=seconds)
    tracks = []
    if audio is not None:
        tracks.append(track_of_clip(clip, "0", audio, ssrc=1000))
    if video is not None:
        tracks.append(track_of_clip(clip, "1", video, ssrc=2000))
    publication = Publication(new_stream(), tracks, **options)  # type: ignore[arg-type]
    seen = Batches()
    publication.stream.subscribe(seen)
    return publication, seen


def packets(seen: Batches, kind: Kind) -> list[Packet]:
    return [packet for batch in seen.batches for packet in batch.packets if packet.track.kind is kind]


@pytest.mark.parametrize("codec", VIDEO)
def test_every_frame_of_a_clean_stream_arrives(clips: Path, codec: Codec) -> None:
    publication, seen = publish(clips, codec, Codec.OPUS)
    publication.run_to_end()
    video, audio = packets(seen, Kind.VIDEO), packets(seen, Kind.AUDIO)
    assert len(video) == 120
    assert {0, 30, 60, 90} <= {index for index, packet in enumerate(video) if packet.is_keyframe}
    assert len({id(packet.track) for packet in video}) == 1
    assert (video[0].track.codec, video[0].track.width, video[0].track.height) == (codec, 320, 180)
    assert len(audio) in (200, 201)
    assert {after.pts - before.pts for before, after in itertools.pairwise(audio)} == {960}
    assert seen.end_reason is EndReason.UNPUBLISHED
    assert {name: count for name, count in publication.publisher.notices().items() if count} == {}
    assert publication.browser.keyframe_requests == 0


def skews_ms(publication: Publication, seen: Batches) -> list[float]:
    """For each picture, by how much it comes later than the sound that belongs to it. Nothing may be lost."""
    audio_track, video_track = publication.browser.tracks
    audio, video = packets(seen, Kind.AUDIO), packets(seen, Kind.VIDEO)
    assert (len(audio), len(video)) == (len(audio_track.frames), len(video_track.frames))
    sound = [p.pts / p.track.timescale - f.media_s for p, f in zip(audio, audio_track.frames, strict=True)]
    assert max(sound) - min(sound) < 0.001
    return [
        1000 * (p.pts / 90_000 - f.media_s - sound[0]) for p, f in zip(video, video_track.frames, strict=True)
    ]


@pytest.mark.parametrize("codec", VIDEO)
def test_what_is_lost_is_sent_again_and_nothing_is_missing(clips: Path, codec: Codec) -> None:
    publication, seen = publish(
        clips,
        codec,
        Codec.OPUS,
        up=Impairment(
            calm_packets=10, loss=0.05, reorder=0.05, duplicate=0.02, delay_s=0.03, jitter_s=0.02, seed=5
        ),
        down=Impairment(loss=0.05, delay_s=0.03, seed=6),
    )
    publication.run_to_end()
    assert len(packets(seen, Kind.VIDEO)) == 120
    assert len(packets(seen, Kind.AUDIO)) in (200, 201)
    notices = publication.publisher.notices()
    assert notices["rtp_packets_lost"] == 0
    assert notices["rtp_packets_recovered"] > 5
    assert max(map(abs, skews_ms(publication, seen))) < 20


def test_peers_without_a_retransmission_format_send_the_packets_themselves(clips: Path) -> None:
    publication, seen = publish(clips, Codec.VP8, None, up=Impairment(loss=0.1, delay_s=0.01, seed=3))
    (track,) = publication.browser.tracks
    track.line = line("1", Codec.VP8, has_rtx=False)
    publication = Publication(new_stream(), [track], up=Impairment(loss=0.1, delay_s=0.01, seed=3))
    publication.stream.subscribe(seen)
    publication.run_to_end()
    assert publication.browser.resent > 5
    assert len(packets(seen, Kind.VIDEO)) == 120


def test_requests_for_lost_packets_do_not_multiply_on_a_slow_path(clips: Path) -> None:
    publication, _ = publish(
        clips, Codec.VP8, None, up=Impairment(loss=0.05, delay_s=0.1), down=Impairment(delay_s=0.1)
    )
    publication.run_to_end()
    lost, resent = publication.browser.up.lost, publication.browser.resent
    assert lost > 5
    assert resent < 2 * lost + 5


def without_packets(track: SendTrack, frame: int, kept: slice) -> None:
    """A frame of which the sender sends only some packets, with the numbers that they had."""
    whole = track.frames[frame]
    track.frames[frame] = replace(whole, packets=whole.packets[kept])


def test_after_a_hole_pictures_wait_for_a_key_frame_that_is_asked_for(clips: Path) -> None:
    clip = make_clip(clips, Codec.VP8, None, size="640x360")
    track = track_of_clip(clip, "1", Codec.VP8, ssrc=2000)
    without_packets(track, 40, slice(0, 0))
    publication, seen = Publication(new_stream(), [track]), Batches()
    publication.stream.subscribe(seen)
    publication.run_to_end()
    video = packets(seen, Kind.VIDEO)
    assert len(video) == 40 + 60
    assert video[40].is_keyframe
    assert publication.browser.keyframe_requests >= 1
    notices = publication.stream.notices()
    assert notices["rtp_packets_lost"] >= 1
    assert notices["frames_awaiting_key"] == 19


def test_a_frame_that_its_sender_cut_short_is_dropped_though_no_number_is_missing(clips: Path) -> None:
    """On a request for a key frame Chromium drops the rest of a frame and leaves no hole in the sequence."""
    clip = make_clip(clips, Codec.VP8, None, size="640x360")
    track = track_of_clip(clip, "1", Codec.VP8, ssrc=2000)
    cut = next(at for at, frame in enumerate(track.frames) if at > 30 and len(frame.packets) > 1)
    without_packets(track, cut, slice(0, 1))
    numbers = itertools.count(65_500)
    track.frames = [
        replace(
            frame, packets=tuple(replace(p, sequence_number=next(numbers) & 0xFFFF) for p in frame.packets)
        )
        for frame in track.frames
    ]
    publication, seen = Publication(new_stream(), [track]), Batches()
    publication.stream.subscribe(seen)
    publication.run_to_end()
    video = packets(seen, Kind.VIDEO)
    following_key = next(at for at, frame in enumerate(track.frames) if at > cut and at % 30 == 0)
    assert len(video) == 120 - (following_key - cut)
    assert video[cut].is_keyframe
    assert publication.browser.keyframe_requests >= 1
    notices = publication.stream.notices()
    assert (notices["rtp_packets_lost"], notices["truncated_frames"]) == (0, 1)


def test_a_stream_that_begins_between_key_frames_asks_for_one_at_once(clips: Path) -> None:
    clip = make_clip(clips, Codec.H264, None)
    track = track_of_clip(clip, "1", Codec.H264, ssrc=2000)
    del track.frames[:10]
    publication, seen = Publication(new_stream(), [track]), Batches()
    publication.stream.subscribe(seen)
    publication.run(0.9)
    assert not seen.batches
    requests = [one for one in publication.browser.received if isinstance(one, PictureLossIndication)]
    assert requests
    assert all(one.media_ssrc == 2000 for one in requests)
    publication.run_to_end()
    assert len(packets(seen, Kind.VIDEO)) == 90


def test_a_key_frame_can_be_asked_for_but_not_too_often(clips: Path) -> None:
    publication, _ = publish(clips, Codec.VP8, None)
    publication.run(1.0)
    for _ in range(10):
        publication.stream.request_keyframe()
    publication.run(0.1)
    assert publication.browser.keyframe_requests == 1
    publication.run(0.5)
    publication.stream.request_keyframe()
    publication.run(0.1)
    assert publication.browser.keyframe_requests == 2


def test_the_first_source_seen_may_be_that_of_retransmissions(clips: Path) -> None:
    """Chromium probes the path with them; requests are for the source of the media all the same."""
    publication, seen = publish(clips, Codec.VP8, None)
    probe = RtpPacket(97, 1, 0, 2001, b"", padding_bytes=200).serialize()
    publication.publisher.receive_rtp([probe], 1, publication.clock.now_s)
    publication.run_to_end(close=False)
    publication.stream.request_keyframe()
    publication.run(0.1)
    assert publication.browser.received[-1] == PictureLossIndication(ANY, 2000)
    assert len(packets(seen, Kind.VIDEO)) == 120


# --- pictures and sound in step ----------------------------------------------------------------------------


def test_reports_put_pictures_and_sound_in_step_from_the_first_frame_on(clips: Path) -> None:
    publication, seen = publish(clips, Codec.VP8, Codec.OPUS)
    sound = publication.browser.tracks[0]
    sound.late_s = 0.25
    sound.reports_at_s = (0.45,)
    publication = Publication(new_stream(), publication.browser.tracks)
    publication.stream.subscribe(seen)
    publication.run(0.4)
    assert not seen.batches, "held until sound is reported"
    publication.run_to_end()
    assert max(map(abs, skews_ms(publication, seen))) < 5


@pytest.mark.parametrize("sound_tells", [True, False], ids=["as Chromium", "as Firefox"])
def test_headers_that_tell_of_capture_put_pictures_and_sound_in_step_at_once(
    sound_tells: bool, clips: Path
) -> None:
    publication, seen = publish(clips, Codec.VP8, Codec.OPUS)
    sound, pictures = publication.browser.tracks
    sound.late_s, pictures.late_s = 0.02, 0.25
    sound.reports_at_s = pictures.reports_at_s = ()
    pictures.tell_captures()
    if sound_tells:
        sound.tell_captures()
    publication = Publication(new_stream(), publication.browser.tracks)
    publication.stream.subscribe(seen)
    publication.run(0.35)
    assert seen.batches
    publication.run_to_end()
    assert max(map(abs, skews_ms(publication, seen))) < 12


def test_a_track_that_was_agreed_on_is_waited_for(clips: Path) -> None:
    publication, seen = publish(clips, Codec.VP8, Codec.OPUS)
    publication.browser.tracks[1].late_s = 2.0
    publication = Publication(new_stream(), publication.browser.tracks)
    publication.stream.subscribe(seen)
    publication.run(1.9)
    assert not seen.batches
    publication.run_to_end()
    assert {packet.track.codec for packet in seen.batches[0].packets} == {Codec.VP8, Codec.OPUS}


def test_without_reports_tracks_are_in_step_by_their_arrival_after_half_a_second(clips: Path) -> None:
    publication, seen = publish(clips, Codec.VP8, Codec.OPUS)
    for track in publication.browser.tracks:
        track.reports_at_s = ()
    publication = Publication(new_stream(), publication.browser.tracks)
    publication.stream.subscribe(seen)
    publication.run(0.45)
    assert not seen.batches
    publication.run(0.15)
    assert seen.batches
    publication.run_to_end()
    assert max(map(abs, skews_ms(publication, seen))) < 20


def test_viewers_do_not_wait_and_pictures_slew_into_step_when_sound_is_reported(clips: Path) -> None:
    publication, seen = publish(clips, Codec.VP8, Codec.OPUS, seconds=10)
    publication.browser.tracks[0].late_s = 0.15
    publication = Publication(new_stream(), publication.browser.tracks)
    seen.is_live = True
    publication.stream.subscribe(seen)
    publication.run(0.5)
    assert len(packets(seen, Kind.VIDEO)) > 10
    publication.run_to_end()
    skews = skews_ms(publication, seen)
    assert 100 < abs(skews[0]) < 200
    assert max(map(abs, skews[-60:])) < 5
    steps = durations_ms(seen.batches, Kind.VIDEO)
    assert 1000 / 30 * 0.94 < min(steps) <= max(steps) < 1000 / 30 * 1.06


def test_what_is_held_comes_out_when_the_peer_goes(clips: Path) -> None:
    publication, seen = publish(clips, Codec.VP8, Codec.OPUS)
    publication.run(1.5)
    publication.publisher.close(EndReason.DISCONNECTED)
    assert len(packets(seen, Kind.VIDEO)) == 45
    assert seen.end_reason is EndReason.DISCONNECTED
    assert publication.registry.find("cam") is None


def test_reports_that_make_no_sense_change_nothing(clips: Path) -> None:
    publication, seen = publish(clips, Codec.VP8, Codec.OPUS)
    clock = publication.clock
    publication.run(0.3)
    for ntp in (0, 1 << 60, 77):
        report = SenderReport(2000, ntp, 12345, 0, 0).serialize()
        publication.publisher.receive_rtcp(report, 1, clock.now_s)
    for track in publication.browser.tracks:
        track.reports_at_s = ()
    publication.run_to_end()
    assert max(map(abs, skews_ms(publication, seen))) < 20


def test_what_is_held_is_known_and_to_be_had_before(clips: Path) -> None:
    publication, seen = publish(clips, Codec.VP8, Codec.OPUS)
    publication.run(0.4)
    assert [track.codec for track in publication.stream.tracks] == [Codec.OPUS, Codec.VP8]
    assert not seen.batches
    publication.stream.flush()
    assert len(packets(seen, Kind.VIDEO)) == 12
    publication.run_to_end()
    assert len(packets(seen, Kind.VIDEO)) == 120
    assert max(map(abs, skews_ms(publication, seen))) < 20


# --- sources, formats and clocks that change ----------------------------------------------------------------


def moved(track: SendTrack, from_frame: int, *, ssrc: int, numbers: int, ticks: int) -> None:
    """From a frame on another source sends, with a clock and numbers of its own."""
    for at in range(from_frame, len(track.frames)):
        renewed = tuple(
            replace(
                packet,
                ssrc=ssrc,
                sequence_number=packet.sequence_number + numbers & 0xFFFF,
                timestamp=packet.timestamp + ticks & 0xFFFFFFFF,
            )
            for packet in track.frames[at].packets
        )
        track.frames[at] = replace(track.frames[at], packets=renewed)


def test_another_source_takes_over_when_the_first_is_silent(clips: Path) -> None:
    clip = make_clip(clips, Codec.VP8, None, seconds=6)
    track = track_of_clip(clip, "1", Codec.VP8, ssrc=2000)
    moved(track, 90, ssrc=7777, numbers=30_000, ticks=1_000_000_000)
    del track.frames[50:90]
    publication, seen = Publication(new_stream(), [track]), Batches()
    publication.stream.subscribe(seen)
    publication.run_to_end()
    video = packets(seen, Kind.VIDEO)
    assert len(video) == 50 + 90
    assert video[50].is_keyframe
    gap_s = (video[50].pts - video[49].pts) / 90_000
    assert gap_s == pytest.approx(41 / 30, abs=0.02)
    assert publication.stream.notices()["source_changes"] == 1


def test_a_second_source_beside_the_first_is_left_out(clips: Path) -> None:
    """Simulcast layers without names, or somebody who wants to disturb."""
    clip = make_clip(clips, Codec.VP8, None)
    track, other = (track_of_clip(clip, "1", Codec.VP8, ssrc=ssrc) for ssrc in (2000, 3000))
    publication, seen = Publication(new_stream(), [track]), Batches()
    publication.stream.subscribe(seen)
    publication.run(0.1)
    for frame in other.frames:
        strangers = [packet.serialize() for packet in frame.packets]
        publication.publisher.receive_rtp(strangers, 1, publication.clock.now_s)
    publication.run_to_end()
    assert len(packets(seen, Kind.VIDEO)) == 120
    assert publication.stream.notices()["stray_rtp_packets"] > 100


def test_a_clock_that_is_set_anew_leaves_no_hole(clips: Path) -> None:
    clip = make_clip(clips, Codec.VP8, None)
    track = track_of_clip(clip, "1", Codec.VP8, ssrc=2000, reports_at_s=())
    moved(track, 60, ssrc=2000, numbers=0, ticks=90_000 * 5000)
    publication, seen = Publication(new_stream(), [track]), Batches()
    publication.stream.subscribe(seen)
    publication.run_to_end()
    assert len(packets(seen, Kind.VIDEO)) == 120
    steps = durations_ms(seen.batches, Kind.VIDEO)
    assert 10 < min(steps) <= max(steps) < 60
    assert publication.stream.notices()["timestamp_jumps"] == 1


def test_a_codec_may_change_in_the_middle(clips: Path) -> None:
    """Browsers fall back to another codec that was agreed on; the track goes on as another object."""
    first = track_of_clip(make_clip(clips, Codec.VP9, None), "1", Codec.VP9, ssrc=2000)
    second = track_of_clip(make_clip(clips, Codec.H264, None), "1", Codec.H264, ssrc=2000)
    first.line = line("1", Codec.VP9, Codec.H264)
    first.frames = renumbered([*first.frames[:60], *second.frames[60:]], ticks=3000)
    publication, seen = Publication(new_stream(), [first]), Batches()
    publication.stream.subscribe(seen)
    publication.run_to_end()
    video = packets(seen, Kind.VIDEO)
    assert [packet.track.codec for packet in video] == [Codec.VP9] * 60 + [Codec.H264] * 60
    assert {packet.track.id for packet in video} == {1}
    changes = [batch.tracks_changed for batch in seen.batches if batch.tracks_changed]
    assert len(changes) == 2


def test_a_changed_size_is_a_new_track_for_h264_and_none_for_vp8(clips: Path) -> None:
    for codec, tracks in ((Codec.H264, 2), (Codec.VP8, 1)):
        small = track_of_clip(make_clip(clips, codec, None), "1", codec, ssrc=2000)
        large = track_of_clip(make_clip(clips, codec, None, size="640x360"), "1", codec, ssrc=2000)
        small.frames = renumbered([*small.frames[:30], *large.frames[30:]], ticks=3000)
        publication, seen = Publication(new_stream(), [small]), Batches()
        publication.stream.subscribe(seen)
        publication.run_to_end()
        video = packets(seen, Kind.VIDEO)
        assert len(video) == 120
        assert len({id(packet.track) for packet in video}) == tracks


def test_a_track_that_is_added_later_is_in_step(clips: Path) -> None:
    publication, seen = publish(clips, Codec.VP8, Codec.OPUS, seconds=10)
    sound = publication.browser.tracks[0]
    del sound.frames[:200]
    sound.reports_at_s = (6.5, 9.0)
    publication = Publication(new_stream(), publication.browser.tracks)
    publication.stream.subscribe(seen)
    publication.run_to_end()
    assert len(packets(seen, Kind.AUDIO)) in (300, 301)
    skews = skews_ms(publication, seen)
    assert max(map(abs, skews[-60:])) < 10
    assert max(map(abs, skews)) < 60


def test_pauses_of_discontinuous_sound_keep_their_length(clips: Path) -> None:
    """With DTX a sender is silent for up to 400 ms; the clock goes on."""
    publication, seen = publish(clips, Codec.VP8, Codec.OPUS)
    sound = publication.browser.tracks[0]
    silent = [at for at in range(len(sound.frames)) if at % 50 > 10 and at % 20]
    numbers = itertools.count(65_000)
    sound.frames = [
        replace(
            frame, packets=tuple(replace(p, sequence_number=next(numbers) & 0xFFFF) for p in frame.packets)
        )
        for at, frame in enumerate(sound.frames)
        if at not in silent
    ]
    publication = Publication(new_stream(), publication.browser.tracks)
    publication.stream.subscribe(seen)
    publication.run_to_end()
    assert len(packets(seen, Kind.AUDIO)) == len(sound.frames)
    assert max(durations_ms(seen.batches, Kind.AUDIO)) > 350
    assert max(map(abs, skews_ms(publication, seen))) < 12
    assert publication.stream.notices()["rtp_packets_lost"] == 0


# --- feedback, and what nobody should send ------------------------------------------------------------------


def test_arrivals_are_told_often_and_all_of_them(clips: Path) -> None:
    publication, _ = publish(clips, Codec.VP8, Codec.OPUS)
    publication.run_to_end()
    told = [one for one in publication.browser.received if isinstance(one, TransportFeedback)]
    assert 60 <= len(told) <= 100
    arrived = sum(ticks is not None for one in told for ticks in one.arrivals)
    assert arrived == sum(len(f.packets) for track in publication.browser.tracks for f in track.frames)


def test_peers_that_want_a_bit_rate_are_told_one(clips: Path) -> None:
    publication, _ = publish(clips, Codec.VP8, None)
    (track,) = publication.browser.tracks
    wish = replace(FORMATS[Codec.VP8], feedback=frozenset({"goog-remb", "nack", "ccm fir"}))
    track.line = replace(line("1", Codec.VP8, has_twcc=False), formats=(wish,))
    publication = Publication(new_stream(), [track], max_bitrate_bps=3_000_000)
    publication.run(2.0)
    publication.stream.request_keyframe()
    publication.run(0.1)
    received = publication.browser.received
    limits = [one for one in received if isinstance(one, ReceiverEstimatedMaximumBitrate)]
    assert {one.bitrate_bps // 100_000 for one in limits} == {30}
    assert isinstance(received[-1], FullIntraRequest), "asked for in the only way that was agreed on"
    assert not any(isinstance(one, TransportFeedback) for one in received)


def test_requests_fit_into_a_packet_however_much_is_missing(clips: Path) -> None:
    publication, _ = publish(clips, Codec.VP8, None)
    sizes: list[int] = []
    publication.browser.down.send = lambda packet, now_s: sizes.append(len(packet))  # type: ignore[method-assign]
    track = FORMATS[Codec.VP8].payload_type
    media = [
        RtpPacket(track, 60_000 + n * 17 & 0xFFFF, 0, 2000, b"\x10media").serialize() for n in range(500)
    ]
    publication.publisher.receive_rtp(media, 1, publication.clock.now_s)
    assert len(sizes) >= 2
    assert max(sizes) <= 1200


def test_reports_tell_the_loss(clips: Path) -> None:
    publication, _ = publish(clips, Codec.VP8, None, up=Impairment(loss=0.2, seed=9))
    publication.run(3.9)
    reports = [one for one in publication.browser.received if isinstance(one, ReceiverReport)]
    assert 3 <= len(reports) <= 4
    assert all(block.ssrc == 2000 for one in reports for block in one.blocks)
    assert any(20 < one.blocks[0].fraction_lost < 90 for one in reports)


@given(st.lists(st.binary(max_size=60), max_size=8), st.integers(0, 2**32))
@settings(max_examples=60)
def test_no_packet_does_harm(blobs: list[bytes], seed: int) -> None:
    """Random bytes, and RTP of agreed payload types around them."""
    chance = random.Random(seed)
    lines = [line("0", Codec.OPUS, Codec.PCMU), line("1", *VIDEO)]
    tracks = [SendTrack(one, []) for one in lines]
    publication = Publication(new_stream(), tracks)
    types = [t for one in FORMATS.values() for t in (one.payload_type, one.rtx_payload_type) if t is not None]
    for number, blob in enumerate(blobs):
        kind = chance.choice(types)
        marked = chance.random() < 0.5
        packet = RtpPacket(kind, number + chance.randint(0, 2), number // 2, kind, blob, is_marked=marked)
        publication.publisher.receive_rtp([blob, packet.serialize()], 1, publication.clock.now_s)
        publication.publisher.receive_rtcp(blob, 1, publication.clock.now_s)
        publication.clock.now_s += 0.1
        publication.publisher.tick(publication.clock.now_s)
    publication.publisher.close(EndReason.UNPUBLISHED)


def test_a_publisher_that_is_closed_takes_nothing_more(clips: Path) -> None:
    publication, seen = publish(clips, Codec.VP8, None)
    publication.run(0.5)
    publication.publisher.close(EndReason.UNPUBLISHED)
    frames = len(packets(seen, Kind.VIDEO))
    publication.run(0.5)
    publication.publisher.close(EndReason.DISCONNECTED)
    assert len(packets(seen, Kind.VIDEO)) == frames
    assert seen.end_reason is EndReason.UNPUBLISHED


def test_clocks_that_run_apart_stay_in_step(clips: Path) -> None:
    """A sound card that is 0.1 % fast would put half a minute 32 ms out; pictures follow the reports."""
    clip = make_clip(clips, Codec.VP8, Codec.OPUS)
    tracks = [track_of_clip(clip, "0", Codec.OPUS, ssrc=1000), track_of_clip(clip, "1", Codec.VP8, ssrc=2000)]
    sound, video = tracks
    sound.frames = repeated(sound.frames[:200], times=8, every_s=0.02 / 1.001, ticks=960)
    video.frames = repeated(video.frames[:120], times=8, every_s=1 / 30, ticks=3000)
    sound.drift = 0.001
    publication, seen = Publication(new_stream(), tracks), Batches()
    publication.stream.subscribe(seen)
    publication.run_to_end()
    audio, pictures = packets(seen, Kind.AUDIO), packets(seen, Kind.VIDEO)
    assert {after.pts - before.pts for before, after in itertools.pairwise(audio)} == {960}
    assert len(pictures) == 8 * 120
    skews = [
        1000 * (picture.pts / 90_000 - (audio[0].pts / 48_000 + frame.media_s * 1.001))
        for picture, frame in zip(pictures, video.frames, strict=True)
    ]
    assert max(map(abs, skews)) < 22
    steps = durations_ms(seen.batches, Kind.VIDEO)
    assert 1000 / 30 * 0.94 < min(steps) <= max(steps) < 1000 / 30 * 1.06
