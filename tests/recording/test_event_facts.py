"""What events say is what the reference says that they say."""

from __future__ import annotations

import re
from pathlib import Path

from helpers.packets import av_batches, new_stream
from helpers.recorder_rig import Rig, make_plan

from aircheck.facts import EndReason, Event, EventKind

REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "events.md"


def facts_by_kind() -> dict[str, set[str]]:
    """Of the first row of each kind, those without brackets."""
    found: dict[str, set[str]] = {}
    for line in REFERENCE.read_text().splitlines():
        cells = line.split(" | ")
        if len(cells) == 3 and cells[0].startswith("| `"):
            facts = set(re.findall(r"`(\w+)`", re.sub(r"\[.*?\]", "", cells[2])))
            for kind in re.findall(r"`([\w.]+)`", cells[0]):
                found.setdefault(kind, facts)
    return found


def test_every_kind_of_event_is_in_the_reference() -> None:
    assert set(facts_by_kind()) == set(EventKind)


async def test_events_of_a_recording_have_the_facts_of_the_reference(tmp_path: Path) -> None:
    async with Rig(tmp_path) as rig:
        await rig.record(new_stream(), av_batches(1000), make_plan(tmp_path))
    events = {event.kind: event for event in rig.journal.events}
    said = facts_by_kind()
    for kind in (
        EventKind.RECORDING_STARTED,
        EventKind.SEGMENT_CREATED,
        EventKind.SEGMENT_COMPLETED,
        EventKind.RECORDING_COMPLETED,
    ):
        assert set(events[kind].facts) == said[kind], kind
    segment, whole = events[EventKind.SEGMENT_COMPLETED], events[EventKind.RECORDING_COMPLETED]
    assert segment.facts["codecs"] == ["h264", "aac"]
    assert segment.facts["size_bytes"] == whole.facts["size_bytes"] == (tmp_path / "cam.mp4").stat().st_size
    assert (whole.facts["segments"], whole.facts["end_reason"]) == (1, "unpublished")


async def test_a_recording_without_a_file_says_why(tmp_path: Path) -> None:
    async with Rig(tmp_path) as rig:
        recording = rig.recorder.record(new_stream(), make_plan(tmp_path), requested_by="test")
        await rig.recorder.stop_recording(recording, EndReason.STOPPED)
    failed = _only(rig.journal.events, EventKind.RECORDING_FAILED)
    assert (failed.facts["end_reason"], failed.facts["segments"]) == ("no_media", 0)


def _only(events: list[Event], kind: EventKind) -> Event:
    (event,) = (event for event in events if event.kind is kind)
    return event
