"""`aircheck clip` and `aircheck join` as people meet them."""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from helpers import cutting
from helpers.cutting import RATE, feed, pattern, payloads, pictures, split, stream
from helpers.facts_samples import a_recording, a_segment

from aircheck.catalog import Catalog
from aircheck.cli import main
from aircheck.facts import RecordingFacts, RecordingState, SegmentFacts, SegmentState
from aircheck.segment_note import encode_note

Aircheck = Callable[..., tuple[int | None, str, str]]


@pytest.fixture
def aircheck(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Aircheck:
    """Runs a command in an empty folder; gives exit code, output and errors."""
    for name in [name for name in os.environ if name.startswith("AIRCHECK_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> tuple[int | None, str, str]:
        monkeypatch.setattr(sys, "argv", ["aircheck", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        code = ended.value.code
        return code if isinstance(code, int) else None, *capsys.readouterr()

    return run


def rotated(folder: Path) -> tuple[RecordingFacts, list[SegmentFacts]]:
    """A recording in three files, with their notes."""
    recording = a_recording("rec-1", stream_name="show", state=RecordingState.COMPLETE)
    segments = []
    for number, packets in enumerate(split(stream(), 2, 4), 1):
        path = folder / f"show_{number}.mp4"
        segment = replace(
            a_segment(f"seg-{number}", recording.id),
            index=number,
            path=str(path),
            file_name=path.name,
            state=SegmentState.COMPLETE,
            start_pts_ms=66 + 2000 * (number - 1),
            duration_ms=4000 if number == 3 else 2000,
        )
        writer = cutting.writer_of(path, (pattern().video, pattern().audio), encode_note(recording, segment))
        feed(writer, packets)
        writer.finish()
        writer.finalize(sync=False)
        segments.append(replace(segment, size_bytes=path.stat().st_size))
    return recording, segments


def remember(folder: Path, recording: RecordingFacts, segments: list[SegmentFacts]) -> None:
    async def put() -> None:
        path = folder / "records" / ".aircheck" / "aircheck.db"
        path.parent.mkdir(parents=True)
        catalog = await Catalog.open(path)
        await catalog.put_many(recording, *segments)
        await catalog.close()

    asyncio.run(put())


def test_clip_cuts_a_file_and_names_it_by_its_range(aircheck: Aircheck) -> None:
    cutting.record(Path("studio.mp4"), stream())

    code, said, _ = aircheck("clip", "studio.mp4", "--start", "2", "--end", "4.5")

    assert (code, said.split(", ")[0]) == (0, "studio-s2-e4.5.mp4: 0:00:02")
    assert len(pictures(Path("studio-s2-e4.5.mp4"))) == 2.5 * RATE
    assert sorted(path.name for path in Path().iterdir()) == ["studio-s2-e4.5.mp4", "studio.mp4"]


def test_clip_goes_over_the_files_of_a_recording(aircheck: Aircheck, tmp_path: Path) -> None:
    remember(tmp_path, *rotated(tmp_path))

    code, _, _ = aircheck("clip", "rec-1", "--start", "1", "--end", "7", "-o", "out.mkv")

    assert code == 0
    assert len(pictures(Path("out.mkv"))) >= 7 * RATE


def test_the_files_of_a_recording_go_by_one_name(aircheck: Aircheck, tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    remember(tmp_path, *rotated(tmp_path / "files"))

    code, said, _ = aircheck("clip", "show.mp4", "--start", "1", "--end", "7")

    assert (code, said.split(", ")[0]) == (0, "show-s1-e7.mp4: 0:00:06")
    code, said, _ = aircheck("clip", "show_2.mp4", "--end", "1")
    assert (code, said.split(", ")[0]) == (0, "show_2-e1.mp4: 0:00:01")


def test_clips_are_made_where_there_are_no_links(aircheck: Aircheck, monkeypatch: pytest.MonkeyPatch) -> None:
    cutting.record(Path("studio.mp4"), stream())

    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refuse)
    words = ("clip", "studio.mp4", "--start", "2", "--end", "4", "-o", "out.mp4")
    assert aircheck(*words)[0] == 0
    made = Path("out.mp4").read_bytes()
    assert len(pictures(Path("out.mp4"))) == 2 * RATE
    assert aircheck(*words)[0] == 2
    assert Path("out.mp4").read_bytes() == made
    assert sorted(path.name for path in Path().iterdir()) == ["out.mp4", "studio.mp4"]


def test_join_makes_the_stream_of_rotated_files(aircheck: Aircheck, tmp_path: Path) -> None:
    rotated(tmp_path)
    cutting.record(Path("whole.mp4"), stream())

    code, said, _ = aircheck("join", "show_1.mp4", "show_2.mp4", "show_3.mp4", "-o", "joined.mp4")

    assert (code, said.split(", ")[0]) == (0, "joined.mp4: 0:00:08")
    assert payloads(Path("joined.mp4")) == payloads(Path("whole.mp4"))
    assert pictures(Path("joined.mp4")) == pictures(Path("whole.mp4"))


@pytest.mark.parametrize(
    ("words", "code", "complaint"),
    [
        (("clip", "studio.mp4"), 2, "needs a start, an end, or both"),
        (("clip", "studio.mp4", "--start", "x"), 2, "no time in seconds"),
        (("clip", "studio.mp4", "--start", "5", "--end", "3"), 2, "no length"),
        (("clip", "studio.mp4", "--start", "100"), 1, "nothing in that range"),
        (("clip", "nobody", "--start", "1"), 2, "no recording of that id or name"),
        (("clip", "studio.mp4", "--start", "1", "-o", "out.avi"), 2, "no container's extension"),
        (("clip", "studio.mp4", "--start", "1", "-o", "out.webm"), 1, "cannot hold h264"),
        (("clip", "studio.mp4", "--start", "1", "-o", "studio.mp4"), 2, "exists"),
        (("clip", "text.mp4", "--start", "1", "-o", "out.mp4"), 1, "no media file"),
        (("join", "studio.mp4", "text.mp4", "-o", "out.mp4"), 1, "no media file"),
        (("clip", "studio.mp4", "--start", "1", "-o", "none/out.mp4"), 2, "no folder none"),
    ],
)
def test_what_does_not_work_is_told_and_leaves_nothing(
    aircheck: Aircheck, words: tuple[str, ...], code: int, complaint: str
) -> None:
    cutting.record(Path("studio.mp4"), stream())
    before = Path("studio.mp4").read_bytes()
    Path("text.mp4").write_text("hello" * 1000)

    ended, _, errors = aircheck(*words)

    assert ended == code
    assert complaint in " ".join(errors.replace("│", " ").split())
    assert sorted(path.name for path in Path().iterdir()) == ["studio.mp4", "text.mp4"]
    assert Path("studio.mp4").read_bytes() == before


def test_join_says_which_folder_is_none_and_which_is_not_there(aircheck: Aircheck, tmp_path: Path) -> None:
    code, _, told = aircheck("join", ".", "-o", "all.mp4")
    assert (code, "is a folder" in told) == (2, True)
    (tmp_path / "a.mp4").write_bytes(b"")
    code, _, told = aircheck("join", "a.mp4", "-o", "away/all.mp4")
    assert (code, "there is no folder away" in told) == (2, True)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a disk needs root")
def test_a_folder_that_cannot_be_written_is_told_without_a_traceback(
    aircheck: Aircheck, tmp_path: Path
) -> None:
    rotated(tmp_path)
    folder = tmp_path / "closed"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", folder], check=True)
    try:
        code, _, told = aircheck("join", "show_1.mp4", "-o", "closed/all.mp4")
    finally:
        subprocess.run(["umount", "-l", folder], check=True)
    assert code == 1
    assert "closed/all.mp4 cannot be made: Read-only file system" in told
