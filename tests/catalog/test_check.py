"""Check finds every way in which files and rows can disagree; repair rebuilds rows from files."""

# ruff: noqa: ASYNC230 (small local files; nobody else is on the loop)

from __future__ import annotations

import os
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio
from helpers.facts_samples import AUDIO, SECOND_NS, START_NS, VIDEO, a_recording, a_segment

from aircheck.catalog import Catalog
from aircheck.catalog.check import check
from aircheck.catalog.findings import CheckReport, FindingKind
from aircheck.catalog.rebuild import ProbedFile
from aircheck.errors import CatalogError, ContainerError
from aircheck.facts import (
    EndReason,
    GapFacts,
    GapReason,
    RecordingFacts,
    RecordingState,
    SegmentFacts,
    SegmentState,
)
from aircheck.segment_note import NoteError, decode_note, encode_note

GAP = GapFacts(start_ms=500, duration_ms=40, reason=GapReason.SLOW_DISK, dropped_packets=2)


class NotedFiles:
    """A probe for the simplest container there is: a line of note, a line `final|growing duration_ms`."""

    def probe(self, path: Path) -> ProbedFile | None:
        note, _, rest = path.read_bytes().partition(b"\n")
        if note == b"torn":
            raise ContainerError("cannot be understood")
        try:
            recording, segment = decode_note(note)
        except NoteError:
            return None
        state, duration_ms = rest.split()[:2]
        return ProbedFile(
            recording,
            segment,
            is_final=state == b"final",
            size_bytes=path.stat().st_size,
            duration_ms=int(duration_ms),
            tracks=(VIDEO, AUDIO),
        )


def write_file(path: Path, recording: RecordingFacts, segment: SegmentFacts, *, is_final: bool) -> None:
    """A file that nobody has touched for an hour."""
    state = "final" if is_final else "growing"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_note(recording, segment) + f"\n{state} 10000 media\n".encode())
    an_hour_ago = path.stat().st_mtime - 3600
    os.utime(path, (an_hour_ago, an_hour_ago))


class Disk:
    """A record folder with a catalogue beside it."""

    def __init__(self, catalog: Catalog, root: Path) -> None:
        self.catalog = catalog
        self.root = root
        self.growing = root / ".growing"
        self.growing.mkdir(parents=True)

    async def check(self, *, repair: bool = False) -> CheckReport:
        report = await check(self.catalog, [self.root], NotedFiles(), repair=repair)
        counted = (
            report.growing + report.awaiting_finalize + report.catalogued + report.foreign + report.at_fault
        )
        assert counted == report.files
        return report

    async def found(self) -> Counter[FindingKind]:
        return Counter(finding.kind for finding in (await self.check()).findings)

    def segment_on_disk(
        self, segment_id: str = "g1", recording_id: str = "r1", *, note_is_final: bool = False, index: int = 0
    ) -> SegmentFacts:
        """A finished file, and the row it should have."""
        path = self.root / "gate" / f"{segment_id}.mp4"
        created = a_segment(
            segment_id,
            recording_id,
            index=index,
            path=str(self.growing / f"{segment_id}.mp4"),
            file_name=f"gate/{segment_id}.mp4",
            start_ns=START_NS + index * 10 * SECOND_NS,
            tracks=(),
        )
        row = replace(
            created,
            state=SegmentState.COMPLETE,
            path=str(path),
            duration_ms=10_000,
            end_ns=created.start_ns + 10 * SECOND_NS,
            tracks=(VIDEO, AUDIO),
            gaps=(GAP,) if note_is_final else (),
        )
        write_file(path, a_recording(recording_id), row if note_is_final else created, is_final=True)
        return replace(row, size_bytes=path.stat().st_size)

    def growing_on_disk(self, segment_id: str = "g9", recording_id: str = "r1") -> SegmentFacts:
        path = self.growing / f"{segment_id}.mp4"
        row = a_segment(segment_id, recording_id, index=9, path=str(path), tracks=())
        write_file(path, a_recording(recording_id), row, is_final=False)
        return row


