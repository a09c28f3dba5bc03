"""AMF3 values, to be read only: nobody needs us to write them (AMF3 specification 3.13).

They come inside AMF0 behind the switch marker 0x11. Each such value begins with empty reference tables.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import NamedTuple

from aircheck.wire.amf_values import (
    MAX_BYTES,
    MAX_DEPTH,
    UNDEFINED,
    AmfValue,
    Date,
    EcmaArray,
    Referent,
    TypedObject,
    XmlDocument,
)
from aircheck.wire.errors import AmfError

_double = struct.Struct(">d").unpack_from


class _Traits(NamedTuple):
    class_name: str
    members: tuple[str, ...]
    is_dynamic: bool
    is_externalizable: bool


class Amf3Reader:
    """Reads one value from `data` at `position`; afterwards `position` is behind it."""

    def __init__(
        self, data: bytes, position: int = 0, *, depth: int = 0, max_expanded_bytes: int = MAX_BYTES
    ) -> None:
        self.data = data
        self.position = position
        self.expanded_bytes = 0
        """Size of what references repeat."""
        self._max_expanded_bytes = max_expanded_bytes
        self._depth = depth
        self.deepest = depth
        """How deep the values nest, references followed."""
        self._strings: list[str] = []
        self._objects: list[Referent | None] = []
        self._traits: list[_Traits] = []

    def read(self) -> AmfValue:
        marker = self._byte()
        reader = _READERS.get(marker)
        if reader is None:
            raise self._error(f"unknown AMF3 marker 0x{marker:02x}")
        self._depth += 1
        self.deepest = max(self.deepest, self._depth)
        if self._depth > MAX_DEPTH:
            raise self._error(f"AMF3 values nested deeper than {MAX_DEPTH}")
        value = reader(self)
        self._depth -= 1
        return value

    def _error(self, message: str) -> AmfError:
        return AmfError(message, offset=self.position, data=self.data[self.position : self.position + 16])

    def _take(self, size_bytes: int) -> bytes:
        end = self.position + size_bytes
        if end > len(self.data):
            raise self._error("AMF3 value is cut short")
        taken = self.data[self.position : end]
        self.position = end
        return taken

    def _byte(self) -> int:
        return self._take(1)[0]

    def _u29(self) -> int:
        """A variable length integer: 7 bits a byte, all 8 of the fourth (AMF3 1.3.1)."""
        value = 0
        for _ in range(3):
            byte = self._byte()
            value = value << 7 | byte & 0x7F
            if byte < 0x80:
                return value
        return value << 8 | self._byte()

    def _integer(self) -> int:
        value = self._u29()
        return value - (1 << 29) if value & 1 << 28 else value

    def _number(self) -> float:
        number: float = _double(self._take(8))[0]
        return number

    def _string(self) -> str:
        head = self._u29()
        if not head & 1:
            return self._string_at(head >> 1)
        text = self._take(head >> 1).decode("utf-8", "replace")
        if text:
            self._strings.append(text)
        return text

    def _string_at(self, index: int) -> str:
        if index >= len(self._strings):
            raise self._error(f"AMF3 string reference {index} names nothing")
        text = self._strings[index]
        self._expand(len(text))
        return text

    def _expand(self, size_bytes: int) -> None:
        self.expanded_bytes += size_bytes
        if self.expanded_bytes > self._max_expanded_bytes:
            raise self._error(f"AMF3 references expand to more than {self._max_expanded_bytes} bytes")

    def _complex(self, build: Callable[[Amf3Reader, int], AmfValue]) -> AmfValue:
        """A value that references may name: `build` gets the head without its lowest bit."""
        start = self.position
        head = self._u29()
        if not head & 1:
            return self._object_at(head >> 1)
        index = len(self._objects)
        self._objects.append(None)
        expanded_before, deepest_before = self.expanded_bytes, self.deepest
        self.deepest = self._depth
        value = build(self, head >> 1)
        size_bytes = self.position - start + self.expanded_bytes - expanded_before
        self._objects[index] = Referent(value, size_bytes, self.deepest - self._depth)
        self.deepest = max(self.deepest, deepest_before)
        return value

    def _object_at(self, index: int) -> AmfValue:
        referent = self._objects[index] if index < len(self._objects) else None
        if referent is None:
            raise self._error(f"AMF3 object reference {index} names nothing that is complete")
        self._expand(referent.size_bytes)
        self.deepest = max(self.deepest, self._depth + referent.height)
        if self.deepest > MAX_DEPTH:
            raise self._error(f"AMF3 values nested deeper than {MAX_DEPTH}")
        return referent.value

    def _xml(self, head: int) -> AmfValue:
        return XmlDocument(self._take(head).decode("utf-8", "replace"))

    def _date(self, _head: int) -> AmfValue:
        return Date(self._number())

    def _byte_array(self, head: int) -> AmfValue:
        return self._take(head)

    def _array(self, count: int) -> AmfValue:
        named = EcmaArray()
        while key := self._string():
            named[key] = self.read()
        if not named:
            return self._items(count)
        for index in range(self._checked(count)):
            named[str(index)] = self.read()
        return named

    def _items(self, count: int) -> list[AmfValue]:
        return [self.read() for _ in range(self._checked(count))]

    def _checked(self, count: int, item_bytes: int = 1) -> int:
        """A count from the wire, believed only if that many items can follow."""
        if count * item_bytes > len(self.data) - self.position:
            raise self._error(f"AMF3 array of {count} items is longer than its message")
        return count

    def _object(self, head: int) -> AmfValue:
        traits = self._read_traits(head)
        if traits.is_externalizable:
            raise self._error(f"AMF3 class {traits.class_name!r} has its own encoding, which is not known")
        members: dict[str, AmfValue] = {name: self.read() for name in traits.members}
        if traits.is_dynamic:
            while key := self._string():
                members[key] = self.read()
        return TypedObject(traits.class_name, members) if traits.class_name else members

    def _read_traits(self, head: int) -> _Traits:
        if not head & 1:
            if head >> 1 >= len(self._traits):
                raise self._error(f"AMF3 traits reference {head >> 1} names nothing")
            return self._traits[head >> 1]
        class_name = self._string()
        count = self._checked(head >> 3)
        traits = _Traits(
            class_name, tuple(self._string() for _ in range(count)), bool(head & 4), bool(head & 2)
        )
        self._traits.append(traits)
        return traits

    def _numbers(self, count: int, layout: str) -> AmfValue:
        self._byte()  # whether the length is fixed: of no use here
        item = struct.Struct(layout)
        data = self._take(self._checked(count, item.size) * item.size)
        return [value for (value,) in item.iter_unpack(data)]

    def _object_vector(self, count: int) -> AmfValue:
        self._byte()
        self._string()  # the class of its items
        return self._items(count)

    def _dictionary(self, count: int) -> AmfValue:
        self._byte()  # whether its keys are weak
        pairs = EcmaArray()
        for _ in range(self._checked(count, 2)):
            key = self.read()
            pairs[key if isinstance(key, str) else repr(key)] = self.read()
        return pairs


_READERS: dict[int, Callable[[Amf3Reader], AmfValue]] = {
    0x00: lambda reader: UNDEFINED,
    0x01: lambda reader: None,
    0x02: lambda reader: False,
    0x03: lambda reader: True,
    0x04: Amf3Reader._integer,
    0x05: Amf3Reader._number,
    0x06: Amf3Reader._string,
    0x07: lambda reader: reader._complex(Amf3Reader._xml),
    0x08: lambda reader: reader._complex(Amf3Reader._date),
    0x09: lambda reader: reader._complex(Amf3Reader._array),
    0x0A: lambda reader: reader._complex(Amf3Reader._object),
    0x0B: lambda reader: reader._complex(Amf3Reader._xml),
    0x0C: lambda reader: reader._complex(Amf3Reader._byte_array),
    0x0D: lambda reader: reader._complex(lambda r, count: r._numbers(count, ">i")),
    0x0E: lambda reader: reader._complex(lambda r, count: r._numbers(count, ">I")),
    0x0F: lambda reader: reader._complex(lambda r, count: r._numbers(count, ">d")),
    0x10: lambda reader: reader._complex(Amf3Reader._object_vector),
    0x11: lambda reader: reader._complex(Amf3Reader._dictionary),
}
