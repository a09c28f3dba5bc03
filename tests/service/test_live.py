"""What is told of live streams: counts that somebody made, and none that nobody did."""

from __future__ import annotations

from pathlib import Path

from helpers.live_node import LiveNode
from helpers.packets import av_batches

from aircheck.facts import EndReason
from aircheck.hub.stream import Stream
from aircheck.service.control import Target


async def test_counts_of_tracks_are_those_of_a_recording(tmp_path: Path) -> None:
    async with LiveNode.opened(tmp_path) as node, node.client() as client:
        stream = await node.publish_media("cam", 1000)
        path = f"/api/v1/streams/{stream.id}"
        unknown = (await client.get(path)).json()
        assert [(track["packets"], track["size_bytes"]) for track in unknown["tracks"]] == [(None, None)] * 2
        started = await node.control.start(Target(name="cam"), requested_by="test")
        assert started.recording is not None
        batches = list(av_batches(3000, start_ms=1000))
        await node.feed(stream, batches[:7])
        await node.control.split(started.recording.id)
        await node.feed(stream, batches[7:])
        recording = node.recorder.get(started.recording.id)
        assert recording is not None
        for segment in recording.segments:
            await segment.finish({})
        video, audio = (await client.get(path)).json()["tracks"]
    assert (video["packets"], video["size_bytes"]) == (75, 75 * 200)
    assert audio["packets"] == sum(p.track.is_audio for batch in batches for p in batch.packets)
    assert 2900 <= video["duration_ms"] <= 3000


async def test_counts_of_an_earlier_publication_are_not_those_of_this_one(tmp_path: Path) -> None:
    async with LiveNode.opened(tmp_path, reconnect_s=5.0) as node:
        first = node.publish("cam", stream_id="media-1")
        await node.control.start(Target(name="cam"), requested_by="test")
        await node.feed(first, av_batches(1000))
        node.unpublish(first, EndReason.DISCONNECTED)
        second = node.publish("cam", stream_id="media-2")
        await node.feed(second, av_batches(1000))
        status = node.services.streams.get("media-2")
        assert status.subscribers == 1
        assert [track.packets for track in status.facts.tracks] == [0, 0]
        assert (status.gaps, status.gap_reasons) == (1, {"reconnect": 1})


async def test_what_was_odd_in_the_media_is_told_by_kind(tmp_path: Path) -> None:
    async with LiveNode.opened(tmp_path) as node, node.client() as client:
        stream: Stream = node.publish("cam")
        assert (await client.get(f"/api/v1/streams/{stream.id}")).json()["notices"] == {}
        stream.notices = lambda: {"timestamp_jumps": 2}
        assert (await client.get(f"/api/v1/streams/{stream.id}")).json()["notices"] == {"timestamp_jumps": 2}
