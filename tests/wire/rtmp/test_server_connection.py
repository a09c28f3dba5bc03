from __future__ import annotations

import struct
from itertools import pairwise

import pytest
from helpers.connection_pair import ConnectionPair, RawClient, flattened

from aircheck.wire import amf
from aircheck.wire.errors import LocalProtocolError, RemoteProtocolError
from aircheck.wire.rtmp import events as ev
from aircheck.wire.rtmp.chunk_parser import ChunkParser
from aircheck.wire.rtmp.connection import ServerConnection
from aircheck.wire.rtmp.limits import Limits
from aircheck.wire.rtmp.messages import MediaRun, Message, MessageType

Value = amf.AmfValue


def messages_sent(client: RawClient) -> list[Message]:
    """What the server has sent behind the handshake."""
    parser = ChunkParser()
    parser.receive(b"".join(client.replies)[1 + 2 * 1536 :])
    return [item for item in parser.take() if not isinstance(item, MediaRun)]


def commands_sent(client: RawClient) -> list[list[Value]]:
    return [amf.parse(m.payload) for m in messages_sent(client) if m.type_id == MessageType.COMMAND_AMF0]


def statuses_sent(client: RawClient) -> list[str]:
    infos = [command[3] for command in commands_sent(client) if command[0] == "onStatus"]
    return [str(info["code"]) for info in infos if isinstance(info, dict)]


def test_connect_is_answered_in_order_with_window_bandwidth_chunk_size_and_result() -> None:
    client = RawClient().connect()
    parser = ChunkParser()
    parser.receive(b"".join(client.replies)[1 + 2 * 1536 :])
    window, bandwidth, result = (item for item in parser.take() if isinstance(item, Message))
    assert (window.type_id, window.payload) == (5, struct.pack(">I", 2_500_000))
    assert (bandwidth.type_id, bandwidth.payload) == (6, struct.pack(">IB", 2_500_000, 2))
    assert parser.chunk_size == 65_536
    name, transaction, properties, information = amf.parse(result.payload)
    assert (name, transaction) == ("_result", 1.0)
    assert properties == {"fmsVer": "FMS/3,0,1,123", "capabilities": 31.0}
    assert isinstance(information, dict)
    assert information["code"] == "NetConnection.Connect.Success"
    assert information["objectEncoding"] == 0.0


def test_enhanced_capabilities_are_answered_in_the_properties() -> None:
    client = RawClient().connect(fourCcList=["*"], videoFourCcInfoMap={"*": 7.0}, capsEx=1.0)
    properties = commands_sent(client)[0][2]
    assert isinstance(properties, dict)
    assert {"fourCcList", "videoFourCcInfoMap", "capsEx"} < set(properties)


@pytest.mark.parametrize("name", ["releaseStream", "FCPublish", "FCUnpublish", "_checkbw", "getStreamLength"])
def test_commands_without_effect_are_answered_with_null(name: str) -> None:
    client = RawClient().connect()
    client.command(name, 9.0, None, "cam")
    assert commands_sent(client)[-1] == ["_result", 9.0, None, None]


def test_a_command_without_a_transaction_gets_no_answer() -> None:
    client = RawClient().connect()
    before = len(commands_sent(client))
    client.command("FCPublish", 0.0, None, "cam")
    assert len(commands_sent(client)) == before


def test_publish_tells_where_and_how() -> None:
    client = RawClient().publish("room/cam?token=abc", "append", tcUrl="rtmp://host/live?user=u")
    asked = client.last(ev.PublishRequested)
    assert isinstance(asked, ev.PublishRequested)
    assert (asked.app, asked.name, asked.publish_type, asked.stream_id) == ("live", "room/cam", "append", 1)
    assert asked.query == {"user": "u", "token": "abc"}
    assert asked.key == "room/cam?token=abc"
    assert statuses_sent(client) == ["NetStream.Publish.Start"]


def test_a_status_goes_to_the_message_stream_with_transaction_0() -> None:
    client = RawClient().publish()
    client.server.send_status(1, "status", "NetStream.Record.Start", "recording", "cam.mp4")
    client.replies += [bytes(data) for data in client.server.data_to_send()]
    sent = messages_sent(client)[-1]
    assert sent.stream_id == 1
    assert amf.parse(sent.payload) == [
        "onStatus",
        0.0,
        None,
        {
            "level": "status",
            "code": "NetStream.Record.Start",
            "description": "recording",
            "details": "cam.mp4",
        },
    ]


