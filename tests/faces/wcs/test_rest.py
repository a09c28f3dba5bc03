"""The WCS REST API beyond its transcript: origins, sizes, requests that cross, what came in by RTMP."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from helpers.live_node import LiveNode
from helpers.packets import av_batches
from helpers.rtmp_peer import Peer

from aircheck.clock import SystemClock
from aircheck.errors import CatalogError
from aircheck.faces.api.app import create_app
from aircheck.faces.wcs.app import WcsOptions
from aircheck.faces.wcs.rest import BODY_MAX_BYTES
from aircheck.facts import EndReason, RecordingState
from aircheck.hub.registry import Registry
from aircheck.ingest.pump import Pump
from aircheck.ingest.rtmp_server import RtmpServer
from aircheck.media.track import Codec, Track
from aircheck.playback.rtmp_play import RtmpViewer
from aircheck.service.access import AccessService
from aircheck.service.connections import ConnectionService
from aircheck.service.errors import NotFound
from aircheck.service.live import RtmpConnections


@asynccontextmanager
async def client_of(node: LiveNode, wcs: WcsOptions | None) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_app(node.services, wcs=wcs))
    async with httpx.AsyncClient(transport=transport, base_url="http://recorder") as client:
        yield client


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[LiveNode]:
    async with LiveNode.opened(tmp_path) as node:
        yield node


@pytest.mark.parametrize(
    ("allowed", "origin", "status", "told"),
    [
        ("*", "https://studio.example", 404, "*"),
        ("*", None, 404, "*"),
        ("https://studio.example", "https://studio.example", 404, "https://studio.example"),
        ("https://studio.example", "https://other.example", 403, "https://studio.example"),
        ("https://studio.example", None, 404, "https://studio.example"),
        ("", "https://studio.example", 403, None),
        ("", "http://recorder", 404, None),
    ],
)
async def test_pages_may_call_that_are_allowed_to(
    node: LiveNode, allowed: str, origin: str | None, status: int, told: str | None
) -> None:
    async with client_of(node, WcsOptions(allowed)) as client:
        headers = {} if origin is None else {"origin": origin}
        answer = await client.post("/rest-api/recorder/find_all", headers=headers)
    assert answer.status_code == status
    assert answer.headers.get("access-control-allow-origin") == told


async def test_a_browser_that_asks_before_it_calls_is_told_what_it_may(node: LiveNode) -> None:
    async with client_of(node, WcsOptions()) as client:
        asked = {"access-control-request-headers": "content-type", "access-control-request-method": "POST"}
        answer = await client.options(
            "/rest-api/stream/find", headers={"origin": "https://a.example", **asked}
        )
    assert answer.status_code == 200
    told = {name: value for name, value in answer.headers.items() if name.startswith("access-control")}
    assert told == {
        "access-control-allow-origin": "*",
        "access-control-allow-methods": "GET, POST, OPTIONS",
        "access-control-allow-headers": "content-type",
        "access-control-max-age": "3600",
    }


async def test_switched_off_it_is_not_there(node: LiveNode) -> None:
    async with client_of(node, None) as client:
        assert (await client.post("/rest-api/stream/find_all")).status_code == 404
        assert "exception" not in (await client.post("/rest-api/stream/find_all")).json()


async def test_a_body_without_end_is_not_read_to_it(node: LiveNode) -> None:
    async with client_of(node, WcsOptions()) as client:
        answer = await client.post("/rest-api/stream/find", content=b" " * (BODY_MAX_BYTES + 1))
    assert answer.status_code == 413


async def test_half_a_character_comes_back_as_a_question_mark(node: LiveNode) -> None:
    async with client_of(node, WcsOptions()) as client:
        answer = await client.post("/rest-api/rtsp/terminate", content=b'{"uri": "\\ud800"}')
    assert answer.status_code == 404
    assert "from ?" in answer.json()["reason"]


async def test_a_fault_of_ours_is_status_500_in_the_words_of_wcs(
    node: LiveNode, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> None:
        raise CatalogError("disk I/O error in /var/lib/secret.db")

    monkeypatch.setattr(node.services.streams, "list", broken)
    async with client_of(node, WcsOptions()) as client:
        with caplog.at_level(logging.ERROR):
            answer = await client.post("/rest-api/stream/find_all")
        monkeypatch.undo()
        metrics = (await client.get("/metrics")).text
    assert answer.status_code == 500
    assert answer.headers["access-control-allow-origin"] == "*"
    body = answer.json()
    assert (body["status"], body["exception"]) == (500, "InternalErrorException")
    assert "secret" not in answer.text
    (record,) = caplog.records
    assert "POST /rest-api/stream/find_all" in record.getMessage()
    assert 'aircheck_errors_total{kind="catalog"} 1.0' in metrics


@pytest.mark.parametrize("method", ["recorder/startup", "multipleRecorder/add"])
async def test_a_session_that_is_not_live_is_told_where_the_live_ones_are(
    node: LiveNode, method: str
) -> None:
    asked = {"uri": "multi-recorder://a", "mediaSessionId": "5a072377"}
    async with client_of(node, WcsOptions()) as client:
        answer = await client.post(f"/rest-api/{method}", json=asked)
    assert answer.status_code == 404
    assert "'5a072377'; /stream/find_all lists" in answer.json()["reason"]


async def test_a_method_that_is_misspelt_is_told_how_it_is_written(node: LiveNode) -> None:
    async with client_of(node, WcsOptions()) as client:
        answer = await client.post("/rest-api/recorder/start")
    assert answer.status_code == 404
    assert "/recorder/startup" in answer.json()["reason"]


async def test_of_several_startups_at_once_one_recording_is_left(node: LiveNode) -> None:
    stream = await node.publish_media(duration_ms=200)
    async with client_of(node, WcsOptions()) as client:
        asked = {"mediaSessionId": stream.id}
        calls = [client.post("/rest-api/recorder/startup", json=asked) for _ in range(4)]
        answers = await asyncio.gather(*calls)
        assert [answer.status_code for answer in answers] == [200] * 4
        assert len((await client.get("/rest-api/recorder/find_all")).json()) == 1


async def test_a_startup_that_cannot_be_meant_leaves_the_running_recording_alone(node: LiveNode) -> None:
    stream = await node.publish_media(duration_ms=200)
    async with client_of(node, WcsOptions()) as client:
        await client.post("/rest-api/recorder/startup", json={"mediaSessionId": stream.id})
        (before,) = node.control.running()
        bad = {"mediaSessionId": stream.id, "config": {"rotation": "weekly"}}
        assert (await client.post("/rest-api/recorder/startup", json=bad)).status_code == 400
    (after,) = node.control.running()
    assert (after.id, after.state) == (before.id, RecordingState.RECORDING)


async def test_without_room_on_the_disk_a_startup_is_an_error_of_the_server(tmp_path: Path) -> None:
    async with LiveNode.opened(tmp_path, min_free_bytes=1 << 60) as node:
        stream = node.publish()
        async with client_of(node, WcsOptions()) as client:
            answer = await client.post("/rest-api/recorder/startup", json={"mediaSessionId": stream.id})
    assert answer.status_code == 500
    assert "kept in reserve" in answer.json()["reason"]


async def test_the_name_that_is_told_before_there_is_a_file_is_that_of_its_container(node: LiveNode) -> None:
    stream = node.publish()
    stream.announce(Track(1, Codec.VP8, 90_000))
    async with client_of(node, WcsOptions()) as client:
        asked = {"mediaSessionId": stream.id, "config": {"fileTemplate": "{streamName}-{endTime}"}}
        await client.post("/rest-api/recorder/startup", json=asked)
        (found,) = (await client.get("/rest-api/recorder/find_all")).json()
    assert found["fileName"] == "cam-{endTime}.webm"


async def test_terminate_answers_when_the_file_is_there_under_its_name(node: LiveNode) -> None:
    stream = await node.publish_media(duration_ms=200)
    async with client_of(node, WcsOptions()) as client:
        asked = {"mediaSessionId": stream.id, "config": {"fileTemplate": "final"}}
        await client.post("/rest-api/recorder/startup", json=asked)
        await node.feed(stream, av_batches(2000))
        await client.post("/rest-api/recorder/terminate", json={"mediaSessionId": stream.id})
        assert (node.record_dir / "final.mp4").exists()
        assert (await client.get("/client/records/final.mp4")).status_code == 200


async def test_rtmp_peers_are_connections_that_can_be_ended() -> None:
    registry, pump = Registry(), Pump(asyncio.get_running_loop(), interval_s=0.05)
    rtmp = RtmpServer(
        pump,
        registry,
        AccessService(),
        SystemClock(),
        new_viewer=lambda stream, session, number: RtmpViewer(stream, session, number),
    )
    connections = ConnectionService(RtmpConnections(rtmp))
    try:
        async with Peer(rtmp.listen("127.0.0.1", 0)) as peer:
            assert connections.list() == []
            await peer.publish("cam?user=anna")
            (status,) = connections.list()
            (stream,) = registry
            assert (status.session_id, status.protocol, status.app) == (
                stream.facts.session_id,
                "rtmp",
                "live",
            )
            assert (status.login, status.remote_address) == ("anna", stream.facts.remote_address)
            assert status.client == stream.facts.client
            connections.close(status.session_id)
            await peer.closed()
            assert stream.facts.end_reason is EndReason.STOPPED
            assert connections.list() == []
            with pytest.raises(NotFound):
                connections.close(status.session_id)
    finally:
        await rtmp.stop(EndReason.SHUTDOWN)
        pump.close()
