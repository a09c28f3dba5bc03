"""Files that could not be made final are tried again while the server runs.

The disk where files are kept may be full or away when a file ends, and have room again an hour later: nobody
should have to start the server anew for that. What is done is what the next start would do.
"""

from __future__ import annotations

import asyncio
import logging

from aircheck.clock import Clock
from aircheck.facts import RecordingFacts, SegmentFacts, SegmentState
from aircheck.recording import recovery
from aircheck.recording.journal import FinishedFiles, Journal
from aircheck.recording.plan import RecordingPlan
from aircheck.recording.recorder import Recorder

_log = logging.getLogger(__name__)

FIRST_S = 10.0
LAST_S = 600.0
"""Between tries; each pause is twice as long as the one before."""


class SecondTries:
    """`run` until it is cancelled, beside the recorder whose files these are."""

    def __init__(
        self,
        recorder: Recorder,
        journal: Journal,
        plan: RecordingPlan,
        clock: Clock,
        finished_files: FinishedFiles | None = None,
        *,
        first_s: float = FIRST_S,
    ) -> None:
        self._recorder = recorder
        self._journal = journal
        self._plan = plan
        self._clock = clock
        self._finished_files = finished_files
        self._first_s = first_s

    async def run(self) -> None:
        pause_s = self._first_s
        while True:
            await asyncio.sleep(pause_s)
            left, self._recorder.left_behind = self._recorder.left_behind, []
            for recording, segment in left:
                await self._try(recording, segment)
            pause_s = min(2 * pause_s, LAST_S) if self._recorder.left_behind else self._first_s

    async def _try(self, begun: RecordingFacts, segment: SegmentFacts) -> None:
        recording = await self._journal.recording(begun.id) or begun
        report = recovery.RecoveryReport()
        facts = await recovery.recover_segment(
            recording, segment, self._journal, self._plan, report, self._finished_files
        )
        self._recorder.left_behind += report.left
        if facts.state is not SegmentState.COMPLETE:
            return
        _log.info("file is final after all stream=%s file=%s", recording.stream_name, facts.file_name)
        running = self._recorder.get(facts.recording_id)
        if running is not None:
            running.completed.append(facts)
        elif facts.recording_id == recording.id:
            await recovery.close_recording(recording, True, self._journal, self._clock)
