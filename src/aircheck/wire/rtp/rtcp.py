"""RTCP: reports and feedback (RFC 3550, 4585, 5104, draft-alvestrand-rmcat-remb-03)."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from aircheck.wire.rtp.errors import RtpError
from aircheck.wire.rtp.transport_feedback import TransportFeedback

SENDER_REPORT, RECEIVER_REPORT, SOURCE_DESCRIPTION, GOODBYE = 200, 201, 202, 203
TRANSPORT_FEEDBACK, PAYLOAD_FEEDBACK = 205, 206

_NACK, _TRANSPORT_WIDE = 1, 15
_PLI, _FIR, _APPLICATION = 1, 4, 15
_CNAME = 1
_MAX_MANTISSA = (1 << 18) - 1
_MAX_LOST = (1 << 23) - 1

_head = struct.Struct("!BBH")
_block = struct.Struct("!IB3sIIII")
_sender_info = struct.Struct("!IQIII")


@dataclass(frozen=True, slots=True)
class ReportBlock:
    """What a receiver saw of one source. `jitter` is in ticks of its clock; `last_sr` and `delay_since_sr`
    are in 1/65536 s, 0 before the first sender report."""

    ssrc: int
    fraction_lost: int
    """In 1/256."""
    packets_lost: int
    highest_sequence: int
    jitter: int
    last_sr: int = 0
    delay_since_sr: int = 0


@dataclass(frozen=True, slots=True)
class SenderReport:
    """`ntp` is in 1/2^32 s since 1900, and `rtp_timestamp` the same instant on the source's clock."""

    ssrc: int
    ntp: int
    rtp_timestamp: int
    packets: int
    octets: int
    blocks: tuple[ReportBlock, ...] = ()

    def serialize(self) -> bytes:
        info = _sender_info.pack(self.ssrc, self.ntp, self.rtp_timestamp, self.packets, self.octets)
        return _frame(SENDER_REPORT, len(self.blocks), info + _serialize_blocks(self.blocks))


@dataclass(frozen=True, slots=True)
class ReceiverReport:
    ssrc: int
    blocks: tuple[ReportBlock, ...] = ()

    def serialize(self) -> bytes:
        body = self.ssrc.to_bytes(4, "big") + _serialize_blocks(self.blocks)
        return _frame(RECEIVER_REPORT, len(self.blocks), body)


@dataclass(frozen=True, slots=True)
class SourceDescription:
    """SSRCs and their canonical names."""

    cnames: tuple[tuple[int, str], ...]

    def serialize(self) -> bytes:
        body = b"".join(_serialize_chunk(ssrc, name) for ssrc, name in self.cnames)
        return _frame(SOURCE_DESCRIPTION, len(self.cnames), body)


@dataclass(frozen=True, slots=True)
class Goodbye:
    ssrcs: tuple[int, ...]
    reason: str = ""

    def serialize(self) -> bytes:
        body = struct.pack(f"!{len(self.ssrcs)}I", *self.ssrcs)
        if self.reason:
            text = self.reason.encode()[:255]
            body += bytes((len(text),)) + text
            body += bytes(-len(body) % 4)
        return _frame(GOODBYE, len(self.ssrcs), body)


@dataclass(frozen=True, slots=True)
class Nack:
    """Packets of `media_ssrc` that are missing (RFC 4585, 6.2.1)."""

    sender_ssrc: int
    media_ssrc: int
    sequence_numbers: tuple[int, ...]

    def serialize(self) -> bytes:
        pairs = (struct.pack("!HH", *pair) for pair in _nack_pairs(self.sequence_numbers))
        head = struct.pack("!II", self.sender_ssrc, self.media_ssrc)
        return _frame(TRANSPORT_FEEDBACK, _NACK, head + b"".join(pairs))


@dataclass(frozen=True, slots=True)
class PictureLossIndication:
    """A key frame is wanted (RFC 4585, 6.3.1)."""

    sender_ssrc: int
    media_ssrc: int

    def serialize(self) -> bytes:
        return _frame(PAYLOAD_FEEDBACK, _PLI, struct.pack("!II", self.sender_ssrc, self.media_ssrc))


