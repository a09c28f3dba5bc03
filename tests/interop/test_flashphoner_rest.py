"""The vendor's own REST client, under node, against a whole server that FFmpeg publishes to."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from helpers import media as clips
from helpers.certificates import TestCertificate
from helpers.media import MediaFolder
from helpers.npm import WEBSDK, npm_package
from helpers.programs import wait_until
from helpers.publishers import ffmpeg_publishing
from helpers.server import ServerProcess
from helpers.tools import requires

pytestmark = requires("ffmpeg")

PLAYER = Path(__file__).with_name("flashphoner_rest.js")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> TestCertificate:
    return TestCertificate.made(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, certificate: TestCertificate) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("server")
    record = ['name = "{streamName}-{startTime}-{endTime}"']
    with ServerProcess(folder, record=record, settings=certificate.settings()) as running:
        yield running


def https_url(server: ServerProcess) -> str:
    port = server.said(r"https://127\.0\.0\.1:(\d+)/")
    return f"https://127.0.0.1:{port[1]}"


def play(url: str, certificate: TestCertificate, *calls: list[Any]) -> list[dict[str, Any]]:
    """What the vendor's client makes of these calls: each is kept or rejected."""
    client = npm_package(WEBSDK) / "flashphoner-rest-api.js"
    done = subprocess.run(
        ["node", str(PLAYER), str(client), url, json.dumps(calls)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | {"NODE_EXTRA_CA_CERTS": str(certificate.cert)},
    )
    assert done.returncode == 0, done.stderr
    said: list[dict[str, Any]] = json.loads(done.stdout)
    return said


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_the_vendors_client_finds_and_ends_a_publisher(
    server: ServerProcess, certificate: TestCertificate, media: MediaFolder, tmp_path: Path, scheme: str
) -> None:
    url = server.http_url("") if scheme == "http" else https_url(server)
    name = f"vendor-{scheme}"
    empty = play(url, certificate, ["stream.findAll", []], ["pull.findAll", []], ["rtsp.findAll", []])
    assert [answer["ok"] for answer in empty] == [False, True, False]
    assert empty[1]["answer"] == []
    clip = media.clip(clips.H264_AAC)
    with ffmpeg_publishing(clip, server.rtmp_url(name), tmp_path / "ffmpeg.log"):
        live = server.wait_for_stream(name)
        found, all_found, by_id, connections = play(
            url,
            certificate,
            ["stream.find", [None, name, True, True]],
            ["stream.findAll", []],
            ["stream.find", [live["id"], None, None]],
            ["connection.findAll", []],
        )
        (stream,) = found["answer"]
        assert (stream["mediaSessionId"], stream["status"]) == (live["id"], "PUBLISHING")
        assert (stream["videoCodec"], stream["audioCodec"]) == ("H264", "mpeg4-generic")
        assert (stream["appKey"], stream["mediaProvider"]) == ("flashStreamingApp", "Flash")
        assert stream["record"]
        assert re.fullmatch(rf"{name}-\d+-\{{endTime\}}\.mp4", stream["recordName"])
        assert stream["metrics"]["packets"] > 0
        assert [one["name"] for one in all_found["answer"]] == [name]
        assert [one["name"] for one in by_id["answer"]] == [name]
        assert [one["sessionId"] for one in connections["answer"]] == [stream["sessionId"]]
        ended, gone = play(
            url,
            certificate,
            ["stream.terminate", [live["id"]]]
            if scheme == "http"
            else ["connection.terminate", [stream["sessionId"]]],
            ["connection.terminate", ["nobody"]],
        )
        assert (ended, gone["ok"]) == ({"ok": True, "answer": None}, False)
        recording = server.wait_for_recording(name)
        assert recording["end_reason"] == "stopped"


def test_a_recording_is_replaced_and_its_file_downloaded_inside_tls(
    server: ServerProcess, certificate: TestCertificate, media: MediaFolder, tmp_path: Path
) -> None:
    url = https_url(server)
    with (
        httpx.Client(base_url=f"{url}/rest-api", verify=certificate.client(), timeout=20) as client,
        ffmpeg_publishing(media.clip(clips.H264_AAC), server.rtmp_url("cam"), tmp_path / "ffmpeg.log"),
    ):
        media_session_id = server.wait_for_stream("cam")["id"]
        config = {"fileTemplate": "test", "rotation": "disabled"}
        asked = {"mediaSessionId": media_session_id, "config": config}
        answer = client.post("/stream/startRecording", json=asked)
        assert (answer.status_code, answer.content) == (200, b"")
        running = client.post("/recorder/find_all").json()
        assert running == [{"fileName": "test.mp4", "mediaSessionId": media_session_id}]
        second, first = server.recordings("cam")
        assert (first["state"], second["requested_by"]) == ("complete", "wcs")
        wait_until("media in the new file", lambda: server.recordings("cam")[0]["duration_ms"])
        assert client.post("/recorder/terminate", json={"mediaSessionId": media_session_id}).is_success
        file = client.get(f"{url}/client/records/test.mp4", params={"disposition": "attachment"})
        assert file.headers["content-disposition"] == 'attachment; filename="test.mp4"'
        assert file.content == (server.record_dir / "test.mp4").read_bytes()
