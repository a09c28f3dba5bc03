from __future__ import annotations

import struct

import pytest
from helpers import reference_chunks
from helpers.connection_pair import pieces

from aircheck.wire.errors import LocalProtocolError, RemoteProtocolError
from aircheck.wire.rtmp.chunk_parser import ChunkParser
from aircheck.wire.rtmp.chunk_serializer import ChunkSerializer
from aircheck.wire.rtmp.limits import Limits
from aircheck.wire.rtmp.messages import Buffer, MediaRun

Received = tuple[int, int, int, bytes]


def parsed(*reads: Buffer, parser: ChunkParser | None = None) -> list[Received]:
    """What the parser makes of these reads, as (type, timestamp, message stream, payload)."""
    parser = parser or ChunkParser()
    received: list[Received] = []
    for data in reads:
        buffer = bytearray(data)
        parser.receive(memoryview(buffer))
        buffer[:] = bytes(len(buffer))  # the caller reads into the same buffer again
        for item in parser.take():
            if isinstance(item, MediaRun):
                received += [(t, ts, item.stream_id, bytes(p)) for t, ts, p in item.messages]
            else:
                received.append((item.type_id, item.timestamp, item.stream_id, bytes(item.payload)))
    return received


def header(form: int, csid: int, ts: int = 0, length: int = 0, type_id: int = 9, stream_id: int = 1) -> bytes:
    data = reference_chunks.basic_header(form, csid)
    if form < 3:
        data += ts.to_bytes(3, "big")
    if form < 2:
        data += length.to_bytes(3, "big") + bytes((type_id,))
    if form == 0:
        data += stream_id.to_bytes(4, "little")
    return data


PADDING = header(0, 5, 0, 20, 18) + bytes(20)
"""A message behind the one in question, so that this one is not at the end of the buffer."""


@pytest.mark.parametrize("csid", [2, 3, 63, 64, 319, 320, 65_599])
def test_a_chunk_stream_id_has_one_two_or_three_bytes(csid: int) -> None:
    payload = bytes(range(200))
    data = header(0, csid, 5, 200) + payload[:128] + header(3, csid) + payload[128:]
    assert parsed(data) == [(9, 5, 1, payload)]


def test_timestamps_of_types_1_and_2_are_deltas() -> None:
    data = header(0, 4, 1000, 2) + b"ab" + header(1, 4, 40, 1) + b"c" + header(2, 4, 33) + b"d" + PADDING
    assert [m[1] for m in parsed(data)[:3]] == [1000, 1040, 1073]


def test_type_3_as_a_new_message_applies_the_last_delta_again() -> None:
    data = (
        header(0, 4, 1000, 1) + b"a" + header(1, 4, 40, 1) + b"b" + header(3, 4) + b"c" + header(3, 4) + b"d"
    )
    assert [m[1] for m in parsed(data + PADDING)[:4]] == [1000, 1040, 1080, 1120]


def test_type_3_after_type_0_takes_the_timestamp_as_delta() -> None:
    data = header(0, 4, 50, 1) + b"a" + header(3, 4) + b"b" + PADDING
    assert [m[1] for m in parsed(data)[:2]] == [50, 100]


def test_time_wraps_at_32_bits() -> None:
    data = header(0, 4, 0xFFFFFF, 1) + struct.pack(">I", 0xFFFFFFF0) + b"a" + header(1, 4, 0x20, 1) + b"b"
    assert [m[1] for m in parsed(data + PADDING)[:2]] == [0xFFFFFFF0, 0x10]


@pytest.mark.parametrize("repeats", [True, False], ids=["FFmpeg repeats", "rtmpdump does not"])
@pytest.mark.parametrize("form", [0, 1, 2])
def test_an_extended_timestamp_may_be_repeated_on_type_3(repeats: bool, form: int) -> None:
    extended = struct.pack(">I", 0x01020304)
    payload = bytes(300)
    begin = header(0, 6, 7, 300) + b"".join(
        (header(3, 6) if i else b"") + payload[i : i + 128] for i in range(0, 300, 128)
    )
    continuation = header(3, 6) + (extended if repeats else b"")
    data = begin + header(form, 6, 0xFFFFFF, 300) + extended
    data += payload[:128] + continuation + payload[128:256] + continuation + payload[256:]
    expected = 0x01020304 if form == 0 else 0x01020304 + 7
    for cut in ([data], [data[i : i + 1] for i in range(len(data))]):
        assert parsed(*cut) == [(9, 7, 1, payload), (9, expected, 1, payload)]


@pytest.mark.parametrize("repeats", [True, False])
def test_a_new_message_of_type_3_repeats_an_extended_delta_or_not(repeats: bool) -> None:
    extended = struct.pack(">I", 0x01000000)
    data = header(0, 4, 5, 1) + b"a" + header(1, 4, 0xFFFFFF, 1) + extended + b"b"
    data += header(3, 4) + (extended if repeats else b"") + b"c" + PADDING
    assert [m[1:] for m in parsed(data)[1:3]] == [(0x01000005, 1, b"b"), (0x02000005, 1, b"c")]


