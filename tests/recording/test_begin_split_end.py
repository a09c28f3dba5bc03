from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import av
import pytest
from helpers.packets import AUDIO, VIDEO, av_batches, new_stream, stream_facts
from helpers.patience import until
from helpers.recorder_rig import Rig, feed, make_plan, payloads, sent

from aircheck.facts import EndReason, EventKind, GapReason, RecordingState
from aircheck.hub.stream import Stream
from aircheck.media.packet import Batch
from aircheck.media.track import Track
from aircheck.recording.naming import OnConflict
from aircheck.recording.recorder import DiskReserveError
from aircheck.recording.rotation import RotationRule, next_boundary_ns
from aircheck.recording.zones import parse_zone

SECOND_NS = 1_000_000_000
HOUR_MS = 3_600_000


def came_back(video: Track, audio: Track) -> list[Batch]:
    """Two seconds of a publisher with these tracks."""
    batches = list(av_batches(2000))
    for one in batches:
        for packet in one.packets:
            packet.track = video if packet.track.is_video else audio
    return batches


async def test_a_split_goes_on_in_a_new_file_at_the_next_key_frame(tmp_path: Path) -> None:
    batches = list(av_batches(4000, gop_ms=1000))
    async with Rig(tmp_path) as rig:
        stream = new_stream("cam")
        recording = rig.recorder.record(stream, make_plan(tmp_path), requested_by="test")
        await feed(stream, batches[:6])
        recording.split()
        await feed(stream, batches[6:])
        _, segments = await rig.finish(recording)
    first, second = (payloads(segment.path) for segment in segments)
    assert len(first["video"]) == 50
    whole = sent(batches)
    assert first["video"] + second["video"] == whole["video"]
    assert first["audio"] + second["audio"] == whole["audio"]


async def test_a_maximum_duration_ends_the_recording_to_the_frame(tmp_path: Path) -> None:
    batches = list(av_batches(4000))
    plan = make_plan(tmp_path, max_duration_ms=1500)
    async with Rig(tmp_path) as rig:
        stream = new_stream("cam")
        recording = rig.recorder.record(stream, plan, requested_by="test")
        await feed(stream, batches)
        assert stream.subscribers == ()
        facts, segments = await rig.finish(recording)
    assert facts.end_reason is EndReason.MAX_DURATION
    assert len(payloads(segments[0].path)["video"]) == 38  # 0, 40, … 1480


async def test_a_maximum_duration_holds_for_the_past_too(tmp_path: Path) -> None:
    batches = list(av_batches(4000))
    async with Rig(tmp_path) as rig:
        stream = Stream(stream_facts("cam"), back_buffer_bytes=1 << 20)
        stream.back_buffer.keep(10_000)
        for one in batches:
            one.arrival_ns = rig.clock.wall_ns()
            stream.publish(one)
        plan = make_plan(tmp_path, pre_roll_ms=10_000, max_duration_ms=1500)
        recording = rig.recorder.record(stream, plan, requested_by="test")
        facts, segments = await rig.finish(recording)
    assert facts.end_reason is EndReason.MAX_DURATION
    assert len(payloads(segments[0].path)["video"]) == 38


async def test_a_past_longer_than_a_file_is_rotated_too(tmp_path: Path) -> None:
    batches = list(av_batches(5000))
    async with Rig(tmp_path) as rig:
        stream = Stream(stream_facts("cam"), back_buffer_bytes=1 << 20)
        stream.back_buffer.keep(10_000)
        for one in batches:
            one.arrival_ns = rig.clock.wall_ns()
            stream.publish(one)
        plan = make_plan(tmp_path, pre_roll_ms=10_000, rotation=RotationRule(duration_ms=2000))
        _, segments = await rig.finish(rig.recorder.record(stream, plan, requested_by="test"))
    found = [payloads(segment.path) for segment in segments]
    assert [len(each["video"]) for each in found] == [50, 50, 25]
    for kind, whole in sent(batches).items():
        assert [data for each in found for data in each[kind]] == whole


