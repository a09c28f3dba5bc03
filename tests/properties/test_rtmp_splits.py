"""Any split of the bytes yields the same events, and every input in every state is answered or refused."""

from __future__ import annotations

import random
import struct

from helpers import reference_chunks
from helpers.connection_pair import ConnectionPair, RawClient, flattened, pieces
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aircheck.wire import amf
from aircheck.wire.errors import RemoteProtocolError
from aircheck.wire.rtmp import state
from aircheck.wire.rtmp.chunk_parser import ChunkParser
from aircheck.wire.rtmp.client import ClientConnection
from aircheck.wire.rtmp.connection import ServerConnection
from aircheck.wire.rtmp.handshake import Scheme
from aircheck.wire.rtmp.messages import MediaRun

relaxed = settings(max_examples=40)

Flat = list[object]


def outcome(*reads: bytes) -> tuple[Flat, str]:
    """What a server makes of these reads, and the fault that ended it, if any."""
    client = RawClient()
    try:
        for data in reads:
            client.send(data)
    except RemoteProtocolError as fault:
        return flattened(client.events), f"{fault.message} at {fault.offset}"
    return flattened(client.events), ""


def conversation(seed: int) -> bytes:
    """All that a client says: handshake, commands, media in random forms; sometimes with damage."""
    chooser = random.Random(seed)
    pair = ConnectionPair(scheme=chooser.choice(list(Scheme)))
    pair.published()
    data = bytearray(pair.to_server)
    # The client has set its chunk size; the writer goes on in chunk streams of its own.
    writer = reference_chunks.Writer(seed)
    writer.CSIDS = (10, 11, 63, 64, 319, 320, 65_599)
    writer.chunk_size = 65_536
    writer._last[2] = (0, 0, 0, 0, 0)
    data += writer.write(15).out
    for _ in range(chooser.choice([0, 0, 1, 3])):
        data[chooser.randrange(3073, len(data))] ^= 1 << chooser.randrange(8)
    return bytes(data)


@relaxed
@given(st.integers(0, 10_000), st.lists(st.integers(1, 4000), max_size=60))
@example(3409, [3214])  # a fault in a command of several chunks: its place must not depend on the split
def test_any_split_of_a_conversation_yields_the_same_events(seed: int, sizes: list[int]) -> None:
    data = conversation(seed)
    assert outcome(*pieces(data, sizes)) == outcome(data)


@settings(relaxed, max_examples=8)
@given(st.integers(0, 10_000))
def test_a_conversation_byte_by_byte_yields_the_same_events(seed: int) -> None:
    data = conversation(seed)
    assert outcome(*(data[i : i + 1] for i in range(len(data)))) == outcome(data)


@relaxed
@given(st.integers(0, 1 << 32), st.lists(st.integers(1, 900), max_size=100))
def test_the_chunk_parser_agrees_with_the_reference(seed: int, sizes: list[int]) -> None:
    data = bytes(reference_chunks.Writer(seed).write(25).out)
    parser, received = ChunkParser(), []
    for piece in pieces(data, sizes):
        parser.receive(piece)
        for item in parser.take():
            if isinstance(item, MediaRun):
                received += [(t, ts, item.stream_id, bytes(p)) for t, ts, p in item.messages]
            else:
                received.append((item.type_id, item.timestamp, item.stream_id, bytes(item.payload)))
    assert received == [message for message in reference_chunks.parse(data) if message[0] != 1]


keys = st.text(max_size=8)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.floats(allow_nan=False)
    | st.text(max_size=20)
    | st.builds(amf.Date, st.floats(allow_nan=False), st.integers(-720, 720))
    | st.just(amf.UNDEFINED)
    | st.builds(amf.XmlDocument, st.text(max_size=10)),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(keys, inner, max_size=4)
        | st.dictionaries(keys, inner, max_size=4).map(amf.EcmaArray)
        | st.builds(amf.TypedObject, keys, st.dictionaries(keys, inner, max_size=4))
    ),
    max_leaves=12,
)


@relaxed
@given(st.lists(values, max_size=4))
def test_amf0_values_survive_a_round_trip(written: list[amf.AmfValue]) -> None:
    assert amf.parse(amf.serialize(*written)) == written


