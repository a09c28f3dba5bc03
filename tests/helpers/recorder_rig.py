"""A recorder on a real folder with a journal in memory, and what to ask of it afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path

import av
from helpers.patience import PATIENCE_S

from aircheck.clock import SystemClock
from aircheck.facts import EndReason, Event, RecordingFacts, RecordingState, SegmentFacts, SegmentState
from aircheck.hub.stream import Stream
from aircheck.media.packet import Batch
from aircheck.recording.journal import FinishedFiles
from aircheck.recording.naming import NameTemplate
from aircheck.recording.plan import RecordingPlan
from aircheck.recording.recorder import Recorder
from aircheck.recording.recording import Recording


class MemoryJournal:
    """Implements the recorder's `Journal`, and remembers the order in which facts were written."""

    def __init__(self) -> None:
        self.recordings: dict[str, RecordingFacts] = {}
        self.segment_rows: dict[str, SegmentFacts] = {}
        self.events: list[Event] = []
        self.history: list[tuple[str, str]] = []

    async def put_recording(self, facts: RecordingFacts) -> None:
        self.recordings[facts.id] = facts
        self.history.append(("recording", facts.state))

    async def put_segment(self, facts: SegmentFacts) -> None:
        self.segment_rows[facts.id] = facts
        self.history.append(("segment", facts.state))

    async def file_replaced(self, path: Path) -> None:
        self.history.append(("replaced", path.name))

    async def file_renamed(self, path: Path, new_path: Path, file_name: str) -> None:
        self.history.append(("renamed", file_name))

    async def add_event(self, event: Event) -> None:
        self.events.append(event)
        self.history.append(("event", event.kind))

    async def segments_in_state(self, *states: SegmentState) -> tuple[SegmentFacts, ...]:
        return tuple(facts for facts in self.segment_rows.values() if facts.state in states)

    async def recording(self, recording_id: str) -> RecordingFacts | None:
        return self.recordings.get(recording_id)

    async def unfinished_recordings(self) -> tuple[RecordingFacts, ...]:
        over = (RecordingState.COMPLETE, RecordingState.FAILED)
        return tuple(facts for facts in self.recordings.values() if facts.state not in over)

    async def segment(self, segment_id: str) -> SegmentFacts | None:
        return self.segment_rows.get(segment_id)

    async def segments(self, recording_id: str) -> tuple[SegmentFacts, ...]:
        rows = (facts for facts in self.segment_rows.values() if facts.recording_id == recording_id)
        return tuple(sorted(rows, key=lambda facts: facts.index))


def make_plan(root: Path, template: str = "{streamName}", **changes: object) -> RecordingPlan:
    folders = {"record_dir": root, "growing_dir": root / ".aircheck" / "growing"}
    return RecordingPlan(template=NameTemplate.parse(template), **(folders | changes))  # type: ignore[arg-type]


class Rig:
    """`async with Rig(folder) as rig`: a started recorder; leaving stops it."""

    def __init__(self, root: Path, *, finished_files: FinishedFiles | None = None) -> None:
        self.root = root
        self.journal = MemoryJournal()
        self.clock = SystemClock()
        self.recorder = Recorder(
            self.journal, self.clock, durability_interval_s=0.1, finished_files=finished_files
        )

    async def __aenter__(self) -> Rig:
        self.recorder.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        async with asyncio.timeout(PATIENCE_S):
            await self.recorder.stop(EndReason.SHUTDOWN)

    async def record(
        self, stream: Stream, batches: Iterable[Batch], plan: RecordingPlan, *, pause_s: float = 0.0
    ) -> tuple[RecordingFacts, list[SegmentFacts]]:
        """Record a stream from its first batch to its last; returns the final facts."""
        recording = self.recorder.record(stream, plan, requested_by="test")
        await feed(stream, batches, pause_s=pause_s)
        return await self.finish(recording)

    async def finish(self, recording: Recording) -> tuple[RecordingFacts, list[SegmentFacts]]:
        async with asyncio.timeout(PATIENCE_S):
            facts = await self.recorder.stop_recording(recording, EndReason.UNPUBLISHED)
        return facts, list(await self.journal.segments(facts.id))


async def feed(stream: Stream, batches: Iterable[Batch], *, pause_s: float = 0.0) -> None:
    for one in batches:
        stream.publish(one)
        await asyncio.sleep(pause_s)


def payloads(path: str | Path) -> dict[str, list[bytes]]:
    """What a file holds, by kind of track, in decoding order."""
    with av.open(str(path)) as container:
        found: dict[str, list[bytes]] = {stream.type: [] for stream in container.streams}
        for packet in container.demux():
            if packet.size:
                found[packet.stream.type].append(bytes(packet))
    return found


def sent(batches: Iterable[Batch]) -> dict[str, list[bytes]]:
    """What was published, in the form of `payloads`."""
    found: dict[str, list[bytes]] = {}
    for one in batches:
        for packet in one.packets:
            found.setdefault(packet.track.kind.value, []).append(bytes(packet.data))
    return found