@pytest_asyncio.fixture
async def disk(catalog: Catalog, tmp_path: Path) -> AsyncIterator[Disk]:
    yield Disk(catalog, tmp_path / "records")


async def test_files_and_rows_that_agree_are_clean(disk: Disk) -> None:
    complete, growing, left = disk.segment_on_disk(), disk.growing_on_disk("g8"), disk.growing_on_disk("g9")
    os.utime(growing.path)
    (disk.root / "holiday.jpg").write_bytes(b"not ours")
    (disk.root / "link.mp4").symlink_to(complete.path)
    await disk.catalog.put_many(a_recording(), complete, growing)
    report = await disk.check()
    assert (report.rows, report.files) == (2, 4)
    assert (report.catalogued, report.growing, report.foreign, report.at_fault) == (1, 1, 1, 1)
    assert [finding.kind for finding in report.findings] == [FindingKind.UNRECORDED_FILE]

    Path(left.path).unlink()
    report = await disk.check()
    assert report.is_clean
    assert (report.catalogued, report.growing, report.foreign, report.at_fault) == (1, 1, 1, 0)


async def test_a_complete_row_without_its_file_is_found(disk: Disk) -> None:
    segment = disk.segment_on_disk()
    await disk.catalog.put_many(a_recording(), segment)
    Path(segment.path).unlink()
    report = await disk.check(repair=True)
    (finding,) = report.findings
    assert finding.kind is FindingKind.MISSING_FILE
    assert (finding.segment_id, finding.recording_id, finding.path) == ("g1", "r1", segment.path)
    assert finding.remedy
    assert not report.is_clean
    assert await disk.catalog.segment("g1") == segment  # the disk may be mounted tomorrow


async def test_a_complete_row_with_a_file_of_another_size_is_found(disk: Disk) -> None:
    segment = disk.segment_on_disk()
    await disk.catalog.put_many(a_recording(), segment)
    with Path(segment.path).open("ab") as file:
        file.write(b"x")
    (finding,) = (await disk.check()).findings
    assert finding.kind is FindingKind.SIZE_MISMATCH
    assert str(segment.size_bytes + 1) in finding.message


@pytest.mark.parametrize("state", [SegmentState.GROWING, SegmentState.FINALIZING])
async def test_a_row_whose_file_nobody_writes_any_more_is_stale(disk: Disk, state: SegmentState) -> None:
    segment = replace(disk.growing_on_disk(), state=state)
    await disk.catalog.put_many(a_recording(), segment)
    report = await disk.check()
    assert [finding.kind for finding in report.findings] == [FindingKind.STALE_ROW]
    assert (report.awaiting_finalize, report.growing) == (1, 0)


async def test_a_growing_row_without_file_is_missing_unless_it_is_young(disk: Disk) -> None:
    young = a_segment("g1", start_ns=2**62)  # begins in the future: as young as can be
    await disk.catalog.put_many(a_recording(), young)
    assert await disk.found() == Counter()
    await disk.catalog.put_segment(replace(young, start_ns=START_NS - 3600 * SECOND_NS))
    assert await disk.found() == Counter({FindingKind.MISSING_FILE: 1})


async def test_a_failed_row_promises_no_file(disk: Disk) -> None:
    await disk.catalog.put_many(a_recording(), a_segment(state=SegmentState.FAILED))
    assert await disk.found() == Counter()


async def test_a_file_of_ours_without_a_row_is_found_and_recorded_again(disk: Disk) -> None:
    kept, lost = disk.segment_on_disk("g1"), disk.segment_on_disk("g2", index=1)
    row = a_recording(state=RecordingState.COMPLETE, end_reason=EndReason.STOPPED)
    await disk.catalog.put_many(row, kept)
    assert await disk.found() == Counter({FindingKind.UNRECORDED_FILE: 1})

    report = await disk.check(repair=True)
    assert report.is_clean
    assert [finding.is_repaired for finding in report.findings] == [True]
    assert await disk.catalog.segments("r1") == (kept, lost)
    sums = {"segment_count": 2, "size_bytes": kept.size_bytes + lost.size_bytes, "duration_ms": 20_000}
    assert await disk.catalog.recording("r1") == replace(row, **sums)  # type: ignore[arg-type]
    assert await disk.found() == Counter()


