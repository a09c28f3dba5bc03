from __future__ import annotations

import pytest
from helpers.packets import AUDIO, VIDEO, av_batches, batch, new_stream, stream_facts, video

from aircheck.facts import EndReason
from aircheck.hub.back_buffer import BackBuffer
from aircheck.hub.registry import Registry, StreamNameInUse
from aircheck.hub.stream import Stream
from aircheck.media.packet import Batch


class Listener:
    backlog_ratio = 0.0

    def __init__(self, *, is_live: bool = False, fails: bool = False) -> None:
        self.is_live = is_live
        self.fails = fails
        self.batches: list[Batch] = []
        self.reasons: list[EndReason] = []

    def deliver(self, batch: Batch) -> None:
        if self.fails:
            raise RuntimeError("subscriber's own trouble")
        self.batches.append(batch)

    def ended(self, reason: EndReason) -> None:
        self.reasons.append(reason)


def test_every_subscriber_gets_every_batch_in_order() -> None:
    stream, first, second = new_stream(), Listener(), Listener()
    stream.subscribe(first)
    stream.subscribe(second)
    sent = list(av_batches(1000))
    for one in sent:
        stream.publish(one)
    assert first.batches == sent
    assert second.batches == sent
    assert stream.tracks == (VIDEO, AUDIO)
    assert stream.counters.packets == sum(len(one.packets) for one in sent)


def test_a_failing_subscriber_is_let_go_and_the_others_never_notice() -> None:
    stream, bad, good = new_stream(), Listener(fails=True), Listener()
    stream.subscribe(bad)
    stream.subscribe(good)
    sent = list(av_batches(600))
    for one in sent:
        stream.publish(one)
    assert good.batches == sent
    assert bad.reasons == [EndReason.INTERNAL_ERROR]
    assert stream.counters.subscriber_errors == 1
    assert stream.subscribers == (good,)


def test_demand_is_told_when_the_first_viewer_comes_and_the_last_goes() -> None:
    told: list[bool] = []
    stream = Stream(stream_facts(), on_demand=told.append)
    recording, viewer, other = Listener(), Listener(is_live=True), Listener(is_live=True)
    stream.subscribe(recording)
    stream.subscribe(viewer)
    stream.subscribe(other)
    stream.unsubscribe(viewer)
    stream.unsubscribe(other)
    assert told == [True, False]


def test_who_wants_to_know_the_times_has_the_socket_read_at_once_and_no_past_kept() -> None:
    told: list[bool] = []
    stream = Stream(stream_facts(), on_demand=told.append, back_buffer_bytes=1_000_000)
    viewer = Listener(is_live=True)
    stream.keep_time(True)
    stream.keep_time(True)
    stream.keep_time(False)
    assert told == [True]
    assert not stream.back_buffer.is_kept
    stream.subscribe(viewer)
    stream.keep_time(False)
    assert told == [True]
    stream.unsubscribe(viewer)
    assert told == [True, False]


def test_an_end_is_told_once_and_keeps_the_facts() -> None:
    stream, listener = new_stream(), Listener()
    stream.subscribe(listener)
    stream.publish(next(av_batches(200)))
    stream.end(EndReason.UNPUBLISHED, 5)
    stream.end(EndReason.DISCONNECTED, 6)
    assert listener.reasons == [EndReason.UNPUBLISHED]
    assert stream.facts.ended_ns == 5
    assert [track.codec for track in stream.facts.tracks] == ["h264", "aac"]


def filled(limit_bytes: int = 1 << 20, keep_ms: int = 0) -> BackBuffer:
    buffer = BackBuffer(limit_bytes)
    buffer.keep(keep_ms)
    for one in av_batches(4600, gop_ms=1000):
        buffer.add(one, has_video=True)
    return buffer


def test_the_back_buffer_begins_at_the_last_key_frame() -> None:
    packets = filled().packets()
    assert packets[0].is_keyframe
    assert packets[0].dts == 4000
    assert packets[-1].dts * 1000 // packets[-1].track.timescale >= 4560


def test_the_back_buffer_reaches_back_as_far_as_it_was_asked_to() -> None:
    buffer = filled(keep_ms=2000)
    second_ns = 1_000_000_000
    assert buffer.packets()[0].dts == 4000
    assert buffer.packets(since_ns=3 * second_ns + second_ns // 2)[0].dts == 3000
    assert buffer.packets(since_ns=0)[0].dts == 2000


def test_a_group_of_pictures_over_the_limit_is_not_kept() -> None:
    buffer = BackBuffer(1000)
    buffer.keep()
    buffer.add(batch([video(0, key=True, size=600)]), has_video=True)
    assert len(buffer.packets()) == 1
    buffer.add(batch([video(40, size=600)]), has_video=True)
    assert buffer.packets() == []
    buffer.add(batch([video(80, size=100)]), has_video=True)
    assert buffer.size_bytes == 0


def test_the_oldest_groups_go_when_the_limit_is_reached() -> None:
    buffer = filled(limit_bytes=20_000, keep_ms=60_000)
    assert 0 < buffer.size_bytes <= 20_000
    assert buffer.packets(since_ns=0)[0].is_keyframe


def test_without_video_the_past_begins_at_any_batch() -> None:
    buffer = BackBuffer(1 << 20)
    buffer.keep(500)
    for one in av_batches(2000, video_track=None):
        buffer.add(one, has_video=False)
    assert buffer.packets(since_ns=0)[0].dts >= 48 * 1000


def test_the_past_is_kept_from_the_first_viewer_on() -> None:
    stream = Stream(stream_facts(), back_buffer_bytes=1 << 20)
    stream.subscribe(Listener())
    for one in av_batches(1000):
        stream.publish(one)
    assert stream.back_buffer.packets() == []
    viewer = Listener(is_live=True)
    stream.subscribe(viewer)
    stream.unsubscribe(viewer)
    for one in av_batches(1000, start_ms=1000):
        stream.publish(one)
    assert stream.back_buffer.packets()[0].dts == 1000


def test_the_first_publisher_of_a_name_keeps_it_until_it_ends() -> None:
    registry = Registry()
    first = new_stream("cam")
    registry.publish(first)
    with pytest.raises(StreamNameInUse, match="cam"):
        registry.publish(new_stream("cam"))
    registry.end(first, EndReason.UNPUBLISHED, 1)
    second = new_stream("cam")
    registry.publish(second)
    assert registry.find("cam") is second


def test_a_name_is_found_in_its_application_first_and_in_any_other_after() -> None:
    registry = Registry()
    live, vod = Stream(stream_facts(app="live")), Stream(stream_facts(app="vod", stream_id="two"))
    registry.publish(live)
    registry.publish(vod)
    assert registry.find("cam", "vod") is vod
    assert registry.find("cam", "elsewhere") is live
    assert registry.by_id("two") is vod
