"""What every face can ask of recordings, and what is refused with a remedy."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.live_node import LiveNode
from helpers.packets import av_batches
from helpers.recorder_rig import make_plan, payloads, sent

from aircheck.facts import EndReason, EventKind, RecordingFacts, RecordingState
from aircheck.media.packet import Batch
from aircheck.recording.naming import OnConflict
from aircheck.recording.rotation import RotationRule
from aircheck.service.control import ControlService, Target
from aircheck.service.errors import Conflict, InvalidRequest, NotFound, Refused, ServiceError
from aircheck.service.options import RecordingOptions

CAM = Target(name="cam")


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[LiveNode]:
    async with LiveNode.opened(tmp_path) as node:
        yield node


async def start(node: LiveNode, target: Target = CAM, **options: object) -> RecordingFacts:
    started = await node.control.start(target, RecordingOptions(**options), requested_by="test")  # type: ignore[arg-type]
    assert started.recording is not None
    return started.recording


async def test_a_live_stream_is_recorded_on_request_and_stopped_with_its_final_file(node: LiveNode) -> None:
    stream = node.publish("cam")
    recording = await start(node, name="by-request")
    batches = list(av_batches(1000))
    await node.feed(stream, batches)
    assert [one.id for one in node.control.running(media_session_id=stream.id)] == [recording.id]
    stopped = await node.control.stop(recording.id)
    assert (stopped.state, stopped.end_reason) == (RecordingState.COMPLETE, EndReason.STOPPED)
    assert payloads(node.record_dir / "by-request.mp4") == sent(batches)
    assert stream.is_live
    assert await node.control.stop(recording.id) == stopped
    assert node.control.running() == ()


async def test_a_stream_is_found_by_media_session_name_and_application(node: LiveNode) -> None:
    live, vod = node.publish("cam", "live", "m1"), node.publish("cam", "vod", "m2")
    assert (await start(node, Target(media_session_id="m2"))).media_session_id == vod.id
    assert (await start(node, Target(name="cam", app="live"))).media_session_id == live.id
    with pytest.raises(Conflict, match="'live', 'vod'"):
        await start(node)
    for absent in (
        Target(name="cam", app="other"),
        Target(media_session_id="m3"),
        Target(media_session_id="m1", name="other"),
    ):
        with pytest.raises(NotFound):
            await start(node, absent)
    with pytest.raises(InvalidRequest):
        await start(node, Target())


async def test_one_stream_may_be_recorded_several_times_at_once(node: LiveNode) -> None:
    stream = node.publish()
    first, second = await start(node, name="a"), await start(node, name="b")
    await node.feed(stream, av_batches(600))
    assert {one.id for one in node.control.running(name="cam", app="live")} == {first.id, second.id}
    await node.control.stop(first.id)
    assert [one.id for one in node.control.running()] == [second.id]


async def test_a_pause_shows_in_list_catalogue_and_events(node: LiveNode) -> None:
    stream = node.publish()
    recording = await start(node)
    await node.feed(stream, av_batches(600))
    assert (await node.control.pause(recording.id)).state is RecordingState.PAUSED
    row = await node.catalog.recording(recording.id)
    assert row is not None
    assert row.state is RecordingState.PAUSED
    assert (await node.services.recordings.get(recording.id)).facts.state is RecordingState.PAUSED
    with pytest.raises(Conflict, match="paused already"):
        await node.control.pause(recording.id)
    assert (await node.control.resume(recording.id)).state is RecordingState.RECORDING
    with pytest.raises(Conflict, match="not paused"):
        await node.control.resume(recording.id)
    await node.control.stop(recording.id)
    told = await node.told(recording.id)
    wanted = [EventKind.RECORDING_STARTED, EventKind.RECORDING_PAUSED, EventKind.RECORDING_RESUMED]
    assert [kind for kind in told if kind in wanted] == wanted


async def test_a_split_makes_two_files(node: LiveNode) -> None:
    stream = node.publish()
    recording = await start(node)
    batches = list(av_batches(3000))
    await node.feed(stream, batches[:7])
    await node.control.split(recording.id)
    await node.feed(stream, batches[7:])
    assert (await node.control.stop(recording.id)).segment_count == 2


async def test_what_has_ended_cannot_be_changed_any_more(node: LiveNode) -> None:
    stream = await node.publish_media()
    recording = await start(node)
    await node.feed(stream, av_batches(400, start_ms=1000))
    await node.control.stop(recording.id)
    for verb in (node.control.pause, node.control.resume, node.control.split):
        with pytest.raises(Conflict, match="it is complete") as caught:
            await verb(recording.id)
        assert caught.value.remedy


async def test_what_is_unknown_is_not_found(node: LiveNode) -> None:
    control = node.control
    for verb in (control.pause, control.resume, control.split, control.stop):
        with pytest.raises(NotFound, match="'none'"):
            await verb("none")
    with pytest.raises(NotFound):
        control.disarm("none")
    with pytest.raises(NotFound):
        control.close_stream("none")


async def test_a_stop_that_takes_too_long_says_that_the_file_is_still_being_finished(tmp_path: Path) -> None:
    async with LiveNode.opened(tmp_path, stop_timeout_s=0) as node:
        stream = node.publish()
        recording = await start(node)
        await node.feed(stream, av_batches(600))
        assert (await node.control.stop(recording.id)).state is RecordingState.FINALIZING
        patient = ControlService(node.registry, node.recorder, node.journal, node.plan)
        assert (await patient.stop(recording.id)).state is RecordingState.COMPLETE


async def test_a_recording_is_armed_for_one_coming_or_for_each(node: LiveNode) -> None:
    once = await node.control.start(CAM, RecordingOptions(name="once"), requested_by="a", waits=True)
    each = await node.control.start(CAM, RecordingOptions(name="each"), requested_by="b", keep_alive=True)
    assert once.recording is each.recording is None
    assert node.control.armed() == (once.armed, each.armed)
    stream = await node.publish_media("cam")
    assert [one.requested_by for one in node.control.running()] == ["a", "b"]
    assert node.control.armed() == (each.armed,)
    node.unpublish(stream)
    await node.publish_media("cam")
    assert [one.requested_by for one in node.control.running()] == ["b"]
    assert each.armed is not None
    assert node.control.disarm(each.armed.id) == each.armed
    assert len(node.control.running()) == 1
    assert node.control.armed() == ()


async def test_a_live_stream_that_is_kept_is_recorded_now_and_armed_for_later(node: LiveNode) -> None:
    node.publish()
    started = await node.control.start(CAM, requested_by="test", keep_alive=True)
    assert started.recording is not None
    assert started.armed is not None
    assert started.armed.keep_alive


async def test_what_goes_on_after_a_reconnect_is_not_begun_again(node: LiveNode) -> None:
    stream = node.publish("cam", stream_id="m1")
    options = RecordingOptions(reconnect_ms=5000)
    started = await node.control.start(CAM, options, requested_by="test", keep_alive=True)
    await node.feed(stream, av_batches(600))
    node.unpublish(stream, EndReason.DISCONNECTED)
    node.publish("cam", stream_id="m2")
    assert started.recording is not None
    assert [one.id for one in node.control.running()] == [started.recording.id]
    await node.control.stop(started.recording.id)
    node.publish("cam", app="other", stream_id="m3")
    assert len(node.control.running()) == 1


async def test_what_cannot_begin_stays_armed(tmp_path: Path) -> None:
    async with LiveNode.opened(tmp_path, min_free_bytes=1 << 60) as node:
        armed = (await node.control.start(CAM, requested_by="test", waits=True)).armed
        node.publish("cam")
        assert node.control.armed() == (armed,)
        assert node.publications.failed_starts == 1


async def test_arming_the_same_twice_is_a_conflict(node: LiveNode) -> None:
    await node.control.start(CAM, requested_by="test", waits=True)
    with pytest.raises(Conflict, match="once, when it comes next") as caught:
        await node.control.start(CAM, requested_by="test", waits=True)
    assert "nothing is left to do" in caught.value.remedy
    with pytest.raises(Conflict, match="once, when it comes next") as caught:
        await node.control.start(CAM, requested_by="test", keep_alive=True)
    assert "to change how often" in caught.value.remedy
    await node.control.start(CAM, RecordingOptions(name="other"), requested_by="test", waits=True)


async def test_a_media_session_cannot_be_waited_for(node: LiveNode) -> None:
    with pytest.raises(InvalidRequest, match="never comes back"):
        await node.control.start(Target(media_session_id="m1"), requested_by="test", waits=True)


async def test_a_publisher_is_asked_to_go(node: LiveNode) -> None:
    stream = node.publish()
    recording = await start(node)
    await node.feed(stream, av_batches(600))
    node.control.close_stream(stream.id)
    assert not stream.is_live
    assert (await node.control.stop(recording.id)).end_reason is EndReason.STOPPED


async def test_nothing_is_begun_below_the_disks_reserve(tmp_path: Path) -> None:
    async with LiveNode.opened(tmp_path, min_free_bytes=1 << 60) as node:
        node.publish()
        with pytest.raises(Refused, match="kept in reserve") as caught:
            await start(node)
        assert "min_free_bytes" in caught.value.remedy


async def test_a_folder_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    async with LiveNode.opened(tmp_path) as node:
        node.control = ControlService(
            node.registry,
            node.recorder,
            node.journal,
            replace(node.plan, growing_dir=tmp_path / "file" / "growing"),
        )
        node.publish()
        with pytest.raises(Refused, match="cannot record into"):
            await start(node)


def test_options_take_the_place_of_what_the_settings_say() -> None:
    plan = make_plan(Path("/records"), rotation=RotationRule(1000, is_aligned=True, zone=None))
    assert RecordingOptions().laid_over(plan) == plan
    changed = RecordingOptions(
        container="mkv",
        name="{streamName}/{startTime}",
        rotation="20",
        data=True,
        rotation_index=False,
        rotation_waits_for_keyframe=False,
        starts_on_keyframe=False,
        pre_roll_ms=1500,
        max_duration_ms=5000,
        reconnect_ms=2500,
        splits_at_reconnect=True,
        on_conflict="version",
    ).laid_over(plan)
    assert changed.container == "mkv"
    assert changed.template.text == "{streamName}/{startTime}"
    assert changed.rotation == RotationRule(20_000, is_aligned=True, zone=None, waits_for_keyframe=False)
    assert not changed.has_rotation_index
    assert not changed.starts_on_keyframe
    assert changed.keeps_data
    assert (changed.pre_roll_ms, changed.max_duration_ms, changed.reconnect_s) == (1500, 5000, 2.5)
    assert changed.splits_at_reconnect
    assert changed.on_conflict is OnConflict.VERSION
    assert changed.record_dir == plan.record_dir
    by_size = RecordingOptions(rotation="3M").laid_over(plan)
    assert by_size.rotation == RotationRule(None, 3_000_000, zone=None)
    assert RecordingOptions(max_duration_ms=0).laid_over(changed).max_duration_ms is None


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("container", "avi"),
        ("name", "{nobody}"),
        ("name", ""),
        ("name", "/"),
        ("rotation", "soon"),
        ("rotation_aligned", True),
        ("pre_roll_ms", 300_001),
        ("max_duration_ms", -1),
        ("reconnect_ms", 86_400_001),
        ("on_conflict", "add"),
    ],
)
def test_an_option_that_cannot_be_meant_is_refused_with_a_remedy(option: str, value: object) -> None:
    with pytest.raises(ServiceError) as caught:
        RecordingOptions(**{option: value}).laid_over(make_plan(Path("/records")))  # type: ignore[arg-type]
    assert isinstance(caught.value, InvalidRequest)
    assert option.partition("_")[0] in caught.value.message
    assert caught.value.remedy


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "a/../../b", ".aircheck/x"])
async def test_no_name_leads_out_of_the_record_folder(node: LiveNode, name: str) -> None:
    stream = node.publish()
    recording = await start(node, name=name)
    await node.feed(stream, av_batches(400))
    await node.control.stop(recording.id)
    (segment,) = await node.catalog.segments(recording.id)
    path = Path(segment.path).resolve()
    assert path.is_relative_to(node.record_dir)
    assert ".aircheck" not in path.parts


async def test_a_command_counts_from_when_it_is_given_whatever_is_still_on_its_way(node: LiveNode) -> None:
    """Publishers are read a few times a second: what they have sent by the command comes before it."""
    stream = node.publish("cam")
    batches = list(av_batches(4000))
    waiting: list[Batch] = []

    def flush() -> None:
        while waiting:
            stream.publish(waiting.pop(0))

    stream.on_flush = flush
    recording = await start(node, name="by-command")
    await node.feed(stream, batches[:3])
    waiting += batches[3:5]
    await node.control.pause(recording.id)
    waiting += batches[5:10]
    await node.control.resume(recording.id)
    waiting += batches[10:15]
    await node.control.split(recording.id)
    await node.feed(stream, batches[15:18])
    waiting += batches[18:]
    await node.control.stop(recording.id)
    first = payloads(node.record_dir / "by-command.mp4")
    second = payloads(node.record_dir / "by-command_0001.mp4")
    assert first["video"] == sent([*batches[:5], *batches[10:15]])["video"]
    assert second["video"] == sent(batches[15:])["video"]


async def test_a_publisher_that_is_sent_away_has_all_it_sent_recorded(node: LiveNode) -> None:
    stream = node.publish("cam")
    recording = await start(node, name="sent-away")
    batches = list(av_batches(2000))
    await node.feed(stream, batches[:5])
    stream.on_flush = lambda: stream.publish(batches[5])
    node.control.close_stream(stream.id)
    await node.control.stop(recording.id)
    assert payloads(node.record_dir / "sent-away.mp4") == sent(batches[:6])
