"""Lengths and sizes as people read them, the same in log, pages and on the command line."""

from __future__ import annotations


def clock_time(duration_ms: int) -> str:
    """`0:00:20`, hours uncapped."""
    minutes, seconds = divmod(duration_ms // 1000, 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}"


def file_size(size_bytes: int) -> str:
    """`0 B`, `12.3 MB`: powers of 1000, as file managers show them."""
    size, unit = float(size_bytes), "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if size < 1000 or unit == "TB":
            break
        size /= 1000
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
