from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from helpers.packets import AUDIO, VIDEO, audio, av_batches, batch, carrying, new_stream, video
from helpers.recorder_rig import Rig, feed, make_plan, payloads, sent

from aircheck.facts import EndReason, EventKind, RecordingState, SegmentState
from aircheck.recording.rotation import RotationRule


def files_in(folder: Path) -> list[Path]:
    return list(folder.rglob("*.mp4"))


def joined(segments: list[dict[str, list[bytes]]]) -> dict[str, list[bytes]]:
    whole: dict[str, list[bytes]] = {}
    for one in segments:
        for kind, data in one.items():
            whole.setdefault(kind, []).extend(data)
    return whole


async def test_every_packet_is_in_the_file_and_the_file_has_its_name(tmp_path: Path) -> None:
    batches = list(av_batches(3000))
    async with Rig(tmp_path) as rig:
        facts, segments = await rig.record(new_stream("news"), batches, make_plan(tmp_path))
    assert facts.state is RecordingState.COMPLETE
    assert facts.end_reason is EndReason.UNPUBLISHED
    assert [segment.file_name for segment in segments] == ["news.mp4"]
    assert payloads(tmp_path / "news.mp4") == sent(batches)
    assert segments[0].state is SegmentState.COMPLETE
    assert segments[0].size_bytes == (tmp_path / "news.mp4").stat().st_size
    assert list((tmp_path / ".aircheck" / "growing").iterdir()) == []


async def test_rows_and_events_come_in_the_order_of_a_segments_life(tmp_path: Path) -> None:
    async with Rig(tmp_path) as rig:
        await rig.record(new_stream(), av_batches(1000), make_plan(tmp_path))
    assert rig.journal.history == [
        ("recording", "recording"),
        ("event", EventKind.RECORDING_STARTED),
        ("segment", "growing"),
        ("event", EventKind.SEGMENT_CREATED),
        ("segment", "finalizing"),
        ("segment", "complete"),
        ("event", EventKind.SEGMENT_COMPLETED),
        ("recording", "complete"),
        ("event", EventKind.RECORDING_COMPLETED),
    ]


async def test_rotated_segments_begin_at_key_frames_and_joined_are_the_stream(tmp_path: Path) -> None:
    batches = list(av_batches(10_000, gop_ms=1000))
    plan = make_plan(tmp_path, rotation=RotationRule(duration_ms=2000))
    async with Rig(tmp_path) as rig:
        facts, segments = await rig.record(new_stream("cam"), batches, plan)
    assert [s.file_name for s in segments] == [f"cam_{n}.mp4" for n in range(1, 6)]
    files = [payloads(segment.path) for segment in segments]
    assert joined(files) == sent(batches)
    keys = {bytes(p.data) for b in batches for p in b.packets if p.track is VIDEO and p.is_keyframe}
    assert all(one["video"][0] in keys for one in files)
    assert [round(s.duration_ms, -2) for s in segments] == [2000] * 5
    assert facts.segment_count == 5


async def test_rotation_by_size_cuts_at_the_next_key_frame(tmp_path: Path) -> None:
    batches = list(av_batches(6000, gop_ms=1000))
    second_bytes = sum(b.size_bytes for b in batches) // 6
    plan = make_plan(tmp_path, rotation=RotationRule(size_bytes=second_bytes * 2 - 100))
    async with Rig(tmp_path) as rig:
        _, segments = await rig.record(new_stream("cam"), batches, plan)
    assert joined([payloads(s.path) for s in segments]) == sent(batches)
    assert 2 <= len(segments) <= 3


async def test_audio_alone_rotates_at_any_packet(tmp_path: Path) -> None:
    batches = list(av_batches(6000, video_track=None))
    plan = make_plan(tmp_path, rotation=RotationRule(duration_ms=2000), settle_s=0.01)
    async with Rig(tmp_path) as rig:
        _, segments = await rig.record(new_stream("radio"), batches, plan, pause_s=0.002)
    assert len(segments) == 3
    assert joined([payloads(s.path) for s in segments]) == sent(batches)


OTHER_VIDEO = replace(VIDEO, config=VIDEO.config[:-1] + b"\x81", width=640, height=360)


