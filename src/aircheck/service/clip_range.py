"""The range of a clip as people write it, and the name that the clip has by it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from aircheck.service.errors import BadRange

MAX_NAME_BYTES = 255

_SECONDS = re.compile(r"(\d{1,9})(?:\.(\d{1,6}))?", re.ASCII)
_REMEDY = "give seconds from the beginning, such as ?start=11&end=60; either may be left out"


@dataclass(frozen=True, slots=True)
class ClipRange:
    """[start, end) in seconds of the recording's own time: plain decimal numbers, empty for none."""

    start: str = ""
    end: str = ""

    @classmethod
    def parse(cls, start: str | None, end: str | None) -> ClipRange:
        """Raises `BadRange` for what is no range."""
        clip = cls(_normal("start", start), _normal("end", end))
        if not clip.start and not clip.end:
            raise BadRange("a clip needs a start, an end, or both", remedy=_REMEDY)
        if clip.end_s is not None and (clip.start_s or 0) >= clip.end_s:
            raise BadRange(f"a clip from {clip.start or 0} s to {clip.end} s has no length", remedy=_REMEDY)
        return clip

    @property
    def start_s(self) -> Fraction | None:
        return Fraction(self.start) if self.start else None

    @property
    def end_s(self) -> Fraction | None:
        return Fraction(self.end) if self.end else None

    def name(self, file_name: str, container: str, number: int = 0) -> str:
        """The clip's name: `stream.mp4` from 11 to 60 is `stream-s11-e60.mp4`; `number` makes it another one.

        The last part of the name is cut so that a file system can hold it.
        """
        folder, slash, last = file_name.rpartition("/")
        stem, dot, _ = last.rpartition(".")
        start, end = (f"-s{self.start}" if self.start else ""), (f"-e{self.end}" if self.end else "")
        tail = f"{start}{end}{f'_{number}' if number else ''}.{container}"
        room = MAX_NAME_BYTES - len(tail)
        stem = (stem if dot else last).encode()[:room].decode(errors="ignore")
        return f"{folder}{slash}{stem}{tail}"


def _normal(what: str, text: str | None) -> str:
    """`011.50` as `11.5`, so that the same time has one name; None and nothing as nothing."""
    if not text:
        return ""
    match = _SECONDS.fullmatch(text)
    if match is None:
        shown = text if len(text) <= 40 else f"{text[:40]}…"
        raise BadRange(f"{what} is {shown!r}, which is no time in seconds", remedy=_REMEDY)
    whole, fraction = match.groups()
    fraction = (fraction or "").rstrip("0")
    return f"{int(whole)}.{fraction}" if fraction else str(int(whole))
