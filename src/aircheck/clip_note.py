"""Clip note: what a clip that is kept says of itself, so that it is used again for the same question only.

    {"aircheck":"clip","version":1,"of":"…","start_s":"11","end_s":"60","kinds":["video","audio"]}

UTF-8 JSON without blanks, in the file where recordings have their segment note. By it a clip is told from
recordings and from files of others.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

_VERSION = 1
_PADDING = b"\0 \t\r\n"


@dataclass(frozen=True, slots=True)
class ClipNote:
    """`of` is what was cut: another recording, or more of the same, has another one. Limits may be empty."""

    of: str
    start_s: str
    end_s: str
    kinds: tuple[str, ...]


def encode_clip_note(note: ClipNote) -> bytes:
    plain = {"aircheck": "clip", "version": _VERSION, **asdict(note)}
    return json.dumps(plain, separators=(",", ":")).encode()


def decode_clip_note(data: bytes) -> ClipNote | None:
    """None when these bytes are no clip note."""
    try:
        plain = json.loads(data.strip(_PADDING))
        if plain["aircheck"] != "clip" or plain["version"] != _VERSION:
            return None
        kinds = tuple(map(str, plain["kinds"]))
        return ClipNote(str(plain["of"]), str(plain["start_s"]), str(plain["end_s"]), kinds)
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
