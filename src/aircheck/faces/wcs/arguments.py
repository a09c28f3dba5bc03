"""What a request says, read as leniently as WCS does: booleans and numbers may come as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aircheck.service.errors import InvalidRequest

_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}


class Arguments:
    """The fields of one JSON object. What is null or empty text is as if it were not there.

    Every method raises `InvalidRequest` naming a field that cannot be meant.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values

    def text(self, name: str) -> str | None:
        value = self._values.get(name)
        if value is None or value == "":
            return None
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise _refusal(name, value, "text")
        return str(value)

    def required_text(self, name: str) -> str:
        value = self.text(name)
        if value is None:
            raise InvalidRequest(f'"{name}" is missing', remedy=f'send {{"{name}": "…"}}')
        return value

    def boolean(self, name: str) -> bool | None:
        value = self._values.get(name)
        if value is None or value == "":
            return None
        known = _BOOLEANS.get(str(value).lower())
        if known is None:
            raise _refusal(name, value, "true or false")
        return known

    def texts(self, name: str) -> tuple[str, ...] | None:
        value = self._values.get(name)
        if value is None:
            return None
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise _refusal(name, value, "a list of texts")
        return tuple(value)

    def table(self, name: str) -> Arguments:
        """An object in the object; an empty one when it is not there."""
        value = self._values.get(name)
        if value is None:
            return Arguments({})
        if not isinstance(value, dict):
            raise _refusal(name, value, "an object")
        return Arguments(value)


def _refusal(name: str, value: object, wanted: str) -> InvalidRequest:
    return InvalidRequest(f'"{name}" is {str(value)[:80]!r}', remedy=f"send {wanted}")
