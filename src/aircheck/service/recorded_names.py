"""The file of a publication, for those who tell its name to clients while it grows and once it is final."""

from __future__ import annotations

import asyncio

from aircheck.recording.names import expected_name
from aircheck.recording.recorder import Recorder
from aircheck.recording.recording import Recording


class RecordedFile:
    """The first file of a recording that was running when it was asked for."""

    def __init__(self, recorder: Recorder, recording: Recording) -> None:
        self._recorder = recorder
        self._recording = recording

    @property
    def name(self) -> str:
        """Its name in downloads. What is not known yet stands there as an element, such as `{endTime}`."""
        recording = self._recording
        if recording.completed:
            return recording.completed[0].file_name
        if recording.segments:
            return recording.segments[0].facts.file_name
        return expected_name(recording.facts, recording.plan, recording.stream.tracks)

    async def final_name(self, timeout_s: float) -> str:
        """Its name once it is final, or after `timeout_s` as `name` is then; empty when nothing was recorded.

        A recording that waits for its publisher to come back is not waited for: it may go on for long.
        """
        if self._recording.is_waiting:
            return self.name
        try:
            async with asyncio.timeout(timeout_s):
                await self._recorder.until_done(self._recording)
        except TimeoutError:
            return self.name
        return self.name if self._recording.completed else ""


class RecordedNames:
    """Finds the recording of a publication."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def find(self, media_session_id: str) -> RecordedFile | None:
        """The oldest recording of that media session that is not complete."""
        for recording in self._recorder:
            if recording.stream.id == media_session_id:
                return RecordedFile(self._recorder, recording)
        return None
