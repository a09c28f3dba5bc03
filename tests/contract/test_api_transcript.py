"""The API as its clients see it, word for word: `api_v1.txt` is what they were promised.

A field may be added there; a field that changes or goes breaks somebody's program.
"""

from __future__ import annotations

import json
from pathlib import Path

import httpx
from helpers.http_world import EPOCH_NS, World, make_recording, make_segment, make_stream

from aircheck.facts import (
    EndReason,
    Event,
    EventKind,
    GapFacts,
    GapReason,
    RecordingState,
    SegmentState,
)

TRANSCRIPT = Path(__file__).with_name("api_v1.txt")


async def test_answers_are_those_of_the_transcript(tmp_path: Path) -> None:
    async with World.opened(tmp_path) as world, world.client() as client:
        await _fill(world)
        requests = [line[2:] for line in TRANSCRIPT.read_text().splitlines() if line.startswith("> ")]
        said = [await _exchange(client, request) for request in requests]
    actual = tmp_path / "api_v1.txt"
    actual.write_text("\n".join(said))
    assert actual.read_text() == TRANSCRIPT.read_text(), f"what was said is in {actual}"


async def _exchange(client: httpx.AsyncClient, request: str) -> str:
    method, url = request.split(" ", 1)
    answer = await client.request(method, url)
    body = json.loads(answer.text)
    for stream in body.get("items", [body]):
        if "uptime_ms" in stream:
            stream["uptime_ms"] = 0
    text = json.dumps(body, indent=1, ensure_ascii=False)
    return f"> {request}\n< {answer.status_code} {answer.headers['content-type']}\n{text}\n"


async def _fill(world: World) -> None:
    gap = GapFacts(1200, 400, GapReason.SLOW_DISK, dropped_packets=31, dropped_bytes=52_000, at_ns=EPOCH_NS)
    await world.catalog.put_many(
        make_recording(end_reason=EndReason.UNPUBLISHED, gaps=1, dropped_packets=31),
        make_segment("live/студия.mp4", path="/none", size_bytes=9900, duration_ms=3000, gaps=(gap,)),
        make_recording("rec-2", state=RecordingState.RECORDING, start_ns=EPOCH_NS + 1, end_ns=None),
        make_segment("rec-2.mp4", recording_id="rec-2", state=SegmentState.GROWING, path="/none"),
    )
    await world.catalog.add_event(
        Event(EventKind.RECORDING_STARTED, EPOCH_NS, "studio", "media-1", "rec-1", "", {"container": "mp4"})
    )
    await world.catalog.add_event(Event(EventKind.STREAM_UNPUBLISHED, EPOCH_NS, "studio", "media-1"))
    world.live_streams = [
        make_stream(
            packets=230, size_bytes=9900, bitrate_bps=2_600_000, gaps=1, dropped_packets=31, subscribers=1
        )
    ]
