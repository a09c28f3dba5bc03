"""Findings: what a check may find wrong, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class FindingKind(StrEnum):
    MISSING_FILE = "missing_file"
    SIZE_MISMATCH = "size_mismatch"
    STALE_ROW = "stale_row"
    UNRECORDED_FILE = "unrecorded_file"
    MOVED_FILE = "moved_file"
    COPIED_FILE = "copied_file"
    UNREADABLE_FILE = "unreadable_file"


REMEDIES = {
    FindingKind.MISSING_FILE: "mount or restore the disk that held it, or forget the recording",
    FindingKind.SIZE_MISMATCH: "something else changed the file; play it, and restore or forget it",
    FindingKind.STALE_ROW: "the next start of the server makes it whole; `aircheck recover` does it by hand",
    FindingKind.UNRECORDED_FILE: "repair puts a row for it",
    FindingKind.MOVED_FILE: "repair puts the new path into its row",
    FindingKind.COPIED_FILE: "keep the copy outside of the record folders, or delete it",
    FindingKind.UNREADABLE_FILE: "give the server's user the right to read it, or look after the disk",
}
assert set(REMEDIES) == set(FindingKind)


@dataclass(frozen=True, slots=True)
class Finding:
    """One disagreement. Ids are empty where there is no row or no note."""

    kind: FindingKind
    path: str
    message: str
    segment_id: str = ""
    recording_id: str = ""
    is_repaired: bool = False

    @property
    def remedy(self) -> str:
        return REMEDIES[self.kind]


@dataclass(slots=True)
class CheckReport:
    """Each file is counted once: growing, awaiting finalize, catalogued, clip, foreign, or at fault."""

    rows: int = 0
    files: int = 0
    growing: int = 0
    awaiting_finalize: int = 0
    catalogued: int = 0
    clips: int = 0
    foreign: int = 0
    at_fault: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        """Whether nothing is left for a person to do."""
        return all(finding.is_repaired for finding in self.findings)
