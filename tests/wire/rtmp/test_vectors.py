"""What real programs have sent, see tests/vectors/rtmp/README.md."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from helpers.connection_pair import RawClient, flattened, pieces

from aircheck.wire import amf
from aircheck.wire.rtmp import events as ev
from aircheck.wire.rtmp.client import ClientConnection
from aircheck.wire.rtmp.handshake import Scheme

FOLDER = Path(__file__).parents[2] / "vectors" / "rtmp"

PUBLISHERS = {
    "ffmpeg_publish": (Scheme.DIGEST_FIRST, "live", "room/cam", {"token": "abc"}, 23),
    "gst_rtmpsink_publish": (Scheme.SIMPLE, "live", "cam", {}, 22),
    "gst_rtmp2sink_publish": (Scheme.SIMPLE, "live", "cam", {}, 22),
}
PLAYERS = {
    "rtmpdump_play": ("cam", {}),
    "ffmpeg_play": ("room/cam", {"token": "abc"}),
}


def vector(name: str) -> bytes:
    return (FOLDER / f"{name}.bin").read_bytes()


def happened(*reads: bytes) -> list[ev.Event]:
    client = RawClient()
    for data in reads:
        client.send(data)
    client.send(b"")
    return client.events


@pytest.mark.parametrize("name", PUBLISHERS)
def test_a_publisher_is_understood(name: str) -> None:
    scheme, app, stream_name, query, frames = PUBLISHERS[name]
    events = happened(vector(name))
    hello, connect, publish = events[:3]
    assert isinstance(hello, ev.HandshakeCompleted)
    assert hello.scheme is scheme
    assert isinstance(connect, ev.ConnectRequested)
    assert isinstance(publish, ev.PublishRequested)
    assert (publish.app, publish.name, publish.query) == (app, stream_name, query)
    assert publish.publish_type == "live"
    assert ev.StreamClosed(publish.stream_id, ev.CloseReason.FC_UNPUBLISH) in events
    assert isinstance(events[-1], ev.ConnectionEnded)
    media = [message for e in events if isinstance(e, ev.MediaReceived) for message in e.messages]
    # AVC or AAC sequence headers and the end of sequence have 0 or 2 as their second byte.
    count = Counter((type_id, payload[1]) for type_id, _, payload in media if type_id != 18)
    assert count[9, 0] == count[8, 0] == 1
    assert count[9, 1] == frames
    assert count[8, 1] >= 60


@pytest.mark.parametrize("name", PUBLISHERS)
def test_a_publishers_time_goes_on_and_its_metadata_is_unwrapped(name: str) -> None:
    events = happened(vector(name))
    media = [message for e in events if isinstance(e, ev.MediaReceived) for message in e.messages]
    video = [timestamp for type_id, timestamp, _ in media if type_id == 9]
    assert video == sorted(video)
    assert 1300 <= video[-1] - video[0] <= 1600
    metadata = next(amf.parse(payload) for type_id, _, payload in media if type_id == 18)
    assert metadata[0] == "onMetaData"
    assert isinstance(metadata[1], dict)
    assert metadata[1]["width"] == 160.0


@pytest.mark.parametrize("name", PLAYERS)
def test_a_player_is_understood(name: str) -> None:
    stream_name, query = PLAYERS[name]
    events = happened(vector(name))
    play = next(event for event in events if isinstance(event, ev.PlayRequested))
    assert (play.app, play.name, play.query) == ("live", stream_name, query)
    assert any(isinstance(event, ev.BufferLengthSet) for event in events)


@pytest.mark.parametrize("name", [*PUBLISHERS, *PLAYERS])
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_any_split_of_a_vector_brings_the_same_events(name: str, size: int) -> None:
    data = vector(name)
    split = happened(*pieces(data, [size] * (len(data) // size)))
    assert flattened(split) == flattened(happened(data))


def nginx_play(reads: list[bytes]) -> list[ev.Event]:
    """Let our client make its calls when the recorded server has made them possible."""
    client = ClientConnection()
    client.connect("live", "rtmp://127.0.0.1/live")
    events: list[ev.Event] = []
    for data in reads:
        client.receive(data, 0.0)
        for event in client.events():
            events.append(event)
            if isinstance(event, ev.Connected):
                client.play("cam")
    return events


def test_nginx_rtmp_can_be_played_from() -> None:
    data = vector("nginx_play")
    # The server spoke in turns: the client's calls must lie between its answers.
    events = nginx_play(pieces(data, [10] * (len(data) // 10)))
    playing = events.index(ev.Playing(1, "cam"))
    assert isinstance(events[playing - 1], ev.StatusReceived | ev.Connected | ev.CommandReceived)
    media = [message for e in events if isinstance(e, ev.MediaReceived) for message in e.messages]
    assert sum(type_id == 9 for type_id, _, _ in media) > 30
    assert sum(type_id == 8 for type_id, _, _ in media) > 80
    assert isinstance(events[-1], ev.StreamClosed)
