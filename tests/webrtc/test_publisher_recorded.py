"""From the packets of a browser to a file: it decodes clean, nothing is missing, beeps meet flashes."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.impairment import Impairment
from helpers.packets import new_stream
from helpers.probe import decode_complaints
from helpers.recorder_rig import Rig, make_plan
from helpers.rtp_media import Publication, SendTrack, make_clip, renumbered, track_of_clip
from helpers.tools import requires

from aircheck.containers.capability import Container
from aircheck.containers.verify import FileVerdict, verify_file
from aircheck.facts import EndReason, SegmentFacts
from aircheck.media.track import Codec
from aircheck.recording.plan import AudioPlan, Mp4Audio

pytestmark = requires("ffmpeg")

SECONDS = 4


def browser_tracks(folder: Path, video: Codec | None, audio: Codec | None, **options: int) -> list[SendTrack]:
    clip = make_clip(folder, video, audio, seconds=options.get("seconds", SECONDS))
    tracks = []
    if audio is not None:
        tracks.append(track_of_clip(clip, "0", audio, ssrc=1000))
    if video is not None:
        tracks.append(track_of_clip(clip, "1", video, ssrc=2000))
    return tracks


async def record(publication: Publication, rig: Rig, **plan: object) -> list[SegmentFacts]:
    """Publish to the end into a recording; returns its files."""
    made = make_plan(rig.root, preferred=((Codec.VP9, Container.WEBM),), **plan)
    recording = rig.recorder.record(publication.stream, made, requested_by="test")
    while not publication.browser.is_done:
        publication.run(0.2)
        await asyncio.sleep(0)
    publication.run(1.0)
    publication.publisher.close(EndReason.UNPUBLISHED)
    _, segments = await rig.finish(recording)
    return segments


def judge(segment: SegmentFacts) -> FileVerdict:
    """Decode a file; nothing may be wrong with it."""
    path = Path(segment.path)
    complaints = decode_complaints(path).splitlines()
    assert [line for line in complaints if "Guessed Channel Layout" not in line] == []
    verdict = verify_file(path)
    assert verdict.errors == []
    return verdict


def frames_of(verdict: FileVerdict, kind: str) -> int:
    track = verdict.track(kind)
    return track.decoded_frames if track is not None else 0


def offsets_ms(verdict: FileVerdict) -> list[float]:
    """For each beep, by how much it comes later than the nearest flash, if that is near at all."""
    nearest = [(beep, min(verdict.flashes_s, key=lambda one: abs(one - beep))) for beep in verdict.beeps_s]
    return [1000 * (beep - flash) for beep, flash in nearest if abs(beep - flash) < 0.5]


def bad_path(seed: int = 3) -> dict[str, Impairment]:
    return {
        "up": Impairment(
            calm_packets=10, loss=0.05, reorder=0.03, duplicate=0.01, delay_s=0.03, jitter_s=0.02, seed=seed
        ),
        "down": Impairment(loss=0.02, delay_s=0.03, seed=seed + 1),
    }


@pytest.mark.parametrize(
    ("video", "audio", "container"),
    [
        (Codec.VP8, Codec.OPUS, "webm"),
        (Codec.VP9, Codec.OPUS, "webm"),
        (Codec.H264, Codec.OPUS, "mp4"),
        (Codec.H265, Codec.OPUS, "mp4"),
        (Codec.AV1, Codec.OPUS, "mp4"),
        (Codec.H264, Codec.PCMA, "mp4"),
        (Codec.H264, Codec.PCMU, "mp4"),
    ],
)
async def test_a_browser_over_a_bad_path_is_recorded_whole(
    video: Codec, audio: Codec, container: str, tmp_path: Path, clips: Path
) -> None:
    publication = Publication(new_stream(), browser_tracks(clips, video, audio), **bad_path())
    async with Rig(tmp_path) as rig:
        (segment,) = await record(publication, rig)
        assert segment.container == container
        verdict = judge(segment)
    assert publication.stream.notices()["rtp_packets_lost"] == 0
    assert frames_of(verdict, "video") == 30 * SECONDS
    assert len(verdict.flashes_s) == len(verdict.beeps_s) == SECONDS
    offsets = offsets_ms(verdict)
    assert max(map(abs, offsets)) <= 20, offsets


async def test_vp8_with_g711_goes_to_matroska_as_it_is(tmp_path: Path, clips: Path) -> None:
    publication = Publication(new_stream(), browser_tracks(clips, Codec.VP8, Codec.PCMU))
    async with Rig(tmp_path) as rig:
        (segment,) = await record(publication, rig)
        verdict = judge(segment)
    assert segment.container == "mkv"
    assert {track.codec for track in verdict.tracks} == {"vp8", "pcm_mulaw"}
    assert frames_of(verdict, "video") == 30 * SECONDS


async def test_opus_becomes_aac_in_mp4_where_that_is_wanted(tmp_path: Path, clips: Path) -> None:
    publication = Publication(new_stream(), browser_tracks(clips, Codec.H264, Codec.OPUS), **bad_path())
    async with Rig(tmp_path) as rig:
        (segment,) = await record(publication, rig, audio=AudioPlan(48_000, 2, 5, mp4=Mp4Audio.AAC))
        verdict = judge(segment)
    assert {track.codec for track in verdict.tracks} == {"h264", "aac"}
    offsets = offsets_ms(verdict)
    assert max(map(abs, offsets)) <= 20, offsets


@pytest.mark.parametrize("codec", [Codec.VP8, Codec.VP9, Codec.H264])
async def test_pictures_that_change_their_size_are_one_file(
    codec: Codec, tmp_path: Path, clips: Path
) -> None:
    """As a browser's do when its bit rate grows, and a phone's when it is turned."""
    small, large = (
        track_of_clip(make_clip(clips, codec, None, size=size), "1", codec, ssrc=2000)
        for size in ("320x180", "360x640")
    )
    small.frames = renumbered([*small.frames[:30], *large.frames[30:]], ticks=3000)
    publication = Publication(new_stream(), [small])
    async with Rig(tmp_path) as rig:
        (segment,) = await record(publication, rig)
        verdict = judge(segment)
    assert frames_of(verdict, "video") == 120


async def test_what_cannot_be_had_again_leaves_a_gap_and_nothing_broken(tmp_path: Path, clips: Path) -> None:
    tracks = browser_tracks(clips, Codec.VP8, Codec.OPUS)
    sound, video = tracks
    video.frames[40] = replace(video.frames[40], packets=())
    del sound.frames[60:65]
    publication = Publication(new_stream(), tracks)
    async with Rig(tmp_path) as rig:
        (segment,) = await record(publication, rig)
        verdict = judge(segment)
    assert frames_of(verdict, "video") == 100
    offsets = offsets_ms(verdict)
    assert len(offsets) == SECONDS
    assert max(map(abs, offsets)) <= 20, offsets


async def test_sound_with_pauses_stays_in_step_when_it_becomes_aac(tmp_path: Path, clips: Path) -> None:
    """Opus DTX sends nothing for up to 400 ms at a time: silence takes its place."""
    tracks = browser_tracks(clips, Codec.H264, Codec.OPUS)
    sound = tracks[0]
    kept = [frame for at, frame in enumerate(sound.frames) if at % 50 <= 10 or at % 20 == 0]
    sound.frames = renumbered(kept)
    publication = Publication(new_stream(), tracks)
    async with Rig(tmp_path) as rig:
        (segment,) = await record(publication, rig, audio=AudioPlan(48_000, 2, 5, mp4=Mp4Audio.AAC))
        verdict = judge(segment)
    offsets = offsets_ms(verdict)
    assert len(offsets) == SECONDS
    assert max(map(abs, offsets)) <= 25, offsets


@pytest.mark.parametrize("codec", [Codec.VP8, Codec.H264])
async def test_sound_that_is_added_later_is_recorded_in_step(
    codec: Codec, tmp_path: Path, clips: Path
) -> None:
    tracks = browser_tracks(clips, codec, Codec.OPUS, seconds=8)
    sound = tracks[0]
    del sound.frames[:230]
    sound.reports_at_s = (5.5, 6.5)
    publication = Publication(new_stream(), tracks)
    async with Rig(tmp_path) as rig:
        segments = await record(publication, rig)
        verdicts = [judge(segment) for segment in segments]
    assert sum(frames_of(verdict, "video") for verdict in verdicts) == 240
    assert sum(frames_of(verdict, "audio") for verdict in verdicts) in (170, 171)
    offsets = offsets_ms(verdicts[-1])
    assert len(offsets) == 3
    assert max(map(abs, offsets)) <= 20, offsets


async def test_a_recording_that_is_stopped_early_has_what_came(tmp_path: Path, clips: Path) -> None:
    publication = Publication(new_stream(), browser_tracks(clips, Codec.VP8, Codec.OPUS))
    async with Rig(tmp_path) as rig:
        recording = rig.recorder.record(publication.stream, make_plan(tmp_path), requested_by="test")
        publication.run(1.5)
        _, (segment,) = await rig.finish(recording)
        verdict = judge(segment)
    assert frames_of(verdict, "video") == 45


@pytest.mark.parametrize("pictures_tell", [True, False], ids=["as Firefox", "without headers"])
async def test_a_microphone_that_was_away_is_known_by_the_headers_of_pictures(
    pictures_tell: bool, tmp_path: Path, clips: Path
) -> None:
    """The clock of sound stood still meanwhile; its reports, seconds apart, have not come yet."""
    away_s, first = 0.8, 75
    tracks = browser_tracks(clips, Codec.VP8, Codec.OPUS)
    sound, pictures = tracks
    sound.frames[first:] = [replace(one, media_s=one.media_s + away_s) for one in sound.frames[first:]]
    sound.reports_at_s = ()
    if pictures_tell:
        pictures.tell_captures()
    publication = Publication(new_stream(), tracks, **bad_path())
    async with Rig(tmp_path) as rig:
        (segment,) = await record(publication, rig)
        verdict = judge(segment)
    beeps_s = verdict.beeps_s
    assert len(beeps_s) == SECONDS
    passed_s = beeps_s[-1] - beeps_s[0] - (SECONDS - 1)
    assert passed_s == pytest.approx(away_s if pictures_tell else 0, abs=0.03)
