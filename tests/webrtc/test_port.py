"""The port by itself: what it hands to a peer, and in which order."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from aircheck.clock import SystemClock
from aircheck.webrtc import port as port_module
from aircheck.webrtc.paths import Path
from aircheck.webrtc.port import Port
from aircheck.wire import stun

MEDIA = bytes([0x80, 96]) + bytes(20)
FAREWELL = bytes([21]) + bytes(12)
"""A DTLS record of type alert."""


class RecordingPeer:
    """A peer that writes down what it gets."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def check(self, request: stun.Message, path: Path, now_s: float) -> bytes | None:
        self.calls.append("check")
        return b"\1\1" + bytes(18)

    def receive_dtls(self, datagram: bytes, path: Path, now_s: float) -> None:
        self.calls.append("dtls")

    def receive_media(self, packets: list[bytes], path: Path, arrival_ns: int, now_s: float) -> None:
        self.calls.append(f"{len(packets)} of media")

    def path_lost(self, path: Path) -> None: ...

    def break_off(self) -> None:
        raise AssertionError("the peer failed")


@pytest.fixture
async def port() -> AsyncIterator[Port]:
    port = Port(asyncio.get_running_loop(), SystemClock())
    await port.listen("127.0.0.1", 0)
    yield port
    await port.close()


async def test_packets_for_which_the_kernel_had_no_room_are_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(port_module, "RECEIVE_BUFFER_BYTES", 4096)
    small = Port(asyncio.get_running_loop(), SystemClock())
    await small.listen("127.0.0.1", 0)
    assert small.overflowed() == 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        for _ in range(100):  # the loop has no turn meanwhile
            client.sendto(bytes(1000), small.address)
    taken = small.drain()
    assert taken + small.overflowed() == 100
    assert taken < 50
    await small.close()
    assert small.overflowed() == 0


async def test_a_farewell_comes_behind_the_media_that_was_sent_before_it(port: Port) -> None:
    peer = RecordingPeer()
    port.add_ufrag("ours", peer)
    check = stun.serialize(stun.Type.BINDING_REQUEST, bytes(12), [(stun.Attribute.USERNAME, b"ours:theirs")])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect(port.address)
        for datagram in (check, MEDIA, MEDIA, FAREWELL, MEDIA):
            client.send(datagram)
        assert port.drain() == 5
    assert peer.calls == ["check", "2 of media", "dtls", "1 of media"]
