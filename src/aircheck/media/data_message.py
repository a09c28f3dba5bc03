"""Data messages in plain words: the name and the values of an AMF0 message, as JSON.

For readers that know no AMF. An object becomes an object, a date its ISO 8601 text, undefined null; what AMF0
refers back to, and values of AMF3, become null. A message that breaks off keeps what came before.
"""

from __future__ import annotations

import json
import math
import struct
from datetime import UTC, datetime, timedelta
from typing import Any

from aircheck.media.packet import Payload

_MAX_DEPTH = 16
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_double = struct.Struct(">d").unpack_from
_uint16 = struct.Struct(">H").unpack_from
_uint32 = struct.Struct(">I").unpack_from

_OBJECT_END = 0x09


def read_message(payload: Payload) -> tuple[str, list[Any]]:
    """Name and values of a message, of the types that JSON has. Never raises."""
    reader, values = _Reader(bytes(payload)), list[Any]()
    try:
        while reader.position < len(reader.data):
            values.append(reader.read(0))
    except (ValueError, IndexError, struct.error):
        pass  # what came before stands
    if values and isinstance(values[0], str):
        return values[0], values[1:]
    return "", values


def json_of(values: list[Any]) -> str:
    """One value as it is, several as an array, none as null: on one line."""
    content = values[0] if len(values) == 1 else values or None
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"))


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = 0

    def read(self, depth: int) -> Any:
        """One value. Raises ValueError, IndexError or struct.error where there is none."""
        if depth > _MAX_DEPTH:
            raise ValueError("nested too deeply")
        marker = self.data[self.position]
        self.position += 1
        match marker:
            case 0x00:  # number
                return _plain_number(self._unpack(_double, 8))
            case 0x01:  # boolean
                return self._take(1) != b"\0"
            case 0x02:  # string
                return self._text(self._unpack(_uint16, 2))
            case 0x0C | 0x0F:  # long string, XML
                return self._text(self._unpack(_uint32, 4))
            case 0x03:  # object
                return self._members(depth)
            case 0x08:  # ECMA array
                self._take(4)  # the count is a hint, and often wrong
                return self._members(depth)
            case 0x10:  # typed object
                self._text(self._unpack(_uint16, 2))  # the name of the class
                return self._members(depth)
            case 0x0A:  # strict array
                return [self.read(depth + 1) for _ in range(self._unpack(_uint32, 4))]
            case 0x0B:  # date, with its time zone
                return _plain_date(self._unpack(_double, 10))
            case 0x07:  # reference
                self._take(2)
                return None
            case 0x05 | 0x06 | 0x0D:  # null, undefined, unsupported
                return None
        raise ValueError(f"no value of AMF0: 0x{marker:02x}")

    def _take(self, size: int) -> bytes:
        taken = self.data[self.position : self.position + size]
        if len(taken) < size:
            raise ValueError("cut short")
        self.position += size
        return taken

    def _unpack(self, unpack: Any, size: int) -> Any:
        return unpack(self._take(size))[0]

    def _text(self, size: int) -> str:
        return self._take(size).decode("utf-8", "replace")

    def _members(self, depth: int) -> dict[str, Any]:
        members: dict[str, Any] = {}
        while True:
            name = self._text(self._unpack(_uint16, 2))
            if self.data[self.position] == _OBJECT_END:
                self.position += 1
                return members
            members[name] = self.read(depth + 1)


def _plain_number(value: float) -> int | float | None:
    if not math.isfinite(value):
        return None
    return int(value) if value.is_integer() and abs(value) < 1 << 53 else value


def _plain_date(time_ms: float) -> str | None:
    try:
        return (_EPOCH + timedelta(milliseconds=time_ms)).isoformat()
    except (OverflowError, ValueError):
        return None
