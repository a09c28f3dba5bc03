from __future__ import annotations

import pytest
from helpers.connection_pair import ConnectionPair, RawClient

from aircheck.wire.errors import RemoteProtocolError
from aircheck.wire.rtmp import events as ev
from aircheck.wire.rtmp.handshake import (
    _PLAYER_NAME,
    _SERVER_NAME,
    ClientHandshake,
    Scheme,
    ServerHandshake,
    answer,
    find_digest,
    sign,
)

PACKET = bytes(range(256)) * 6


def greeted(client_packet: bytes) -> tuple[ServerHandshake, bytes, bytes]:
    """A server that has got C0 and C1, with its S1 and S2."""
    server = ServerHandshake()
    assert server.receive(memoryview(b"\x03" + client_packet)) == 1537
    sent = b"".join(server.data_to_send())
    assert sent[0] == 3
    assert len(sent) == 1 + 2 * 1536
    return server, sent[1:1537], sent[1537:]


def test_a_simple_client_gets_its_own_bytes_back() -> None:
    packet = bytes(8) + PACKET[8:]
    server, hello, echo = greeted(packet)
    assert server.scheme is Scheme.SIMPLE
    assert echo == packet
    assert hello[:8] == bytes(8)


@pytest.mark.parametrize("scheme", [Scheme.DIGEST_FIRST, Scheme.KEY_FIRST])
def test_a_digest_client_gets_a_signed_answer_in_its_scheme(scheme: Scheme) -> None:
    packet = sign(bytes((0, 0, 0, 0, 9, 0, 124, 2)) + PACKET[8:], scheme, _PLAYER_NAME)
    server, hello, signed = greeted(packet)
    assert server.scheme is scheme
    assert find_digest(hello, _SERVER_NAME)[0] is scheme
    assert signed == answer(find_digest(packet, _PLAYER_NAME)[1], _SERVER_NAME, signed)


def test_a_version_without_a_digest_is_answered_simply() -> None:
    server, _, echo = greeted(bytes((0, 0, 0, 0, 9, 0, 124, 2)) + PACKET[8:])
    assert server.scheme is Scheme.SIMPLE
    assert echo[8:] == PACKET[8:]


def test_an_answer_of_zeros_is_good_enough() -> None:
    server, _, _ = greeted(bytes(1536))
    assert server.receive(memoryview(bytes(2000))) == 1536
    assert server.is_complete


def test_a_client_answers_a_digest_server_with_a_signature_and_a_simple_one_with_an_echo() -> None:
    simple = ClientHandshake()
    simple.data_to_send()
    simple.receive(memoryview(b"\x03" + bytes(8) + PACKET[8:]))
    assert simple.data_to_send() == [bytes(8) + PACKET[8:]]
    digest = ClientHandshake()
    digest.data_to_send()
    hello = sign(bytes((0, 0, 0, 0, 3, 5, 1, 1)) + PACKET[8:], Scheme.DIGEST_FIRST, _SERVER_NAME)
    digest.receive(memoryview(b"\x03" + hello))
    (signed,) = digest.data_to_send()
    assert signed == answer(find_digest(hello, _SERVER_NAME)[1], _PLAYER_NAME, signed)


@pytest.mark.parametrize("scheme", Scheme)
def test_both_ends_agree_in_every_scheme(scheme: Scheme) -> None:
    pair = ConnectionPair(scheme=scheme).pump()
    assert pair.server_events[0] == ev.HandshakeCompleted(
        scheme, (0, 0, 0, 0) if scheme is Scheme.SIMPLE else (9, 0, 124, 2)
    )
    assert isinstance(pair.client_events[0], ev.HandshakeCompleted)
    assert pair.client_events[0].scheme is scheme


@pytest.mark.parametrize(
    ("first", "hint"), [(b"\x16\x03\x01", "TLS"), (b"GET / HTTP/1.1", "HTTP"), (b"\x06", "RTMPE")]
)
def test_other_protocols_are_refused_at_their_first_byte_with_a_hint(first: bytes, hint: str) -> None:
    client = RawClient()
    with pytest.raises(RemoteProtocolError) as caught:
        client.send(first)
    assert hint in caught.value.remedy
    assert caught.value.session == "raw"


def test_the_end_of_the_handshake_and_the_first_chunks_may_come_together() -> None:
    pair = ConnectionPair()
    pair.published()
    whole = RawClient()
    whole.send(bytes(pair.to_server))
    assert [type(event) for event in whole.events] == [type(event) for event in pair.server_events]