async def test_a_pause_leaves_no_hole_in_the_files_time(tmp_path: Path) -> None:
    batches = list(av_batches(6000, gop_ms=1000))
    async with Rig(tmp_path) as rig:
        stream = new_stream("cam")
        recording = rig.recorder.record(stream, make_plan(tmp_path), requested_by="test")
        await feed(stream, batches[:10])
        recording.pause()
        assert recording.current_facts().state is RecordingState.PAUSED
        await feed(stream, batches[10:17])
        recording.resume()
        await feed(stream, batches[17:])
        facts, segments = await rig.finish(recording)
    kept = payloads(segments[0].path)["video"]
    whole = sent(batches)["video"]
    assert kept == whole[:50] + whole[100:]
    assert len(segments) == 1
    assert 3980 <= segments[0].duration_ms <= 4080
    assert facts.gaps == 0
    with av.open(segments[0].path) as container:
        dts = [packet.dts for packet in container.demux(video=0) if packet.dts is not None]
        steps_s = [float((b - a) * container.streams.video[0].time_base) for a, b in pairwise(dts)]
    assert min(steps_s) >= 0.04, "no picture lies in another one's time"


async def test_a_pause_and_a_resume_reach_row_and_events(tmp_path: Path) -> None:
    async with Rig(tmp_path) as rig:
        stream = new_stream("cam")
        recording = rig.recorder.record(stream, make_plan(tmp_path), requested_by="test")
        await feed(stream, av_batches(1000))
        await rig.recorder.pause(recording)
        paused = rig.journal.recordings[recording.facts.id]
        await rig.recorder.resume(recording)
        resumed = rig.journal.recordings[recording.facts.id]
        await rig.finish(recording)
        await rig.recorder.resume(recording)
    assert (paused.state, resumed.state) == (RecordingState.PAUSED, RecordingState.RECORDING)
    assert rig.journal.recordings[recording.facts.id].state is RecordingState.COMPLETE
    told = [event.kind for event in rig.journal.events]
    assert told.index(EventKind.RECORDING_PAUSED) < told.index(EventKind.RECORDING_RESUMED)


async def test_requests_for_streams_to_come_are_told(tmp_path: Path) -> None:
    async with Rig(tmp_path) as rig:
        armed = rig.recorder.arm("cam", make_plan(tmp_path), requested_by="ems", app="live")
        rig.recorder.disarm(armed)
        rig.recorder.disarm(armed)
    kinds = [(event.kind, event.stream_name, event.facts["armed_id"]) for event in rig.journal.events]
    assert kinds == [
        (EventKind.RECORDING_ARMED, "cam", armed.id),
        (EventKind.RECORDING_DISARMED, "cam", armed.id),
    ]


async def test_an_aligned_rotation_cuts_when_the_wall_clock_passes_the_boundary(tmp_path: Path) -> None:
    rule = RotationRule(duration_ms=2000, is_aligned=True)
    batches = list(av_batches(6000, gop_ms=200))
    async with Rig(tmp_path) as rig:
        stream = new_stream("cam")
        start_ns = rig.clock.wall_ns()
        boundary_ns = next_boundary_ns(rule, start_ns)
        assert boundary_ns is not None
        recording = rig.recorder.record(stream, make_plan(tmp_path, rotation=rule), requested_by="test")
        for one in batches:
            one.arrival_ns = boundary_ns - SECOND_NS
            stream.publish(one)
            if one is batches[9]:
                break
        for one in batches[10:]:
            one.arrival_ns = boundary_ns + SECOND_NS // 10
            stream.publish(one)
            if one is batches[19]:
                break
        _, segments = await rig.finish(recording)
    assert [len(payloads(s.path)["video"]) for s in segments] == [50, 50]


