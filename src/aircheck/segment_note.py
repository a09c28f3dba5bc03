"""Segment note: what a growing file says of itself, so that the disk alone can rebuild the catalogue.

The recorder writes one into each file when it creates it, and may write it again, with what is known by then,
when it finalizes the file. How a container carries the bytes is the container's business.

    {"aircheck":"segment","version":1,"recording":{…},"segment":{…}}

UTF-8 JSON without blanks; `recording` and `segment` are the facts of those names, defaults left out (see
`plain`). Fields may be added without a new version: readers skip what they do not know. The version only
changes when an old reader would misunderstand.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from aircheck.facts import RecordingFacts, SegmentFacts
from aircheck.plain import from_plain, to_plain

NOTE_VERSION = 1
MAX_NOTE_BYTES = 16 * 1024
"""No note is longer: containers may reserve room for it, and readers need not believe a larger size."""

_PADDING = b"\0 \t\r\n"


class NoteError(ValueError):
    """These bytes are no segment note, or these facts do not fit into one."""


def encode_note(recording: RecordingFacts, segment: SegmentFacts) -> bytes:
    """The note, at most `MAX_NOTE_BYTES`; typically under 1 KB.

    When it would be longer, it goes without what is least missed: first the gaps (their number is in the
    recording's sums), then the tracks (the file shows them), then the texts of errors.
    Raises `NoteError` if even then the names and paths are too long.
    """
    for facts in _ever_shorter(recording, segment):
        note = _dump(*facts)
        if len(note) <= MAX_NOTE_BYTES:
            return note
    raise NoteError(f"a note of {len(note)} bytes is over the {MAX_NOTE_BYTES} that one may have")


def decode_note(note: bytes) -> tuple[RecordingFacts, SegmentFacts]:
    """What `encode_note` was given; NULs and blanks around the note are padding. Raises `NoteError`."""
    plain = _load(note.strip(_PADDING))
    if plain.get("aircheck") != "segment":
        raise NoteError("not a segment note")
    version = plain.get("version")
    if version != NOTE_VERSION:
        raise NoteError(f"a segment note of version {version!r}; this program reads version {NOTE_VERSION}")
    try:
        recording = from_plain(RecordingFacts, plain.get("recording"))
        segment = from_plain(SegmentFacts, plain.get("segment"))
    except ValueError as error:
        raise NoteError(f"segment note: {error}") from error
    if not segment.id or segment.recording_id != recording.id:
        raise NoteError(f"segment {segment.id!r} of {segment.recording_id!r} with recording {recording.id!r}")
    return recording, segment


def _ever_shorter(
    recording: RecordingFacts, segment: SegmentFacts
) -> tuple[tuple[RecordingFacts, SegmentFacts], ...]:
    without_gaps = replace(segment, gaps=())
    without_tracks = replace(without_gaps, tracks=())
    return (
        (recording, segment),
        (recording, without_gaps),
        (recording, without_tracks),
        (replace(recording, error=""), replace(without_tracks, error="")),
    )


def _dump(recording: RecordingFacts, segment: SegmentFacts) -> bytes:
    plain = {
        "aircheck": "segment",
        "version": NOTE_VERSION,
        "recording": to_plain(recording),
        "segment": to_plain(segment),
    }
    text = json.dumps(plain, separators=(",", ":"), ensure_ascii=False)
    # Bytes of a path that are no UTF-8 are lone surrogates in Python; so they pass through.
    return text.encode("utf-8", "surrogatepass")


def _load(note: bytes) -> dict[str, Any]:
    if len(note) > MAX_NOTE_BYTES:
        raise NoteError(f"{len(note)} bytes are no segment note: one has at most {MAX_NOTE_BYTES}")
    try:
        plain = json.loads(note.decode("utf-8", "surrogatepass"))
    except (ValueError, RecursionError) as error:
        raise NoteError(f"not a segment note: {error}") from error
    if not isinstance(plain, dict):
        raise NoteError("not a segment note")
    return plain