@dataclass(frozen=True, slots=True)
class FullIntraRequest:
    """A key frame is wanted (RFC 5104, 4.3.1): pairs of SSRC and a number that each new request counts up."""

    sender_ssrc: int
    requests: tuple[tuple[int, int], ...]

    def serialize(self) -> bytes:
        entries = (struct.pack("!IB3x", ssrc, number) for ssrc, number in self.requests)
        return _frame(PAYLOAD_FEEDBACK, _FIR, struct.pack("!II", self.sender_ssrc, 0) + b"".join(entries))


@dataclass(frozen=True, slots=True)
class ReceiverEstimatedMaximumBitrate:
    """How much the receiver believes that it can get."""

    sender_ssrc: int
    bitrate_bps: int
    ssrcs: tuple[int, ...]

    def serialize(self) -> bytes:
        exponent = max(0, self.bitrate_bps.bit_length() - 18)
        mantissa = self.bitrate_bps >> exponent
        body = struct.pack(
            "!II4sI", self.sender_ssrc, 0, b"REMB", len(self.ssrcs) << 24 | exponent << 18 | mantissa
        )
        return _frame(PAYLOAD_FEEDBACK, _APPLICATION, body + struct.pack(f"!{len(self.ssrcs)}I", *self.ssrcs))


@dataclass(frozen=True, slots=True)
class UnknownReport:
    """A packet that nothing here understands: extended reports, application-defined ones."""

    packet_type: int
    count: int
    body: bytes

    def serialize(self) -> bytes:
        return _frame(self.packet_type, self.count, self.body)


Report: TypeAlias = (
    SenderReport
    | ReceiverReport
    | SourceDescription
    | Goodbye
    | Nack
    | PictureLossIndication
    | FullIntraRequest
    | ReceiverEstimatedMaximumBitrate
    | TransportFeedback
    | UnknownReport
)


def serialize_compound(reports: Iterable[Report]) -> bytes:
    return b"".join(report.serialize() for report in reports)


def parse_compound(data: bytes) -> list[Report]:
    """The reports of a compound or reduced-size packet, in order. Raises RtpError."""
    reports: list[Report] = []
    position = 0
    while position < len(data):
        if position + 4 > len(data):
            raise RtpError("an RTCP packet is cut off", offset=position, data=data[position:])
        first, packet_type, words = _head.unpack_from(data, position)
        end = position + 4 + 4 * words
        if first >> 6 != 2 or end > len(data):
            raise RtpError("no RTCP packet", offset=position, data=data[position:])
        body = data[position + 4 : _without_padding(data, end, first)]
        try:
            reports.append(_parse(packet_type, first & 31, body))
        except (struct.error, IndexError) as error:
            raise RtpError(
                f"an RTCP packet of type {packet_type} is too short", offset=position, data=data[position:]
            ) from error
        position = end
    return reports


def _without_padding(data: bytes, end: int, first: int) -> int:
    return end - data[end - 1] if first & 0x20 else end


def _parse(packet_type: int, count: int, body: bytes) -> Report:
    match packet_type, count:
        case 200, _:
            ssrc, ntp, timestamp, packets, octets = _sender_info.unpack_from(body)
            blocks = _parse_blocks(body, _sender_info.size, count)
            return SenderReport(ssrc, ntp, timestamp, packets, octets, blocks)
        case 201, _:
            (ssrc,) = struct.unpack_from("!I", body)
            return ReceiverReport(ssrc, _parse_blocks(body, 4, count))
        case 202, _:
            return _parse_description(body, count)
        case 203, _:
            return _parse_goodbye(body, count)
        case 205, 1:
            return _parse_nack(body)
        case 205, 15:
            return TransportFeedback.parse(body)
        case 206, 1:
            return PictureLossIndication(*struct.unpack_from("!II", body))
        case 206, 4:
            return _parse_fir(body)
        case 206, 15 if body[8:12] == b"REMB":
            return _parse_remb(body)
        case _:
            return UnknownReport(packet_type, count, body)


