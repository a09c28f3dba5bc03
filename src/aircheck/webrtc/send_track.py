"""SendTrack: packets of the hub become RTP of one media line, and are sent again when they were lost."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Iterable

from aircheck.media import h264, h265
from aircheck.media.bits import BitstreamError
from aircheck.media.h264 import split_nal_units
from aircheck.media.in_band import carries_configuration
from aircheck.media.packet import Packet
from aircheck.media.timeline import rescale
from aircheck.media.track import Codec, Track
from aircheck.webrtc.media import MediaLine
from aircheck.wire.rtp.formats import PACKETIZERS
from aircheck.wire.rtp.packet import HEAD, MARKER, VERSION
from aircheck.wire.rtp.rtcp import SenderReport

HISTORY_PACKETS = 2048
"""Kept for retransmission: at 4 Mbit/s some five seconds. A power of two."""
_RESENT_AGAIN_AFTER_S = 0.02
"""One packet is asked for by several requests when the round trip is long. Each time the pause is doubled."""
_RESENT_MAX = 5
_RESENT_SHARE = 0.5
"""Of what is sent so much may be sent again: requests must not multiply what a full link has to take."""
_RESENT_BURST = 256
_PREFIX_BYTES = 4


class SendTrack:
    """One line of a viewer. Its RTP timestamps are the stream's media time, from a random beginning."""

    def __init__(self, line: MediaLine, track: Track) -> None:
        chosen = line.formats[0]
        self.codec = chosen.codec
        self.ssrc = line.ssrcs[0]
        self.rtx_ssrc = line.ssrcs[1] if len(line.ssrcs) > 1 else 0
        self.sent_packets = self.sent_bytes = self.resent_packets = 0
        self.lost_packets = 0
        """Asked for again at least once, while they were known."""
        self._format = chosen
        self._packetizer = PACKETIZERS[chosen.codec]()
        self._sequence = secrets.randbits(15)
        self._rtx_sequence = secrets.randbits(15)
        self._first_timestamp = secrets.randbits(32)
        self._history: list[bytes] = [b""] * HISTORY_PACKETS
        self._resent_s = [0.0] * HISTORY_PACKETS
        self._resent_times = bytearray(HISTORY_PACKETS)
        self._is_asked_for = bytearray(HISTORY_PACKETS)
        self._may_resend = float(_RESENT_BURST)
        self._take(track)

    def packetize(self, packet: Packet, *, at_s: float | None = None) -> list[bytes]:
        """RTP of one frame, shown at its own time, or at another for pictures that nobody waits for.

        Raises BitstreamError, RtpError for a frame that is none.
        """
        if packet.track is not self._track:
            self._take(packet.track)
        data = bytes(packet.data)
        lacks_sets = (
            packet.is_keyframe and self._parameter_sets and not carries_configuration(packet.track, data)
        )
        if self._prefix_bytes not in (0, _PREFIX_BYTES):
            data = _join(split_nal_units(data, self._prefix_bytes))
        if lacks_sets:
            data = self._parameter_sets + data
        timestamp = self._timestamp(packet, at_s)
        payloads = self._packetizer.packetize(data, is_keyframe=packet.is_keyframe)
        return [
            self._number(payload, timestamp, is_last=i == len(payloads))
            for i, payload in enumerate(payloads, 1)
        ]

    def resend(self, sequence_numbers: Iterable[int], now_s: float) -> list[bytes]:
        """What is asked for and still known, in RTX packets (RFC 4588) where they were agreed on."""
        packets = []
        for sequence in sequence_numbers:
            slot = sequence % HISTORY_PACKETS
            packet = self._history[slot]
            if packet[2:4] == sequence.to_bytes(2, "big") and self._may_resend_slot(slot, now_s):
                packets.append(self._as_retransmission(packet))
        self.resent_packets += len(packets)
        return packets

    def _may_resend_slot(self, slot: int, now_s: float) -> bool:
        times = self._resent_times[slot]
        if not self._is_asked_for[slot]:
            self._is_asked_for[slot] = True
            self.lost_packets += 1
        elif times and now_s - self._resent_s[slot] < _RESENT_AGAIN_AFTER_S * (1 << times - 1):
            return False
        if times >= _RESENT_MAX or self._may_resend < 1:
            return False
        self._may_resend -= 1
        self._resent_s[slot] = now_s
        self._resent_times[slot] = times + 1
        return True

    def forget(self) -> None:
        """Send nothing of what was sent so far again."""
        self._history = [b""] * HISTORY_PACKETS

    def report(self, media_s: float, ntp: int) -> SenderReport | None:
        """Which media time it is now, on this line's clock; nothing before its first packet."""
        if not self.sent_packets:
            return None
        timestamp = self._at(round(media_s * self._format.clock_rate))
        return SenderReport(
            self.ssrc, ntp, timestamp, self.sent_packets & 0xFFFFFFFF, self.sent_bytes & 0xFFFFFFFF
        )

    def _take(self, track: Track) -> None:
        """Parameter sets, which decoders need before a key frame, may be kept beside the pictures."""
        self._track = track
        self._parameter_sets, self._prefix_bytes = b"", 0
        read = _PARAMETER_SETS.get(track.codec)
        if read is not None:
            with contextlib.suppress(BitstreamError):
                units, self._prefix_bytes = read(track.config)
                self._parameter_sets = _join(units)

    def _timestamp(self, packet: Packet, at_s: float | None) -> int:
        if at_s is not None:
            return self._at(round(at_s * self._format.clock_rate))
        return self._at(rescale(packet.pts, packet.track.timescale, self._format.clock_rate))

    def _at(self, ticks: int) -> int:
        return (self._first_timestamp + ticks) & 0xFFFFFFFF

    def _number(self, payload: bytes, timestamp: int, *, is_last: bool) -> bytes:
        sequence = self._sequence
        marker = MARKER if is_last and self._track.is_video else 0
        packet = (
            HEAD.pack(VERSION, self._format.payload_type | marker, sequence, timestamp, self.ssrc) + payload
        )
        slot = sequence % HISTORY_PACKETS
        self._history[slot] = packet
        self._resent_times[slot] = self._is_asked_for[slot] = 0
        self._may_resend = min(self._may_resend + _RESENT_SHARE, _RESENT_BURST)
        self._sequence = (sequence + 1) & 0xFFFF
        self.sent_packets += 1
        self.sent_bytes += len(payload)
        return packet

    def _as_retransmission(self, packet: bytes) -> bytes:
        payload_type = self._format.rtx_payload_type
        if payload_type is None or not self.rtx_ssrc:
            return packet
        second, sequence, timestamp = packet[1], packet[2:4], int.from_bytes(packet[4:8], "big")
        rtx_sequence = self._rtx_sequence
        self._rtx_sequence = (rtx_sequence + 1) & 0xFFFF
        head = HEAD.pack(VERSION, payload_type | second & MARKER, rtx_sequence, timestamp, self.rtx_ssrc)
        return head + sequence + packet[HEAD.size :]


def _join(units: Iterable[bytes | memoryview]) -> bytes:
    return b"".join(len(unit).to_bytes(_PREFIX_BYTES, "big") + unit for unit in units)


def _h264_sets(record: bytes) -> tuple[tuple[bytes, ...], int]:
    config = h264.parse_config(record)
    return config.sps + config.pps, config.nal_length_size


def _h265_sets(record: bytes) -> tuple[tuple[bytes, ...], int]:
    config = h265.parse_config(record)
    return config.vps + config.sps + config.pps, config.nal_length_size


_PARAMETER_SETS: dict[Codec, Callable[[bytes], tuple[tuple[bytes, ...], int]]] = {
    Codec.H264: _h264_sets,
    Codec.H265: _h265_sets,
}
