"""What a browser sends becomes packets of the hub: whole, in order, in step."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from unittest.mock import ANY

import pytest
from helpers.impairment import Impairment
from helpers.packets import new_stream
from helpers.rtp_media import Batches, Publication, SendTrack, durations_ms, line, make_clip, track_of_clip
from helpers.tools import requires

from aircheck.facts import EndReason
from aircheck.media.packet import Packet
from aircheck.media.track import Codec, Kind
from aircheck.wire.rtp.packet import RtpPacket
from aircheck.wire.rtp.rtcp import PictureLossIndication, SenderReport

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
    publication.browser.tracks[0].late_s = 0.25
    publication = Publication(new_stream(), publication.browser.tracks)
    publication.stream.subscribe(seen)
    publication.run(2.4)
    assert not seen.batches, "held until sound is reported"
    publication.run_to_end()
    assert max(map(abs, skews_ms(publication, seen))) < 5


def test_without_reports_tracks_are_in_step_by_their_arrival_after_three_seconds(clips: Path) -> None:
    publication, seen = publish(clips, Codec.VP8, Codec.OPUS)
    for track in publication.browser.tracks:
        track.reports_at_s = ()
    publication = Publication(new_stream(), publication.browser.tracks)
    publication.stream.subscribe(seen)
    publication.run(2.9)
    assert not seen.batches
    publication.run(0.2)
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
