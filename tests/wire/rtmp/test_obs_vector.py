"""What OBS Studio has sent, see tests/vectors/rtmp/README.md."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from helpers.connection_pair import RawClient, flattened, pieces

from aircheck.wire import amf
from aircheck.wire.rtmp import events as ev
from aircheck.wire.rtmp.handshake import Scheme

OBS = Path(__file__).parents[2] / "vectors" / "rtmp" / "obs_publish.bin"


def happened(*reads: bytes) -> list[ev.Event]:
    client = RawClient()
    for data in reads:
        client.send(data)
    client.send(b"")
    return client.events


def test_obs_publishes_with_a_path_and_a_query_in_its_key() -> None:
    events = happened(OBS.read_bytes())
    hello, connect, publish = events[:3]
    assert isinstance(hello, ev.HandshakeCompleted)
    assert hello.scheme is Scheme.SIMPLE
    assert isinstance(connect, ev.ConnectRequested)
    assert connect.flash_version == "FMLE/3.0 (compatible; FMSc/1.0)"
    assert isinstance(publish, ev.PublishRequested)
    assert (publish.app, publish.name, publish.query) == ("live", "room/cam", {"token": "abc"})
    assert ev.StreamClosed(publish.stream_id, ev.CloseReason.FC_UNPUBLISH) in events


def test_obs_sends_its_headers_before_its_media() -> None:
    events = happened(OBS.read_bytes())
    media = [message for e in events if isinstance(e, ev.MediaReceived) for message in e.messages]
    assert [(type_id, bytes(payload[1:2])) for type_id, _, payload in media[1:3]] == [(8, b"\0"), (9, b"\0")]
    assert Counter(type_id for type_id, _, _ in media) == {18: 1, 8: 77, 9: 52}
    name, members = amf.parse(media[0][2])
    assert name == "onMetaData"
    assert isinstance(members, dict)
    assert (members["width"], members["framerate"], members["stereo"]) == (640.0, 30.0, True)


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_any_split_of_what_obs_sends_brings_the_same_events(size: int) -> None:
    data = OBS.read_bytes()
    assert flattened(happened(*pieces(data, [size] * (len(data) // size)))) == flattened(happened(data))
