"""The RTMP handshake, simple and with digests, for both ends (RTMP specification 5.2).

A peer sends a version byte, 1536 bytes of its own (C1, S1) and 1536 bytes that answer the other's (C2, S2).
In the simple form the answer is an echo. In the digest form, Flash Player's since version 9, 32 of the 1536
bytes are an HMAC of the rest, and the answer is signed with a key made from the other's digest. The digest's
place depends on four other bytes; there are two schemes for where those are.

Answers are not verified in the simple form: encoders exist that send zeros.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from enum import Enum

from aircheck.wire.errors import RemoteProtocolError
from aircheck.wire.rtmp.messages import Buffer

VERSION = 3
PACKET_BYTES = 1536
DIGEST_BYTES = 32

# Keys that every implementation shares; part of the protocol, no secrets.
_COMMON_KEY = bytes.fromhex("f0eec24a8068bee82e00d0d1029e7e576eec5d2d29806fab93b8e636cfeb31ae")
_PLAYER_NAME = b"Genuine Adobe Flash Player 001"
_SERVER_NAME = b"Genuine Adobe Flash Media Server 001"

_SERVER_VERSION = bytes((3, 5, 1, 1))
_CLIENT_VERSION = bytes((9, 0, 124, 2))


class Scheme(Enum):
    """Where in C1 or S1 the four bytes are that say where the digest is."""

    SIMPLE = 0
    DIGEST_FIRST = 8
    KEY_FIRST = 772


def digest_position(packet: Buffer, scheme: Scheme) -> int:
    pointer = scheme.value
    return sum(packet[pointer : pointer + 4]) % 728 + pointer + 4


def _digest(packet: bytes, position: int, key: bytes) -> bytes:
    """The HMAC of a packet without the digest itself."""
    rest = packet[:position] + packet[position + DIGEST_BYTES :]
    return hmac.digest(key, rest, hashlib.sha256)


def find_digest(packet: bytes, name: bytes) -> tuple[Scheme, bytes]:
    """The scheme in which a C1 (`name` of the player) or S1 (of the server) is signed, and its digest."""
    for scheme in (Scheme.KEY_FIRST, Scheme.DIGEST_FIRST):
        position = digest_position(packet, scheme)
        there = packet[position : position + DIGEST_BYTES]
        if hmac.compare_digest(there, _digest(packet, position, name)):
            return scheme, there
    return Scheme.SIMPLE, b""


def sign(packet: bytes, scheme: Scheme, name: bytes) -> bytes:
    """The packet with its digest put in."""
    position = digest_position(packet, scheme)
    return packet[:position] + _digest(packet, position, name) + packet[position + DIGEST_BYTES :]


def answer(peer_digest: bytes, name: bytes, filler: bytes) -> bytes:
    """S2 or C2 in the digest form: 1504 random bytes and their signature."""
    key = hmac.digest(name + _COMMON_KEY, peer_digest, hashlib.sha256)
    body = filler[: PACKET_BYTES - DIGEST_BYTES]
    return body + hmac.digest(key, body, hashlib.sha256)


class _Handshake:
    """What both ends share: collect 1 + 1536 bytes, answer, collect 1536 more."""

    def __init__(self, session: str = "") -> None:
        self.is_complete = False
        self.scheme = Scheme.SIMPLE
        self.peer_version = (0, 0, 0, 0)
        """What the peer put into bytes 4 to 8; zeros in the simple form."""
        self._session = session
        self._received = bytearray()
        self._output: list[bytes] = []
        self._is_greeted = False

    def data_to_send(self) -> list[bytes]:
        output, self._output = self._output, []
        return output

    def receive(self, view: memoryview) -> int:
        """Take what belongs to the handshake; return its size. Raises `RemoteProtocolError`."""
        size_bytes = min(2 * PACKET_BYTES + 1 - len(self._received), len(view))
        self._received += view[:size_bytes]
        self._check_version()
        if not self._is_greeted and len(self._received) > PACKET_BYTES:
            self._is_greeted = True
            packet = bytes(self._received[1 : PACKET_BYTES + 1])
            self.peer_version = (packet[4], packet[5], packet[6], packet[7])
            self._greeted(packet)
        if len(self._received) == 2 * PACKET_BYTES + 1:
            self._answered(bytes(self._received[PACKET_BYTES + 1 :]))
            self.is_complete = True
            self._received.clear()
        return size_bytes

    def _greeted(self, packet: bytes) -> None:
        raise NotImplementedError

    def _answered(self, packet: bytes) -> None:
        """C2 and S2 end the handshake whatever is in them."""

    def _check_version(self) -> None:
        if self._received and self._received[0] != VERSION:
            raise RemoteProtocolError(
                f"RTMP version {self._received[0]} asked for, only 3 is spoken",
                session=self._session,
                offset=0,
                data=bytes(self._received[:32]),
                remedy=_REMEDIES.get(self._received[0], ""),
            )


_REMEDIES = {
    0x16: "The peer speaks TLS: use an rtmps:// port, or rtmp:// in the encoder.",
    ord("G"): "The peer speaks HTTP: RTMP tunnelled in HTTP is not served.",
    ord("P"): "The peer speaks HTTP: RTMP tunnelled in HTTP is not served.",
    6: "Encrypted RTMPE is not served: use rtmps://.",
    8: "Encrypted RTMPE is not served: use rtmps://.",
}


class ServerHandshake(_Handshake):
    def _greeted(self, packet: bytes) -> None:
        """Answer C0 and C1 with S0, S1 and S2, in the form the client has chosen."""
        digest = b""
        if any(self.peer_version):
            self.scheme, digest = find_digest(packet, _PLAYER_NAME)
        filler = secrets.token_bytes(PACKET_BYTES - 8)
        if self.scheme is Scheme.SIMPLE:
            hello, echo = bytes(8) + filler, packet
        else:
            hello = sign(bytes(4) + _SERVER_VERSION + filler, self.scheme, _SERVER_NAME)
            echo = answer(digest, _SERVER_NAME, secrets.token_bytes(PACKET_BYTES))
        self._output += [bytes((VERSION,)) + hello, echo]


class ClientHandshake(_Handshake):
    """Begins in the digest form, which simple servers echo like any other bytes."""

    def __init__(self, session: str = "", *, scheme: Scheme = Scheme.DIGEST_FIRST) -> None:
        super().__init__(session)
        filler = secrets.token_bytes(PACKET_BYTES - 8)
        if scheme is Scheme.SIMPLE:
            hello = bytes(8) + filler
        else:
            hello = sign(bytes(4) + _CLIENT_VERSION + filler, scheme, _PLAYER_NAME)
        self._output.append(bytes((VERSION,)) + hello)

    def _greeted(self, packet: bytes) -> None:
        digest = b""
        if any(self.peer_version):
            self.scheme, digest = find_digest(packet, _SERVER_NAME)
        is_simple = self.scheme is Scheme.SIMPLE
        self._output.append(
            packet if is_simple else answer(digest, _PLAYER_NAME, secrets.token_bytes(PACKET_BYTES))
        )