def test_boundaries_count_from_midnight_of_the_zone() -> None:
    day = RotationRule(duration_ms=24 * HOUR_MS, is_aligned=True, zone=parse_zone("+02:00"))
    noon_ns = 12 * 3600 * SECOND_NS
    assert next_boundary_ns(day, noon_ns) == 22 * 3600 * SECOND_NS
    hour = RotationRule(duration_ms=HOUR_MS, is_aligned=True)
    assert next_boundary_ns(hour, noon_ns) == 13 * 3600 * SECOND_NS
    assert next_boundary_ns(RotationRule(duration_ms=HOUR_MS), noon_ns) is None
    half = replace(hour, zone=parse_zone("Asia/Kolkata"))
    assert next_boundary_ns(half, noon_ns) == 12.5 * 3600 * SECOND_NS


@pytest.mark.parametrize(("date", "hours"), [("2026-03-28", 24), ("2026-03-29", 23), ("2026-10-25", 25)])
def test_days_of_a_zone_end_at_its_midnight_whatever_clocks_do(date: str, hours: int) -> None:
    day = RotationRule(duration_ms=24 * HOUR_MS, is_aligned=True, zone=parse_zone("Europe/Paris"))
    midnight = datetime.fromisoformat(date).replace(tzinfo=day.zone)
    midnight_ns = int(midnight.timestamp()) * SECOND_NS
    for hour in (0, 1.5, 3.5, 12, hours - 0.5):
        assert next_boundary_ns(day, midnight_ns + int(hour * 3600) * SECOND_NS) == (
            midnight_ns + hours * 3600 * SECOND_NS
        )
    hour_ns = 3600 * SECOND_NS
    each_hour = replace(day, duration_ms=HOUR_MS)
    for passed in range(hours):
        assert (
            next_boundary_ns(each_hour, midnight_ns + passed * hour_ns)
            == midnight_ns + (passed + 1) * hour_ns
        )


async def test_a_rotation_that_does_not_wait_cuts_between_key_frames(tmp_path: Path) -> None:
    batches = list(av_batches(4000, gop_ms=4000))
    plan = make_plan(tmp_path, rotation=RotationRule(duration_ms=1000, waits_for_keyframe=False))
    async with Rig(tmp_path) as rig:
        _, segments = await rig.record(new_stream("cam"), batches, plan)
    assert len(segments) == 4
    video = [frame for s in segments for frame in payloads(s.path)["video"]]
    assert video == sent(batches)["video"]


@pytest.mark.parametrize(
    "numbers", [(VIDEO.id, AUDIO.id), (AUDIO.id, VIDEO.id), (7, 8)], ids=["same", "swapped", "other"]
)
async def test_a_publisher_that_comes_back_goes_on_in_the_same_file(
    tmp_path: Path, numbers: tuple[int, int]
) -> None:
    """Its tracks are other objects in any case, and may have other numbers."""
    tracks = (replace(VIDEO, id=numbers[0]), replace(AUDIO, id=numbers[1]))
    first, second = list(av_batches(2000)), came_back(*tracks)
    plan = make_plan(tmp_path, reconnect_s=5.0)
    async with Rig(tmp_path) as rig:
        stream = new_stream("cam")
        recording = rig.recorder.record(stream, plan, requested_by="settings")
        await feed(stream, first)
        stream.end(EndReason.DISCONNECTED, 1)
        assert recording.is_waiting
        again = Stream(stream_facts("cam", stream_id="session-2"))
        assert rig.recorder.welcome(again)
        for one in second:
            one.arrival_ns += 5 * SECOND_NS
        await feed(again, second)
        again.end(EndReason.UNPUBLISHED, 2)
        facts, segments = await rig.finish(recording)
    assert len(segments) == 1
    assert payloads(segments[0].path) == sent(first + second)
    (gap,) = recording.gaps
    assert gap.reason is GapReason.RECONNECT
    assert 2900 <= gap.duration_ms <= 3300
    assert 6900 <= segments[0].duration_ms <= 7300
    assert facts.end_reason is EndReason.UNPUBLISHED


