"""Clips that are kept: which file has which, and how a new one gets its name.

Theory of operation
    A clip is cut under a hidden name and moved to its own when it is whole, so nobody ever sees half of one.
    Its note says what it was cut from. A file of that name without such a note is a recording, or somebody's
    own: it is never touched, and the clip takes the next number. A clip of something else, such as of an
    earlier recording with the same name, is replaced.

    One clip may have several names, as every end behind that of the recording means the same. They are hard
    links: whatever ends are asked for, a part takes its space once.

    Kept clips are files among others: whoever deletes one loses nothing but the time to cut it again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex

from aircheck.clip_note import ClipNote, decode_clip_note
from aircheck.containers.recover import ForeignFileError, read_note
from aircheck.moving import NO_LINKS, move_to_new
from aircheck.service.clip_range import ClipRange

_HIDDEN = Path(".aircheck", "clips")
_MOST_NUMBERS = 100


@dataclass(frozen=True, slots=True)
class KeptClip:
    """A clip on the disk and its name, relative to the folder of clips."""

    path: Path
    name: str
    note: ClipNote


class KeptClips:
    """The clips below one folder. Everything here asks the disk: it is called in threads."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def clean(self) -> None:
        """Remove what a crash left of clips that were being cut."""
        for left in self._hidden.glob("*"):
            left.unlink(missing_ok=True)

    def temporary(self, container: str) -> Path:
        """Where a clip may be cut to."""
        self._hidden.mkdir(parents=True, exist_ok=True)
        return self._hidden / f"{token_hex(8)}.{container}"

    def find(self, file_name: str, clip: ClipRange, container: str, of: str) -> KeptClip | None:
        """The clip that is kept of this; None when there is none yet."""
        for name in self._names(file_name, clip, container):
            if not (self.folder / name).is_file():
                return None
            found = self.named(name)
            if found is not None and found.note.of == of:
                return found
        return None

    def named(self, name: str) -> KeptClip | None:
        """The clip of that name; None when there is no such file, or when it is no clip."""
        path = self.folder / name
        if path.resolve() != self.folder.resolve() / name:
            return None
        note = read_clip_note(path)
        return None if note is None else KeptClip(path, name, note)

    def keep(self, made: Path, file_name: str, clip: ClipRange, note: ClipNote) -> KeptClip:
        """Give a clip its name. Raises OSError."""
        for name in self._names(file_name, clip, made.suffix[1:]):
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileExistsError):
                move_to_new(made, path)
                return KeptClip(path, name, note)
            if (other := read_clip_note(path)) is not None:
                if other.of != note.of:
                    made.replace(path)
                return KeptClip(path, name, note)
        raise FileExistsError(f"{_MOST_NUMBERS} files have the names that this clip could have")

    def link(self, kept: KeptClip, file_name: str, clip: ClipRange) -> KeptClip:
        """Give a clip one more name; it goes by the one it has where there are no links. Raises OSError."""
        container = kept.path.suffix[1:]
        if (found := self.find(file_name, clip, container, kept.note.of)) is not None:
            return found
        made = self.temporary(container)
        try:
            made.hardlink_to(kept.path)
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            return kept
        try:
            return self.keep(made, file_name, clip, kept.note)
        finally:
            made.unlink(missing_ok=True)

    def _names(self, file_name: str, clip: ClipRange, container: str) -> Iterator[str]:
        return (clip.name(file_name, container, number) for number in range(_MOST_NUMBERS))

    @property
    def _hidden(self) -> Path:
        return self.folder / _HIDDEN


def read_clip_note(path: Path) -> ClipNote | None:
    """None when the file is no clip, or not there."""
    try:
        return decode_clip_note(read_note(path))
    except (ForeignFileError, OSError):
        return None
