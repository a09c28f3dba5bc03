"""How JSON columns are written: short, and only what every database takes."""

from __future__ import annotations

import json
from typing import Any


def dump_json(value: Any) -> str:
    """Compact JSON. Raises ValueError for infinities and NaN, TypeError for what is no JSON value."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