SERVER_SAYINGS = st.sampled_from(
    [
        ("connect", 1.0, {"app": "live", "tcUrl": "rtmp://h/live"}),
        ("createStream", 2.0, None),
        ("releaseStream", 3.0, None, "cam"),
        ("publish", 4.0, None, "cam", "live"),
        ("publish", 4.0, None, False),
        ("play", 5.0, None, "cam", -2.0),
        ("play", 5.0, None, False),
        ("pause", 6.0, None, True, 0.0),
        ("seek", 7.0, None, 5.0),
        ("closeStream", 0.0, None),
        ("deleteStream", 0.0, None, 1.0),
        ("FCUnpublish", 8.0, None, "cam"),
        ("whatever", 9.0, None),
        b"media",
        b"ping",
    ]
)


@settings(relaxed, max_examples=150)
@given(st.lists(st.tuples(SERVER_SAYINGS, st.integers(0, 2), st.sampled_from("aarn")), max_size=25))
def test_a_server_answers_or_refuses_whatever_is_said_in_whatever_state(
    said: list[tuple[tuple[amf.AmfValue, ...] | bytes, int, str]],
) -> None:
    """`a` accepts what is asked, `r` rejects it, `n` gives no answer."""
    server = ServerConnection()
    server.receive(b"\x03" + bytes(2 * 1536), 0.0)
    client = RawClient(server)
    client.send = lambda data: server.receive(data, 0.0)  # type: ignore[method-assign, assignment]
    try:
        for saying, stream_id, verdict in [(("connect", 1.0, {}), 0, "a"), *said]:
            if saying == b"media":
                client.message(9, b"\x17\x01", stream_id=stream_id)
            elif saying == b"ping":
                client.message(4, b"\0\x06" + struct.pack(">I", 1))
            elif isinstance(saying, tuple):
                client.command(*saying, stream_id=stream_id)
            decide(server, verdict)
            server.end_play(stream_id) if verdict == "r" else server.send_media(stream_id, 9, 0, b"x")
    except RemoteProtocolError:
        assert server.state is state.ConnectionState.ENDED
    parser = ChunkParser()
    parser.receive(b"".join(server.data_to_send())[3073:])
    assert not parser.is_mid_message


def decide(server: ServerConnection, verdict: str) -> None:
    prefix = {"a": "accept_", "r": "reject_"}.get(verdict)
    for event in server.events():
        kind = type(event).__name__.removesuffix("Requested").lower()
        if prefix and kind in ("connect", "publish", "play"):
            getattr(server, prefix + kind)(event)


CLIENT_SAYINGS = st.sampled_from(
    [
        *(("_result", number, None, value) for number in (1.0, 2.0, 3.0, 4.0, 5.0) for value in (1.0, None)),
        *(("_error", number, None, {"code": "x"}) for number in (1.0, 2.0, 4.0, 5.0)),
        *(
            ("onStatus", 0.0, None, {"level": level, "code": f"NetStream.{code}"})
            for level in ("status", "error")
            for code in ("Play.Start", "Publish.Start", "Play.Stop", "Play.UnpublishNotify", "Other")
        ),
        ("onStatus", 0.0, None, {"code": "NetConnection.Connect.ReconnectRequest"}),
        ("onBWDone", 0.0, None),
        b"media",
        b"eof",
    ]
)


@settings(relaxed, max_examples=150)
@given(
    st.sampled_from(["play", "publish"]),
    st.lists(st.tuples(CLIENT_SAYINGS, st.integers(0, 2), st.booleans()), max_size=25),
)
def test_a_client_copes_with_or_refuses_whatever_is_said_in_whatever_state(
    wish: str, said: list[tuple[tuple[amf.AmfValue, ...] | bytes, int, bool]]
) -> None:
    client = ClientConnection(scheme=Scheme.SIMPLE)
    client.connect("live", "rtmp://h/live")
    client.receive(b"\x03" + bytes(2 * 1536), 0.0)
    server = RawClient(ServerConnection())
    server.send = lambda data: client.receive(data, 0.0)  # type: ignore[method-assign, assignment]
    try:
        server.command("_result", 1.0, {}, {})
        getattr(client, wish)("cam")
        for saying, stream_id, closes in said:
            if saying == b"media":
                server.message(9, b"\x17\x01", stream_id=stream_id)
            elif saying == b"eof":
                server.message(4, b"\0\x01" + struct.pack(">I", stream_id))
            elif isinstance(saying, tuple):
                server.command(*saying, stream_id=stream_id)
            client.events()
            if closes:
                client.close_stream(stream_id)
    except RemoteProtocolError:
        assert client.state is state.ConnectionState.ENDED
