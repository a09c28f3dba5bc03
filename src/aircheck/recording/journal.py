"""What the recorder writes down about itself, and whom it tells of finished files.

The app hands in the catalogue and the hooks; tests hand in lists.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from aircheck.facts import Event, RecordingFacts, SegmentFacts, SegmentState


class Journal(Protocol):
    """Facts in, in the order of a segment's life. Each call returns when the fact is durable.

    Errors are the journal's own to count and log: media is never given up because a row could not be written,
    and the next start compares files and rows.
    """

    async def put_recording(self, facts: RecordingFacts) -> None: ...

    async def put_segment(self, facts: SegmentFacts) -> None: ...

    async def file_replaced(self, path: Path) -> None:
        """The file of that path is another's now: the row that had it has no file any more."""
        ...

    async def file_renamed(self, path: Path, new_path: Path, file_name: str) -> None:
        """The file of that path has a new one; `file_name` is its name below the record folder."""
        ...

    async def add_event(self, event: Event) -> None: ...

    async def segments_in_state(self, *states: SegmentState) -> tuple[SegmentFacts, ...]: ...

    async def recording(self, recording_id: str) -> RecordingFacts | None: ...

    async def unfinished_recordings(self) -> tuple[RecordingFacts, ...]: ...

    async def segment(self, segment_id: str) -> SegmentFacts | None: ...

    async def segments(self, recording_id: str) -> tuple[SegmentFacts, ...]: ...


class FinishedFiles(Protocol):
    """Whoever wants to know of each finished file, recovered ones included, even if he crashes meanwhile."""

    async def file_finished(self, recording: RecordingFacts, segment: SegmentFacts) -> None:
        """The file has its last name and its row. Never raises.

        Returns when it cannot be forgotten any more: until then the next start tells of the file again.
        """
        ...
