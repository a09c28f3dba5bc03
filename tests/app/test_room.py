"""A server whose disks have no room for recordings says so before anybody publishes."""

from __future__ import annotations

import logging
from pathlib import Path

import httpx
import pytest
from helpers.packets import stream_facts
from pydantic import ByteSize

from aircheck.app.node import Node
from aircheck.facts import EndReason
from aircheck.hub.stream import Stream
from aircheck.settings import (
    HttpSettings,
    Listen,
    RecordSettings,
    RtmpSettings,
    Settings,
    WebRtcSettings,
    WebSdkSettings,
)

LOCAL = Listen("127.0.0.1", 0)


def settings(folder: Path, min_free_bytes: int) -> Settings:
    return Settings(
        rtmp=RtmpSettings(listen=LOCAL),
        http=HttpSettings(listen=LOCAL),
        webrtc=WebRtcSettings(listen=None),
        websdk=WebSdkSettings(listen=None, listen_tls=None),
        record=RecordSettings(
            dir=folder / "records", tmp_dir=folder / "growing", min_free_bytes=ByteSize(min_free_bytes)
        ),
    )


@pytest.mark.parametrize(("min_free_bytes", "status"), [(1 << 60, 503), (0, 200)])
async def test_a_reserve_that_the_disk_does_not_have_is_told_at_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, min_free_bytes: int, status: int
) -> None:
    with caplog.at_level(logging.WARNING):
        async with Node(settings(tmp_path, min_free_bytes)) as node:
            assert node.http_address is not None
            url = "http://{}:{}/healthz".format(*node.http_address)
            async with httpx.AsyncClient() as client:
                answer = await client.get(url)
    told = [
        record.getMessage() for record in caplog.records if "no recording can begin" in record.getMessage()
    ]
    (volume,) = answer.json()["volumes"]
    assert answer.status_code == status
    assert ("no recording can begin" in volume["last_error"]) == (status == 503)
    assert len(told) == (1 if status == 503 else 0)
    assert all("min_free_bytes" in line for line in told)


async def test_streams_that_could_not_be_recorded_are_counted(tmp_path: Path) -> None:
    async with Node(settings(tmp_path, 1 << 60)) as node:
        stream = Stream(stream_facts())
        node.registry.publish(stream)
        status = node.services.health.node()
        node.registry.end(stream, EndReason.UNPUBLISHED, 1)
    assert status.errors["record"] == 1
    assert status.catalog.late_rows == 0
