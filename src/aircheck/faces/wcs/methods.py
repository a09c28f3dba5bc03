"""The methods of the WCS REST API: a table of paths, what they take and give, and what they do.

The table is the documentation too: `reference.py` makes the page from it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from aircheck.faces.wcs.arguments import Arguments

Answer = list[dict[str, Any]] | None
"""The body; None is an empty one."""

Handler = Callable[[Arguments], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class RestMethod:
    """One method under its names, the preferred one first. `takes` and `gives` are examples of bodies."""

    paths: tuple[str, ...]
    does: str
    call: Handler
    takes: str = ""
    gives: str = ""
    errors: tuple[int, ...] = ()


def by_path(*groups: tuple[RestMethod, ...]) -> Mapping[str, RestMethod]:
    return {path: method for group in groups for method in group for path in method.paths}
