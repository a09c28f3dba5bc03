"""Messages as they stand on the WebSocket: `{"message": "<name>", "data": […]}`, both ways.

The client reads the first element of `data` in every message, so there always is one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from aircheck.errors import AircheckError


class BadMessage(AircheckError):
    """What came is no message of this protocol."""


def serialize(name: str, *data: object) -> str:
    return json.dumps({"message": name, "data": list(data) or [None]}, separators=(",", ":"))


def parse(text: str) -> tuple[str, dict[str, Any]]:
    """The name of a message and the first of its data; no data, or another kind of it, is an empty object.

    Raises `BadMessage`.
    """
    try:
        message = json.loads(text)
    except RecursionError:
        raise BadMessage("the JSON is nested too deeply") from None
    except ValueError as error:
        raise BadMessage(f"not JSON: {error}") from None
    if not isinstance(message, dict) or not isinstance(message.get("message"), str):
        raise BadMessage('not an object with a "message"')
    data = message.get("data")
    first = data[0] if isinstance(data, list) and data else data
    return message["message"], first if isinstance(first, dict) else {}


def text_of(members: Mapping[str, Any], key: str, limit: int) -> str:
    """A member that should be a text; empty when it is missing, something else, or too long."""
    value = members.get(key)
    return value if isinstance(value, str) and len(value) <= limit else ""