def test_media_before_the_answer_is_delivered() -> None:
    server = ServerConnection()
    client = RawClient(server)
    client.publish()
    client.message(9, b"video", timestamp=40, stream_id=1)
    client.message(8, b"audio", timestamp=41, stream_id=1)
    assert flattened(client.events)[-2:] == [(1, 9, 40, b"video"), (1, 8, 41, b"audio")]


def test_a_rejected_publisher_delivers_nothing() -> None:
    pair = ConnectionPair(accepts=False).pump()
    pair.server.accept_connect(pair.server_events[-1])  # type: ignore[arg-type]
    pair.pump()
    pair.client.publish("cam")
    pair.pump()
    asked = pair.server_events[-1]
    assert isinstance(asked, ev.PublishRequested)
    pair.server.reject_publish(asked, "NetStream.Publish.Unauthorized", "no")
    pair.pump()
    assert pair.client_events[-1] == ev.StreamRejected("cam", "NetStream.Publish.Unauthorized", "no")
    stray = RawClient(pair.server)
    stray.message(9, b"video", stream_id=asked.stream_id, csid=40)
    assert stray.events == []
    assert pair.server.stray_messages == 1


def test_one_event_holds_all_media_of_a_read_and_other_messages_divide_it() -> None:
    client = RawClient().publish()
    data = bytearray()
    source = RawClient.__new__(RawClient)
    source.serializer = client.serializer
    source.send = data.extend  # type: ignore[method-assign]
    for timestamp in range(0, 200, 40):
        source.message(9, b"v", timestamp=timestamp, stream_id=1, csid=6)
        source.message(18, amf.serialize("@setDataFrame", "onMetaData"), timestamp=timestamp, stream_id=1)
    source.command("startRecording", 0.0, None, "cam")
    source.message(9, b"v", timestamp=200, stream_id=1, csid=6)
    client.events.clear()
    client.send(bytes(data))
    first, command, second = client.events
    assert isinstance(first, ev.MediaReceived)
    assert [message[0] for message in first.messages] == [9, 18] * 5
    assert first.messages[1][2] == amf.serialize("onMetaData")
    assert isinstance(command, ev.CommandReceived)
    assert isinstance(second, ev.MediaReceived)


def test_an_aggregate_is_media() -> None:
    client = RawClient().publish()
    inner = b"\x08\0\0\x01\0\0\x0a\0\0\0\0A\0\0\0\x0c" + b"\x09\0\0\x01\0\0\x14\0\0\0\0V\0\0\0\x0c"
    client.message(22, inner, timestamp=500, stream_id=1)
    assert flattened(client.events)[-2:] == [(1, 8, 500, b"A"), (1, 9, 510, b"V")]


def test_amf3_commands_and_data_are_understood() -> None:
    client = RawClient().connect()
    client.message(17, b"\0" + amf.serialize("publish", 0.0, None, "cam", "live"), stream_id=1)
    client.message(15, b"\0" + amf.serialize("@setDataFrame", "onMetaData", {}), stream_id=1)
    assert isinstance(client.last(ev.PublishRequested), ev.PublishRequested)
    assert flattened(client.events)[-1] == (1, 18, 0, amf.serialize("onMetaData", {}))


CLOSINGS = {
    "FCUnpublish": (("FCUnpublish", 7.0, None, "cam"), 0),
    "closeStream": (("closeStream", 0.0, None), 1),
    "deleteStream": (("deleteStream", 0.0, None, 1.0), 0),
    "publish(false)": (("publish", 0.0, None, False), 1),
}


@pytest.mark.parametrize("case", CLOSINGS)
def test_a_stream_closes_once_however_often_it_is_said(case: str) -> None:
    client = RawClient().publish()
    for name in (case, *CLOSINGS):
        values, stream_id = CLOSINGS[name]
        client.command(*values, stream_id=stream_id)
    closed = [event for event in client.events if isinstance(event, ev.StreamClosed)]
    reason = "closeStream" if case == "publish(false)" else case
    assert closed == [ev.StreamClosed(1, ev.CloseReason(reason))]