def _parse_blocks(body: bytes, position: int, count: int) -> tuple[ReportBlock, ...]:
    return tuple(_parse_block(body, position + _block.size * index) for index in range(count))


def _parse_block(body: bytes, position: int) -> ReportBlock:
    ssrc, fraction, lost, highest, jitter, last_sr, delay = _block.unpack_from(body, position)
    return ReportBlock(
        ssrc, fraction, int.from_bytes(lost, "big", signed=True), highest, jitter, last_sr, delay
    )


def _serialize_blocks(blocks: Sequence[ReportBlock]) -> bytes:
    return b"".join(
        _block.pack(
            block.ssrc,
            block.fraction_lost,
            max(-_MAX_LOST, min(_MAX_LOST, block.packets_lost)).to_bytes(3, "big", signed=True),
            block.highest_sequence,
            block.jitter,
            block.last_sr,
            block.delay_since_sr,
        )
        for block in blocks
    )


def _parse_description(body: bytes, count: int) -> SourceDescription:
    names: list[tuple[int, str]] = []
    position = 0
    for _ in range(count):
        (ssrc,) = struct.unpack_from("!I", body, position)
        position += 4
        while kind := body[position]:
            size = body[position + 1]
            text = body[position + 2 : position + 2 + size]
            if kind == _CNAME:
                names.append((ssrc, text.decode("utf-8", "replace")))
            position += 2 + size
        position += 4 - position % 4  # at least one zero ends a chunk, which fills whole words
    return SourceDescription(tuple(names))


def _serialize_chunk(ssrc: int, name: str) -> bytes:
    text = name.encode()[:255]
    items = bytes((_CNAME, len(text))) + text
    return ssrc.to_bytes(4, "big") + items + bytes(4 - len(items) % 4)


def _parse_goodbye(body: bytes, count: int) -> Goodbye:
    ssrcs = struct.unpack_from(f"!{count}I", body)
    rest = body[4 * count :]
    return Goodbye(ssrcs, rest[1 : 1 + rest[0]].decode("utf-8", "replace") if rest else "")


def _parse_nack(body: bytes) -> Nack:
    sender, media = struct.unpack_from("!II", body)
    wanted: list[int] = []
    for position in range(8, len(body), 4):
        first, mask = struct.unpack_from("!HH", body, position)
        wanted.append(first)
        wanted += ((first + 1 + bit) & 0xFFFF for bit in range(16) if mask >> bit & 1)
    return Nack(sender, media, tuple(wanted))


def _nack_pairs(sequence_numbers: Iterable[int]) -> list[list[int]]:
    """First number and the mask of the sixteen that follow it; the numbers come in order."""
    pairs: list[list[int]] = []
    for number in sequence_numbers:
        behind = (number - pairs[-1][0]) & 0xFFFF if pairs else 0
        if 0 < behind <= 16:
            pairs[-1][1] |= 1 << behind - 1
        else:
            pairs.append([number, 0])
    return pairs


def _parse_fir(body: bytes) -> FullIntraRequest:
    (sender,) = struct.unpack_from("!I", body)
    requests = tuple(struct.unpack_from("!IB", body, at) for at in range(8, len(body), 8))
    return FullIntraRequest(sender, requests)


def _parse_remb(body: bytes) -> ReceiverEstimatedMaximumBitrate:
    sender, _, _, packed = struct.unpack_from("!II4sI", body)
    bitrate_bps = (packed & _MAX_MANTISSA) << (packed >> 18 & 63)
    return ReceiverEstimatedMaximumBitrate(
        sender, bitrate_bps, struct.unpack_from(f"!{packed >> 24}I", body, 16)
    )


def _frame(packet_type: int, count: int, body: bytes) -> bytes:
    return _head.pack(0x80 | count, packet_type, len(body) // 4) + body
