"""The picture of the test pattern: colour bars, things that move and a clock that can be read.

Drawn as rows of bytes into the planes of planar YUV 4:2:0, without any library. What moves tells what is
wrong: the sweep crosses the picture once a second and shows stutter, the clock names the frame, and the whole
picture flashes with each beep.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

Yuv = tuple[int, int, int]
"""Luma, blue and red difference, in the limited range of BT.709."""

_BARS: tuple[Yuv, ...] = (
    (180, 128, 128),
    (168, 44, 136),
    (145, 147, 44),
    (133, 63, 52),
    (63, 193, 204),
    (51, 109, 212),
    (28, 212, 120),
    (16, 128, 128),
)
_BLACK: Yuv = (16, 128, 128)
_WHITE: Yuv = (235, 128, 128)
_GREY: Yuv = (120, 128, 128)
_ACCENT: Yuv = (160, 60, 180)

_GLYPH_COLUMNS, _GLYPH_ROWS = 5, 7
_GLYPHS = {
    "0": (0x0E, 0x11, 0x13, 0x15, 0x19, 0x11, 0x0E),
    "1": (0x04, 0x0C, 0x04, 0x04, 0x04, 0x04, 0x0E),
    "2": (0x0E, 0x11, 0x01, 0x06, 0x08, 0x10, 0x1F),
    "3": (0x0E, 0x11, 0x01, 0x06, 0x01, 0x11, 0x0E),
    "4": (0x02, 0x06, 0x0A, 0x12, 0x1F, 0x02, 0x02),
    "5": (0x1F, 0x10, 0x1E, 0x01, 0x01, 0x11, 0x0E),
    "6": (0x06, 0x08, 0x10, 0x1E, 0x11, 0x11, 0x0E),
    "7": (0x1F, 0x01, 0x02, 0x04, 0x08, 0x08, 0x08),
    "8": (0x0E, 0x11, 0x11, 0x0E, 0x11, 0x11, 0x0E),
    "9": (0x0E, 0x11, 0x11, 0x0F, 0x01, 0x02, 0x0C),
    ":": (0x00, 0x04, 0x04, 0x00, 0x04, 0x04, 0x00),
    ".": (0x00, 0x00, 0x00, 0x00, 0x00, 0x0C, 0x0C),
    "A": (0x0E, 0x11, 0x11, 0x1F, 0x11, 0x11, 0x11),
    "C": (0x0E, 0x11, 0x10, 0x10, 0x10, 0x11, 0x0E),
    "E": (0x1F, 0x10, 0x10, 0x1E, 0x10, 0x10, 0x1F),
    "H": (0x11, 0x11, 0x11, 0x1F, 0x11, 0x11, 0x11),
    "I": (0x0E, 0x04, 0x04, 0x04, 0x04, 0x04, 0x0E),
    "K": (0x11, 0x12, 0x14, 0x18, 0x14, 0x12, 0x11),
    "R": (0x1E, 0x11, 0x11, 0x1E, 0x14, 0x12, 0x11),
}
"""Rows of five dots, the leftmost in the highest bit."""


@dataclass(slots=True)
class Canvas:
    """Three planes of 4:2:0 with their strides. Coordinates are luma samples; odd ones round down."""

    planes: tuple[bytearray, bytearray, bytearray]
    strides: tuple[int, int, int]

    def fill(self, x: int, y: int, width: int, height: int, colour: Yuv) -> None:
        """A filled rectangle."""
        for plane, stride, value, shift in zip(self.planes, self.strides, colour, (0, 1, 1), strict=True):
            left, columns = x >> shift, width >> shift
            row = bytes((value,)) * columns
            for line in range(y >> shift, (y + height) >> shift):
                start = line * stride + left
                plane[start : start + columns] = row

    def text(self, x: int, y: int, text: str, dot: int, colour: Yuv) -> None:
        """Text whose dots are squares of `dot` samples; `dot` is even, so that colours stay sharp."""
        for index, character in enumerate(text):
            left = x + index * (_GLYPH_COLUMNS + 1) * dot
            for line, bits in enumerate(_GLYPHS[character]):
                for column in range(_GLYPH_COLUMNS):
                    if bits >> (_GLYPH_COLUMNS - 1 - column) & 1:
                        self.fill(left + column * dot, y + line * dot, dot, dot, colour)


def text_width(text: str, dot: int) -> int:
    return (len(text) * (_GLYPH_COLUMNS + 1) - 1) * dot


@dataclass(frozen=True)
class PatternCanvas:
    """Draws the frames of a pattern. `strides` are those of the encoder's frames, in bytes."""

    width: int
    height: int
    frames_per_second: int
    total_frames: int
    strides: tuple[int, int, int]

    def draw(self, frame: int, *, is_flash: bool) -> tuple[bytes, bytes, bytes]:
        """The planes of one frame, luma first."""
        base = self._flash if is_flash else self._bars
        luma, blue, red = (bytearray(plane) for plane in base)
        canvas = Canvas((luma, blue, red), self.strides)
        self._draw_sweep(canvas, frame)
        self._draw_progress(canvas, frame)
        self._draw_clock(canvas, frame)
        return bytes(luma), bytes(blue), bytes(red)

    @cached_property
    def _bars(self) -> tuple[bytes, bytes, bytes]:
        canvas = self._blank()
        for index, colour in enumerate(_BARS):
            left, right = (self.width * edge // len(_BARS) & ~1 for edge in (index, index + 1))
            canvas.fill(left, 0, right - left, self.height, colour)
        return self._frozen(canvas)

    @cached_property
    def _flash(self) -> tuple[bytes, bytes, bytes]:
        canvas = self._blank()
        canvas.fill(0, 0, self.width, self.height, _WHITE)
        return self._frozen(canvas)

    def _blank(self) -> Canvas:
        rows = (self.height, self.height // 2, self.height // 2)
        luma, blue, red = (bytearray(stride * n) for stride, n in zip(self.strides, rows, strict=True))
        return Canvas((luma, blue, red), self.strides)

    @staticmethod
    def _frozen(canvas: Canvas) -> tuple[bytes, bytes, bytes]:
        luma, blue, red = canvas.planes
        return bytes(luma), bytes(blue), bytes(red)

    def _draw_sweep(self, canvas: Canvas, frame: int) -> None:
        """A bar that crosses the picture once a second."""
        bar = self.width // 40 & ~1
        place = frame % self.frames_per_second
        left = (self.width - bar) * place // self.frames_per_second & ~1
        canvas.fill(left, 0, bar, self.height // 6 & ~1, _ACCENT)

    def _draw_progress(self, canvas: Canvas, frame: int) -> None:
        height = self.height // 24 & ~1
        top = self.height - height
        done = self.width * (frame + 1) // self.total_frames & ~1
        canvas.fill(0, top, self.width, height, _BLACK)
        canvas.fill(0, top, done, height, _ACCENT)

    def _draw_clock(self, canvas: Canvas, frame: int) -> None:
        """Minutes, seconds and frames on a dark panel, the name above."""
        seconds, frames = divmod(frame, self.frames_per_second)
        clock = f"{seconds // 60:02d}:{seconds % 60:02d}.{frames:02d}"
        dot = max(2, self.width // 100 & ~1)
        panel = text_width(clock, dot) + 4 * dot
        left, top = (self.width - panel) // 2 & ~1, self.height // 3 & ~1
        canvas.fill(left, top, panel, (2 * _GLYPH_ROWS + 6) * dot, _BLACK)
        canvas.text(left + 2 * dot, top + 2 * dot, "AIRCHECK", dot, _GREY)
        canvas.text(left + 2 * dot, top + (_GLYPH_ROWS + 4) * dot, clock, dot, _WHITE)
