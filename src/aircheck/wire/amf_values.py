"""What AMF values are in Python.

| AMF | Python |
|---|---|
| number, integer | `float`, `int` (AMF3 alone has integers) |
| boolean, null | `bool`, `None` |
| string, long string | `str` (bytes that are no UTF-8 become U+FFFD) |
| object / ECMA array | `dict` / `EcmaArray` |
| typed object | `TypedObject` |
| strict array | `list` |
| date, XML | `Date`, `XmlDocument` |
| undefined, unsupported | `UNDEFINED` |
| AMF3 ByteArray | `bytes` |
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeAlias, Union


class EcmaArray(dict[str, "AmfValue"]):
    """An associative array; differs from an object in its marker only."""


class TypedObject(dict[str, "AmfValue"]):
    """An object with the name of its class."""

    def __init__(self, class_name: str, members: dict[str, AmfValue] | None = None) -> None:
        super().__init__(members or {})
        self.class_name = class_name


class XmlDocument(str):
    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Date:
    """`time_ms` since the epoch, UTC. The time zone is reserved and should be 0."""

    time_ms: float
    timezone_minutes: int = 0


class Undefined(Enum):
    UNDEFINED = "undefined"


UNDEFINED: Final = Undefined.UNDEFINED

AmfValue: TypeAlias = Union[
    bool, int, float, str, bytes, Date, Undefined, "list[AmfValue]", "dict[str, AmfValue]", None
]

MAX_DEPTH = 16
MAX_BYTES = 1024 * 1024


@dataclass(slots=True)
class Referent:
    """A complex value that later references may name, and what repeating it costs.

    Sharing is cheap for the parser but not for whoever walks or prints the values: the size and the depth of
    what is referred to count again, else a kilobyte of references to references would expand to gigabytes.
    """

    value: AmfValue
    size_bytes: int
    height: int
