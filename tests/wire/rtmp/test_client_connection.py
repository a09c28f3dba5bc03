from __future__ import annotations

import pytest
from helpers.connection_pair import ConnectionPair, flattened

from aircheck.wire import amf
from aircheck.wire.errors import LocalProtocolError
from aircheck.wire.rtmp import events as ev
from aircheck.wire.rtmp.chunk_serializer import ChunkSerializer
from aircheck.wire.rtmp.client import ClientConnection
from aircheck.wire.rtmp.handshake import Scheme
from aircheck.wire.rtmp.messages import Buffer


class RawServer:
    """Says to a client whatever the test wants."""

    def __init__(self) -> None:
        self.client = ClientConnection(scheme=Scheme.SIMPLE, session="client")
        self.client.connect("live", "rtmp://host/live", is_enhanced=False)
        self.serializer = ChunkSerializer()
        self.events: list[ev.Event] = []
        self.send(b"\x03" + bytes(2 * 1536))

    def send(self, data: bytes) -> None:
        self.client.receive(data, 0.0)
        self.events += self.client.events()

    def message(self, type_id: int, payload: Buffer, stream_id: int = 0) -> None:
        out: list[Buffer] = []
        self.serializer.serialize(out, 3, type_id, 0, stream_id, payload)
        self.send(b"".join(out))

    def command(self, *values: amf.AmfValue, stream_id: int = 0) -> None:
        self.message(20, amf.serialize(*values), stream_id)

    def playing(self) -> RawServer:
        self.command("_result", 1.0, {"fmsVer": "x"}, {"code": "NetConnection.Connect.Success"})
        self.client.play("cam")
        self.command("_result", 2.0, None, 1.0)
        self.status("NetStream.Play.Start")
        return self

    def status(self, code: str, level: str = "status", stream_id: int = 1) -> None:
        self.command(
            "onStatus", 0.0, None, {"level": level, "code": code, "description": "d"}, stream_id=stream_id
        )


def test_publishing_reaches_the_server_unchanged() -> None:
    pair = ConnectionPair()
    stream_id = pair.published("cam", "record")
    meta = amf.serialize("onMetaData", {"width": 1280.0})
    batch = [
        (18, 0, meta),
        (9, 0, b"v" * 100_000),
        (8, 23, b"a"),
        (9, 0xFFFFFFF0, b"late"),
        (9, 8, b"wrapped"),
    ]
    pair.client.send_media_batch(stream_id, batch)
    pair.pump()
    assert flattened(pair.server_events)[-5:] == [(stream_id, *message) for message in batch]


def test_metadata_is_sent_so_that_the_server_keeps_it() -> None:
    pair = ConnectionPair()
    stream_id = pair.published()
    pair.client.send_media(stream_id, 18, 0, amf.serialize("onMetaData", {}))
    sent = b"".join(pair.client.data_to_send())
    assert amf.serialize("@setDataFrame", "onMetaData", {}) in sent


def test_closing_tells_the_server() -> None:
    pair = ConnectionPair()
    stream_id = pair.published()
    pair.client.close_stream(stream_id)
    pair.pump()
    assert ev.StreamClosed(stream_id, ev.CloseReason.FC_UNPUBLISH) in pair.server_events
    pair.client.send_media(stream_id, 9, 0, b"too late")
    assert pair.client.data_to_send() == []


def test_the_answers_of_the_server_are_events() -> None:
    pair = ConnectionPair()
    pair.published()
    kinds = [type(event) for event in pair.client_events]
    assert kinds == [ev.HandshakeCompleted, ev.Connected, ev.Published]
    connected = pair.client_events[1]
    assert isinstance(connected, ev.Connected)
    assert connected.properties["capsEx"] == 7.0


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("NetStream.Play.UnpublishNotify", ev.CloseReason.UNPUBLISH_NOTIFY),
        ("NetStream.Play.Stop", ev.CloseReason.STREAM_EOF),
        ("NetStream.Play.Complete", ev.CloseReason.STREAM_EOF),
    ],
)
def test_a_stream_that_ends_is_closed_once(code: str, reason: ev.CloseReason) -> None:
    server = RawServer().playing()
    server.status(code)
    server.message(4, b"\0\x01\0\0\0\x01")
    assert server.events[-2:] == [ev.Playing(1, "cam"), ev.StreamClosed(1, reason)]


def test_a_stream_ends_with_stream_eof_alone() -> None:
    server = RawServer().playing()
    server.message(4, b"\0\x01\0\0\0\x01")
    assert server.events[-1] == ev.StreamClosed(1, ev.CloseReason.STREAM_EOF)


def test_a_status_on_message_stream_0_belongs_to_the_only_stream() -> None:
    server = RawServer().playing()
    server.status("NetStream.Play.StreamNotFound", "error", stream_id=0)
    assert server.events[-1] == ev.StreamRejected("cam", "NetStream.Play.StreamNotFound", "d")


def test_media_on_message_stream_0_belongs_to_the_only_stream() -> None:
    server = RawServer().playing()
    server.message(9, b"v", stream_id=0)
    assert flattened(server.events)[-1] == (1, 9, 0, b"v")


def test_a_refusal_may_come_as_an_error_of_the_command() -> None:
    server = RawServer()
    server.command("_result", 1.0, {}, {})
    server.client.play("cam")
    server.command("_result", 2.0, None, 1.0)
    server.command("_error", 3.0, None, {"code": "NetStream.Play.Failed", "description": "no"})
    assert server.events[-1] == ev.StreamRejected("cam", "NetStream.Play.Failed", "no")


def test_a_stream_that_the_server_does_not_create_is_rejected() -> None:
    for answer in (
        ("_error", 2.0, None, {"code": "NetConnection.Call.Failed"}),
        ("_result", 2.0, None, None),
    ):
        server = RawServer()
        server.command("_result", 1.0, {}, {})
        server.client.play("cam")
        server.command(*answer)
        assert server.events[-1] == ev.StreamRejected("cam", "NetConnection.Call.Failed", "")


def test_aggregates_and_media_without_a_start_are_delivered() -> None:
    server = RawServer()
    server.command("_result", 1.0, {}, {})
    server.client.play("cam")
    server.command("_result", 2.0, None, 1.0)
    server.message(22, b"\x08\0\0\x01\0\0\x0a\0\0\0\0A\0\0\0\x0c", 1)
    assert flattened(server.events)[-1] == (1, 8, 0, b"A")


def test_bandwidth_checks_and_other_calls_of_the_server_are_events() -> None:
    server = RawServer()
    server.command("onBWDone", 0.0, None)
    assert server.events[-1] == ev.CommandReceived("onBWDone", 0.0, {}, (), 0)
    server.client.data_to_send()
    server.message(6, b"\0\x26\x25\xa0\x02")
    assert b"".join(server.client.data_to_send()).endswith(b"\0\x26\x25\xa0")


def test_other_calls_of_ours_are_answered_by_an_event() -> None:
    server = RawServer()
    server.command("_result", 1.0, {}, {})
    transaction_id = server.client.call("startRecording", None, "cam")
    server.command("_result", transaction_id, None, "ok")
    assert server.events[-1] == ev.CommandReceived("_result", transaction_id, {}, ("ok",), 0)


def test_publishing_before_connect_is_our_fault() -> None:
    with pytest.raises(LocalProtocolError):
        ClientConnection().publish("cam")
