"""Range requests (RFC 9110 section 14), as values: a header and a size in, spans of bytes out."""

from __future__ import annotations

import re

MAX_RANGES = 64
"""More than this in one request is answered with the whole file: nobody means it well."""

_SPEC = re.compile(r"(\d{0,1000})[ \t]*-[ \t]*(\d{0,1000})", re.ASCII)
"""Blanks are not in the grammar; other servers allow them."""


class UnsatisfiableRange(Exception):
    """The header is valid, but nothing that it asks for exists: 416."""


def parse_range(header: str, size_bytes: int) -> list[range] | None:
    """The spans that a Range header asks of a representation, ascending, without overlaps.

    None means "send it whole": another unit, or a header that is not valid (RFC 9110 14.2: ignore it).
    Raises `UnsatisfiableRange`.
    """
    unit, equals, specs = header.partition("=")
    if not equals or unit.strip().lower() != "bytes":
        return None
    spans: list[range] = []
    parts = [part.strip(" \t") for part in specs.split(",")]
    wanted = [part for part in parts if part]
    if not wanted or len(wanted) > MAX_RANGES:
        return None
    for part in wanted:
        span = _parse_spec(part, size_bytes)
        if span is None:
            return None
        if span:
            spans.append(span)
    if not spans:
        raise UnsatisfiableRange
    return _merge(spans)


def _parse_spec(part: str, size_bytes: int) -> range | None:
    """One range of the set: empty if it lies outside, None if it is not valid."""
    match = _SPEC.fullmatch(part)
    if match is None:
        return None
    first, last = match.groups()
    if not first:
        return range(max(0, size_bytes - int(last)), size_bytes) if last else None
    if last and int(last) < int(first):
        return None
    stop = min(int(last) + 1, size_bytes) if last else size_bytes
    return range(int(first), max(int(first), stop))


def _merge(spans: list[range]) -> list[range]:
    """Ascending, touching spans joined: nobody can make us send the same byte a thousand times."""
    spans.sort(key=lambda span: span.start)
    merged = [spans[0]]
    for span in spans[1:]:
        if span.start <= merged[-1].stop:
            merged[-1] = range(merged[-1].start, max(merged[-1].stop, span.stop))
        else:
            merged.append(span)
    return merged