def test_a_payload_that_begins_like_the_extended_timestamp_is_not_lost_when_it_differs() -> None:
    extended = struct.pack(">I", 0x01020304)
    payload = bytes(128) + b"\x01\x02\x03\x05"
    data = header(0, 6, 0xFFFFFF, 132) + extended + payload[:128] + header(3, 6) + payload[128:]
    for cut in ([data], [data[i : i + 1] for i in range(len(data))]):
        assert parsed(*cut) == [(9, 0x01020304, 1, payload)]


def test_messages_may_be_interleaved() -> None:
    video, audio = b"v" * 300, b"a" * 50
    data = header(0, 6, 10, 300) + video[:128] + header(0, 4, 9, 50, 8) + audio
    data += header(3, 6) + video[128:256] + header(3, 6) + video[256:]
    assert parsed(data) == [(8, 9, 1, audio), (9, 10, 1, video)]


def test_an_interleaved_message_is_not_held_back_until_the_other_is_complete() -> None:
    data = header(0, 6, 10, 300) + bytes(128) + header(0, 4, 9, 50, 8) + b"a" * 50
    for cut in ([data], [data[i : i + 1] for i in range(len(data))]):
        assert parsed(*cut) == [(8, 9, 1, b"a" * 50)]


def test_messages_without_payload_are_messages() -> None:
    data = header(0, 4, 1, 0, 8) + header(3, 4) + PADDING
    assert [m[:2] for m in parsed(data)[:2]] == [(8, 1), (8, 2)]


def test_the_chunk_size_changes_for_all_that_follows() -> None:
    data = header(0, 2, 0, 4, 1, 0) + struct.pack(">I", 500) + header(0, 6, 0, 400) + bytes(400)
    assert parsed(data) == [(9, 0, 1, bytes(400))]


@pytest.mark.parametrize("size", [0, 16 * 1024 * 1024 + 1, 0x80000080, 0xFFFFFFFF])
def test_chunk_sizes_that_make_no_sense_are_refused(size: int) -> None:
    with pytest.raises(RemoteProtocolError, match="chunk size"):
        parsed(header(0, 2, 0, 4, 1, 0) + struct.pack(">I", size))


def test_control_messages_are_taken_on_any_chunk_stream() -> None:
    for csid in range(2, 7):
        parser = ChunkParser()
        parsed(header(0, csid, 0, 4, 1, 1) + struct.pack(">I", 4096), parser=parser)
        assert parser.chunk_size == 4096


def test_abort_discards_a_message_in_the_making() -> None:
    abort = header(0, 2, 0, 4, 2, 0) + struct.pack(">I", 6)
    data = header(0, 6, 10, 300) + bytes(128) + abort + header(1, 6, 5, 2) + b"ok"
    parser = ChunkParser()
    assert parsed(data, parser=parser) == [(9, 15, 1, b"ok")]
    assert not parser.is_mid_message


def test_a_message_longer_than_allowed_is_refused_before_it_arrives() -> None:
    parser = ChunkParser(Limits(max_message_bytes=1000))
    with pytest.raises(RemoteProtocolError, match="1001 bytes; 1000 are allowed"):
        parsed(header(0, 6, 0, 1001), parser=parser)


def test_a_whole_message_longer_than_allowed_is_refused_too() -> None:
    parser = ChunkParser(Limits(max_message_bytes=1000))
    parsed(header(0, 2, 0, 4, 1, 0) + struct.pack(">I", 5000) + header(0, 6, 0, 1) + b"x", parser=parser)
    with pytest.raises(RemoteProtocolError, match="1001 bytes"):
        parsed(header(1, 6, 0, 1001) + bytes(1001) + PADDING, parser=parser)


def test_many_unfinished_messages_are_refused_together() -> None:
    parser = ChunkParser(Limits(max_message_bytes=1000, max_pending_bytes=2500))
    parsed(*(header(0, csid, 0, 1000) + bytes(128) for csid in (4, 5)), parser=parser)
    with pytest.raises(RemoteProtocolError, match="more than 2500 bytes"):
        parsed(header(0, 6, 0, 1000), parser=parser)


def test_chunk_streams_are_counted() -> None:
    parser = ChunkParser(Limits(max_chunk_streams=3))
    with pytest.raises(RemoteProtocolError, match="3 chunk streams"):
        parsed(*(header(0, csid, 0, 0) for csid in range(2, 6)), parser=parser)


def test_an_unknown_chunk_stream_cannot_begin_with_a_short_header() -> None:
    for form in (2, 3):
        with pytest.raises(RemoteProtocolError, match=f"type {form}"):
            parsed(header(form, 9) + bytes(20))