async def test_a_file_that_somebody_is_writing_needs_no_row_yet(disk: Disk) -> None:
    os.utime(disk.growing_on_disk().path)
    report = await disk.check(repair=True)
    assert (report.growing, report.findings) == (1, [])
    assert await disk.catalog.segment("g9") is None


async def test_a_crash_between_final_name_and_complete_row_is_repaired(disk: Disk) -> None:
    segment = disk.segment_on_disk()
    growing = replace(
        segment,
        state=SegmentState.GROWING,
        path=str(disk.growing / "g1.mp4"),
        size_bytes=0,
        duration_ms=0,
        end_ns=None,
    )
    await disk.catalog.put_many(a_recording(), growing)
    assert await disk.found() == Counter({FindingKind.MOVED_FILE: 1})
    assert (await disk.check(repair=True)).is_clean
    assert await disk.catalog.segment("g1") == segment


async def test_a_file_under_both_its_names_is_one_file(disk: Disk) -> None:
    segment = disk.segment_on_disk()
    os.link(segment.path, disk.growing / "g1.mp4")
    await disk.catalog.put_many(a_recording(), segment)
    report = await disk.check()
    assert (report.catalogued, report.findings) == (2, [])


async def test_a_moved_file_gets_its_new_path(disk: Disk) -> None:
    segment = disk.segment_on_disk()
    await disk.catalog.put_many(a_recording(), segment)
    (disk.root / "archive").mkdir()
    Path(segment.path).rename(disk.root / "archive/a.mp4")
    assert await disk.found() == Counter({FindingKind.MOVED_FILE: 1})
    await disk.check(repair=True)
    moved = replace(segment, path=str(disk.root / "archive/a.mp4"), file_name="archive/a.mp4")
    assert await disk.catalog.segment("g1") == moved
    assert await disk.found() == Counter()


async def test_a_copy_is_told_from_the_original(disk: Disk) -> None:
    segment = disk.segment_on_disk()
    await disk.catalog.put_many(a_recording(), segment)
    (disk.root / "copy.mp4").write_bytes(Path(segment.path).read_bytes())
    report = await disk.check(repair=True)
    assert [finding.kind for finding in report.findings] == [FindingKind.COPIED_FILE]
    assert await disk.catalog.segment("g1") == segment


async def test_two_files_of_one_segment_without_row_are_recorded_once(disk: Disk) -> None:
    segment = disk.segment_on_disk()
    (disk.root / "copy.mp4").write_bytes(Path(segment.path).read_bytes())
    report = await disk.check(repair=True)
    kinds = Counter(finding.kind for finding in report.findings)
    assert kinds == Counter({FindingKind.UNRECORDED_FILE: 1, FindingKind.COPIED_FILE: 1})
    assert (await disk.catalog.recording("r1")).segment_count == 1  # type: ignore[union-attr]


async def test_a_file_that_cannot_be_understood_is_told_and_the_rest_goes_on(disk: Disk) -> None:
    (disk.root / "a.mp4").write_bytes(b"torn\n")
    disk.segment_on_disk()
    kinds = await disk.found()
    assert kinds == Counter({FindingKind.UNREADABLE_FILE: 1, FindingKind.UNRECORDED_FILE: 1})


async def test_names_that_are_no_utf8_disturb_nobody(disk: Disk) -> None:
    segment = disk.segment_on_disk()
    await disk.catalog.put_many(a_recording(), segment)
    Path(segment.path).rename(os.fsdecode(os.fsencode(disk.root) + b"/\xff.mp4"))
    Path(os.fsdecode(os.fsencode(disk.root) + b"/\xfe.jpg")).write_bytes(b"not ours")
    report = await disk.check(repair=True)
    kinds = Counter(finding.kind for finding in report.findings)
    assert kinds == Counter({FindingKind.MISSING_FILE: 1, FindingKind.UNREADABLE_FILE: 1})
    assert report.foreign == 1


