"""Transport-wide congestion control feedback (draft-holmer-rmcat-transport-wide-cc-extensions-01).

The sender numbers all packets of a transport in a header extension; the receiver tells when each came. From
that a browser learns what the path can carry: without it, it stays at a few hundred kbit/s.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from aircheck.media.timeline import nearest
from aircheck.wire.rtp.errors import RtpError

EXTENSION_URI = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"

TICKS_PER_S = 4000
"""Arrival times are told in steps of 250 µs."""

_REFERENCE_TICKS = 256
"""The reference time counts 64 ms."""

_ABSENT, _SMALL, _LARGE = 0, 1, 2
_MAX_RUN = 0x1FFF
_TWO_BIT_VECTOR = 0xC000
_SYMBOLS_PER_VECTOR = 7
_head = struct.Struct("!IIHHI")


@dataclass(frozen=True, slots=True)
class TransportFeedback:
    """`arrivals` has for each number from `base_sequence` on its arrival in ticks of 250 µs, on the
    receiver's clock modulo 2^24 * 64 ms, or None where nothing came."""

    sender_ssrc: int
    media_ssrc: int
    base_sequence: int
    feedback_count: int
    arrivals: tuple[int | None, ...]

    @classmethod
    def parse(cls, body: bytes) -> TransportFeedback:
        """Read what follows the common header. Raises RtpError."""
        if len(body) < _head.size:
            raise RtpError("transport feedback is cut off", data=body)
        sender, media, base, count, reference = _head.unpack_from(body)
        symbols, position = _read_symbols(body, count)
        arrivals = tuple(_read_arrivals(body, position, symbols, (reference >> 8) * _REFERENCE_TICKS))
        return cls(sender, media, base, reference & 0xFF, arrivals)

    def serialize(self) -> bytes:
        """Raises ValueError where nothing arrived or a step does not fit in 16 bits."""
        first = next((ticks for ticks in self.arrivals if ticks is not None), None)
        if first is None:
            raise ValueError("feedback about no packet")
        reference = first // _REFERENCE_TICKS
        symbols, deltas = _delta_symbols(self.arrivals, reference * _REFERENCE_TICKS)
        body = _head.pack(
            self.sender_ssrc,
            self.media_ssrc,
            self.base_sequence,
            len(self.arrivals),
            (reference & 0xFFFFFF) << 8 | self.feedback_count & 0xFF,
        )
        body += b"".join(chunk.to_bytes(2, "big") for chunk in _chunks(symbols)) + deltas
        padding_bytes = -len(body) % 4
        if padding_bytes:
            body += bytes(padding_bytes - 1) + bytes((padding_bytes,))
        first_octet = 0x8F | (0x20 if padding_bytes else 0)
        return struct.pack("!BBH", first_octet, 205, len(body) // 4) + body


def _read_symbols(body: bytes, count: int) -> tuple[list[int], int]:
    symbols: list[int] = []
    position = _head.size
    while len(symbols) < count:
        if position + 2 > len(body):
            raise RtpError("transport feedback is cut off", data=body)
        chunk = body[position] << 8 | body[position + 1]
        position += 2
        if not chunk & 0x8000:
            symbols += [chunk >> 13] * (chunk & _MAX_RUN)
        elif chunk & 0x4000:
            symbols += (chunk >> shift & 3 for shift in range(12, -1, -2))
        else:
            symbols += (chunk >> shift & 1 for shift in range(13, -1, -1))
    return symbols[:count], position


def _read_arrivals(body: bytes, position: int, symbols: Sequence[int], ticks: int) -> Iterator[int | None]:
    for symbol in symbols:
        size = 1 if symbol == _SMALL else 2 if symbol == _LARGE else 0
        if position + size > len(body):
            raise RtpError("transport feedback is cut off", data=body)
        if not size:
            yield None
            continue
        ticks += int.from_bytes(body[position : position + size], "big", signed=symbol == _LARGE)
        position += size
        yield ticks


def _delta_symbols(arrivals: Sequence[int | None], last: int) -> tuple[list[int], bytes]:
    symbols: list[int] = []
    deltas = bytearray()
    for ticks in arrivals:
        if ticks is None:
            symbols.append(_ABSENT)
            continue
        step, last = ticks - last, ticks
        if 0 <= step < 256:
            symbols.append(_SMALL)
            deltas.append(step)
        elif -0x8000 <= step < 0x8000:
            symbols.append(_LARGE)
            deltas += step.to_bytes(2, "big", signed=True)
        else:
            raise ValueError(f"two packets {step} ticks apart")
    return symbols, bytes(deltas)


def _chunks(symbols: Sequence[int]) -> Iterator[int]:
    position, count = 0, len(symbols)
    while position < count:
        symbol = symbols[position]
        end = position + 1
        while end < count and symbols[end] == symbol and end - position < _MAX_RUN:
            end += 1
        if end - position >= _SYMBOLS_PER_VECTOR or end == count:
            yield symbol << 13 | end - position
            position = end
            continue
        vector = _TWO_BIT_VECTOR
        for index, one in enumerate(symbols[position : position + _SYMBOLS_PER_VECTOR]):
            vector |= one << 12 - 2 * index
        yield vector
        position += _SYMBOLS_PER_VECTOR


class ArrivalLog:
    """Remembers when the packets of a transport came, and reports them.

    What was reported is forgotten; a packet that comes after its successors were reported is reported on its
    own later, as the draft allows.
    """

    def __init__(self) -> None:
        self._arrivals: dict[int, int] = {}
        """By number, unwrapped."""
        self._last: int | None = None
        self._feedback_count = 0

    def __len__(self) -> int:
        return len(self._arrivals)

    def add(self, sequence_number: int, now_s: float) -> None:
        last = sequence_number if self._last is None else self._last
        number = last + nearest(sequence_number - last, 0xFFFF, 0x8000)
        if self._last is None or number > last:
            self._last = number
        self._arrivals.setdefault(number, int(now_s * TICKS_PER_S))

    def report(self, sender_ssrc: int, media_ssrc: int) -> list[TransportFeedback]:
        """What has come since the last report, in as many messages as it takes."""
        arrivals, self._arrivals = self._arrivals, {}
        reports: list[TransportFeedback] = []
        for run in _runs(arrivals):
            first = run[0]
            told = tuple(arrivals.get(number) for number in range(first, run[-1] + 1))
            reports.append(
                TransportFeedback(sender_ssrc, media_ssrc, first & 0xFFFF, self._feedback_count & 0xFF, told)
            )
            self._feedback_count += 1
        return reports


_MAX_SPAN = 1000
_MAX_ARRIVALS = 400
"""Numbers, and arrivals among them, in one message: it stays below the size of a packet."""

_MAX_STEP_TICKS = 0x7000


def _runs(arrivals: dict[int, int]) -> Iterator[list[int]]:
    """Numbers that fit into one message each: near to each other in number and time."""
    run: list[int] = []
    for number in sorted(arrivals):
        if run and (
            number - run[0] >= _MAX_SPAN
            or len(run) == _MAX_ARRIVALS
            or abs(arrivals[number] - arrivals[run[-1]]) > _MAX_STEP_TICKS
        ):
            yield run
            run = []
        run.append(number)
    if run:
        yield run
