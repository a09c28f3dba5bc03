"""Metrics: what a scrape shows, and that every one is documented."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from helpers.http_world import World, make_recording, make_stream
from prometheus_client.parser import text_string_to_metric_families

from aircheck.faces.api.metrics import METRICS
from aircheck.facts import RecordingState
from aircheck.service.health import CatalogStatus, NodeStatus, VolumeStatus
from aircheck.service.recordings import RecordingHealth


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with World.opened(tmp_path) as world:
        yield world


@pytest.fixture
async def client(world: World) -> AsyncIterator[httpx.AsyncClient]:
    async with world.client() as client:
        yield client


async def scrape(client: httpx.AsyncClient) -> dict[str, list[tuple[dict[str, str], float]]]:
    text = (await client.get("/metrics")).text
    samples: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            samples.setdefault(sample.name, []).append((sample.labels, sample.value))
    return samples


async def test_scrape_shows_streams_recordings_volumes_and_the_node(
    world: World, client: httpx.AsyncClient
) -> None:
    world.live_streams = [
        make_stream(size_bytes=9900, packets=230, gaps=1, dropped_packets=4, held_back_ns=1_500_000_000)
    ]
    world.live_recordings = [make_recording(state=RecordingState.RECORDING, size_bytes=9000)]
    world.recording_health["rec-1"] = RecordingHealth(0.002, 0.9, 0.25, 4096)
    world.disks = [VolumeStatus("/records", free_bytes=40, is_failing=True)]
    world.node = NodeStatus({"rtmp": 3}, {"wrong_password": 2}, {"protocol": 5}, 0.001, 0.02)
    samples = await scrape(client)
    stream = {"app": "live", "stream": "studio"}
    recording = {**stream, "recording": "rec-1"}
    assert samples["aircheck_stream_received_bytes_total"] == [(stream, 9900)]
    assert samples["aircheck_stream_gaps_total"] == [(stream, 1)]
    assert samples["aircheck_stream_held_back_seconds_total"] == [(stream, 1.5)]
    assert [labels["codec"] for labels, _ in samples["aircheck_stream_track_received_packets_total"]] == [
        "h264",
        "aac",
    ]
    assert samples["aircheck_recording_unsynced_seconds"] == [(recording, 0.25)]
    assert samples["aircheck_recording_write_latency_seconds"] == [(recording, 0.002)]
    assert samples["aircheck_recordings_active"] == [({"state": "recording"}, 1)]
    assert samples["aircheck_volume_is_failing"] == [({"path": "/records"}, 1)]
    assert samples["aircheck_connections"] == [({"protocol": "rtmp"}, 3)]
    assert samples["aircheck_connections_refused_total"] == [({"reason": "wrong_password"}, 2)]
    assert samples["aircheck_errors_total"] == [({"kind": "protocol"}, 5)]
    assert samples["aircheck_event_loop_lag_max_seconds"] == [({}, 0.02)]
    assert "process_open_fds" in samples


async def test_what_the_catalogue_and_the_backend_refuse_is_counted(
    world: World, client: httpx.AsyncClient
) -> None:
    world.live_streams = [make_stream(subscriber_errors=1)]
    world.node = NodeStatus(
        catalog=CatalogStatus(7, {"full": 2}, 0.01, 0.3),
        backend_calls={"asked": 5, "refused": 3},
        viewer_dropped_packets=11,
        log_records={"error": 4},
        dropped_log_lines=9,
    )
    samples = await scrape(client)
    assert samples["aircheck_rtmp_viewer_dropped_packets_total"] == [({}, 11)]
    assert samples["aircheck_log_records_total"] == [({"level": "error"}, 4)]
    assert samples["aircheck_log_lines_dropped_total"] == [({}, 9)]
    assert samples["aircheck_catalog_late_rows"] == [({}, 7)]
    assert samples["aircheck_catalog_write_errors_total"] == [({"trouble": "full"}, 2)]
    assert samples["aircheck_catalog_commit_max_seconds"] == [({}, 0.3)]
    assert ({"outcome": "refused"}, 3) in samples["aircheck_backend_calls_total"]
    assert [count for _, count in samples["aircheck_stream_subscriber_errors_total"]] == [1]


async def test_labels_vanish_with_their_stream(world: World, client: httpx.AsyncClient) -> None:
    world.live_streams = [make_stream()]
    assert "aircheck_stream_subscribers" in await scrape(client)
    world.live_streams = []
    assert not [name for name in await scrape(client) if name.startswith("aircheck_stream_")]


async def test_answers_are_counted_by_status(client: httpx.AsyncClient) -> None:
    await client.get("/nowhere")
    await client.get("/nowhere")
    samples = await scrape(client)
    assert ({"code": "404"}, 2) in samples["aircheck_http_responses_total"]


async def test_two_applications_count_for_themselves(world: World, client: httpx.AsyncClient) -> None:
    await client.get("/nowhere")
    async with world.client() as other:
        assert "aircheck_http_responses_total" not in await scrape(other)


def test_names_follow_the_conventions() -> None:
    for spec in METRICS.values():
        assert spec.name.startswith("aircheck_")
        assert not spec.name.endswith("_total")
        assert not any(unit in spec.name for unit in ("_ms", "_kb", "_mb", "_percent"))
        assert spec.help.endswith(".")


async def test_every_metric_is_shown_and_every_shown_one_is_declared(
    world: World, client: httpx.AsyncClient
) -> None:
    text = (await client.get("/metrics")).text
    shown = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    shown = {name for name in shown if not name.startswith("process_")}
    assert shown == {spec.exposed_name for spec in METRICS.values()}