def test_a_ping_of_librtmp_opens_a_chunk_stream_with_type_1() -> None:
    assert parsed(header(1, 2, 0, 6, 4) + bytes(6)) == [(4, 0, 0, bytes(6))]


def test_a_new_header_inside_a_message_is_a_fault_with_its_place() -> None:
    data = header(0, 6, 0, 300) + bytes(128)
    parser = ChunkParser(session="s1", offset=3073)
    with pytest.raises(RemoteProtocolError) as caught:
        parsed(data + header(1, 6, 0, 300) + bytes(20), parser=parser)
    assert caught.value.offset == 3073 + len(data)
    assert caught.value.dump.startswith("46 00 00 00 00 01 2c 09")
    assert "session s1" in str(caught.value)


def test_what_came_before_a_fault_is_delivered() -> None:
    parser = ChunkParser()
    with pytest.raises(RemoteProtocolError):
        parser.receive(header(0, 4, 1, 1, 8) + b"a" + header(3, 9) + bytes(20))
    assert parser.take() == [MediaRun(1, [(8, 1, b"a")])]


def test_media_of_one_stream_comes_in_one_run() -> None:
    parser = ChunkParser()
    parser.receive(
        header(0, 4, 1, 1, 8)
        + b"a"
        + header(0, 6, 2, 1, 9)
        + b"v"
        + header(0, 6, 3, 1, 9, 2)
        + b"w"
        + PADDING
    )
    runs = [item for item in parser.take() if isinstance(item, MediaRun)]
    assert [(run.stream_id, len(run.messages)) for run in runs] == [(1, 2), (2, 1)]


def test_payloads_are_not_views_of_the_read_buffer() -> None:
    parser = ChunkParser()
    parser.receive(header(0, 6, 0, 300) + bytes(128) + header(3, 6) + bytes(128) + header(3, 6) + bytes(44))
    parser.receive(header(0, 4, 0, 3, 8) + b"abc" + PADDING)
    for item in parser.take():
        if isinstance(item, MediaRun):
            assert all(isinstance(payload, (bytes, bytearray)) for _, _, payload in item.messages)


@pytest.mark.parametrize("seed", range(60))
def test_the_parser_agrees_with_the_reference_on_random_streams(seed: int) -> None:
    writer = reference_chunks.Writer(seed).write(40)
    data = bytes(writer.out)
    expected = [message for message in writer.expected if message[0] != 1]
    assert [m for m in reference_chunks.parse(data) if m[0] != 1] == expected
    assert parsed(data) == expected
    sizes = [writer.random.randrange(1, 700) for _ in range(200)]
    assert parsed(*pieces(data, sizes)) == expected


SERIALIZED = [
    (6, 9, 0, 1, b"v" * 300),
    (4, 8, 0, 1, b"a" * 10),
    (6, 9, 40, 1, b"v" * 128),
    (6, 9, 40 + 0xFFFFFF, 1, b"v" * 257),
    (6, 9, 0xFFFFFFFE, 1, b"v" * 400),
    (6, 9, 20, 1, b"wrapped"),
    (6, 9, 5, 1, b"back"),
    (6, 9, 6, 2, b"another stream"),
    (400, 9, 0x1000000, 1, b"x" * 1000),
    (64, 8, 3, 1, b""),
]


@pytest.mark.parametrize("chunk_size", [128, 1, 65_536])
def test_what_is_serialized_is_parsed_back(chunk_size: int) -> None:
    serializer, out = ChunkSerializer(), []
    serializer.serialize(out, 2, 1, 0, 0, struct.pack(">I", chunk_size))
    serializer.chunk_size = chunk_size
    for csid, type_id, timestamp, stream_id, payload in SERIALIZED:
        serializer.serialize(out, csid, type_id, timestamp, stream_id, payload)
    expected = [(type_id, ts, stream_id, payload) for _, type_id, ts, stream_id, payload in SERIALIZED]
    assert parsed(b"".join(out)) == expected
    assert reference_chunks.parse(b"".join(out))[1:] == expected


def test_time_that_goes_back_is_written_as_it_is_and_not_as_a_delta_that_wraps() -> None:
    serializer, out = ChunkSerializer(), []
    for timestamp in (50, 40):
        serializer.serialize(out, 6, 9, timestamp, 1, b"x")
    assert out[2] == header(0, 6, 40, 1)


def test_payloads_are_passed_on_without_a_copy() -> None:
    out: list[Buffer] = []
    payload = bytes(100)
    ChunkSerializer().serialize(out, 6, 9, 0, 1, payload)
    assert out[1] is payload


def test_a_message_that_no_header_can_describe_is_our_fault() -> None:
    with pytest.raises(LocalProtocolError):
        ChunkSerializer().serialize([], 6, 9, 0, 1, bytes(1 << 24))
