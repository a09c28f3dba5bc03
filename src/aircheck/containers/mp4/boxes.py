"""ISO BMFF boxes (ISO/IEC 14496-12, 4.2): composing and walking them."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

HEADER = struct.Struct(">I4s")
HEADER64 = struct.Struct(">I4sQ")
U32_MAX = 0xFFFFFFFF

_UNIX_TO_1904_S = 2_082_844_800
_NS = 1_000_000_000


def box(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return HEADER.pack(len(body) + 8, kind) + body


def full_box(kind: bytes, version: int, flags: int, *parts: bytes) -> bytes:
    return box(kind, struct.pack(">I", version << 24 | flags), *parts)


def table(kind: bytes, version: int, entries: int, *columns: bytes) -> bytes:
    """A full box that begins with an entry count."""
    return full_box(kind, version, 0, struct.pack(">I", entries), *columns)


def big_endian(values: array[int]) -> bytes:
    """The values as the file stores them. `values` is consumed: its bytes are swapped in place."""
    values.byteswap()
    return values.tobytes()


def interleave(columns: Iterable[array[int]]) -> array[int]:
    """Columns of equal length as rows: a b, a b, … — at C speed."""
    parts = list(columns)
    rows = array("I", bytes(4 * len(parts) * len(parts[0])))
    for position, column in enumerate(parts):
        rows[position :: len(parts)] = column
    return rows


def mac_time_s(time_ns: int) -> int:
    """Nanoseconds since 1970 as the seconds since 1904 of ISO BMFF."""
    return time_ns // _NS + _UNIX_TO_1904_S


def unix_time_ns(mac_s: int) -> int:
    return max(0, mac_s - _UNIX_TO_1904_S) * _NS


@dataclass(frozen=True, slots=True)
class Span:
    """One box inside a buffer: its four letters and where header, body and box begin and end."""

    kind: bytes
    start: int
    body: int
    end: int


def parse_header(data: bytes, offset: int = 0) -> tuple[int, bytes, int] | None:
    """Size (0: to the end), kind and header length of the box at `offset`; None when torn or impossible."""
    if len(data) - offset < 8:
        return None
    size, kind = HEADER.unpack_from(data, offset)
    if size == 1:
        if len(data) - offset < 16:
            return None
        (size,) = struct.unpack_from(">Q", data, offset + 8)
        return (size, kind, 16) if size >= 16 else None
    return (size, kind, 8) if size >= 8 or size == 0 else None


def children(data: bytes, start: int, end: int) -> Iterator[Span]:
    """The boxes in data[start:end], in order. Raises ValueError at a torn one."""
    while start + 8 <= end:
        header = parse_header(data, start)
        size = header[0] or end - start if header else 0
        if header is None or start + size > end:
            raise ValueError(f"torn box at byte {start}")
        yield Span(header[1], start, start + header[2], start + size)
        start += size


def find(data: bytes, start: int, end: int, *path: bytes) -> Span | None:
    """The first box along `path`, e.g. b"mdia", b"mdhd"; None when there is none."""
    found: Span | None = None
    for kind in path:
        found = next((span for span in children(data, start, end) if span.kind == kind), None)
        if found is None:
            return None
        start, end = found.body, found.end
    return found
