"""Data messages in recordings: each in one file, at its time, and nothing else changes for them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from pathlib import Path

import av
import pytest
from helpers.packets import av_batches, new_stream
from helpers.patience import until
from helpers.recorder_rig import Rig, feed, make_plan

from aircheck.containers.recover import Outcome, recover_file
from aircheck.facts import EndReason, GapReason, RecordingState, SegmentFacts
from aircheck.hub.stream import Stream
from aircheck.media.packet import Batch, Packet
from aircheck.media.track import DATA_TRACK
from aircheck.recording.plan import RecordingPlan
from aircheck.recording.recording import Recording
from aircheck.recording.rotation import RotationRule
from aircheck.wire import amf

CONTAINERS = ("mp4", "flv", "ts", "mkv")


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with Rig(tmp_path) as rig:
        yield rig


def message(ms: int) -> Packet:
    payload = amf.serialize("onTextData", {"text": f"at {ms}"})
    return Packet(DATA_TRACK, ms * 90, ms * 90, True, payload)


def with_data(batches: Iterable[Batch], *times_ms: int) -> list[Batch]:
    """The batches with a message at each of these times."""
    found, left = [], sorted(times_ms)
    for one in batches:
        packets = []
        for packet in one.packets:
            while left and left[0] * packet.track.timescale <= packet.dts * 1000:
                packets.append(message(left.pop(0)))
            packets.append(packet)
        has_data = len(packets) > len(one.packets)
        size_bytes = sum(len(packet.data) for packet in packets)
        found.append(replace(one, packets=packets, size_bytes=size_bytes, has_data=has_data))
    assert not left
    return found


def counts(segments: Iterable[SegmentFacts]) -> list[dict[str, int]]:
    return [{track.kind: track.packets for track in segment.tracks} for segment in segments]


def messages_in(path: str) -> list[tuple[int, bytes]]:
    """Those of an MP4 file: milliseconds from its first picture, and the payload."""
    with av.open(path) as container:
        video_stream = container.streams.video[0]
        zero = video_stream.start_time * video_stream.time_base
        return [
            (round((packet.pts * packet.time_base - zero) * 1000), bytes(packet))
            for packet in container.demux()
            if packet.size and packet.stream.type == "data"
        ]


async def record(
    rig: Rig, batches: Iterable[Batch], plan: RecordingPlan, name: str = "cam"
) -> list[SegmentFacts]:
    facts, segments = await rig.record(new_stream(name), batches, plan)
    assert (facts.state, facts.gaps, facts.error) == (RecordingState.COMPLETE, 0, "")
    return segments


async def finish(rig: Rig, recording: Recording) -> list[SegmentFacts]:
    facts, segments = await rig.finish(recording)
    assert (facts.state, facts.error) == (RecordingState.COMPLETE, "")
    assert all(gap.reason is GapReason.RECONNECT for gap in recording.gaps)
    return segments


def keeping(root: Path, **changes: object) -> RecordingPlan:
    return make_plan(root, keeps_data=True, **changes)


@pytest.mark.parametrize("container", CONTAINERS)
async def test_each_message_is_in_the_file_of_its_time(container: str, rig: Rig, tmp_path: Path) -> None:
    batches = with_data(av_batches(5000), 10, 1500, 1900, 1990, 2010, 4500)
    plan = keeping(tmp_path, container=container, rotation=RotationRule(duration_ms=1000))
    segments = await record(rig, batches, plan)
    assert [one.get("data", 0) for one in counts(segments)] == [1, 3, 1, 0, 1]
    assert ["data" in one for one in counts(segments)] == [True, True, True, False, True]
    assert [one["video"] for one in counts(segments)] == [25] * 5


async def test_messages_keep_their_times_in_every_file(rig: Rig, tmp_path: Path) -> None:
    batches = with_data(av_batches(4000, start_ms=50_000), 50_010, 51_500, 51_510, 53_950)
    segments = await record(rig, batches, keeping(tmp_path, rotation=RotationRule(duration_ms=1000)))
    found = [messages_in(segment.path) for segment in segments]
    assert found == [
        [(10, message(50_010).data)],
        [(500, message(51_500).data), (510, message(51_510).data)],
        [],
        [(950, message(53_950).data)],
    ]


@pytest.mark.parametrize("container", CONTAINERS)
async def test_without_the_wish_files_are_those_of_a_stream_without_data(
    container: str, rig: Rig, tmp_path: Path
) -> None:
    plan = make_plan(tmp_path, "{streamName}", container=container, rotation=RotationRule(duration_ms=1000))
    plain = await record(rig, av_batches(3000), plan, "plain")
    stripped = await record(rig, with_data(av_batches(3000), 10, 1500, 2950), plan, "other")
    for one, other in zip(plain, stripped, strict=True):
        assert other.tracks == one.tracks
        assert other.duration_ms == one.duration_ms
        assert all_packets(other.path) == all_packets(one.path)


def all_packets(path: str) -> list[tuple[int, int, bytes]]:
    with av.open(path) as container:
        found = [(p.stream.index, p.pts or 0, bytes(p)) for p in container.demux() if p.size]
    return sorted(found)


async def test_data_alone_makes_no_recording(rig: Rig, tmp_path: Path) -> None:
    only = Batch([message(0)], 1, 40, has_data=True)
    facts, segments = await rig.record(new_stream(), [only], keeping(tmp_path, settle_s=0.01), pause_s=0.05)
    assert (facts.state, segments) == (RecordingState.FAILED, [])


async def test_a_batch_of_data_alone_does_not_move_the_end(rig: Rig, tmp_path: Path) -> None:
    batches = list(av_batches(2000))
    late = Batch([message(2900)], 2_100_000_000, 40, has_data=True)
    facts, (segment,) = await rig.record(new_stream(), [*batches, late], keeping(tmp_path, container="flv"))
    assert counts([segment]) == [{"video": 50, "audio": 94, "data": 1}]
    assert facts.end_reason is EndReason.UNPUBLISHED
    limited = keeping(tmp_path, max_duration_ms=2500)
    facts, _ = await rig.record(new_stream("limited"), [*batches, late], limited)
    assert facts.end_reason is EndReason.UNPUBLISHED, "media has not come to its maximum"


async def test_a_cut_does_not_wait_for_data(rig: Rig, tmp_path: Path) -> None:
    stream = new_stream()
    plan = keeping(tmp_path, rotation=RotationRule(duration_ms=1000))
    recording = rig.recorder.record(stream, plan, requested_by="test")
    now_ns = rig.clock.wall_ns()
    await feed(stream, [replace(one, arrival_ns=now_ns) for one in with_data(av_batches(1400), 500)])
    await until(lambda: recording.completed)
    assert counts(recording.completed) == [{"video": 25, "audio": 47, "data": 1}]
    await finish(rig, recording)


async def test_a_track_that_shows_up_before_the_file_is_open_is_added_once(rig: Rig, tmp_path: Path) -> None:
    stream = new_stream()
    recording = rig.recorder.record(stream, make_plan(tmp_path, settle_s=0.0), requested_by="test")
    stream.publish(next(av_batches(200, audio_track=None)))
    await asyncio.sleep(0)
    while not recording.segments:  # noqa: ASYNC110
        await asyncio.sleep(0)
    assert recording.segments[0].writer is None
    stream.publish(next(av_batches(200, video_track=None)))
    (segment,) = await finish(rig, recording)
    assert counts([segment]) == [{"video": 5, "audio": 10}]


async def test_sound_alone_has_its_messages(rig: Rig, tmp_path: Path) -> None:
    batches = with_data(av_batches(3000, video_track=None), 500, 2500)
    plan = keeping(tmp_path, settle_s=0.01, rotation=RotationRule(duration_ms=2000))
    segments = await record(rig, batches, plan)
    assert [one["data"] for one in counts(segments)] == [1, 1]


async def test_messages_go_on_after_a_pause_with_the_media(rig: Rig, tmp_path: Path) -> None:
    stream = new_stream()
    recording = rig.recorder.record(stream, keeping(tmp_path), requested_by="test")
    await feed(stream, with_data(av_batches(1000), 500))
    recording.pause()
    await feed(stream, with_data(av_batches(1000, start_ms=1000), 1500))
    recording.resume()
    await feed(stream, with_data(av_batches(1000, start_ms=2000), 2500))
    (segment,) = await finish(rig, recording)
    (first_ms, first), (second_ms, second) = messages_in(segment.path)
    assert (first_ms, first) == (500, message(500).data)
    assert second == message(2500).data
    assert 1500 <= second_ms <= 1560, "a pause leaves no hole"


async def test_messages_go_on_with_a_publisher_that_came_back(rig: Rig, tmp_path: Path) -> None:
    stream = new_stream()
    recording = rig.recorder.record(stream, keeping(tmp_path, reconnect_s=5.0), requested_by="test")
    await feed(stream, with_data(av_batches(1000), 500))
    stream.end(EndReason.DISCONNECTED, 0)
    again = new_stream()
    assert recording.is_waiting
    recording.rejoin(again)
    await feed(again, with_data(av_batches(1000, start_ms=70_000), 70_500))
    (segment,) = await finish(rig, recording)
    assert counts([segment])[0]["data"] == 2
    found = messages_in(segment.path)
    assert [data for _, data in found] == [message(500).data, message(70_500).data]
    assert len({track.id for track in segment.tracks}) == 3


async def test_pre_roll_brings_the_messages_of_the_past(rig: Rig, tmp_path: Path) -> None:
    stream = Stream(new_stream().facts, back_buffer_bytes=1 << 20)
    stream.back_buffer.keep(5000)
    await feed(stream, with_data(av_batches(3000), 1500))
    keeps, does_not = (
        rig.recorder.record(
            stream, make_plan(tmp_path, pre_roll_ms=60_000, keeps_data=is_kept), requested_by="test"
        )
        for is_kept in (True, False)
    )
    await feed(stream, with_data(av_batches(1000, start_ms=3000), 3500))
    assert "data" in counts(await finish(rig, keeps))[0]
    assert "data" not in counts(await finish(rig, does_not))[0]


@pytest.mark.parametrize("container", CONTAINERS)
async def test_a_file_that_a_crash_left_keeps_its_messages(container: str, rig: Rig, tmp_path: Path) -> None:
    stream = new_stream()
    recording = rig.recorder.record(stream, keeping(tmp_path, container=container), requested_by="test")
    await feed(stream, with_data(av_batches(4000), 500, 1500), pause_s=0.02)
    (segment,) = recording.segments
    torn = tmp_path / f"torn.{container}"
    torn.write_bytes(Path(segment.facts.path).read_bytes()[:-50])
    recovery = recover_file(torn)
    assert recovery.outcome is Outcome.RECOVERED
    assert recovery.facts is not None
    assert {track.kind: track.packets for track in recovery.facts.tracks}["data"] == 2
    await finish(rig, recording)


async def test_a_gap_swallows_messages_and_counts_them(rig: Rig, tmp_path: Path) -> None:
    stream = new_stream()
    recording = rig.recorder.record(stream, keeping(tmp_path, queue_max_bytes=1), requested_by="test")
    await feed(stream, with_data(av_batches(1000), 500))
    assert recording.is_dropping
    dropped = recording.current_facts().dropped_packets
    stream.publish(Batch([message(1000)], 1_200_000_000, 40, has_data=True))
    assert recording.current_facts().dropped_packets == dropped + 1
    await rig.finish(recording)
