"""Every container: what fits is copied, sound that does not is transcoded, pictures move to one that fits."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path

import av
import pytest
from helpers import mp4_media
from helpers.packets import VIDEO, batch, new_stream
from helpers.recorder_rig import Rig, make_plan
from helpers.sound import g711_batches

from aircheck.containers.capability import Container
from aircheck.containers.recover import read_note
from aircheck.containers.verify import verify_file
from aircheck.facts import EndReason, Event, EventKind, RecordingFacts, RecordingState, SegmentFacts
from aircheck.media.packet import Batch
from aircheck.media.track import Codec, Track
from aircheck.recording.plan import AudioPlan, Mp4Audio, RecordingPlan
from aircheck.recording.rotation import RotationRule
from aircheck.segment_note import decode_note

MAX_SKEW_S = 0.02
CONTAINERS = ("mp4", "mkv", "ts", "flv")


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with Rig(tmp_path) as rig:
        yield rig


async def record(
    rig: Rig, batches: Sequence[Batch], plan: RecordingPlan
) -> tuple[RecordingFacts, list[SegmentFacts]]:
    """From the first batch to the end of the stream, as a publisher that leaves ends it."""
    stream = new_stream()
    recording = rig.recorder.record(stream, plan, requested_by="test")
    for one in batches:
        stream.publish(one)
        await rig.recorder.audio.drain()
    stream.end(EndReason.UNPUBLISHED, 0)
    return await rig.finish(recording)


def of_clip(clip: mp4_media.Clip) -> list[Batch]:
    """The clip as a stream: batches of a few packets in the order of their times."""
    packets = sorted(clip.packets, key=lambda packet: packet.dts / packet.track.timescale)
    found = [batch([*part]) for part in mp4_media.batches(packets)]
    return [replace(one, tracks_changed=number == 0) for number, one in enumerate(found)]


def codecs(path: str) -> list[str]:
    with av.open(path) as container:
        return [stream.codec_context.codec.canonical_name for stream in container.streams]


def events(rig: Rig, kind: EventKind) -> list[Event]:
    return [event for event in rig.journal.events if event.kind is kind]


@pytest.mark.parametrize("container", CONTAINERS)
async def test_every_container_takes_h264_and_aac_as_they_are(
    container: str, rig: Rig, tmp_path: Path
) -> None:
    clip = mp4_media.make_clip(tmp_path, "h264", "aac")
    facts, (segment,) = await record(rig, of_clip(clip), make_plan(tmp_path, container=container))
    assert facts.state is RecordingState.COMPLETE
    assert segment.path.endswith(f"cam.{container}")
    assert segment.container == facts.container == container
    assert codecs(segment.path) == ["h264", "aac"]
    assert verify_file(Path(segment.path)).errors == []
    sent = [sum(packet.track is track for packet in clip.packets) for track in clip.tracks]
    assert [track.packets for track in segment.tracks] == sent
    assert rig.recorder.audio.counters.converted_packets == 0


@pytest.mark.parametrize("container", CONTAINERS)
async def test_the_note_of_a_file_says_how_it_ended(container: str, rig: Rig, tmp_path: Path) -> None:
    clip = mp4_media.make_clip(tmp_path, "h264", "aac")
    _, (segment,) = await record(rig, of_clip(clip), make_plan(tmp_path, container=container))
    _, noted = decode_note(read_note(Path(segment.path)))
    assert noted.end_ns == segment.end_ns


@pytest.mark.parametrize("container", ["mp4", "ts"])
async def test_g711_becomes_aac_where_it_must(container: str, rig: Rig, tmp_path: Path) -> None:
    facts, (segment,) = await record(rig, g711_batches(4, tmp_path), make_plan(tmp_path, container=container))
    assert codecs(segment.path) == ["h264", "aac"]
    (sound,) = (track for track in segment.tracks if track.kind == "audio")
    assert (sound.sample_rate, sound.channels) == (44_100, 2)
    beeps = verify_file(Path(segment.path)).beeps_s
    zero = beeps[0]
    assert [beep - zero for beep in beeps] == pytest.approx([0, 1, 2, 3], abs=MAX_SKEW_S)
    assert facts.duration_ms == pytest.approx(4000, abs=60)


@pytest.mark.parametrize("container", ["mkv", "flv"])
async def test_g711_is_copied_where_it_can_be(container: str, rig: Rig, tmp_path: Path) -> None:
    _, (segment,) = await record(rig, g711_batches(1, tmp_path), make_plan(tmp_path, container=container))
    assert segment.tracks[1].codec == Codec.PCMA
    assert rig.recorder.audio.counters.converted_packets == 0


async def test_sound_of_webm_is_opus(rig: Rig, tmp_path: Path) -> None:
    clip = mp4_media.make_clip(tmp_path, "vp9", "aac")
    _, (segment,) = await record(rig, of_clip(clip), make_plan(tmp_path, container="webm"))
    assert codecs(segment.path) == ["vp9", "opus"]
    assert verify_file(Path(segment.path)).errors == []


async def test_opus_stays_opus_in_mp4_unless_aac_is_wanted(rig: Rig, tmp_path: Path) -> None:
    clip = mp4_media.make_clip(tmp_path, "h264", "opus")
    _, (kept,) = await record(rig, of_clip(clip), make_plan(tmp_path, "kept"))
    assert codecs(kept.path) == ["h264", "opus"]
    plan = make_plan(tmp_path, "made", audio=AudioPlan(48_000, 1, 0, mp4=Mp4Audio.AAC))
    _, (made,) = await record(rig, of_clip(clip), plan)
    assert codecs(made.path) == ["h264", "aac"]
    assert (made.tracks[1].sample_rate, made.tracks[1].channels) == (48_000, 1)


async def test_only_opus_is_made_into_aac_where_mp4_is_to_play_everywhere(rig: Rig, tmp_path: Path) -> None:
    audio = AudioPlan(mp4=Mp4Audio.OPUS_TO_AAC)
    for codec, expected in (("opus", "aac"), ("mp3", "mp3")):
        clip = mp4_media.make_clip(tmp_path, "h264", codec)
        _, (segment,) = await record(rig, of_clip(clip), make_plan(tmp_path, f"from-{codec}", audio=audio))
        assert codecs(segment.path) == ["h264", expected]


async def test_pictures_that_do_not_fit_take_the_nearest_container_and_say_so(
    rig: Rig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clip = mp4_media.make_clip(tmp_path, "h264", "aac")
    facts, (segment,) = await record(rig, of_clip(clip), make_plan(tmp_path, container="webm"))
    assert facts.container == segment.container == "mkv"
    assert segment.path.endswith("cam.mkv")
    assert codecs(segment.path) == ["h264", "aac"]
    (event,) = events(rig, EventKind.CONTAINER_CHANGED)
    assert event.facts["wanted"] == "webm"
    assert event.facts["container"] == "mkv"
    assert "container changed stream=cam" in caplog.text
    assert rig.journal.recordings[facts.id].container == "mkv"


async def test_pictures_that_another_container_is_preferred_for_go_there(rig: Rig, tmp_path: Path) -> None:
    plan = make_plan(tmp_path, preferred=((Codec.H264, Container.TS), (Codec.VP8, Container.WEBM)))
    facts, (segment,) = await record(rig, g711_batches(2, tmp_path), plan)
    assert facts.container == segment.container == "ts"
    assert codecs(segment.path) == ["h264", "aac"], "what the preferred container cannot hold is transcoded"
    assert not events(rig, EventKind.CONTAINER_CHANGED)


async def test_a_late_track_that_does_not_fit_begins_another_file(rig: Rig, tmp_path: Path) -> None:
    """H.264 in MP4; then VP8 comes as a second track."""
    vp8 = Track(3, Codec.VP8, 1000, width=320, height=180)
    batches = g711_batches(4, tmp_path)
    late = [
        replace(
            one,
            packets=[*one.packets, *(replace(p, track=vp8) for p in one.packets if p.track is VIDEO)],
            tracks_changed=number == 0,
        )
        for number, one in enumerate(batches[10:])
    ]
    plan = make_plan(tmp_path, "{streamName}-{startTimeMillis}", rotation=RotationRule(duration_ms=60_000))
    facts, segments = await record(rig, [*batches[:10], *late], plan)
    assert facts.state is RecordingState.COMPLETE
    assert [segment.container for segment in segments] == ["mp4", "mkv"]
    assert [track.codec for track in segments[1].tracks] == ["h264", "aac", "vp8"]


async def test_rotation_loses_no_transcoded_sound(rig: Rig, tmp_path: Path) -> None:
    plan = make_plan(tmp_path, "{streamName}-{startTimeMillis}", rotation=RotationRule(duration_ms=2000))
    _, segments = await record(rig, g711_batches(6, tmp_path), plan)
    assert len(segments) == 3
    sound = sum(track.packets for segment in segments for track in segment.tracks if track.kind == "audio")
    assert sound * 1024 / 44_100 == pytest.approx(6, abs=0.1)


async def test_a_stop_of_the_server_waits_for_sound_on_its_way(tmp_path: Path) -> None:
    async with Rig(tmp_path) as rig:
        stream = new_stream()
        rig.recorder.record(stream, make_plan(tmp_path), requested_by="test")
        for one in g711_batches(3, tmp_path):
            stream.publish(one)
    (segment,) = rig.journal.segment_rows.values()
    packets = {track.kind: track.packets for track in segment.tracks}
    assert packets["video"] == 75
    assert packets["audio"] * 1024 / 44_100 == pytest.approx(3, abs=0.1)
