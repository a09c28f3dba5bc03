"""AMF0: the values of RTMP commands and of script tags (AMF0 specification), with the switch to AMF3.

`parse` reads all values of a message, `parse_one` the one at a position, `serialize` writes them;
`amf_values` says what they are in Python. Nothing is allocated for a size before that many bytes are known to
be there; nesting and what references repeat are bounded.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence

from aircheck.wire.amf3 import Amf3Reader
from aircheck.wire.amf_values import (
    MAX_BYTES,
    MAX_DEPTH,
    UNDEFINED,
    AmfValue,
    Date,
    EcmaArray,
    Referent,
    TypedObject,
    Undefined,
    XmlDocument,
)
from aircheck.wire.errors import AmfError, LocalProtocolError

__all__ = [
    "UNDEFINED",
    "AmfValue",
    "Date",
    "EcmaArray",
    "TypedObject",
    "Undefined",
    "XmlDocument",
    "parse",
    "parse_one",
    "serialize",
]

_double = struct.Struct(">d")
_date = struct.Struct(">dh")
_uint16 = struct.Struct(">H")
_uint32 = struct.Struct(">I")

_OBJECT_END = 0x09


def parse(data: bytes | bytearray | memoryview, *, max_bytes: int = MAX_BYTES) -> list[AmfValue]:
    """All values in `data`. Raises `AmfError`."""
    reader = Amf0Reader(data, max_bytes=max_bytes)
    values = []
    while not reader.is_at_end:
        values.append(reader.read())
    return values


def parse_one(
    data: bytes | bytearray | memoryview, position: int = 0, *, max_bytes: int = MAX_BYTES
) -> tuple[AmfValue, int]:
    """The value at `position` and the position behind it. Raises `AmfError`."""
    reader = Amf0Reader(data, position, max_bytes=max_bytes)
    value = reader.read()
    return value, reader.position


def serialize(*values: AmfValue) -> bytes:
    """The values one after the other. Raises `LocalProtocolError` for what AMF0 cannot hold."""
    out = bytearray()
    for value in values:
        _write(out, value, 0)
    return bytes(out)


class Amf0Reader:
    """Reads values from `data` one by one. References count from the first value read."""

    def __init__(
        self, data: bytes | bytearray | memoryview, position: int = 0, *, max_bytes: int = MAX_BYTES
    ) -> None:
        if len(data) - position > max_bytes:
            raise AmfError(f"AMF data of {len(data) - position} bytes; {max_bytes} are allowed")
        self.data = bytes(data)
        self.position = position
        self._max_bytes = max_bytes
        self._expanded_bytes = 0
        self._depth = 0
        self._deepest = 0
        self._referents: list[Referent | None] = []

    @property
    def is_at_end(self) -> bool:
        return self.position >= len(self.data)

    def read(self) -> AmfValue:
        marker = self._take(1)[0]
        reader = _READERS.get(marker)
        if reader is None:
            raise self._error(f"unknown AMF0 marker 0x{marker:02x}")
        self._depth += 1
        self._check_depth(self._depth)
        value = reader(self)
        self._depth -= 1
        return value

    def _error(self, message: str) -> AmfError:
        return AmfError(message, offset=self.position, data=self.data[self.position : self.position + 16])

    def _check_depth(self, depth: int) -> None:
        self._deepest = max(self._deepest, depth)
        if depth > MAX_DEPTH:
            raise self._error(f"AMF0 values nested deeper than {MAX_DEPTH}")

    def _take(self, size_bytes: int) -> bytes:
        end = self.position + size_bytes
        if end > len(self.data):
            raise self._error("AMF0 value is cut short")
        taken = self.data[self.position : end]
        self.position = end
        return taken

    def _number(self) -> AmfValue:
        number: float = _double.unpack(self._take(8))[0]
        return number

    def _boolean(self) -> AmfValue:
        return self._take(1) != b"\0"

    def _string(self) -> str:
        return self._take(_uint16.unpack(self._take(2))[0]).decode("utf-8", "replace")

    def _long_string(self) -> str:
        return self._take(_uint32.unpack(self._take(4))[0]).decode("utf-8", "replace")

    def _date(self) -> AmfValue:
        return Date(*_date.unpack(self._take(10)))

    def _complex(self, fill: Callable[[Amf0Reader], AmfValue]) -> AmfValue:
        """A value that later references may name, once it is complete."""
        start, expanded_before, deepest_before = self.position, self._expanded_bytes, self._deepest
        index = len(self._referents)
        self._referents.append(None)
        self._deepest = self._depth
        value = fill(self)
        size_bytes = self.position - start + self._expanded_bytes - expanded_before
        self._referents[index] = Referent(value, size_bytes, self._deepest - self._depth)
        self._deepest = max(self._deepest, deepest_before)
        return value

    def _reference(self) -> AmfValue:
        index: int = _uint16.unpack(self._take(2))[0]
        referent = self._referents[index] if index < len(self._referents) else None
        if referent is None:
            raise self._error(f"AMF0 reference {index} names nothing that is complete")
        self._check_depth(self._depth + referent.height)
        self._expand(referent.size_bytes)
        return referent.value

    def _expand(self, size_bytes: int) -> None:
        self._expanded_bytes += size_bytes
        if self._expanded_bytes > self._max_bytes:
            raise self._error(f"AMF0 references expand to more than {self._max_bytes} bytes")

    def _object(self) -> AmfValue:
        return self._members({})

    def _ecma_array(self) -> AmfValue:
        self._take(4)  # the count is a hint, and often wrong
        return self._members(EcmaArray())

    def _typed_object(self) -> AmfValue:
        return self._members(TypedObject(self._string()))

    def _members(self, members: dict[str, AmfValue]) -> dict[str, AmfValue]:
        while True:
            key = self._string()
            if self.data[self.position : self.position + 1] == b"\x09":
                self.position += 1
                return members
            members[key] = self.read()

    def _strict_array(self) -> AmfValue:
        count: int = _uint32.unpack(self._take(4))[0]
        if count > len(self.data) - self.position:
            raise self._error(f"AMF0 array of {count} items is longer than its message")
        return [self.read() for _ in range(count)]

    def _amf3(self) -> AmfValue:
        reader = Amf3Reader(
            self.data,
            self.position,
            depth=self._depth,
            max_expanded_bytes=self._max_bytes - self._expanded_bytes,
        )
        value = reader.read()
        self.position = reader.position
        self._expand(reader.expanded_bytes)
        self._check_depth(reader.deepest)
        return value


_READERS: dict[int, Callable[[Amf0Reader], AmfValue]] = {
    0x00: Amf0Reader._number,
    0x01: Amf0Reader._boolean,
    0x02: Amf0Reader._string,
    0x03: lambda reader: reader._complex(Amf0Reader._object),
    0x05: lambda reader: None,
    0x06: lambda reader: UNDEFINED,
    0x07: Amf0Reader._reference,
    0x08: lambda reader: reader._complex(Amf0Reader._ecma_array),
    0x0A: lambda reader: reader._complex(Amf0Reader._strict_array),
    0x0B: Amf0Reader._date,
    0x0C: Amf0Reader._long_string,
    0x0D: lambda reader: UNDEFINED,
    0x0F: lambda reader: XmlDocument(reader._long_string()),
    0x10: lambda reader: reader._complex(Amf0Reader._typed_object),
    0x11: Amf0Reader._amf3,
}


def _write(out: bytearray, value: AmfValue, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise LocalProtocolError(f"AMF0 values nested deeper than {MAX_DEPTH}")
    match value:
        case None:
            out.append(0x05)
        case bool():
            out += b"\x01\x01" if value else b"\x01\x00"
        case int() | float():
            out.append(0x00)
            out += _double.pack(value)
        case XmlDocument():
            _write_long(out, 0x0F, value.encode("utf-8", "replace"))
        case str():
            _write_string(out, value)
        case Date():
            out.append(0x0B)
            out += _date.pack(value.time_ms, value.timezone_minutes)
        case Undefined():
            out.append(0x06)
        case Mapping():
            _write_members(out, value, depth)
        case bytes() | bytearray():
            raise LocalProtocolError("AMF0 has no byte array")
        case Sequence():
            out.append(0x0A)
            out += _uint32.pack(len(value))
            for item in value:
                _write(out, item, depth + 1)
        case _:
            raise LocalProtocolError(f"AMF0 cannot hold a {type(value).__name__}")


def _write_string(out: bytearray, text: str) -> None:
    encoded = text.encode("utf-8", "replace")
    if len(encoded) > 0xFFFF:
        _write_long(out, 0x0C, encoded)
        return
    out.append(0x02)
    out += _uint16.pack(len(encoded)) + encoded


def _write_long(out: bytearray, marker: int, encoded: bytes) -> None:
    out.append(marker)
    out += _uint32.pack(len(encoded)) + encoded


def _write_key(out: bytearray, key: str) -> None:
    encoded = key.encode("utf-8", "replace")
    if len(encoded) > 0xFFFF:
        raise LocalProtocolError(f"an AMF0 key of {len(encoded)} bytes; 65535 are possible")
    out += _uint16.pack(len(encoded)) + encoded


def _write_members(out: bytearray, members: Mapping[str, AmfValue], depth: int) -> None:
    if isinstance(members, TypedObject):
        out.append(0x10)
        _write_key(out, members.class_name)
    elif isinstance(members, EcmaArray):
        out.append(0x08)
        out += _uint32.pack(len(members))
    else:
        out.append(0x03)
    for key, value in members.items():
        _write_key(out, key)
        _write(out, value, depth + 1)
    out += b"\0\0" + bytes((_OBJECT_END,))
