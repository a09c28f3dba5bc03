"""Several streams in one file: on one timeline, coming and going while it is written."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import pytest
from helpers.live_node import LiveNode
from helpers.packets import AUDIO, VIDEO, av_batches

from aircheck.facts import EventKind, RecordingState
from aircheck.hub.stream import Stream
from aircheck.media.packet import Batch
from aircheck.media.track import Codec
from aircheck.service.errors import Conflict, InvalidRequest, NotFound
from aircheck.service.multi_recordings import STREAMS_MAX, MultiRecordingService

URI = "multi-recorder://test-record"
FILE_NAME = "multi-recorder___test-record.mp4"


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[LiveNode]:
    async with LiveNode.opened(tmp_path) as node:
        yield node


@pytest.fixture
def several(node: LiveNode) -> MultiRecordingService:
    return node.multi_recordings


def batches_at(begin_ns: int, duration_ms: int, media_ms: int = 0) -> Iterator[Batch]:
    """Media that comes in as it is made: its time `media_ms` at `begin_ns` of the wall clock."""
    tracks = {"video_track": replace(VIDEO), "audio_track": replace(AUDIO)}
    for one in av_batches(duration_ms, start_ms=media_ms, **tracks):
        latest_ms = max(packet.dts * 1000 // packet.track.timescale for packet in one.packets)
        yield replace(one, arrival_ns=begin_ns + (latest_ms - media_ms) * 1_000_000)


async def feed_together(node: LiveNode, *sources: tuple[Stream, Iterator[Batch]]) -> None:
    """Batches of several publishers in the order in which they arrive."""
    timed = [(one.arrival_ns, number, one) for number, (_, some) in enumerate(sources) for one in some]
    for _, number, one in sorted(timed, key=lambda entry: entry[:2]):
        await node.feed(sources[number][0], [one])


def starts_s(path: Path) -> list[Fraction]:
    """When each track of a file begins, in the order of its tracks."""
    begins: dict[int, Fraction] = {}
    with av.open(str(path)) as container:
        for packet in container.demux():
            if packet.size and packet.pts is not None:
                at_s = packet.pts * Fraction(packet.time_base)
                begins[packet.stream.index] = min(at_s, begins.get(packet.stream.index, at_s))
    return [begins[index] for index in sorted(begins)]


async def test_each_session_has_its_tracks_where_its_media_came_in(
    node: LiveNode, several: MultiRecordingService
) -> None:
    """Their own clocks are hours apart; what counts is when they were heard."""
    one, two, three = (node.publish(name, stream_id=name) for name in ("one", "two", "three"))
    began = await several.start(URI)
    assert (began.uri, began.media_session_ids, began.file_name) == (URI, (), FILE_NAME)
    now_ns = node.clock.wall_ns()
    for stream in (one, two, three):
        await several.add(URI, stream.id)
    await feed_together(
        node,
        (one, batches_at(now_ns, 3000)),
        (two, batches_at(now_ns + 700_000_000, 2000, media_ms=7_200_000)),
        (three, batches_at(now_ns + 1_500_000_000, 1000, media_ms=50)),
    )
    (running,) = several.all()
    assert (running.media_session_ids, running.file_name) == (("one", "two", "three"), FILE_NAME)
    recording = await several.stop(URI)
    assert (recording.state, recording.segment_count) == (RecordingState.COMPLETE, 1)
    assert (recording.stream_name, recording.media_session_id) == ("test-record", URI)
    found = starts_s(node.record_dir / FILE_NAME)
    for at_s, expected_ms in zip(found, (0, 0, 700, 700, 1500, 1500), strict=True):
        assert abs(at_s * 1000 - expected_ms) <= 40
    assert abs(recording.duration_ms - 3000) <= 40


async def test_media_that_was_on_its_way_when_it_began_is_where_it_came_in(
    node: LiveNode, several: MultiRecordingService
) -> None:
    one, two = (node.publish(name, stream_id=name) for name in ("one", "two"))
    await several.start(URI)
    now_ns = node.clock.wall_ns()
    for stream in (one, two):
        await several.add(URI, stream.id)
    await feed_together(
        node,
        (one, batches_at(now_ns - 300_000_000, 3000)),
        (two, batches_at(now_ns + 700_000_000, 2000, media_ms=90_000)),
    )
    await several.stop(URI)
    found = starts_s(node.record_dir / FILE_NAME)
    assert (
        abs((found[2] - found[0]) * 1000 - 1000) <= 41
    )  # where the file begins, a reader may be a picture off


async def test_a_stream_that_is_late_at_first_is_listened_to_before_its_place_is_decided(
    node: LiveNode, several: MultiRecordingService
) -> None:
    """A connection that has just begun may bring its first packets late; it keeps no such debt for ever."""
    one, two = node.publish("one", stream_id="one"), node.publish("two", stream_id="two")
    await several.start(URI)
    now_ns = node.clock.wall_ns()
    punctual, late = list(batches_at(now_ns, 3000)), list(batches_at(now_ns, 3000))
    late[0] = replace(late[0], arrival_ns=late[0].arrival_ns + 180_000_000)
    await several.add(URI, "one")
    await several.add(URI, "two")
    await feed_together(node, (one, iter(punctual)), (two, iter(late)))
    recording = await several.stop(URI)
    found = starts_s(node.record_dir / FILE_NAME)
    assert abs(found[0] - found[2]) * 1000 <= 41  # where the file begins, a reader may be a picture off
    assert recording.segment_count == 1


async def test_media_that_is_held_to_be_listened_to_is_in_the_file_when_its_stream_goes(
    node: LiveNode, several: MultiRecordingService
) -> None:
    stream = node.publish("one", stream_id="one")
    await several.start(URI)
    await several.add(URI, "one")
    await node.feed(stream, batches_at(node.clock.wall_ns(), 400))
    node.unpublish(stream)
    assert abs((await several.stop(URI)).duration_ms - 400) <= 40


async def test_sessions_come_and_go_while_it_runs(node: LiveNode, several: MultiRecordingService) -> None:
    one, two = node.publish("one", stream_id="one"), node.publish("two", stream_id="two")
    await several.start(URI)
    now_ns = node.clock.wall_ns()
    await several.add(URI, "one")
    await node.feed(one, batches_at(now_ns, 1000))
    await several.add(URI, "two")
    await node.feed(two, batches_at(now_ns + 1_000_000_000, 1000))
    await several.remove(URI, "one")
    await node.feed(one, batches_at(now_ns + 1_000_000_000, 1000, media_ms=1000))
    await node.feed(two, batches_at(now_ns + 2_000_000_000, 1000, media_ms=1000))
    assert [running.media_session_ids for running in several.all()] == [("two",)]
    node.unpublish(two)
    assert [running.media_session_ids for running in several.all()] == [()]
    recording = await several.stop(URI)
    with av.open(str(node.record_dir / FILE_NAME)) as container:
        durations = [round((one.duration or 0) * (one.time_base or 0), 1) for one in container.streams]
    assert durations == [1, 1, 2, 2]
    assert recording.segment_count == 1
    told = await node.told(recording.id)
    assert told.count(EventKind.SOURCE_ADDED) == told.count(EventKind.SOURCE_REMOVED) == 2
    events = await node.catalog.events(recording_id=recording.id)
    left = [event for event in events if event.kind is EventKind.SOURCE_REMOVED]
    assert [(event.media_session_id, sorted(event.facts["tracks"])) for event in left] == [
        ("one", [1, 2]),
        ("two", [3, 4]),
    ]


async def test_a_session_that_comes_midway_begins_with_a_picture_that_can_be_decoded(
    node: LiveNode, several: MultiRecordingService
) -> None:
    stream = node.publish("one", stream_id="one")
    batches = list(batches_at(node.clock.wall_ns(), 2000))
    await node.feed(stream, batches[:3])
    await several.start(URI)
    await several.add(URI, "one")
    await node.feed(stream, batches[3:])
    await several.stop(URI)
    with av.open(str(node.record_dir / FILE_NAME)) as container:
        pictures = [packet for packet in container.demux(video=0) if packet.size]
    assert int.from_bytes(bytes(pictures[0])[:8], "big") == 1000, "the next key frame"
    assert len(pictures) == 25


async def test_a_track_whose_configuration_changes_goes_on_as_another_one_in_the_same_file(
    node: LiveNode, several: MultiRecordingService
) -> None:
    stream = node.publish("one", stream_id="one")
    await several.start(URI)
    await several.add(URI, "one")
    now_ns = node.clock.wall_ns()
    await node.feed(stream, batches_at(now_ns, 1000))
    larger = replace(VIDEO, width=640, height=360)
    await node.feed(stream, av_batches(1000, start_ms=1000, video_track=larger, audio_track=None))
    recording = await several.stop(URI)
    assert recording.segment_count == 1
    with av.open(str(node.record_dir / FILE_NAME)) as container:
        assert [stream.type for stream in container.streams] == ["video", "audio", "video"]


async def test_pictures_that_mp4_cannot_hold_go_on_in_a_file_that_can(
    node: LiveNode, several: MultiRecordingService
) -> None:
    """Nothing is lost, and it is said aloud; who knows beforehand sets the format to mkv."""
    one, two = node.publish("one", stream_id="one"), node.publish("two", stream_id="two")
    began = await several.start(URI)
    await several.add(URI, "one")
    await several.add(URI, "two")
    now_ns = node.clock.wall_ns()
    await node.feed(one, batches_at(now_ns, 1000))
    vp8 = replace(VIDEO, codec=Codec.VP8, config=b"")
    await node.feed(two, av_batches(1000, video_track=vp8, audio_track=None))
    await node.feed(one, batches_at(now_ns + 1_000_000_000, 1000, media_ms=1000))
    recording = await several.stop(URI)
    assert recording.segment_count == 2
    assert EventKind.CONTAINER_CHANGED in await node.told(began.recording.id)


@pytest.mark.parametrize(
    ("wanted", "taken"), [("mkv", "mkv"), ("webm", "mkv"), ("ts", "mp4"), ("flv", "mp4")]
)
async def test_a_format_without_room_for_late_tracks_gives_way_to_the_nearest_that_has(
    wanted: str, taken: str, tmp_path: Path
) -> None:
    async with LiveNode.opened(tmp_path, container=wanted) as node:
        several = node.multi_recordings
        await several.start(URI)
        now_ns = node.clock.wall_ns()
        for number, name in enumerate(("one", "two")):
            stream = node.publish(name, stream_id=name)
            await several.add(URI, name)
            await node.feed(stream, batches_at(now_ns + number * 1_000_000_000, 1000))
        recording = await several.stop(URI)
        assert (recording.container, recording.segment_count) == (taken, 1)
        found = starts_s(node.record_dir / f"multi-recorder___test-record.{taken}")
    for at_s, expected_ms in zip(found, (0, 0, 1000, 1000), strict=True):
        assert abs(at_s * 1000 - expected_ms) <= 60


async def test_a_wall_clock_that_was_set_back_costs_no_media(
    node: LiveNode, several: MultiRecordingService
) -> None:
    one, two = node.publish("one", stream_id="one"), node.publish("two", stream_id="two")
    await several.start(URI)
    await several.add(URI, "one")
    await several.add(URI, "two")
    now_ns = node.clock.wall_ns()
    await node.feed(one, batches_at(now_ns, 1000))
    await node.feed(two, batches_at(now_ns - 3600 * 10**9, 1000))
    await several.stop(URI)
    found = starts_s(node.record_dir / FILE_NAME)
    assert abs(found[2] * 1000 - 800) <= 60, "its first batch ends where the mix ended"


@pytest.mark.parametrize("container", ["mp4", "mkv"])
async def test_a_full_room_is_one_file_and_one_more_stream_is_refused(container: str, tmp_path: Path) -> None:
    """VP8 and H.264 at once are what only Matroska holds."""
    async with LiveNode.opened(tmp_path, container=container) as node:
        several = node.multi_recordings
        await several.start(URI)
        streams = [node.publish(f"s{n}", stream_id=f"s{n}") for n in range(STREAMS_MAX + 1)]
        for stream in streams[:-1]:
            await several.add(URI, stream.id)
        with pytest.raises(Conflict, match="60 streams"):
            await several.add(URI, streams[-1].id)
        now_ns = node.clock.wall_ns()
        await feed_together(node, *((stream, batches_at(now_ns, 600)) for stream in streams[:40]))
        recording = await several.stop(URI)
        assert (recording.segment_count, recording.dropped_packets) == (1, 0)
        assert len(starts_s(node.record_dir / f"multi-recorder___test-record.{container}")) == 80


async def test_what_cannot_be_done_is_refused_by_name(node: LiveNode, several: MultiRecordingService) -> None:
    node.publish("one", stream_id="one")
    for verb in (several.stop(URI), several.add(URI, "one"), several.remove(URI, "one")):
        with pytest.raises(NotFound, match="nothing records"):
            await verb
    for uri in ("", "test-record", "multi-recorder://", "http://test-record", URI + "x" * 300):
        with pytest.raises(InvalidRequest, match="is not the URI"):
            await several.start(uri)
    await several.start(URI)
    with pytest.raises(Conflict, match="records already"):
        await several.start(URI)
    with pytest.raises(NotFound, match="no live stream"):
        await several.add(URI, "absent")
    await several.add(URI, "one")
    with pytest.raises(Conflict, match="is in"):
        await several.add(URI, "one")
    with pytest.raises(NotFound, match="does not record"):
        await several.remove(URI, "absent")


async def test_one_that_got_no_media_fails_and_its_name_is_free_again(
    node: LiveNode, several: MultiRecordingService
) -> None:
    await several.start(URI)
    assert (await several.stop(URI)).state is RecordingState.FAILED
    assert (await several.start(URI)).recording.state is RecordingState.RECORDING


async def test_it_may_be_ended_as_any_recording_and_then_is_listed_no_more(
    node: LiveNode, several: MultiRecordingService
) -> None:
    stream = node.publish("one", stream_id="one")
    began = await several.start(URI)
    await several.add(URI, "one")
    await node.feed(stream, batches_at(node.clock.wall_ns(), 1000))
    await node.control.stop(began.recording.id)
    assert several.all() == ()
    assert stream.subscribers == ()
