"""The chunk stream as the specification says it, one byte after the other: slow, short and independent of the
parser it is compared with. It believes what it is told: feed it only streams without faults.

And a writer of random, correct chunk streams in every form and dialect that encoders use.
"""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass, field

Received = tuple[int, int, int, bytes]
"""Type id, timestamp, message stream id, payload."""


@dataclass
class _State:
    timestamp: int = 0
    delta: int = 0
    length: int = 0
    type_id: int = 0
    stream_id: int = 0
    extended: bytes = b""
    payload: bytearray = field(default_factory=bytearray)


def parse(data: bytes, *, chunk_size: int = 128) -> list[Received]:
    """All complete messages in a chunk stream; an incomplete end is left out."""
    states: dict[int, _State] = {}
    received: list[Received] = []
    at = 0
    try:
        while at < len(data):
            form, csid = data[at] >> 6, data[at] & 63
            at += 1
            if csid < 2:
                extra = data[at : at + csid + 1]
                if len(extra) <= csid:
                    break
                at += csid + 1
                csid = 64 + int.from_bytes(extra, "little")
            state = states.setdefault(csid, _State())
            if form < 3:
                state.delta = int.from_bytes(take(data, at, 3), "big")
                at += 3
            if form < 2:
                state.length = int.from_bytes(take(data, at, 3), "big")
                state.type_id = take(data, at + 3, 1)[0]
                at += 4
            if form == 0:
                state.stream_id = int.from_bytes(take(data, at, 4), "little")
                at += 4
            if form < 3:
                state.extended = b""
                if state.delta == 0xFFFFFF:
                    state.extended = take(data, at, 4)
                    state.delta = int.from_bytes(state.extended, "big")
                    at += 4
            elif state.extended and data[at : at + 4] == state.extended:
                at += 4
            part = take(data, at, min(chunk_size, state.length - len(state.payload)))
            at += len(part)
            if not state.payload:
                state.timestamp = (state.delta if form == 0 else state.timestamp + state.delta) % 2**32
            state.payload += part
            if len(state.payload) == state.length:
                payload, state.payload = bytes(state.payload), bytearray()
                received.append((state.type_id, state.timestamp, state.stream_id, payload))
                if state.type_id == 1:
                    chunk_size = int.from_bytes(payload, "big")
                elif state.type_id == 2:
                    states[int.from_bytes(payload, "big")].payload.clear()
    except EOFError:
        pass
    return received


def take(data: bytes, at: int, size: int) -> bytes:
    if at + size > len(data):
        raise EOFError
    return data[at : at + size]


class Writer:
    """Writes random messages in random forms; `expected` is what a parser must make of them."""

    CSIDS = (3, 4, 6, 63, 64, 100, 319, 320, 400, 65_599)

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.out = bytearray()
        self.expected: list[Received] = []
        self.chunk_size = 128
        self._last: dict[int, tuple[int, int, int, int, int]] = {}
        self._repeats_extended = self.random.random() < 0.5
        self._now = self.random.choice([0, 0, 0xFFFFF0, 0x1000000, 0xFFFFFFF0])

    def write(self, messages: int) -> Writer:
        self.set_chunk_size()
        for _ in range(messages):
            choice = self.random.random()
            if choice < 0.05:
                self.set_chunk_size()
            elif choice < 0.2:
                self.write_interleaved()
            else:
                csid, type_id, payload = self._any_message()
                for chunk in self._chunks(csid, type_id, payload):
                    self.out += chunk
        return self

    def set_chunk_size(self) -> None:
        size = self.random.choice([1, 5, 128, 128, 300, 4096, 60_000])
        payload = size.to_bytes(4, "big")
        for chunk in self._chunks(2, 1, payload):
            self.out += chunk
        self.chunk_size = size

    def write_interleaved(self) -> None:
        """Two messages whose chunks alternate; in the order in which they end."""
        csids = self.random.sample(self.CSIDS, 2)
        queues = []
        for csid in csids:
            _, type_id, payload = self._any_message()
            chunks = self._chunks(csid, type_id, payload)
            queues.append((chunks, self.expected.pop()))
        while queues:
            queue = self.random.choice(queues)
            self.out += queue[0].pop(0)
            if not queue[0]:
                self.expected.append(queue[1])
                queues.remove(queue)

    def _any_message(self) -> tuple[int, int, bytes]:
        size = self.random.choice([0, 1, 7, 127, 128, 129, 256, 257, self.random.randrange(3000)])
        return (
            self.random.choice(self.CSIDS),
            self.random.choice([8, 8, 9, 9, 9, 18, 4]),
            self.random.randbytes(size),
        )

    def _chunks(self, csid: int, type_id: int, payload: bytes) -> list[bytes]:
        delta = self.random.choice([0, 21, 33, 40, 40, 40, self.random.randrange(2000), 0x1000000])
        self._now = timestamp = (self._now + delta) % 2**32
        form, value, stream_id = self._form(csid, type_id, len(payload), timestamp)
        self._last[csid] = (timestamp, value, len(payload), type_id, stream_id)
        self.expected.append((type_id, timestamp, stream_id, payload))
        extended = struct.pack(">I", value) if value >= 0xFFFFFF else b""
        header = basic_header(form, csid)
        if form < 3:
            header += min(value, 0xFFFFFF).to_bytes(3, "big")
        if form < 2:
            header += len(payload).to_bytes(3, "big") + bytes((type_id,))
        if form == 0:
            header += stream_id.to_bytes(4, "little")
        repeated = extended if self._repeats_extended else b""
        head = header + (extended if form < 3 else repeated)
        continuation = basic_header(3, csid) + repeated
        parts = [payload[i : i + self.chunk_size] for i in range(0, len(payload), self.chunk_size)]
        return [(continuation if i else head) + part for i, part in enumerate(parts or [b""])]

    def _form(self, csid: int, type_id: int, length: int, timestamp: int) -> tuple[int, int, int]:
        """Header type, value of the timestamp field, message stream id."""
        last = self._last.get(csid)
        if last is None or self.random.random() < 0.1:
            return 0, timestamp, self.random.choice([0, 1, 1, 1, 2, 0x01020304])
        delta = (timestamp - last[0]) % 2**32
        forms = [1]
        if (length, type_id) == (last[2], last[3]):
            forms.append(2)
            if delta == last[1]:
                forms += [3, 3]
        return self.random.choice(forms), delta, last[4]


def basic_header(form: int, csid: int) -> bytes:
    if csid < 64:
        return bytes((form << 6 | csid,))
    if csid < 320:
        return bytes((form << 6, csid - 64))
    return bytes((form << 6 | 1,)) + (csid - 64).to_bytes(2, "little")