def test_fc_unpublish_closes_the_stream_it_names_and_no_other() -> None:
    client = RawClient().publish("one")
    client.command("publish", 4.0, None, "two", stream_id=2)
    client.command("FCUnpublish", 5.0, None, "neither")
    assert not any(isinstance(event, ev.StreamClosed) for event in client.events)
    client.command("FCUnpublish", 6.0, None, "two")
    assert client.events[-1] == ev.StreamClosed(2, ev.CloseReason.FC_UNPUBLISH)


def test_a_stream_can_be_published_again_after_it_was_closed() -> None:
    client = RawClient().publish("one")
    client.command("closeStream", 0.0, None, stream_id=1)
    client.command("publish", 0.0, None, "two", "live", stream_id=1)
    asked = [event.name for event in client.events if isinstance(event, ev.PublishRequested)]
    assert asked == ["one", "two"]


def test_publishing_twice_on_one_stream_is_refused_without_an_event() -> None:
    client = RawClient().publish("one")
    client.command("publish", 0.0, None, "two", "live", stream_id=1)
    assert statuses_sent(client)[-1] == "NetStream.Publish.BadName"
    assert sum(isinstance(event, ev.PublishRequested) for event in client.events) == 1


def test_an_encoder_may_publish_without_having_asked_for_a_stream() -> None:
    client = RawClient().connect()
    client.command("publish", 0.0, None, "cam", stream_id=5)
    asked = client.last(ev.PublishRequested)
    assert isinstance(asked, ev.PublishRequested)
    assert (asked.stream_id, asked.publish_type) == (5, "live")


def test_an_answer_that_comes_after_the_peer_has_closed_the_stream_is_no_error() -> None:
    server = ServerConnection()
    client = RawClient(server).connect()
    late: list[ev.PublishRequested] = []
    client.send = lambda data: server.receive(data, 0.0)  # type: ignore[method-assign, assignment]
    client.command("publish", 0.0, None, "one", stream_id=1)
    client.command("closeStream", 0.0, None, stream_id=1)
    client.command("publish", 0.0, None, "two", stream_id=1)
    late = [event for event in server.events() if isinstance(event, ev.PublishRequested)]
    server.accept_publish(late[1])
    server.reject_publish(late[0])
    client.message(9, b"video", stream_id=1)
    assert flattened(server.events()) == [(1, 9, 0, b"video")]


def test_a_request_is_answered_once() -> None:
    client = RawClient().publish()
    asked = client.last(ev.PublishRequested)
    assert isinstance(asked, ev.PublishRequested)
    with pytest.raises(LocalProtocolError, match="not waiting"):
        client.server.accept_publish(asked)


def test_answers_to_a_peer_that_has_gone_are_dropped() -> None:
    server = ServerConnection()
    server.receive(b"\x03" + bytes(2 * 1536), 0.0)
    client = RawClient(server)
    client.send = lambda data: server.receive(data, 0.0)  # type: ignore[method-assign, assignment]
    client.command("connect", 1.0, {"app": "live"})
    client.command("publish", 2.0, None, "cam", stream_id=1)
    server.receive(b"", 0.0)
    _, connect, publish, ended = server.events()
    server.data_to_send()
    assert ended == ev.ConnectionEnded(is_mid_message=False)
    assert isinstance(connect, ev.ConnectRequested)
    assert isinstance(publish, ev.PublishRequested)
    server.accept_connect(connect)
    server.accept_publish(publish)
    server.send_status(1, "status", "NetStream.Unpublish.Success", "")
    server.send_media(1, 9, 0, b"x")
    server.end_play(1)
    server.send_ping(1.0)
    assert server.request_reconnect() is False
    assert server.data_to_send() == []
    with pytest.raises(LocalProtocolError):
        server.receive(b"more", 0.0)


@pytest.mark.parametrize("bytes_left", [1, 5])
def test_the_end_says_whether_a_message_was_cut(bytes_left: int) -> None:
    client = RawClient().publish()
    client.send((b"\x06" + bytes(3) + b"\0\0\x09\x09\x01\0\0\0" + bytes(9))[:-bytes_left])
    client.server.receive(b"", 0.0)
    assert client.server.events() == [ev.ConnectionEnded(is_mid_message=True)]