async def test_pictures_that_change_go_on_in_the_same_mp4(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    turned = [VIDEO, OTHER_VIDEO, replace(VIDEO), replace(OTHER_VIDEO)]
    batches = [
        one
        for number, track in enumerate(turned)
        for one in carrying(av_batches(1000, start_ms=number * 1000, video_track=track))
    ]
    with caplog.at_level("INFO"):
        async with Rig(tmp_path) as rig:
            _, segments = await rig.record(new_stream("cam"), batches, make_plan(tmp_path))
    assert [segment.file_name for segment in segments] == ["cam.mp4"]
    assert payloads(segments[0].path) == sent(batches)
    video_facts = next(track for track in segments[0].tracks if track.kind == "video")
    assert (video_facts.width, video_facts.height, video_facts.packets) == (640, 360, 100)
    changes = [record.getMessage() for record in caplog.records if "pictures change" in record.getMessage()]
    assert [line.rpartition("size=")[2] for line in changes] == ["640x360", "320x180", "640x360"]


async def test_a_change_between_key_frames_waits_for_the_next_one(tmp_path: Path) -> None:
    first = list(av_batches(1000, audio_track=None))
    frames = [video(ms, key=ms == 2000, track=OTHER_VIDEO) for ms in range(1000, 3000, 40)]
    (rest,) = carrying([batch(frames, changed=True)])
    async with Rig(tmp_path) as rig:
        stream = new_stream("cam")
        recording = rig.recorder.record(stream, make_plan(tmp_path), requested_by="test")
        await feed(stream, [*first, rest])
        _, segments = await rig.finish(recording)
    assert recording.skipped_packets == 25
    assert len(segments) == 1
    kept = [bytes(packet.data) for packet in rest.packets[25:]]
    assert payloads(segments[0].path)["video"] == sent(first)["video"] + kept


async def test_after_more_configurations_than_a_file_has_room_for_a_new_one_begins(tmp_path: Path) -> None:
    tracks = [replace(VIDEO, config=VIDEO.config + bytes(1000), width=16 * n, height=16) for n in range(1, 7)]
    batches = [
        one
        for number, track in enumerate(tracks)
        for one in carrying(av_batches(400, start_ms=number * 400, video_track=track))
    ]
    async with Rig(tmp_path) as rig:
        _, segments = await rig.record(new_stream("cam"), batches, make_plan(tmp_path))
    assert [segment.file_name for segment in segments] == ["cam.mp4", "cam_0001.mp4"]
    assert joined([payloads(s.path) for s in segments]) == sent(batches)


async def test_key_frames_that_do_not_carry_their_parameter_sets_begin_a_new_file(tmp_path: Path) -> None:
    """Chromium could not play on in the same one; what a publisher sends is kept byte by byte."""
    batches = [*av_batches(1000), *av_batches(1000, start_ms=1000, video_track=OTHER_VIDEO)]
    async with Rig(tmp_path) as rig:
        _, segments = await rig.record(new_stream("cam"), batches, make_plan(tmp_path))
    assert [segment.file_name for segment in segments] == ["cam.mp4", "cam_0001.mp4"]
    assert joined([payloads(s.path) for s in segments]) == sent(batches)


@pytest.mark.parametrize("container", ["mkv", "ts", "flv"])
async def test_other_containers_begin_a_new_file_where_pictures_change(
    tmp_path: Path, container: str
) -> None:
    changed = av_batches(1000, start_ms=1000, video_track=OTHER_VIDEO)
    batches = [*carrying(av_batches(1000)), *carrying(changed)]
    async with Rig(tmp_path) as rig:
        _, segments = await rig.record(new_stream("cam"), batches, make_plan(tmp_path, container=container))
    assert len(segments) == 2


async def test_pictures_may_change_while_nothing_is_recorded(tmp_path: Path) -> None:
    first = list(carrying(av_batches(1000)))
    rest = list(carrying(av_batches(1000, start_ms=2000, video_track=OTHER_VIDEO)))
    async with Rig(tmp_path) as rig:
        stream = new_stream("cam")
        recording = rig.recorder.record(stream, make_plan(tmp_path), requested_by="test")
        await feed(stream, first)
        recording.pause()
        await feed(stream, av_batches(1000, start_ms=1000, video_track=OTHER_VIDEO))
        recording.resume()
        await feed(stream, rest)
        _, segments = await rig.finish(recording)
    assert [segment.file_name for segment in segments] == ["cam.mp4"]
    assert payloads(segments[0].path) == sent(first + rest)


async def test_a_changed_audio_configuration_waits_for_no_packet_of_video(tmp_path: Path) -> None:
    other = replace(AUDIO, config=bytes.fromhex("1188"), channels=1)
    first = list(av_batches(1480, gop_ms=1000))
    rest = list(av_batches(1520, start_ms=1480, gop_ms=1000, audio_track=other))
    for one in rest:  # the key frame stays at 2 s: the change comes in the middle of a group of pictures
        for packet in one.packets:
            if packet.track is VIDEO:
                packet.is_keyframe = packet.dts % 1000 == 0
    async with Rig(tmp_path) as rig:
        _, segments = await rig.record(new_stream("cam"), first + rest, make_plan(tmp_path))
    assert len(segments) == 2
    assert joined([payloads(s.path) for s in segments]) == sent(first + rest)
    assert payloads(segments[1].path)["video"][0] == bytes(video(2000, key=True).data)


async def test_a_late_second_track_is_taken_into_the_same_file(tmp_path: Path) -> None:
    alone = list(av_batches(3000, audio_track=None))
    both = list(av_batches(3000, start_ms=3000))
    async with Rig(tmp_path) as rig:
        stream = new_stream("cam")
        recording = rig.recorder.record(stream, make_plan(tmp_path, settle_s=0.05), requested_by="test")
        await feed(stream, alone, pause_s=0.01)
        await feed(stream, both)
        _, segments = await rig.finish(recording)
    assert [segment.file_name for segment in segments] == ["cam.mp4"]
    assert payloads(segments[0].path) == sent(alone + both)
    audio_track = next(track for track in segments[0].tracks if track.kind == "audio")
    assert 2900 <= audio_track.duration_ms <= 3100


async def test_video_before_the_first_key_frame_is_skipped_and_counted(tmp_path: Path) -> None:
    headless = batch([video(0), video(40), audio(0), video(80, key=True), video(120)], changed=True)
    async with Rig(tmp_path) as rig:
        stream = new_stream()
        recording = rig.recorder.record(stream, make_plan(tmp_path), requested_by="test")
        await feed(stream, [headless])
        _, segments = await rig.finish(recording)
    assert recording.skipped_packets == 2
    assert len(payloads(segments[0].path)["video"]) == 2


async def test_a_recording_without_media_leaves_no_file_and_says_so(tmp_path: Path) -> None:
    async with Rig(tmp_path) as rig:
        facts, segments = await rig.record(new_stream(), [], make_plan(tmp_path))
    assert facts.state is RecordingState.FAILED
    assert facts.end_reason is EndReason.NO_MEDIA
    assert segments == []
    assert files_in(tmp_path) == []


async def test_a_taken_name_gets_a_free_number_and_the_old_file_stays(tmp_path: Path) -> None:
    (tmp_path / "cam.mp4").write_bytes(b"somebody's")
    async with Rig(tmp_path) as rig:
        _, segments = await rig.record(new_stream("cam"), av_batches(500), make_plan(tmp_path))
    assert segments[0].file_name == "cam_0001.mp4"
    assert (tmp_path / "cam.mp4").read_bytes() == b"somebody's"


async def test_a_recording_goes_on_when_the_catalogue_is_stuck(tmp_path: Path, monkeypatch) -> None:
    import asyncio

    monkeypatch.setattr("aircheck.recording.filing.ROW_TIMEOUT_S", 0.05)
    batches = list(av_batches(1000))
    async with Rig(tmp_path) as rig:
        free = asyncio.Event()
        put = rig.journal.put_recording

        async def stuck(facts) -> None:
            await free.wait()
            await put(facts)

        monkeypatch.setattr(rig.journal, "put_recording", stuck)
        stream = new_stream("cam")
        recording = rig.recorder.record(stream, make_plan(tmp_path), requested_by="test")
        await feed(stream, batches, pause_s=0.05)
        (growing,) = (tmp_path / ".aircheck" / "growing").iterdir()
        assert growing.stat().st_size > 1000
        free.set()
        await rig.finish(recording)
    assert payloads(tmp_path / "cam.mp4") == sent(batches)


async def test_segments_on_the_way_are_shown_with_what_is_not_known_yet_literal(tmp_path: Path) -> None:
    async with Rig(tmp_path) as rig:
        stream = new_stream("cam")
        plan = make_plan(tmp_path, "{streamName}-{endTime}")
        recording = rig.recorder.record(stream, plan, requested_by="test")
        await feed(stream, av_batches(600))
        assert recording.segments[0].facts.file_name == "cam-{endTime}.mp4"
        _, segments = await rig.finish(recording)
    assert segments[0].file_name == "cam-618.mp4"
