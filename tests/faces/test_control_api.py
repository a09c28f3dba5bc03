"""Commands over HTTP: what they answer, and whom they refuse."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from helpers.live_node import LiveNode
from helpers.packets import av_batches

RECORDINGS = "/api/v1/recordings"


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[LiveNode]:
    async with LiveNode.opened(tmp_path) as node:
        yield node


@pytest.fixture
async def client(node: LiveNode) -> AsyncIterator[httpx.AsyncClient]:
    async with node.client() as client:
        yield client


async def test_a_recording_lives_from_start_to_stop(node: LiveNode, client: httpx.AsyncClient) -> None:
    stream = node.publish("cam")
    answer = await client.post(RECORDINGS, json={"stream": "cam", "name": "take-{streamName}"})
    assert answer.status_code == 201
    started = answer.json()
    assert (started["state"], started["requested_by"], started["armed_id"]) == ("recording", "api", None)
    path = answer.headers["location"]
    assert (await client.get(path)).json()["id"] == started["id"]
    assert [item["id"] for item in (await client.get(RECORDINGS)).json()["items"]] == [started["id"]]

    batches = list(av_batches(3000))
    await node.feed(stream, batches[:3])
    assert (await client.post(f"{path}/pause")).json()["state"] == "paused"
    listed = (await client.get(RECORDINGS, params={"state": "paused"})).json()["items"]
    assert [item["id"] for item in listed] == [started["id"]]
    assert (await client.post(f"{path}/resume")).json()["state"] == "recording"
    await node.feed(stream, batches[3:7])
    assert (await client.post(f"{path}/split")).status_code == 200
    await node.feed(stream, batches[7:])

    answer = await client.post(f"{path}/stop")
    stopped = answer.json()
    assert answer.status_code == 200
    assert (stopped["state"], stopped["end_reason"]) == ("complete", "stopped")
    names = [segment["file_name"] for segment in stopped["segments"]]
    assert names == ["take-cam.mp4", "take-cam_0001.mp4"]
    for segment in stopped["segments"]:
        assert (await client.get(segment["play_url"])).status_code == 200
    assert (await client.post(f"{path}/stop")).json() == stopped
    assert (await client.post(f"{path}/pause")).status_code == 409


async def test_a_stop_that_takes_longer_is_accepted(tmp_path: Path) -> None:
    async with LiveNode.opened(tmp_path, stop_timeout_s=0) as node, node.client() as client:
        stream = node.publish("cam")
        started = (await client.post(RECORDINGS, json={"media_session_id": stream.id})).json()
        await node.feed(stream, av_batches(400))
        answer = await client.post(f"{RECORDINGS}/{started['id']}/stop")
    assert (answer.status_code, answer.json()["state"]) == (202, "finalizing")


async def test_a_recording_is_armed_listed_and_disarmed(node: LiveNode, client: httpx.AsyncClient) -> None:
    answer = await client.post(RECORDINGS, json={"stream": "cam", "app": "live", "keep_alive": True})
    armed = answer.json()
    assert answer.status_code == 202
    assert (await client.get("/api/v1/armed")).json() == {"items": [armed]}
    node.publish("cam")
    assert [one.requested_by for one in node.control.running(name="cam")] == ["api"]
    assert (await client.delete(f"/api/v1/armed/{armed['id']}")).status_code == 204
    assert (await client.delete(f"/api/v1/armed/{armed['id']}")).status_code == 404
    assert (await client.get("/api/v1/armed")).json() == {"items": []}


async def test_what_is_kept_alive_while_live_tells_what_is_armed(
    node: LiveNode, client: httpx.AsyncClient
) -> None:
    node.publish("cam")
    answer = await client.post(RECORDINGS, json={"stream": "cam", "keep_alive": True})
    (armed,) = (await client.get("/api/v1/armed")).json()["items"]
    assert (answer.status_code, answer.json()["armed_id"]) == (201, armed["id"])


async def test_a_publisher_is_asked_to_go(node: LiveNode, client: httpx.AsyncClient) -> None:
    stream = node.publish("cam")
    answer = await client.delete(f"/api/v1/streams/{stream.id}")
    assert (answer.status_code, answer.json()["name"]) == (202, "cam")
    assert not stream.is_live
    assert (await client.delete(f"/api/v1/streams/{stream.id}")).status_code == 404


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 422),
        ({"stream": "nobody"}, 404),
        ({"media_session_id": "nobody"}, 404),
        ({"stream": "cam", "colour": "red"}, 422),
        ({"stream": "cam", "name": "{nobody}"}, 422),
        ({"stream": "cam", "container": "avi"}, 422),
        ({"stream": "cam", "max_duration_ms": -5}, 422),
        ({"media_session_id": "media-1", "wait": True}, 422),
        ({"stream": "twice"}, 409),
    ],
)
async def test_what_cannot_be_started_is_a_problem_with_a_remedy(
    node: LiveNode, client: httpx.AsyncClient, body: dict[str, object], status: int
) -> None:
    node.publish("cam", stream_id="media-1")
    node.publish("twice", "a", "media-2")
    node.publish("twice", "b", "media-3")
    answer = await client.post(RECORDINGS, json=body)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["remedy"]
    assert list(node.recorder) == []


async def test_a_full_disk_is_a_problem_of_its_own(tmp_path: Path) -> None:
    async with LiveNode.opened(tmp_path, min_free_bytes=1 << 60) as node, node.client() as client:
        node.publish("cam")
        answer = await client.post(RECORDINGS, json={"stream": "cam"})
    assert (answer.status_code, answer.json()["type"]) == (507, "urn:aircheck:problem:no-storage")
    assert "room" in answer.json()["remedy"]


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "http://evil.example"},
        {"origin": "http://recorder:8082"},
        {"origin": "null"},
    ],
)
async def test_a_page_of_another_site_changes_nothing(
    node: LiveNode, client: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    stream = node.publish("cam")
    recording = (await client.post(RECORDINGS, json={"stream": "cam"})).json()
    for method, path in (
        ("POST", f"{RECORDINGS}/{recording['id']}/stop"),
        ("POST", f"{RECORDINGS}/{recording['id']}/pause"),
        ("DELETE", f"/api/v1/streams/{stream.id}"),
    ):
        answer = await client.request(method, path, headers=headers)
        assert (answer.status_code, answer.json()["title"]) == (403, "Forbidden")
        assert answer.json()["remedy"]
    answer = await client.post(RECORDINGS, json={"stream": "cam"}, headers=headers)
    assert answer.status_code == 403
    assert [one.facts.state for one in node.recorder] == ["recording"]


@pytest.mark.parametrize(
    "headers", [{"sec-fetch-site": "same-origin"}, {"sec-fetch-site": "none"}, {"origin": "http://recorder"}]
)
async def test_a_page_of_this_server_may(
    node: LiveNode, client: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    node.publish("cam")
    answer = await client.post(RECORDINGS, json={"stream": "cam"}, headers=headers)
    assert answer.status_code == 201


@pytest.mark.parametrize("media_type", ["text/plain", "application/x-www-form-urlencoded", ""])
async def test_a_body_that_is_not_said_to_be_json_is_refused(
    node: LiveNode, client: httpx.AsyncClient, media_type: str
) -> None:
    node.publish("cam")
    headers = {"content-type": media_type} if media_type else {}
    answer = await client.post(RECORDINGS, content=b'{"stream": "cam"}', headers=headers)
    assert (answer.status_code, answer.json()["title"]) == (415, "Unsupported Media Type")
    assert list(node.recorder) == []
