"""What the API answers: facts in, JSON out; every error a problem with a remedy."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from helpers.http_world import EPOCH_NS, World, make_recording, make_segment, make_stream

from aircheck.errors import CatalogError
from aircheck.faces.api.models import nanoseconds, rfc3339
from aircheck.facts import Event, EventKind, GapFacts, GapReason, RecordingState, SegmentState
from aircheck.service.health import VolumeStatus

SECOND_NS = 1_000_000_000


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with World.opened(tmp_path) as world:
        yield world


@pytest.fixture
async def client(world: World) -> AsyncIterator[httpx.AsyncClient]:
    async with world.client() as client:
        yield client


async def test_live_streams_are_listed_and_found_by_media_session(
    world: World, client: httpx.AsyncClient
) -> None:
    world.live_streams = [
        make_stream("media-2", name="later", published_ns=EPOCH_NS + SECOND_NS),
        make_stream("media-1", packets=230, size_bytes=9900, bitrate_bps=2_600_000, subscribers=1),
    ]
    items = (await client.get("/api/v1/streams")).json()["items"]
    assert [item["id"] for item in items] == ["media-1", "media-2"]
    one = (await client.get("/api/v1/streams/media-1")).json()
    assert (
        one.items()
        >= {
            "name": "studio",
            "app": "live",
            "protocol": "rtmp",
            "published_time_utc": "2026-11-21T05:40:00.123Z",
            "packets": 230,
            "size_bytes": 9900,
            "bitrate_bps": 2_600_000,
            "subscribers": 1,
        }.items()
    )
    assert [(track["kind"], track["codec"], track["width"]) for track in one["tracks"]] == [
        ("video", "h264", 1280),
        ("audio", "aac", None),
    ]
    named = (await client.get("/api/v1/streams", params={"name": "later"})).json()["items"]
    assert [item["id"] for item in named] == ["media-2"]


async def test_recordings_come_in_pages_newest_first_and_each_once(
    world: World, client: httpx.AsyncClient
) -> None:
    for n in range(2, 8):
        await world.catalog.put_recording(make_recording(f"rec-{n}", start_ns=EPOCH_NS + n * SECOND_NS))
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = (await client.get("/api/v1/recordings", params={"limit": 3, **cursor})).json()
        seen += [item["id"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
        await world.catalog.put_recording(
            make_recording(f"new-{len(seen)}", start_ns=EPOCH_NS + 99 * SECOND_NS)
        )
    assert seen == [f"rec-{n}" for n in range(7, 0, -1)]


async def test_recordings_are_filtered_by_stream_state_and_time(
    world: World, client: httpx.AsyncClient
) -> None:
    await world.catalog.put_many(
        make_recording("other", stream_name="gate"),
        make_recording("running", state=RecordingState.RECORDING, end_ns=None),
        make_recording("old", start_ns=EPOCH_NS - 60 * SECOND_NS),
    )

    async def ids(**params: str) -> set[str]:
        items = (await client.get("/api/v1/recordings", params=params)).json()["items"]
        return {item["id"] for item in items}

    assert await ids(stream="gate") == {"other"}
    assert await ids(state="recording") == {"running"}
    assert await ids(until="2026-11-21T05:40:00.123Z") == {"old"}
    assert await ids(until="0706-07-13T09:32:19-01:00") == set()
    assert await ids(since="9999-12-31T23:59:59-12:00") == set()
    assert await ids(since="2026-11-21T06:40:00.123+01:00", stream="studio") == {"rec-1", "running"}


async def test_running_recording_has_the_figures_of_this_moment(
    world: World, client: httpx.AsyncClient
) -> None:
    running = make_recording("live", state=RecordingState.RECORDING, end_ns=None, size_bytes=0, duration_ms=0)
    await world.catalog.put_recording(running)
    await world.catalog.put_segment(make_segment("live.mp4", recording_id="live", state=SegmentState.GROWING))
    world.live_recordings = [
        make_recording("live", state=RecordingState.RECORDING, size_bytes=5000, duration_ms=700)
    ]
    world.live_segments = [
        make_segment(
            "live.mp4",
            recording_id="live",
            state=SegmentState.GROWING,
            size_bytes=5000,
            gaps=(GapFacts(100, 200, GapReason.SLOW_DISK, dropped_packets=7),),
        )
    ]
    listed = (await client.get("/api/v1/recordings", params={"state": "recording"})).json()["items"]
    assert [(item["size_bytes"], item["duration_ms"]) for item in listed] == [(5000, 700)]
    one = (await client.get("/api/v1/recordings/live")).json()
    (segment,) = one["segments"]
    assert segment["size_bytes"] == 5000
    assert segment["gaps"][0]["reason"] == "slow_disk"
    # Its name is only settled when it is final: until then and after it is found by its id.
    assert segment["play_url"] == f"/client/records/.id/{segment['id']}.mp4"


async def test_links_of_a_segment_lead_to_its_file(world: World, client: httpx.AsyncClient) -> None:
    await world.add_file("live/студия #1?.mp4", b"media")
    (segment,) = (await client.get("/api/v1/recordings/rec-1")).json()["segments"]
    assert (await client.get(segment["play_url"])).content == b"media"
    answer = await client.get(segment["download_url"])
    assert answer.headers["content-disposition"].startswith("attachment;")


async def test_events_are_listed_newest_first(world: World, client: httpx.AsyncClient) -> None:
    for kind in (EventKind.STREAM_PUBLISHED, EventKind.RECORDING_STARTED):
        await world.catalog.add_event(Event(kind, EPOCH_NS, stream_name="studio", facts={"bytes": 3}))
    page = (await client.get("/api/v1/events", params={"limit": 1})).json()
    assert (
        page["items"][0].items()
        >= {
            "kind": "recording.started",
            "time_utc": "2026-11-21T05:40:00.123Z",
            "facts": {"bytes": 3},
        }.items()
    )
    rest = (await client.get("/api/v1/events", params={"cursor": page["next_cursor"]})).json()
    assert [item["kind"] for item in rest["items"]] == ["stream.published"]


async def test_events_are_filtered_by_kind_and_paged_within_the_filter(
    world: World, client: httpx.AsyncClient
) -> None:
    for kind in (EventKind.GAP, EventKind.HOOK_DONE, EventKind.STREAM_PUBLISHED, EventKind.GAP):
        await world.catalog.add_event(Event(kind, EPOCH_NS))

    async def kinds(query: str) -> list[str]:
        return [item["kind"] for item in (await client.get(f"/api/v1/events?{query}")).json()["items"]]

    assert await kinds("kind=recording.gap") == ["recording.gap"] * 2
    assert await kinds("kind=hook.done&kind=stream.published") == ["stream.published", "hook.done"]
    assert await kinds("kind=hook.done,%20stream.published") == ["stream.published", "hook.done"]
    assert await kinds("kind=hook.failed") == []
    assert len(await kinds("kind=")) == 4
    page = (await client.get("/api/v1/events?kind=recording.gap&limit=1")).json()
    assert await kinds(f"kind=recording.gap&cursor={page['next_cursor']}") == ["recording.gap"]


async def test_an_unknown_kind_of_events_is_answered_with_those_that_exist(client: httpx.AsyncClient) -> None:
    problem = (await client.get("/api/v1/events?kind=recording.gap,recording.begun")).json()
    assert problem["type"] == "urn:aircheck:problem:unknown-kind"
    assert "'recording.begun'" in problem["detail"]
    assert all(kind.value in problem["remedy"] for kind in EventKind)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("GET", "/api/v1/streams/none", 404),
        ("GET", "/api/v1/recordings/none", 404),
        ("GET", "/client/records/none.mp4", 404),
        ("POST", "/api/v1/streams", 405),
        ("DELETE", "/client/records/a.mp4", 405),
        ("GET", "/api/v1/recordings?limit=0", 422),
        ("GET", "/api/v1/recordings?state=unheard", 422),
        ("GET", "/api/v1/recordings?since=2026-11-21T05:40:00", 422),
        ("GET", "/api/v1/recordings?cursor=invented", 422),
        ("GET", "/api/v1/events?cursor=invented", 422),
        ("GET", "/api/v1/events?kind=invented", 400),
    ],
)
async def test_every_error_is_a_problem_with_a_remedy(
    client: httpx.AsyncClient, method: str, path: str, status: int
) -> None:
    answer = await client.request(method, path)
    problem = answer.json()
    assert (answer.status_code, problem["status"]) == (status, status)
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["type"].startswith("urn:aircheck:problem:")
    assert problem["title"]
    assert problem["detail"]
    assert problem["remedy"]
    assert (answer.headers.get("allow") is not None) == (status == 405)


async def test_argument_that_is_wrong_is_named(client: httpx.AsyncClient) -> None:
    problem = (await client.get("/api/v1/recordings?limit=x")).json()
    assert problem["errors"][0]["field"] == "query.limit"


async def test_unexpected_error_is_logged_once_counted_and_tells_no_internals(
    world: World, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(world, "live_streams", None)
    with caplog.at_level(logging.ERROR):
        answer = await client.get("/api/v1/streams")
    monkeypatch.undo()
    assert answer.status_code == 500
    (record,) = caplog.records
    reference = answer.json()["detail"].split()[-1]
    assert reference in record.getMessage()
    assert "GET /api/v1/streams" in record.getMessage()
    assert record.exc_info is not None
    assert "NoneType" not in answer.text
    assert 'aircheck_errors_total{kind="http"} 1.0' in (await client.get("/metrics")).text


async def test_catalogue_that_does_not_answer_is_no_bug_of_the_client(
    world: World, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*args: object, **kwargs: object) -> None:
        raise CatalogError("disk I/O error in /var/lib/secret.db")

    monkeypatch.setattr(world.catalog, "recordings", broken)
    answer = await client.get("/api/v1/recordings")
    assert answer.status_code == 503
    assert "secret" not in answer.text


async def test_health_is_ok_while_all_volumes_are(world: World, client: httpx.AsyncClient) -> None:
    world.disks = [VolumeStatus("/records", size_bytes=100, free_bytes=40)]
    answer = await client.get("/healthz")
    assert answer.status_code == 200
    body = answer.json()
    assert (body["status"], body["streams"], body["active_recordings"]) == ("ok", 0, 0)
    assert body["volumes"][0]["free_bytes"] == 40
    assert body["version"]


async def test_health_is_503_and_names_the_volume_that_fails(world: World, client: httpx.AsyncClient) -> None:
    world.disks = [
        VolumeStatus("/a"),
        VolumeStatus("/b", is_failing=True, last_error="No space left on device"),
    ]
    answer = await client.get("/healthz")
    assert answer.status_code == 503
    assert [volume["last_error"] for volume in answer.json()["volumes"]] == ["", "No space left on device"]


async def test_times_are_read_and_written_without_loss_of_a_millisecond() -> None:
    from datetime import datetime

    for ns in (0, EPOCH_NS, EPOCH_NS + 876_000_000, 4_102_444_800_000_000_000):
        assert nanoseconds(datetime.fromisoformat(rfc3339(ns))) == ns
    assert rfc3339(-1_000_000) == "1969-12-31T23:59:59.999Z"
