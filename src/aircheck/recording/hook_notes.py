"""Which hooks have not run yet: one small file each, so that neither a crash nor a restart forgets one.

A file holds the segment note (`aircheck.segment_note`) of the finished file, as it was finished. The folder
belongs to one server, as the record folder does. Functions here block.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path

from aircheck.facts import RecordingFacts, SegmentFacts
from aircheck.recording.naming import safe_component
from aircheck.recording.volume import sync_directory
from aircheck.segment_note import NoteError, decode_note, encode_note

_log = logging.getLogger(__name__)

_SUFFIX = ".json"


class HookNotes:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def add(self, recording: RecordingFacts, segment: SegmentFacts) -> None:
        """Returns when the note would survive a power cut. Raises OSError, NoteError."""
        note = encode_note(recording, segment)
        path = self._path(segment)
        part = path.with_suffix(".part")
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            file.write(note)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        sync_directory(path.parent)

    def remove(self, segment: SegmentFacts) -> None:
        self._path(segment).unlink(missing_ok=True)

    def read(self) -> list[tuple[RecordingFacts, SegmentFacts]]:
        """What waits, in the order in which files were finished. What cannot be read is told and left."""
        found = list(self._read_all())
        return sorted(found, key=lambda facts: facts[1].end_ns or facts[1].start_ns)

    def _read_all(self) -> Iterator[tuple[RecordingFacts, SegmentFacts]]:
        for path in self._folder.glob(f"*{_SUFFIX}"):
            try:
                yield decode_note(path.read_bytes())
            except (OSError, NoteError) as error:
                _log.error("waiting hook cannot be read path=%s error=%s", path, error)
        for part in self._folder.glob("*.part"):
            with contextlib.suppress(OSError):
                part.unlink()

    def _path(self, segment: SegmentFacts) -> Path:
        return self._folder / (safe_component(segment.id) + _SUFFIX)
