"""A publisher's data messages over real sockets: into every container, over rotation, and to a viewer."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from helpers.data_messages import read_messages
from helpers.flv_media import encode
from helpers.probe import decode_complaints
from helpers.programs import wait_until
from helpers.rtmp_peer import Peer
from helpers.server import ServerProcess

from aircheck.cli.inspection import inspect_path
from aircheck.wire import amf
from aircheck.wire.rtmp import events as ev

CONTAINERS = ("mp4", "flv", "ts", "mkv")
TEXT = amf.serialize("onTextData", {"text": "hello"})
CUE = amf.serialize("onCuePoint", {"name": "advert", "parameters": {"length": 30}})
SENT = {1000: TEXT, 1980: CUE, 2120: TEXT, 5000: CUE}


@dataclass
class Recorded:
    server: ServerProcess
    watched: list[tuple[int, bytes]]
    """What a viewer got: time and payload."""

    def files(self, container: str) -> list[Path]:
        """Those of one of the recordings, in their order."""
        segments = [segment for row in self.server.recordings("cam") for segment in row["segments"]]
        names = [segment["file_name"] for segment in segments]
        return [self.server.record_dir / name for name in sorted(names) if name.startswith(f"{container}_")]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorded]:
    """One stream recorded into every container with its data, and once without."""
    record = ["enabled = false", 'rotation = "2"']
    with ServerProcess(tmp_path_factory.mktemp("server"), record=record) as server:
        for name in (*CONTAINERS, "plain"):
            order = {"stream": "cam", "wait": True, "name": name, "record_data": name != "plain"}
            order["container"] = name if name != "plain" else "mp4"
            answer = httpx.post(server.http_url("/api/v1/recordings"), json=order)
            assert answer.is_success, answer.text
        watched = asyncio.run(publish(server))
        wait_until("all recordings", lambda: is_over(server))
        yield Recorded(server, watched)


def is_over(server: ServerProcess) -> bool:
    states = [row["state"] for row in server.recordings("cam")]
    return states == ["complete"] * (len(CONTAINERS) + 1)


async def publish(server: ServerProcess) -> list[tuple[int, bytes]]:
    """Publish six seconds; returns the data messages that a viewer got."""
    messages = encode("libx264", "aac", frames=150).messages()
    messages += [(18, at_ms, payload) for at_ms, payload in SENT.items()]
    messages.sort(key=lambda message: (message[1], message[0] == 18))
    address = ("127.0.0.1", server.rtmp_port)
    async with Peer(address) as peer, Peer(address) as viewer:
        stream_id = await peer.publish("cam")
        await viewer.play("cam")
        for from_ms in range(0, 7000, 500):  # a file ends where one read does not hold all of it
            now = [message for message in messages if from_ms <= message[1] < from_ms + 500]
            peer.connection.send_media_batch(stream_id, now)
            await peer.flush()
            await asyncio.sleep(0.05)
        seen: list[tuple[int, bytes]] = []
        while len([payload for _, payload in seen if payload in (TEXT, CUE)]) < len(SENT):
            media = await viewer.get(ev.MediaReceived)
            seen += [(timestamp, bytes(body)) for kind, timestamp, body in media.messages if kind == 18]
        await peer.unpublish(stream_id)
        await asyncio.sleep(0.2)
    return seen


def test_every_container_has_each_message_once_at_its_time(recorded: Recorded) -> None:
    for container in CONTAINERS:
        files = recorded.files(container)
        assert [path.suffix for path in files] == [f".{container}"] * 3
        found = [
            [(at_ms, name) for at_ms, name in read_messages(path) if name != "onMetaData"] for path in files
        ]
        names = [[name for _, name in one] for one in found]
        assert names == [["onTextData", "onCuePoint"], ["onTextData"], ["onCuePoint"]], container
        times = [at_ms for one in found for at_ms, _ in one]
        # Encoders show the first picture 80 ms after its decoding time, to which data is compared here.
        for at_ms, expected in zip(times, (920, 1900, 40, 920), strict=True):
            assert at_ms == pytest.approx(expected, abs=45), container
        assert decode_complaints(files[1]) == "" or container == "flv"


def test_what_the_publisher_said_of_the_stream_is_at_the_beginning(recorded: Recorded) -> None:
    for container in CONTAINERS:
        first = recorded.files(container)[0]
        assert next(name for _, name in read_messages(first)) == "onMetaData", container


def test_without_the_wish_there_is_no_data(recorded: Recorded) -> None:
    for path in recorded.files("plain"):
        assert read_messages(path) == []
        assert [track.facts.kind for track in inspect_path(path).parts[0].survey.tracks] == ["video", "audio"]


def test_inspect_shows_the_data(recorded: Recorded) -> None:
    for container in CONTAINERS:
        (part,) = inspect_path(recorded.files(container)[0]).parts
        assert part.survey is not None
        (data,) = [track for track in part.survey.tracks if track.facts.kind == "data"]
        assert (data.facts.codec, data.facts.packets) == ("amf0", 3), container


def test_a_viewer_gets_the_messages_too(recorded: Recorded) -> None:
    assert [one for one in recorded.watched if one[1] in (TEXT, CUE)] == list(SENT.items())


def test_the_catalogue_says_which_files_have_data(recorded: Recorded) -> None:
    kinds = {
        segment["file_name"]: [track["kind"] for track in segment["tracks"]]
        for row in recorded.server.recordings("cam")
        for segment in row["segments"]
    }
    assert kinds["mp4_1.mp4"] == ["video", "audio", "data"]
    assert kinds["plain_1.mp4"] == ["video", "audio"]
