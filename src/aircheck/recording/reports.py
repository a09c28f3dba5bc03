"""Reports: the rows and events of recordings, written in the background in the order of their lives.

Media waits in memory for a recording's first row, never for ever (`ROW_TIMEOUT_S`), because a catalogue in
trouble must not cost a recording.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from aircheck.clock import Clock
from aircheck.facts import Event, EventKind, RecordingFacts, RecordingState, SegmentFacts
from aircheck.recording import event_facts
from aircheck.recording.journal import Journal
from aircheck.recording.recording import Recording
from aircheck.tasks import TaskGroup

ROW_TIMEOUT_S = 0.3
"""Media waits for its row so long, in memory: a part of the second that a crash may cost."""


class Reports:
    """What the journal is told of recordings. `tasks` owns the work in the background."""

    def __init__(self, journal: Journal, clock: Clock, tasks: TaskGroup) -> None:
        self._journal = journal
        self._clock = clock
        self._tasks = tasks
        self._first_rows: dict[str, asyncio.Task[None]] = {}

    def begin(self, facts: RecordingFacts) -> None:
        """Begin to write the first row of a recording and the event; everything else of it comes later."""
        self._first_rows[facts.id] = self._tasks.spawn(self._write_start(facts), f"row {facts.id}")

    async def until_begun(self, recording_id: str, timeout_s: float | None = None) -> None:
        """Wait for a recording's first row."""
        row = self._first_rows.get(recording_id)
        if row is not None:
            await asyncio.wait({row}, timeout=timeout_s)

    async def note(
        self, kind: EventKind, recording: Recording, facts: dict[str, object] | None = None
    ) -> None:
        """Keep a change of a running recording: its row as it is by then, and the event."""
        await self.until_begun(recording.facts.id)
        await self._journal.put_recording(recording.current_facts())
        await self.say(kind, recording, facts=facts)

    def note_soon(self, kind: EventKind, recording: Recording, facts: dict[str, object]) -> None:
        self._tasks.spawn(self.note(kind, recording, facts), kind)

    async def say(
        self,
        kind: EventKind,
        recording: Recording,
        segment: SegmentFacts | None = None,
        facts: dict[str, object] | None = None,
    ) -> None:
        """Write an event of a recording, or of one of its segments."""
        event = _event(kind, recording.facts, self._clock.wall_ns())
        if segment is not None:
            known = event_facts.of_segment(segment)
            event = replace(event, segment_id=segment.id, facts=known | (facts or {}))
        elif facts is not None:
            event = replace(event, facts=facts)
        await self._journal.add_event(event)

    def say_soon(self, kind: EventKind, recording: Recording, facts: dict[str, object]) -> None:
        self._tasks.spawn(self.say(kind, recording, facts=facts), kind)

    async def end(self, facts: RecordingFacts) -> None:
        """Write the last row of a recording and the event."""
        await self.until_begun(facts.id)
        del self._first_rows[facts.id]
        await self._journal.put_recording(facts)
        is_complete = facts.state is RecordingState.COMPLETE
        kind = EventKind.RECORDING_COMPLETED if is_complete else EventKind.RECORDING_FAILED
        await self._journal.add_event(_event(kind, facts, self._clock.wall_ns()))

    async def _write_start(self, facts: RecordingFacts) -> None:
        await self._journal.put_recording(facts)
        await self._journal.add_event(_event(EventKind.RECORDING_STARTED, facts, self._clock.wall_ns()))


def _event(kind: EventKind, recording: RecordingFacts, at_ns: int) -> Event:
    return Event(
        kind=kind,
        at_ns=at_ns,
        stream_name=recording.stream_name,
        media_session_id=recording.media_session_id,
        recording_id=recording.id,
        facts=event_facts.of_recording(recording),
    )
