"""Appending as a client of the API and the catalogue see it: links, lists, events, downloads, check."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import av
import httpx
import pytest
from helpers.live_node import LiveNode
from helpers.packets import av_batches
from helpers.patience import PATIENCE_S
from helpers.recorder_rig import feed

from aircheck.catalog.check import check
from aircheck.cli.checking import MediaProbe
from aircheck.facts import EndReason

RECORDINGS = "/api/v1/recordings"
APPEND = {"stream": "cam", "name": "{streamName}", "on_conflict": "append"}
FILE = "/client/records/cam.mp4"


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[LiveNode]:
    async with LiveNode.opened(tmp_path) as node:
        yield node


@pytest.fixture
async def client(node: LiveNode) -> AsyncIterator[httpx.AsyncClient]:
    async with node.client() as client:
        yield client


async def begin(node: LiveNode, client: httpx.AsyncClient, **options: object) -> str:
    stream = node.publish()
    answer = await client.post(RECORDINGS, json=APPEND | options)
    assert answer.status_code == 201, answer.text
    await feed(stream, av_batches(2000), pause_s=0.03)
    recording_id: str = answer.json()["id"]
    return recording_id


async def end(node: LiveNode, client: httpx.AsyncClient, recording_id: str) -> dict[str, Any]:
    answer = await client.post(f"{RECORDINGS}/{recording_id}/stop")
    for stream in node.registry:
        node.unpublish(stream, EndReason.UNPUBLISHED)
    facts: dict[str, Any] = answer.json()
    assert facts["state"] == "complete"
    return facts


async def is_clean(node: LiveNode) -> bool:
    report = await check(node.catalog, [node.record_dir], MediaProbe())
    return report.is_clean and not report.foreign


def pictures(content: bytes) -> int:
    with av.open(io.BytesIO(content)) as container:
        return sum(1 for packet in container.demux(video=0) if packet.size)


async def test_it_is_listed_downloaded_and_checked_all_the_while(
    node: LiveNode, client: httpx.AsyncClient
) -> None:
    first = await end(node, client, await begin(node, client))
    link = first["segments"][0]["download_url"]
    second = await begin(node, client)
    async with asyncio.timeout(PATIENCE_S):
        while pictures((await client.get(FILE)).content) <= 50:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    growing = (await client.get(f"{RECORDINGS}/{second}")).json()
    (segment,) = growing["segments"]
    assert (segment["state"], segment["file_name"]) == ("growing", "cam.mp4")
    assert segment["duration_ms"] > 3000
    assert 50 < pictures((await client.get(FILE)).content) <= 100
    assert await is_clean(node)
    last = await end(node, client, second)
    assert pictures((await client.get(FILE)).content) == 100
    assert pictures((await client.get(link)).content) == 100
    assert await is_clean(node)
    assert last["size_bytes"] == (node.record_dir / "cam.mp4").stat().st_size
    (gap,) = last["segments"][0]["gaps"]
    assert (gap["reason"], gap["duration_ms"]) == ("append", 0)
    earlier = (await client.get(f"{RECORDINGS}/{first['id']}")).json()
    assert (earlier["state"], earlier["segments"], earlier["size_bytes"]) == ("complete", [], 0)
    assert second in earlier["error"]
    events = (await client.get("/api/v1/events")).json()["items"]
    (appended,) = (event for event in events if event["kind"] == "recording.appended")
    assert appended["recording_id"] == second
    assert appended["facts"]["earlier_recording"] == first["id"]


async def test_a_refusal_is_told_and_nothing_is_lost(node: LiveNode, client: httpx.AsyncClient) -> None:
    node.record_dir.mkdir(exist_ok=True)
    (node.record_dir / "cam.mp4").write_bytes(b"somebody's")
    recording = await end(node, client, await begin(node, client, on_conflict="append_with_gap"))
    assert recording["segments"][0]["file_name"] == "cam_0001.mp4"
    assert pictures((node.record_dir / "cam_0001.mp4").read_bytes()) == 50
    events = (await client.get("/api/v1/events")).json()["items"]
    (refused,) = (event for event in events if event["kind"] == "recording.not_appended")
    assert refused["recording_id"] == recording["id"]
    assert refused["facts"]["file_name"] == "cam.mp4"
    assert refused["facts"]["reason"]


async def test_the_catalogue_can_be_made_anew_from_a_file_that_went_on(
    node: LiveNode, client: httpx.AsyncClient
) -> None:
    for _ in range(3):
        last = await end(node, client, await begin(node, client))
    rows = (await client.get(RECORDINGS)).json()["items"]
    await node.catalog.forget_recordings(*(row["id"] for row in rows))
    report = await check(node.catalog, [node.record_dir], MediaProbe(), repair=True)
    assert report.is_clean
    (row,) = (await client.get(RECORDINGS)).json()["items"]
    assert (row["id"], row["size_bytes"]) == (last["id"], last["size_bytes"])
    assert row["duration_ms"] == last["duration_ms"]
