"""What was negotiated, and the seam between a peer (ICE, DTLS, SRTP) and its media (RTP, RTCP).

The peer decrypts and hands over what one drain of the port brought; the media side answers through the
transport, which encrypts and sends. Neither keeps time of its own: `now_s` is monotonic, `arrival_ns` is wall
clock (ns since the epoch, UTC), both of the drain.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from aircheck.facts import EndReason
from aircheck.media.track import Codec, Kind


class Direction(StrEnum):
    """Of a media line, seen from us: a publisher's lines are `recvonly` in our answer."""

    SENDRECV = "sendrecv"
    SENDONLY = "sendonly"
    RECVONLY = "recvonly"
    INACTIVE = "inactive"


@dataclass(frozen=True, slots=True)
class Format:
    """One payload type that both sides agreed on.

    `fmtp` has the names in lower case. `feedback` has the values of `a=rtcp-fb` that were agreed on, such as
    `nack`, `nack pli`, `ccm fir`, `transport-cc` and `goog-remb`.
    """

    payload_type: int
    codec: Codec
    clock_rate: int
    channels: int = 1
    rtx_payload_type: int | None = None
    fmtp: Mapping[str, str] = field(default_factory=dict)
    feedback: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class MediaLine:
    """One m-line as it was agreed on, preferred format first.

    `extensions` maps URIs of RTP header extensions to their ids. `ssrcs` are those that the remote announced
    (media, not RTX), or for a line that we send on, ours; often there are none: then SSRCs are learnt from
    payload types and the MID extension.
    """

    mid: str
    kind: Kind
    formats: tuple[Format, ...]
    extensions: Mapping[str, int] = field(default_factory=dict)
    ssrcs: tuple[int, ...] = ()
    direction: Direction = Direction.RECVONLY


class MediaSink(Protocol):
    """What a peer feeds. Calls come on the loop and never raise for what the remote sent."""

    def receive_rtp(self, packets: Sequence[bytes], arrival_ns: int, now_s: float) -> None:
        """The decrypted RTP packets of one drain, in the order of arrival."""
        ...

    def receive_rtcp(self, packet: bytes, arrival_ns: int, now_s: float) -> None:
        """One decrypted compound (or reduced-size) RTCP packet."""
        ...

    def tick(self, now_s: float) -> None:
        """About every 50 ms, also when nothing arrives."""
        ...

    def notices(self) -> Mapping[str, int]:
        """What was not as it should be so far, by kind."""
        ...

    def close(self, reason: EndReason) -> None:
        """The peer has gone. Idempotent; nothing is fed any more."""
        ...


class MediaTransport(Protocol):
    """What a sink may call: packets in the clear, sent at once, or dropped where the peer is not reached."""

    def send_rtp(self, packets: Sequence[bytes]) -> None: ...
    def send_rtcp(self, packet: bytes) -> None: ...
