"""Reading the clock that is burnt into the test pattern's pictures: where its dots are, and what they say."""

from __future__ import annotations

from collections.abc import Sequence

from aircheck.containers import pattern_canvas as canvas
from aircheck.containers.pattern_canvas import text_width

_CHARACTERS = len("00:00.00")
_BRIGHT = 128


def clock_dots(width: int, height: int) -> list[tuple[int, int]]:
    """The middle of each dot of each character, in a picture of that size; as `PatternCanvas` draws them."""
    dot = max(2, width // 100 & ~1)
    panel = text_width("0" * _CHARACTERS, dot) + 4 * dot
    left = (width - panel) // 2 & ~1
    top = (height // 3 & ~1) + (canvas._GLYPH_ROWS + 4) * dot
    return [
        (
            left + 2 * dot + (number * (canvas._GLYPH_COLUMNS + 1) + column) * dot + dot // 2,
            top + row * dot + dot // 2,
        )
        for number in range(_CHARACTERS)
        for row in range(canvas._GLYPH_ROWS)
        for column in range(canvas._GLYPH_COLUMNS)
    ]


def read_clock(brightness: Sequence[int], frames_per_second: int) -> int:
    """The number of the frame, from how bright the dots are. Raises KeyError for what is no clock."""
    glyphs = {rows: character for character, rows in canvas._GLYPHS.items()}
    size, columns = canvas._GLYPH_ROWS * canvas._GLYPH_COLUMNS, canvas._GLYPH_COLUMNS
    text = ""
    for start in range(0, len(brightness), size):
        dots = [value > _BRIGHT for value in brightness[start : start + size]]
        rows = tuple(
            sum(lit << columns - 1 - column for column, lit in enumerate(dots[row : row + columns]))
            for row in range(0, size, columns)
        )
        text += glyphs[rows]
    minutes, seconds, frames = int(text[:2]), int(text[3:5]), int(text[6:])
    return (minutes * 60 + seconds) * frames_per_second + frames