async def test_a_publisher_that_comes_back_with_another_configuration_gets_one_new_file(
    tmp_path: Path,
) -> None:
    first = list(av_batches(2000))
    second = came_back(replace(VIDEO, width=640, height=360), replace(AUDIO, config=b"\x12\x10"))
    async with Rig(tmp_path) as rig:
        stream = new_stream("cam")
        recording = rig.recorder.record(stream, make_plan(tmp_path, reconnect_s=5.0), requested_by="test")
        await feed(stream, first)
        stream.end(EndReason.DISCONNECTED, 1)
        again = Stream(stream_facts("cam", stream_id="session-2"))
        rig.recorder.welcome(again)
        await feed(again, second)
        _, segments = await rig.finish(recording)
    assert [payloads(segment.path) for segment in segments] == [sent(first), sent(second)]


async def test_a_publisher_that_comes_back_may_get_a_new_file(tmp_path: Path) -> None:
    first, second = list(av_batches(2000)), came_back(replace(VIDEO), replace(AUDIO))
    plan = make_plan(tmp_path, reconnect_s=5.0, splits_at_reconnect=True)
    async with Rig(tmp_path) as rig:
        stream = new_stream("cam")
        recording = rig.recorder.record(stream, plan, requested_by="test")
        await feed(stream, first)
        stream.end(EndReason.DISCONNECTED, 1)
        again = Stream(stream_facts("cam", stream_id="session-2"))
        rig.recorder.welcome(again)
        await feed(again, second)
        _, segments = await rig.finish(recording)
    assert [payloads(s.path) for s in segments] == [sent(first), sent(second)]


async def test_a_publisher_that_stays_away_ends_the_recording(tmp_path: Path) -> None:
    plan = make_plan(tmp_path, reconnect_s=0.05)
    async with Rig(tmp_path) as rig:
        stream = new_stream("cam")
        recording = rig.recorder.record(stream, plan, requested_by="test")
        await feed(stream, av_batches(1000))
        stream.end(EndReason.DISCONNECTED, 1)
        await until(lambda: not list(rig.recorder))
    assert recording.gaps == []
    assert recording.facts.end_reason is EndReason.DISCONNECTED
    assert recording.facts.state is RecordingState.COMPLETE


async def test_a_break_before_the_first_packet_is_none(tmp_path: Path) -> None:
    batches = list(av_batches(2000))
    plan = make_plan(tmp_path, reconnect_s=5.0)
    async with Rig(tmp_path) as rig:
        stream = new_stream("cam")
        recording = rig.recorder.record(stream, plan, requested_by="test")
        recording.pause()
        recording.resume()
        stream.end(EndReason.DISCONNECTED, 1)
        again = Stream(stream_facts("cam", stream_id="session-2"))
        rig.recorder.welcome(again)
        await feed(again, batches)
        _, (segment,) = await rig.finish(recording)
    assert payloads(segment.path) == sent(batches)
    assert recording.gaps == []


async def test_an_unpublish_does_not_wait_for_a_reconnect(tmp_path: Path) -> None:
    async with Rig(tmp_path) as rig:
        stream = new_stream("cam")
        recording = rig.recorder.record(stream, make_plan(tmp_path, reconnect_s=60.0), requested_by="test")
        await feed(stream, av_batches(1000))
        stream.end(EndReason.UNPUBLISHED, 1)
        facts, _ = await rig.finish(recording)
    assert facts.end_reason is EndReason.UNPUBLISHED


async def test_an_armed_recording_begins_when_its_stream_comes(tmp_path: Path) -> None:
    async with Rig(tmp_path) as rig:
        rig.recorder.arm("cam", make_plan(tmp_path), requested_by="ems", keep_alive=True)
        for number in (1, 2):
            stream = Stream(stream_facts("cam", stream_id=f"session-{number}"))
            assert not rig.recorder.welcome(stream)
            rig.recorder.welcome(new_stream("other"))
            await feed(stream, av_batches(600))
            (recording,) = rig.recorder
            stream.end(EndReason.UNPUBLISHED, 1)
            await rig.finish(recording)
    assert (tmp_path / "cam.mp4").exists()
    assert (tmp_path / "cam_0001.mp4").exists()


