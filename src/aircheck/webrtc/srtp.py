"""SRTP (RFC 3711, RFC 7714): one peer's packets into the clear and back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from pylibsrtp import Error, Policy, Session

MAX_PACKET_BYTES = 1500
"""What libsrtp's buffer takes; larger packets do not come over the internet whole."""
MAX_SSRCS = 64
"""Of one peer; a peer needs four. libsrtp keeps state for each it has seen, for ever."""
REPLAY_WINDOW_PACKETS = 1024
_MIN_RTP_BYTES = 12
_TRAILER_BYTES = 148
"""Room that libsrtp wants behind a packet that it encrypts."""


@dataclass(frozen=True, slots=True)
class SrtpProfile:
    """One protection profile of RFC 5764 4.1.2 or RFC 7714 14.2, by OpenSSL's name."""

    name: bytes
    number: int
    key_bytes: int
    salt_bytes: int


PROFILES = (
    SrtpProfile(b"SRTP_AEAD_AES_128_GCM", Policy.SRTP_PROFILE_AEAD_AES_128_GCM, 16, 12),
    SrtpProfile(b"SRTP_AEAD_AES_256_GCM", Policy.SRTP_PROFILE_AEAD_AES_256_GCM, 32, 12),
    SrtpProfile(b"SRTP_AES128_CM_SHA1_80", Policy.SRTP_PROFILE_AES128_CM_SHA1_80, 16, 14),
)
"""Cheapest first."""


@dataclass(frozen=True, slots=True)
class SrtpKeys:
    """Master key and salt of each direction, and what they are for."""

    profile: SrtpProfile
    remote: bytes
    local: bytes

    @classmethod
    def split(cls, profile: SrtpProfile, material: bytes, *, is_client: bool) -> SrtpKeys:
        """By RFC 5764 4.2: both keys, the client's first, then both salts."""
        key, salt = profile.key_bytes, profile.salt_bytes
        client = material[:key] + material[2 * key : 2 * key + salt]
        server = material[key : 2 * key] + material[2 * key + salt :]
        return cls(profile, remote=server, local=client) if is_client else cls(profile, client, server)


class SrtpSession:
    """Both directions of one peer. What cannot be believed is counted in `errors` and dropped."""

    def __init__(self, keys: SrtpKeys, errors: Counter[str]) -> None:
        self.errors = errors
        self._receiver = Session(_policy(keys.profile, keys.remote, Policy.SSRC_ANY_INBOUND))
        self._sender = Session(_policy(keys.profile, keys.local, Policy.SSRC_ANY_OUTBOUND))
        self._ssrcs: set[bytes] = set()

    def unprotect(self, packets: Sequence[bytes]) -> list[bytes]:
        """Those RTP packets that are genuine and new, in the clear."""
        clear: list[bytes] = []
        unprotect = self._receiver.unprotect
        ssrcs = self._ssrcs
        for packet in packets:
            try:
                if packet[8:12] in ssrcs:
                    clear.append(unprotect(packet))
                elif self._may_begin(packet):
                    clear.append(unprotect(packet))
                    ssrcs.add(packet[8:12])
            except (Error, ValueError) as error:
                self.errors[_kind(error)] += 1
        return clear

    def unprotect_rtcp(self, packet: bytes) -> bytes | None:
        try:
            return self._receiver.unprotect_rtcp(packet)
        except (Error, ValueError) as error:
            self.errors[_kind(error)] += 1
            return None

    def protect(self, packet: bytes) -> bytes:
        """Raises ValueError for a packet that is too long, which would be a mistake of ours."""
        return self._sender.protect(packet)

    def protect_rtcp(self, packet: bytes) -> bytes:
        return self._sender.protect_rtcp(packet)

    def _may_begin(self, packet: bytes) -> bool:
        if len(packet) < _MIN_RTP_BYTES:
            self.errors["srtp_malformed"] += 1
            return False
        if len(self._ssrcs) >= MAX_SSRCS:
            self.errors["srtp_too_many_ssrcs"] += 1
            return False
        return True


def _policy(profile: SrtpProfile, key: bytes, direction: int) -> Policy:
    policy = Policy(key=key, ssrc_type=direction, srtp_profile=profile.number)
    policy.window_size = REPLAY_WINDOW_PACKETS
    policy.allow_repeat_tx = True
    return policy


def _kind(error: Exception) -> str:
    text = str(error)
    if "replay" in text:
        return "srtp_replay"
    return "srtp_authentication" if "authentication" in text else "srtp_malformed"