async def test_a_record_folder_that_is_gone_stops_the_check(disk: Disk) -> None:
    segment = disk.segment_on_disk()
    await disk.catalog.put_many(a_recording(), segment)
    with pytest.raises(CatalogError) as raised:
        await check(disk.catalog, [disk.root, disk.root / "gone"], NotedFiles(), repair=True)
    assert "mount" in raised.value.remedy


async def test_folders_within_folders_are_walked_once(disk: Disk) -> None:
    await disk.catalog.put_many(a_recording(), disk.segment_on_disk())
    report = await check(disk.catalog, [disk.growing, disk.root, disk.root], NotedFiles())
    assert (report.files, report.catalogued) == (1, 1)


async def test_a_segment_that_completes_during_the_check_is_no_finding(disk: Disk) -> None:
    growing = replace(disk.growing_on_disk("g1"), start_ns=START_NS - 3600 * SECOND_NS)
    await disk.catalog.put_many(a_recording(), growing)

    class Completing(Catalog):
        """As if the recorder finished the segment right after its row was read."""

        async def segments_after(self, segment_id: str = "", limit: int = 500) -> tuple[SegmentFacts, ...]:
            rows = await super().segments_after(segment_id, limit)
            if rows:
                Path(growing.path).unlink()
                await self.put_segment(disk.segment_on_disk("g1"))
            return rows

    disk.catalog.__class__ = Completing
    report = await disk.check()
    assert (report.catalogued, report.findings) == (1, [])


async def test_progress_is_told(disk: Disk) -> None:
    await disk.catalog.put_many(a_recording(), disk.segment_on_disk())
    told: list[tuple[int, int]] = []
    await check(
        disk.catalog, [disk.root], NotedFiles(), progress=lambda rows, files: told.append((rows, files))
    )
    assert told == [(1, 0), (1, 1)]


async def test_an_empty_catalogue_is_rebuilt_as_it_was(disk: Disk) -> None:
    """Final notes know it all; more files than are looked at in one go."""
    before: list[RecordingFacts | SegmentFacts] = []
    for number in range(4):
        name = f"r{number}"
        segments = [
            disk.segment_on_disk(f"{name}-{index:03}", name, index=index, note_is_final=True)
            for index in range(150)
        ]
        recording = a_recording(
            name,
            state=RecordingState.COMPLETE,
            end_ns=segments[-1].end_ns,
            segment_count=150,
            size_bytes=sum(segment.size_bytes for segment in segments),
            duration_ms=150 * 10_000,
            gaps=150,
            dropped_packets=300,
        )
        before += [recording, *segments]

    report = await disk.check(repair=True)
    assert report.is_clean
    assert report.catalogued == report.files == 600
    assert await _everything(disk.catalog) == set(before)
    assert (await disk.check()).findings == []


async def test_rebuilding_from_notes_of_the_beginning_loses_only_what_the_end_knew(disk: Disk) -> None:
    complete, growing = disk.segment_on_disk("g1"), disk.growing_on_disk("g2")
    under_growing_name = disk.growing / "g3.mp4"
    finalized = replace(disk.growing_on_disk("g3"), path=str(under_growing_name))
    write_file(under_growing_name, a_recording(), finalized, is_final=True)

    await disk.check(repair=True)
    rows = {segment.id: segment for segment in await disk.catalog.segments("r1")}
    assert rows["g1"] == complete
    assert {rows["g2"].state, rows["g3"].state} == {SegmentState.GROWING}
    assert (rows["g2"].path, rows["g3"].path) == (growing.path, str(under_growing_name))
    recording = await disk.catalog.recording("r1")
    sums = {"segment_count": 1, "size_bytes": complete.size_bytes, "duration_ms": 10_000}
    assert recording == replace(a_recording(), **sums)  # type: ignore[arg-type]
    assert recording.state is RecordingState.RECORDING  # recovery will end it


async def _everything(catalog: Catalog) -> set[RecordingFacts | SegmentFacts]:
    recordings = (await catalog.recordings(limit=1000)).items
    segments = await catalog.segments_of([recording.id for recording in recordings])
    return {*recordings, *(segment for some in segments.values() for segment in some)}
