"""Hypothesis strategies for facts, as wild as the catalogue and the notes must bear them."""

from __future__ import annotations

from hypothesis import strategies as st

from aircheck.facts import (
    EndReason,
    Event,
    EventKind,
    GapFacts,
    GapReason,
    RecordingFacts,
    RecordingState,
    SegmentFacts,
    SegmentState,
    StreamFacts,
    TrackFacts,
)

texts = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=20)
ids = st.text("0123456789abcdef-", min_size=1, max_size=36)
counts = st.integers(0, 2**63 - 1)
numbers = st.integers(0, 2**31 - 1)
times_ns = st.integers(-(2**63), 2**63 - 1)

tracks = st.builds(
    TrackFacts,
    id=numbers,
    codec=texts,
    kind=texts,
    timescale=numbers,
    width=numbers,
    height=numbers,
    sample_rate=numbers,
    channels=numbers,
    packets=counts,
    size_bytes=counts,
    duration_ms=counts,
)
gaps = st.builds(
    GapFacts,
    start_ms=times_ns,
    duration_ms=counts,
    reason=st.sampled_from(GapReason),
    dropped_packets=counts,
    dropped_bytes=counts,
    at_ns=times_ns,
)
track_tuples = st.lists(tracks, max_size=3).map(tuple)
gap_tuples = st.lists(gaps, max_size=3).map(tuple)

streams = st.builds(
    StreamFacts,
    id=ids,
    name=texts,
    app=texts,
    session_id=texts,
    protocol=texts,
    remote_address=texts,
    login=texts,
    client=texts,
    published_ns=times_ns,
    ended_ns=st.none() | times_ns,
    end_reason=st.none() | st.sampled_from(EndReason),
    tracks=track_tuples,
)
recordings = st.builds(
    RecordingFacts,
    id=ids,
    stream_name=texts,
    app=texts,
    media_session_id=texts,
    session_id=texts,
    login=texts,
    requested_by=texts,
    container=texts,
    name_template=texts,
    state=st.sampled_from(RecordingState),
    start_ns=times_ns,
    end_ns=st.none() | times_ns,
    end_reason=st.none() | st.sampled_from(EndReason),
    error=texts,
    segment_count=counts,
    size_bytes=counts,
    duration_ms=counts,
    gaps=counts,
    dropped_packets=counts,
)
segments = st.builds(
    SegmentFacts,
    id=ids,
    recording_id=ids,
    index=numbers,
    state=st.sampled_from(SegmentState),
    container=texts,
    path=texts,
    file_name=texts,
    start_ns=times_ns,
    start_pts_ms=times_ns,
    end_ns=st.none() | times_ns,
    duration_ms=counts,
    size_bytes=counts,
    is_recovered=st.booleans(),
    error=texts,
    tracks=track_tuples,
    gaps=gap_tuples,
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
events = st.builds(
    Event,
    kind=st.sampled_from(EventKind),
    at_ns=times_ns,
    stream_name=texts,
    media_session_id=texts,
    recording_id=texts,
    segment_id=texts,
    facts=st.dictionaries(texts, json_values, max_size=3),
)