def test_connect_can_be_refused_and_what_follows_is_ignored() -> None:
    pair = ConnectionPair(accepts=False).pump()
    (asked,) = (event for event in pair.server_events if isinstance(event, ev.ConnectRequested))
    pair.server.reject_connect(asked, "NetConnection.Connect.InvalidApp", "no such application")
    pair.pump()
    assert pair.client_events[-1] == ev.ConnectRejected(
        "NetConnection.Connect.InvalidApp", "no such application", ""
    )
    late = RawClient(pair.server)
    late.command("publish", 1.0, None, "cam", stream_id=1, csid=40)
    late.message(9, b"v", stream_id=1, csid=41)
    assert late.events == []


def test_commands_and_media_before_connect_are_the_peers_fault() -> None:
    for send in (
        lambda client: client.command("publish", 1.0, None, "cam", stream_id=1),
        lambda client: client.message(9, b"v", stream_id=1),
    ):
        client = RawClient().shake_hands()
        with pytest.raises(RemoteProtocolError, match="in state 'ready'") as caught:
            send(client)
        assert caught.value.session == "raw"
        assert caught.value.offset is not None
        assert caught.value.offset >= 1 + 2 * 1536


def test_a_second_connect_is_the_peers_fault() -> None:
    client = RawClient().connect()
    with pytest.raises(RemoteProtocolError, match="connect in state 'connected'"):
        client.command("connect", 1.0, {})


def test_events_before_a_fault_are_there_to_be_drained() -> None:
    client = RawClient().publish()
    good = b"\x06" + bytes(3) + b"\0\0\x01\x09\x01\0\0\0v"
    with pytest.raises(RemoteProtocolError) as caught:
        client.send(good + b"\xc9" + bytes(20))
    assert flattened(client.events)[-1] == (1, 9, 0, b"v")
    assert caught.value.session == "raw"
    assert caught.value.offset == client.server.bytes_received - 21


def test_message_streams_are_counted() -> None:
    client = RawClient(ServerConnection(Limits(max_message_streams=2))).connect()
    for transaction in (2.0, 3.0, 4.0):
        client.command("createStream", transaction, None)
    assert [command[0] for command in commands_sent(client)][1:] == ["_result", "_result", "_error"]
    with pytest.raises(RemoteProtocolError, match="2 message streams"):
        client.command("publish", 0.0, None, "cam", stream_id=9)


def test_a_command_longer_than_allowed_is_refused() -> None:
    client = RawClient(ServerConnection(Limits(max_amf_bytes=1000))).connect()
    with pytest.raises(RemoteProtocolError, match="1000 are allowed"):
        client.command("publish", 0.0, None, "x" * 1000)


def test_unknown_commands_are_events_and_can_be_answered() -> None:
    client = RawClient().publish()
    client.command("startRecording", 5.0, {"streamName": "cam"}, {"format": "mp4"}, stream_id=1)
    event = client.last(ev.CommandReceived)
    assert event == ev.CommandReceived("startRecording", 5.0, {"streamName": "cam"}, ({"format": "mp4"},), 1)
    client.server.respond(5.0, "ok")
    client.server.respond_error(6.0, "NetConnection.Call.Failed", "no")
    client.server.respond(0.0, "nobody waits")
    client.replies += [bytes(data) for data in client.server.data_to_send()]
    assert commands_sent(client)[-2:] == [
        ["_result", 5.0, None, "ok"],
        ["_error", 6.0, None, {"level": "error", "code": "NetConnection.Call.Failed", "description": "no"}],
    ]


def test_a_viewer_gets_begin_reset_start_media_and_end() -> None:
    pair = ConnectionPair()
    stream_id = pair.playing("cam?token=x")
    asked = next(event for event in pair.server_events if isinstance(event, ev.PlayRequested))
    assert (asked.app, asked.name, asked.start_s, asked.query) == ("live", "cam", -2.0, {"token": "x"})
    codes = [event.code for event in pair.client_events if isinstance(event, ev.StatusReceived)]
    assert codes == ["NetStream.Play.Reset"]
    pair.server.send_media_batch(stream_id, [(9, 0, bytearray(b"v" * 200_000)), (8, 5, memoryview(b"a"))])
    pair.server.end_play(stream_id)
    pair.pump()
    assert flattened(pair.client_events)[-3:] == [
        (stream_id, 9, 0, b"v" * 200_000),
        (stream_id, 8, 5, b"a"),
        ev.StreamClosed(stream_id, ev.CloseReason.UNPUBLISH_NOTIFY),
    ]
    pair.server.send_media(stream_id, 9, 10, b"nobody plays any more")
    assert pair.server.data_to_send() == []