@pytest.mark.parametrize("policy", [OnConflict.OVERWRITE, OnConflict.VERSION])
async def test_a_taken_name_is_replaced_or_versioned_when_asked(tmp_path: Path, policy: OnConflict) -> None:
    plan = make_plan(tmp_path, on_conflict=policy)
    async with Rig(tmp_path) as rig:
        for _ in range(3):
            await rig.record(new_stream("cam"), av_batches(600), plan)
    names = sorted(path.name for path in tmp_path.glob("*.mp4"))
    told = [row for row in rig.journal.history if row[0] in ("replaced", "renamed")]
    if policy is OnConflict.OVERWRITE:
        assert names == ["cam.mp4"]
        assert told == [("replaced", "cam.mp4")] * 2
    else:
        assert names == ["cam.mp4", "cam_0.mp4", "cam_1.mp4"]
        assert told == [("renamed", "cam_0.mp4"), ("renamed", "cam_1.mp4")]


@pytest.mark.parametrize("policy", [OnConflict.OVERWRITE, OnConflict.VERSION])
async def test_a_split_never_displaces_a_file_of_its_own_recording(
    tmp_path: Path, policy: OnConflict
) -> None:
    batches = list(av_batches(4000))
    async with Rig(tmp_path) as rig:
        stream = new_stream("cam")
        recording = rig.recorder.record(stream, make_plan(tmp_path, on_conflict=policy), requested_by="test")
        await feed(stream, batches[:4])
        for place in (4, 9):
            await rig.recorder.split(recording)
            await feed(stream, batches[place : place + 5])
        _, segments = await rig.finish(recording)
    assert [segment.file_name for segment in segments] == ["cam.mp4", "cam_0001.mp4", "cam_0002.mp4"]
    found = [picture for segment in segments for picture in payloads(segment.path)["video"]]
    assert found == sent(batches[:14])["video"]


async def test_rotated_files_are_numbered_where_the_template_says(tmp_path: Path) -> None:
    plan = make_plan(
        tmp_path, "{streamName}_part{part:0000}", rotation=RotationRule(duration_ms=1000), settle_s=0.0
    )
    async with Rig(tmp_path) as rig:
        _, segments = await rig.record(new_stream("cam"), av_batches(3000), plan)
    assert [segment.file_name for segment in segments] == [f"cam_part000{number}.mp4" for number in range(3)]


@pytest.mark.parametrize(
    ("template", "container"),
    [
        ("{streamName}", "mp4"),
        ("{time:%Y}/{streamName}", "mp4"),
        ("{streamName}-{duration}", "mp4"),
        ("{streamName}", "mkv"),
        ("{streamName}", "ts"),
        ("{streamName}", "flv"),
    ],
)
async def test_without_numbers_rotated_files_that_have_one_name_get_free_ones(
    tmp_path: Path, template: str, container: str
) -> None:
    plan = make_plan(
        tmp_path,
        template,
        container=container,
        rotation=RotationRule(duration_ms=1000),
        has_rotation_index=False,
    )
    batches = list(av_batches(4000))
    async with Rig(tmp_path) as rig:
        _, segments = await rig.record(new_stream("cam"), batches, plan)
    names = [Path(segment.path).stem for segment in segments]
    assert len(set(names)) == len(names) == 4
    assert not any(name.endswith("_1") for name in names)
    pictures = sent(batches)["video"]
    counted = [track.packets for segment in segments for track in segment.tracks if track.kind == "video"]
    assert sum(counted) == len(pictures)
    if container != "ts":  # which has other bytes around the same pictures
        assert [one for segment in segments for one in payloads(segment.path)["video"]] == pictures


async def test_a_new_recording_is_refused_below_the_disks_reserve(tmp_path: Path) -> None:
    async with Rig(tmp_path) as rig:
        with pytest.raises(DiskReserveError, match="kept in reserve"):
            rig.recorder.record(
                new_stream(), make_plan(tmp_path, min_free_bytes=1 << 60), requested_by="test"
            )


