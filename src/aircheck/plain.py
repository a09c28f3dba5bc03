"""Plain: facts as JSON values, and back.

Written short: a field that has its default is left out. Read tolerantly, because files and rows outlive
programs: unknown fields are skipped and missing ones get their defaults. A field that has no default must be
there, and what is there must be of its type.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import StrEnum
from functools import cache, partial
from types import UnionType
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints

Facts = TypeVar("Facts")
Reader = Callable[[Any], Any]


class PlainError(ValueError):
    """These JSON values are not those facts."""


def to_plain(facts: Any) -> dict[str, Any]:
    """The fields of a facts dataclass that differ from their defaults, as values that `json.dumps` takes."""
    # mypy does not know that classes are hashable (here and below).
    defaults = _defaults(type(facts))  # type: ignore[arg-type]
    values = ((name, getattr(facts, name), default) for name, default in defaults)
    return {name: plain_value(value) for name, value, default in values if value != default}


def from_plain(kind: type[Facts], plain: Any) -> Facts:
    """The facts of that kind. Raises `PlainError`, which names the field at fault."""
    if not isinstance(plain, Mapping):
        raise PlainError(f"{kind.__name__} should be an object, not {type(plain).__name__}")
    values = {}
    for name, reader in _readers(kind).items():  # type: ignore[arg-type]
        if name in plain:
            try:
                values[name] = reader(plain[name])
            except ValueError as error:
                raise PlainError(f"{kind.__name__}.{name}: {error}") from error
    try:
        return kind(**values)
    except TypeError as error:
        raise PlainError(f"{kind.__name__}: {error}") from error


def plain_value(value: Any) -> Any:
    """Enums by value, facts by `to_plain`, tuples as lists; all else as it is."""
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, tuple):
        return [plain_value(item) for item in value]
    if is_dataclass(value):
        return to_plain(value)
    return value


@cache
def _defaults(kind: type[Any]) -> tuple[tuple[str, Any], ...]:
    """Field names with their defaults; `MISSING`, which equals nothing else, where there is none."""
    return tuple(
        (field.name, field.default if field.default_factory is MISSING else field.default_factory())
        for field in fields(kind)
    )


@cache
def _readers(kind: type[Any]) -> dict[str, Reader]:
    hints = get_type_hints(kind)
    return {field.name: _reader(hints[field.name]) for field in fields(kind)}


def _reader(hint: Any) -> Reader:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is UnionType:
        return partial(_optional, _reader(arguments[0]))
    if origin is tuple:
        return partial(_sequence, _reader(arguments[0]))
    if origin is Mapping:
        return partial(_scalar, dict)
    if is_dataclass(hint):
        return partial(from_plain, cast("type[Any]", hint))
    if issubclass(hint, StrEnum):
        return partial(_member, hint)
    return partial(_scalar, hint)


def _optional(reader: Reader, value: Any) -> Any:
    return None if value is None else reader(value)


def _sequence(reader: Reader, value: Any) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise PlainError(f"should be a list, not {type(value).__name__}")
    return tuple(reader(item) for item in value)


def _member(kind: type[StrEnum], value: Any) -> StrEnum:
    return kind(value)


def _scalar(kind: type[Any], value: Any) -> Any:
    if type(value) is not kind:
        raise PlainError(f"should be {kind.__name__}, not {type(value).__name__}")
    return value
