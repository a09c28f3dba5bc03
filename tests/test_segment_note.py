"""The note in each file: everything comes back, garbage is refused, and no note outgrows its room."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from helpers import facts_strategies as wild
from hypothesis import given
from hypothesis import strategies as st

from aircheck.facts import (
    GapFacts,
    GapReason,
    RecordingFacts,
    RecordingState,
    SegmentFacts,
    SegmentState,
    TrackFacts,
)
from aircheck.segment_note import MAX_NOTE_BYTES, NoteError, decode_note, encode_note

RECORDING = RecordingFacts(
    id="r1",
    stream_name="gate",
    app="live",
    media_session_id="m1",
    session_id="s1",
    login="ann",
    requested_by="settings",
    container="mp4",
    name_template="{streamName}-{startTime}",
    state=RecordingState.RECORDING,
    start_ns=1_760_000_000_000_000_000,
)
SEGMENT = SegmentFacts(
    id="g1",
    recording_id="r1",
    index=0,
    state=SegmentState.GROWING,
    container="mp4",
    path="/records/.growing/g1.mp4",
    file_name="gate-1.mp4",
    start_ns=1_760_000_000_000_000_000,
)


@given(recording=wild.recordings, segment=wild.segments)
def test_a_note_gives_back_the_facts_it_was_made_of(recording: RecordingFacts, segment: SegmentFacts) -> None:
    segment = replace(segment, recording_id=recording.id)
    assert decode_note(encode_note(recording, segment)) == (recording, segment)


def test_padding_around_a_note_is_ignored() -> None:
    note = encode_note(RECORDING, SEGMENT)
    assert decode_note(b" \n" + note + bytes(100)) == (RECORDING, SEGMENT)


def test_a_path_that_is_no_utf8_survives() -> None:
    segment = replace(SEGMENT, path=b"/records/\xff\xfe.mp4".decode("utf-8", "surrogateescape"))
    assert decode_note(encode_note(RECORDING, segment))[1].path == segment.path


@given(note=st.binary(max_size=200))
def test_garbage_is_a_note_error_and_nothing_else(note: bytes) -> None:
    with pytest.raises(NoteError):
        decode_note(note)


@given(plain=wild.json_values)
def test_json_of_another_shape_is_a_note_error(plain: object) -> None:
    framed = {"aircheck": "segment", "version": 1, "recording": plain, "segment": plain}
    for value in (plain, framed):
        with pytest.raises(NoteError):
            decode_note(json.dumps(value).encode())


def test_deep_nesting_is_a_note_error() -> None:
    with pytest.raises(NoteError):
        decode_note(b"[" * MAX_NOTE_BYTES)


@pytest.mark.parametrize(
    ("field", "value"), [("id", 7), ("start_ns", "1"), ("start_ns", True), ("state", "lost")]
)
def test_a_field_of_the_wrong_type_is_refused_by_name(field: str, value: object) -> None:
    plain = json.loads(encode_note(RECORDING, SEGMENT))
    plain["recording"][field] = value
    with pytest.raises(NoteError, match=rf"RecordingFacts\.{field}"):
        decode_note(json.dumps(plain).encode())


def test_fields_of_a_newer_program_are_skipped_and_missing_ones_get_defaults() -> None:
    plain = json.loads(encode_note(RECORDING, SEGMENT))
    plain["mood"] = plain["segment"]["mood"] = "bright"
    assert "error" not in plain["segment"]
    assert decode_note(json.dumps(plain).encode()) == (RECORDING, SEGMENT)


def test_a_note_of_another_version_is_refused() -> None:
    plain = json.loads(encode_note(RECORDING, SEGMENT)) | {"version": 2}
    with pytest.raises(NoteError, match="version 2"):
        decode_note(json.dumps(plain).encode())


def test_a_segment_of_another_recording_is_refused() -> None:
    with pytest.raises(NoteError):
        decode_note(encode_note(RECORDING, replace(SEGMENT, recording_id="r2")))


def test_a_note_that_would_be_too_long_goes_without_gaps_then_tracks_then_errors() -> None:
    gaps = tuple(GapFacts(start_ms=n, duration_ms=1, reason=GapReason.SLOW_DISK) for n in range(1000))
    tracks = (TrackFacts(id=1, codec="h264", kind="video", timescale=1000),)
    segment = replace(SEGMENT, gaps=gaps, tracks=tracks)
    assert decode_note(encode_note(RECORDING, segment))[1] == replace(segment, gaps=())

    segment = replace(segment, tracks=tracks * 1000, error="x")
    assert decode_note(encode_note(RECORDING, segment))[1] == replace(segment, gaps=(), tracks=())

    recording = replace(RECORDING, error="x" * MAX_NOTE_BYTES)
    assert decode_note(encode_note(recording, SEGMENT)) == (RECORDING, SEGMENT)


def test_names_beyond_all_bounds_are_refused() -> None:
    with pytest.raises(NoteError, match=str(MAX_NOTE_BYTES)):
        encode_note(RECORDING, replace(SEGMENT, path="/" + "x" * MAX_NOTE_BYTES))