async def test_pre_roll_begins_in_the_past_at_a_key_frame(tmp_path: Path) -> None:
    batches = list(av_batches(8000, gop_ms=1000))
    async with Rig(tmp_path) as rig:
        stream = Stream(stream_facts("cam"), back_buffer_bytes=1 << 20)
        stream.back_buffer.keep(2500)
        now_ns = rig.clock.wall_ns()
        for number, one in enumerate(batches):
            one.arrival_ns = now_ns + (number - 29) * SECOND_NS // 5
        await feed(stream, batches[:30])
        plan = make_plan(tmp_path, pre_roll_ms=2500)
        recording = rig.recorder.record(stream, plan, requested_by="test")
        await feed(stream, batches[30:])
        facts, segments = await rig.finish(recording)
    video = payloads(segments[0].path)["video"]
    assert video == sent(batches)["video"][75:]
    assert 4950 <= segments[0].duration_ms <= 5050
    assert 2.5 <= (now_ns - facts.start_ns) / SECOND_NS <= 3.2
    assert segments[0].start_ns == facts.start_ns


async def test_pre_roll_takes_what_there_is(tmp_path: Path) -> None:
    batches = list(av_batches(2000))
    async with Rig(tmp_path) as rig:
        stream = Stream(stream_facts("cam"), back_buffer_bytes=1 << 20)
        plan = make_plan(tmp_path, pre_roll_ms=60_000)
        recording = rig.recorder.record(stream, plan, requested_by="test")
        await feed(stream, batches)
        _, segments = await rig.finish(recording)
    assert payloads(segments[0].path) == sent(batches)


async def test_a_recording_that_joins_midway_begins_with_a_picture(tmp_path: Path) -> None:
    batches = list(av_batches(5000, gop_ms=2000))
    async with Rig(tmp_path) as rig:
        stream = new_stream("cam")
        await feed(stream, batches[:3])
        recording = rig.recorder.record(stream, make_plan(tmp_path), requested_by="test")
        await feed(stream, batches[3:])
        _, segments = await rig.finish(recording)
    kept, whole = payloads(segments[0].path), sent(batches)
    assert kept["video"] == whole["video"][50:]
    assert 2900 <= segments[0].duration_ms <= 3050
    assert segments[0].start_pts_ms == 2000


async def test_a_recording_that_need_not_begin_with_a_picture_begins_at_once(tmp_path: Path) -> None:
    batches = list(av_batches(5000, gop_ms=2000))
    async with Rig(tmp_path) as rig:
        stream = new_stream("cam")
        await feed(stream, batches[:3])
        plan = make_plan(tmp_path, starts_on_keyframe=False)
        recording = rig.recorder.record(stream, plan, requested_by="test")
        await feed(stream, batches[3:])
        _, segments = await rig.finish(recording)
    kept, late = payloads(segments[0].path), sent(batches[3:])
    assert kept["audio"] == late["audio"]
    assert kept["video"] == sent(batches)["video"][50:]
    assert 4350 <= segments[0].duration_ms <= 4450


async def test_the_names_of_rotated_files_are_numbered_while_they_grow(tmp_path: Path) -> None:
    plan = make_plan(tmp_path, "{streamName}-{endTime}", rotation=RotationRule(duration_ms=60_000))
    async with Rig(tmp_path) as rig:
        stream = new_stream("cam")
        recording = rig.recorder.record(stream, plan, requested_by="test")
        await feed(stream, av_batches(600))
        assert recording.segments[0].facts.file_name == "cam-{endTime}_1.mp4"
        await rig.finish(recording)


async def test_a_track_that_changes_while_the_recording_settles_leaves_no_empty_file(tmp_path: Path) -> None:
    other = replace(VIDEO, width=640, height=360)
    batches = [
        *av_batches(400, audio_track=None),
        *av_batches(400, start_ms=400, audio_track=None, video_track=other),
    ]
    async with Rig(tmp_path) as rig:
        facts, segments = await rig.record(new_stream("cam"), batches, make_plan(tmp_path))
    assert facts.state is RecordingState.COMPLETE
    assert [(segment.tracks[0].width, segment.tracks[0].packets) for segment in segments] == [
        (320, 10),
        (640, 10),
    ]
