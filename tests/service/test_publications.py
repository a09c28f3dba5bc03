"""Rows of streams: begun and ended with the stream, and ended for those that a crash cut off."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.facts_samples import SECOND_NS, START_NS, a_recording, a_stream
from helpers.live_node import LiveNode
from helpers.packets import av_batches, stream_facts
from helpers.patience import PATIENCE_S
from helpers.recorder_rig import make_plan

from aircheck.app.node import Node
from aircheck.catalog import Catalog
from aircheck.facts import EndReason, EventKind, RecordingState
from aircheck.hub.stream import Stream
from aircheck.recording import volume
from aircheck.service import publications
from aircheck.service.journal import CatalogJournal
from aircheck.service.publications import PublicationService, close_abandoned
from aircheck.settings import HttpSettings, Listen, RecordSettings, RtmpSettings, Settings, WebRtcSettings


async def test_streams_cut_off_by_a_crash_end_where_their_recordings_end(tmp_path: Path) -> None:
    catalog = await Catalog.open(tmp_path / "catalog.db")
    journal = CatalogJournal(catalog)
    recorded, bare, ended = a_stream("recorded"), a_stream("bare"), a_stream("ended")
    recording = a_recording(
        "r1",
        media_session_id="recorded",
        state=RecordingState.COMPLETE,
        start_ns=START_NS + SECOND_NS,
        end_ns=START_NS + 9 * SECOND_NS,
    )
    ended = replace(ended, ended_ns=START_NS + 1, end_reason=EndReason.UNPUBLISHED)
    await catalog.put_many(recorded, bare, ended, recording)

    abandoned = await journal.live_streams()
    assert {stream.id for stream in abandoned} == {"recorded", "bare"}
    await close_abandoned(abandoned, journal)

    assert await catalog.stream("recorded") == replace(
        recorded, ended_ns=START_NS + 9 * SECOND_NS, end_reason=EndReason.CRASHED
    )
    assert await catalog.stream("bare") == replace(bare, ended_ns=START_NS, end_reason=EndReason.CRASHED)
    assert await catalog.stream("ended") == ended
    assert await journal.live_streams() == ()
    events = await catalog.events(kind=EventKind.STREAM_UNPUBLISHED)
    assert {event.media_session_id for event in events} == {"recorded", "bare"}
    assert all(event.facts["end_reason"] == "crashed" for event in events)
    await catalog.close()


async def test_more_streams_than_fit_a_page_are_all_closed(tmp_path: Path) -> None:
    catalog = await Catalog.open(tmp_path / "catalog.db")
    journal = CatalogJournal(catalog)
    await catalog.put_many(*(a_stream(f"s{number}") for number in range(501)))
    abandoned = await journal.live_streams()
    await catalog.close()
    assert len({stream.id for stream in abandoned}) == 501


async def test_a_node_that_starts_after_a_crash_closes_what_was_live(tmp_path: Path) -> None:
    settings = Settings(
        rtmp=RtmpSettings(listen=Listen("127.0.0.1", 0)),
        http=HttpSettings(listen=Listen("127.0.0.1", 0)),
        webrtc=WebRtcSettings(listen=None),
        record=RecordSettings(dir=tmp_path / "records"),
    )
    settings.catalog_path.parent.mkdir(parents=True)
    catalog = await Catalog.open(settings.catalog_path)
    await catalog.put_stream(a_stream("cut-off"))
    await catalog.close()
    async with Node(settings) as node, asyncio.timeout(PATIENCE_S):
        while await node.journal.live_streams():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        stream = await node.catalog.stream("cut-off")
    assert stream is not None
    assert (stream.ended_ns, stream.end_reason) == (START_NS, EndReason.CRASHED)


async def test_the_log_tells_of_a_stream_before_it_tells_of_its_recording(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with LiveNode.opened(tmp_path) as node:
        PublicationService(node.registry, node.recorder, node.journal, node.plan)
        node.publish("cam")
    said = [line.split(" stream=")[0] for line in caplog.messages]
    assert said.index("published") < said.index("recording started")


async def test_streams_of_a_protocol_that_is_not_to_be_recorded_are_not(tmp_path: Path) -> None:
    async with LiveNode.opened(tmp_path) as node:
        PublicationService(
            node.registry, node.recorder, node.journal, node.plan, unrecorded_protocols=("rtmp", "rtmps")
        )
        for number, protocol in enumerate(("rtmp", "rtmps", "websdk")):
            facts = replace(stream_facts(protocol, stream_id=str(number)), protocol=protocol)
            node.registry.publish(Stream(facts))
        assert [recording.facts.stream_name for recording in node.recorder] == ["websdk"]


async def test_a_stream_that_found_the_disk_full_is_recorded_once_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free_bytes = [0]
    monkeypatch.setattr(volume, "_free_bytes", lambda _: free_bytes[0])
    monkeypatch.setattr(publications, "RETRY_S", 0.05)
    records = tmp_path / "records"
    async with LiveNode.opened(tmp_path) as node, asyncio.timeout(PATIENCE_S):
        plan = make_plan(records, min_free_bytes=1000)
        service = PublicationService(node.registry, node.recorder, node.journal, plan)
        told: list[tuple[str, str, str]] = []
        stream = Stream(stream_facts("cam"), on_close=lambda reason: node.unpublish(stream, reason))
        stream.on_status = lambda *status: told.append(status)
        node.registry.publish(stream)
        gone = node.publish("gone", stream_id="m2")
        assert service.failed_starts == 2
        while not (events := await node.catalog.events(kind=EventKind.RECORDING_FAILED)):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        assert "kept in reserve" in events[0].facts["error"]
        ((level, code, description),) = told
        assert (level, code) == ("warning", "NetStream.Record.Failed"), "it may go on"
        assert "kept in reserve" in description
        node.unpublish(gone)
        free_bytes[0] = 2000
        while not list(node.recorder):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await node.feed(stream, av_batches(1000))
        node.unpublish(stream)
        await node.recorder.stop(EndReason.SHUTDOWN)
        await service.tasks.join()
    assert [path.name for path in records.glob("*.mp4")] == ["cam.mp4"]