def test_a_viewer_pauses_seeks_and_turns_to_another_stream() -> None:
    client = RawClient().connect()
    client.command("createStream", 2.0, None)
    client.command("play", 3.0, None, "one", -1.0, stream_id=1)
    client.command("pause", 4.0, None, True, 1500.0, stream_id=1)
    client.command("seek", 5.0, None, 3000.0, stream_id=1)
    client.command("play", 6.0, None, "two", -1.0, stream_id=1)
    kinds = client.events[-5:]
    assert kinds[1:4] == [
        ev.PauseRequested(1, True, 1500.0),
        ev.SeekRequested(1, 3000.0),
        ev.StreamClosed(1, ev.CloseReason.PLAY),
    ]
    assert isinstance(kinds[4], ev.PlayRequested)
    assert kinds[4].name == "two"
    assert "NetStream.Pause.Notify" in statuses_sent(client)


def test_a_viewer_may_be_refused() -> None:
    pair = ConnectionPair(accepts=False).pump()
    pair.server.accept_connect(pair.server_events[-1])  # type: ignore[arg-type]
    pair.pump()
    pair.client.play("cam")
    pair.pump()
    asked = next(event for event in pair.server_events if isinstance(event, ev.PlayRequested))
    pair.server.reject_play(asked, description="no such stream")
    pair.pump()
    assert pair.client_events[-1] == ev.StreamRejected(
        "cam", "NetStream.Play.StreamNotFound", "no such stream"
    )


def test_pings_are_answered_and_measured() -> None:
    client = RawClient().connect()
    client.message(4, b"\0\x06\x12\x34\x56\x78")
    assert messages_sent(client)[-1].payload == b"\0\x07\x12\x34\x56\x78"
    pair = ConnectionPair().pump()
    pair.server.send_ping(100.0)
    request = b"".join(pair.server.data_to_send())
    pair.client.receive(request, 100.2)
    pair.server.receive(b"".join(pair.client.data_to_send()), 100.5)
    assert pair.server.round_trip_s == pytest.approx(0.5)
    assert pair.server.last_received_s == 100.5
    unasked = RawClient(pair.server)
    unasked.message(4, b"\0\x07\0\0\0\x01", csid=40)
    assert pair.server.round_trip_s == pytest.approx(0.5)


def test_a_window_is_acknowledged_with_all_bytes_received() -> None:
    client = RawClient().connect()
    client.message(5, struct.pack(">I", 10_000))
    before = client.server.bytes_received
    acks: list[int] = []
    for _ in range(30):
        client.message(9, bytes(1000), stream_id=1)
        acks = [int.from_bytes(m.payload, "big") for m in messages_sent(client) if m.type_id == 3]
    assert len(acks) >= 3
    assert all(later - earlier >= 10_000 for earlier, later in pairwise(acks))
    assert before < acks[0] <= acks[-1] <= client.server.bytes_received


def test_a_buffer_length_is_an_event() -> None:
    client = RawClient().connect()
    client.message(4, b"\0\x03\0\0\0\x01\0\0\x0b\xb8")
    assert client.events[-1] == ev.BufferLengthSet(1, 3000)


@pytest.mark.parametrize("type_id", [3, 5, 6])
def test_a_control_message_that_is_cut_short_is_a_fault(type_id: int) -> None:
    client = RawClient().connect()
    with pytest.raises(RemoteProtocolError, match="cut short"):
        client.message(type_id, b"\0\0")


def test_messages_that_mean_nothing_are_counted() -> None:
    client = RawClient().connect()
    for type_id in (7, 16, 19, 99):
        client.message(type_id, b"?")
    client.message(4, b"\0\x1a\0\x01")
    assert client.server.ignored_messages == 5


def test_only_a_client_that_understands_it_is_asked_to_reconnect() -> None:
    pair = ConnectionPair().pump()
    assert pair.server.request_reconnect("restart", "rtmp://other/live")
    pair.pump()
    assert pair.client_events[-1] == ev.ReconnectRequested("rtmp://other/live", "restart")
    old = RawClient().connect()
    assert not old.server.request_reconnect("restart")


def test_calls_before_connect_are_our_fault() -> None:
    with pytest.raises(LocalProtocolError, match="in state 'handshaking'"):
        ServerConnection().send_status(1, "status", "x", "")
