"""Publish modes of Flash Media Server: what is recorded, what becomes of an older file, what clients hear."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from helpers.packets import av_batches
from helpers.recorder_rig import payloads, sent
from helpers.rtmp_peer import Peer

from aircheck.app.node import Node
from aircheck.media.packet import Batch
from aircheck.settings import (
    HttpSettings,
    Listen,
    RecordSettings,
    RtmpSettings,
    Settings,
    WebRtcSettings,
    WebSdkSettings,
)
from aircheck.wire.rtmp import events as ev

LOCAL = Listen("127.0.0.1", 0)
FIRST = list(av_batches(1000))
SECOND = list(av_batches(2000))


def settings(
    folder: Path, *, publish_modes: bool = True, publish_modes_name: str = "{streamName}", **record: object
) -> Settings:
    return Settings(
        rtmp=RtmpSettings(listen=LOCAL, publish_modes=publish_modes, publish_modes_name=publish_modes_name),
        http=HttpSettings(listen=LOCAL),
        webrtc=WebRtcSettings(listen=None),
        websdk=WebSdkSettings(listen=None, listen_tls=None),
        record=RecordSettings(dir=folder, min_free_bytes=0, **record),  # type: ignore[arg-type]
    )


async def published(node: Node, name: str, publish_type: str, batches: Sequence[Batch]) -> list[str]:
    """Publish, unpublish, and return what the client was told of it, in order."""
    assert node.rtmp_address is not None
    async with Peer(node.rtmp_address) as peer:
        number = await peer.publish(name, publish_type=publish_type)
        await peer.send(number, batches)
        await peer.unpublish(number)
        codes: list[str] = []
        while "NetStream.Unpublish.Success" not in codes:
            codes.append((await peer.get(ev.StatusReceived)).code)
        return codes


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_file())


async def test_record_replaces_and_append_goes_on(tmp_path: Path) -> None:
    async with Node(settings(tmp_path)) as node:
        told = await published(node, "cam", "record", FIRST)
        assert told == ["NetStream.Record.Start", "NetStream.Record.Stop", "NetStream.Unpublish.Success"]
        assert files(tmp_path) == ["cam.flv"]
        await published(node, "cam", "record", SECOND)
        assert payloads(tmp_path / "cam.flv") == sent(SECOND)
        await published(node, "cam", "append", FIRST)
        await published(node, "cam", "appendWithGap", FIRST)
        assert files(tmp_path) == ["cam.flv"]
        whole = {kind: each + sent(FIRST)[kind] * 2 for kind, each in sent(SECOND).items()}
        assert payloads(tmp_path / "cam.flv") == whole


@pytest.mark.parametrize("name", ["mp4:cam", "mp4:cam.mp4", "MP4:cam.f4v"])
async def test_a_prefix_chooses_the_container(tmp_path: Path, name: str) -> None:
    async with Node(settings(tmp_path, name="stream-{mediaSessionId}", rotation="20")) as node:
        await published(node, name, "record", FIRST)
    assert files(tmp_path) == ["cam.mp4"]
    assert payloads(tmp_path / "cam.mp4") == sent(FIRST)


async def test_files_may_lie_as_flash_media_server_lays_them_out(tmp_path: Path) -> None:
    laid_out = settings(tmp_path, publish_modes_name="{app}/streams/_definst_/{streamName}")
    async with Node(laid_out) as node:
        await published(node, "mp4:cam.mp4", "record", FIRST)
    assert payloads(tmp_path / "live/streams/_definst_/cam.mp4") == sent(FIRST)


async def test_live_is_as_the_settings_say(tmp_path: Path) -> None:
    async with Node(settings(tmp_path, enabled=False)) as node:
        assert await published(node, "cam", "live", FIRST) == ["NetStream.Unpublish.Success"]
        assert files(tmp_path) == []
        await published(node, "cam", "append", FIRST)
        assert files(tmp_path) == ["cam.flv"]


async def test_where_modes_are_off_nobody_replaces_a_file_by_publishing(tmp_path: Path) -> None:
    async with Node(settings(tmp_path, publish_modes=False, name="{streamName}", format="flv")) as node:
        for _ in range(2):
            assert await published(node, "cam", "record", FIRST) == ["NetStream.Unpublish.Success"]
    assert files(tmp_path) == ["cam.flv", "cam_0001.flv"]


async def test_a_recording_that_came_to_nothing_is_told(tmp_path: Path) -> None:
    async with Node(settings(tmp_path)) as node:
        told = await published(node, "cam", "record", [])
    assert told == ["NetStream.Record.Start", "NetStream.Record.Failed", "NetStream.Unpublish.Success"]


async def test_a_folder_that_cannot_be_written_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Node(settings(tmp_path)) as node:

        def refuse(*_: object, **__: object) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(node.recorder, "record", refuse)
        assert node.rtmp_address is not None
        async with Peer(node.rtmp_address) as peer:
            await peer.publish("cam", publish_type="record")
            assert (await peer.get(ev.StreamRejected)).code == "NetStream.Record.NoAccess"
