"""`aircheck inspect` as people meet it: by file, by id, by name; what is missing stands out."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from helpers.facts_samples import SECOND_NS, START_NS, a_recording, a_segment
from helpers.mp4_streams import VIDEO, media, open_writer

from aircheck.catalog import Catalog
from aircheck.cli import main
from aircheck.facts import (
    EndReason,
    GapFacts,
    GapReason,
    RecordingFacts,
    RecordingState,
    SegmentFacts,
    SegmentState,
)
from aircheck.segment_note import encode_note

GAP = GapFacts(2000, 3000, GapReason.SLOW_DISK, dropped_packets=75, dropped_bytes=52_000, at_ns=START_NS)
Inspect = Callable[..., tuple[int | None, str, str]]


@pytest.fixture
def inspect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Inspect:
    """Runs the command in an empty folder; gives exit code, output and errors."""
    for name in [name for name in os.environ if name.startswith("AIRCHECK_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> tuple[int | None, str, str]:
        monkeypatch.setattr(sys, "argv", ["aircheck", "inspect", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        code = ended.value.code
        return code if isinstance(code, int) else None, *capsys.readouterr()

    return run


def a_recording_with_gap(folder: Path) -> tuple[RecordingFacts, SegmentFacts]:
    """Seven seconds on the stream's timeline, of which three are missing; the note knows why."""
    recording = a_recording(
        "rec-1",
        stream_name="studio",
        state=RecordingState.COMPLETE,
        end_reason=EndReason.UNPUBLISHED,
        gaps=1,
        dropped_packets=75,
    )
    path = folder / "studio.mp4"
    segment = a_segment(
        "seg-1",
        "rec-1",
        index=1,
        state=SegmentState.COMPLETE,
        path=str(path),
        file_name="live/studio.mp4",
        end_ns=START_NS + 7 * SECOND_NS,
        gaps=(GAP,),
    )
    writer = open_writer(path)
    writer.write([*media(2), *media(2, start_ms=5000)])
    writer.set_note(encode_note(recording, segment))
    writer.finish()
    writer.finalize(sync=False)
    writer.close()
    return recording, segment


def put(folder: Path, *facts: Any) -> None:
    async def work() -> None:
        path = folder / "records" / ".aircheck" / "aircheck.db"
        path.parent.mkdir(parents=True, exist_ok=True)
        catalog = await Catalog.open(path)
        await catalog.put_many(*facts)
        await catalog.close()

    asyncio.run(work())


def test_a_file_tells_its_tracks_and_its_gaps(inspect: Inspect, tmp_path: Path) -> None:
    a_recording_with_gap(tmp_path)
    code, out, _ = inspect("studio.mp4")
    assert code == 0
    for words in (
        "studio  live  complete (unpublished)",
        "1 gap, 75 packets lost",
        "320x180",
        "48 kHz stereo",
    ):
        assert words in out
    assert "1.0 s (1.0 to 4.0)" in out
    assert "received in 0:00:07.000" in out
    (bar,) = (line for line in out.splitlines() if "█" in line)
    assert bar.index("█") < bar.index("░") < bar.rindex("█")
    (gap,) = (line for line in out.splitlines() if "slow_disk" in line)
    assert gap.split()[:4] == ["0:00:02.000", "3.0", "s", "slow_disk"]
    assert "timestamps jump" not in out, "the gap explains the jump"


def test_a_file_whose_pictures_change_tells_where_and_to_what(inspect: Inspect, tmp_path: Path) -> None:
    writer = open_writer(tmp_path / "turned.mp4")
    turned = replace(VIDEO, width=180, height=320)
    writer.write(media(2))
    assert writer.change_track(turned)
    writer.write([replace(p, track=turned) if p.track is VIDEO else p for p in media(1, 2000)])
    writer.finish()
    writer.finalize(sync=False)
    _, out, _ = inspect("turned.mp4")
    lines = out.splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("pictures change at"))
    assert lines[at + 1].split() == ["0:00:02.000", "180x320", "1"]
    _, out, _ = inspect("turned.mp4", "--json")
    (part,) = json.loads(out)["segments"]
    assert part["tracks"][0]["picture_changes"] == [{"at_ms": 2000, "width": 180, "height": 320}]


def test_a_recording_is_found_by_ids_and_by_file_name(inspect: Inspect, tmp_path: Path) -> None:
    put(tmp_path, *a_recording_with_gap(tmp_path))
    for target in ("rec-1", "seg-1", "live/studio.mp4"):
        code, out, _ = inspect(target, "--json")
        assert code == 0
        found = json.loads(out)
        assert found["recording"]["id"] == "rec-1"
        assert found["gaps"] == [
            {
                "start_ms": 2000,
                "duration_ms": 3000,
                "reason": "slow_disk",
                "dropped_packets": 75,
                "dropped_bytes": 52_000,
                "at_ns": START_NS,
            }
        ]


def test_programs_get_everything_in_numbers(inspect: Inspect, tmp_path: Path) -> None:
    a_recording_with_gap(tmp_path)
    _, out, _ = inspect("studio.mp4", "--json")
    (part,) = json.loads(out)["segments"]
    assert part["wall_clock_ms"] == 7000
    assert part["drift_ms"] == part["duration_ms"] - 7000
    assert part["is_final"]
    video, audio = part["tracks"]
    assert (video["packets"], video["keyframes"]) == (100, 4)
    assert video["key_interval"] == {"min_ms": 1000, "median_ms": 1000, "max_ms": 4000}
    assert video["jumps"] == [{"at_ms": 1960, "by_ms": 3000}]
    assert (audio["sample_rate"], audio["channels"]) == (48_000, 2)
    assert part["audio_begins_after_video_ms"] == 0


def test_the_files_of_a_recording_share_one_timeline(inspect: Inspect, tmp_path: Path) -> None:
    recording, segment = a_recording_with_gap(tmp_path)
    second = replace(
        segment, id="seg-2", index=2, path=str(tmp_path / "second.mp4"), start_pts_ms=7000, gaps=()
    )
    gone = replace(segment, id="seg-3", index=3, path=str(tmp_path / "gone.mp4"), gaps=())
    writer = open_writer(Path(second.path))
    writer.write(media(7, start_ms=7000))
    writer.finish()
    writer.finalize(sync=False)
    writer.close()
    put(tmp_path, recording, segment, second, gone)
    code, out, _ = inspect("rec-1")
    assert code == 0
    first_bar, second_bar = (line.rstrip()[-64:] for line in out.splitlines() if "█" in line)
    assert first_bar[:32].count("·") <= 1
    assert set(first_bar[33:]) == {"·"}
    assert set(second_bar[:31]) == {"·"}
    assert set(second_bar[33:]) == {"█"}
    (missing,) = (line for line in out.splitlines() if "No such file" in line)
    assert missing.startswith("3")


def test_a_growing_recording_is_inspected_as_it_is_now(inspect: Inspect, tmp_path: Path) -> None:
    recording = a_recording("rec-1", state=RecordingState.RECORDING)
    segment = a_segment("seg-1", "rec-1", path=str(tmp_path / "growing.mp4"), file_name="{endTime}.mp4")
    writer = open_writer(Path(segment.path))
    writer.write(media(3))
    put(tmp_path, recording, segment)
    code, out, _ = inspect("rec-1")
    writer.finish()
    writer.close()
    assert code == 0
    assert "{endTime}.mp4 growing" in out
    assert "0:00:03" in out


def test_what_is_not_there_is_refused_with_a_remedy(inspect: Inspect, tmp_path: Path) -> None:
    code, _, err = inspect("nothing")
    assert code == 2
    assert "no recording of that id or name" in err
    assert not (tmp_path / "records").exists()
    put(tmp_path, a_recording("rec-1"))
    code, _, err = inspect("nothing")
    assert code == 2
    code, _, err = inspect("rec-1")
    assert code == 2
    assert "has no files" in err
    code, _, err = inspect("records")
    assert code == 2
    assert "is a folder" in err


def test_a_file_without_media_is_refused_with_a_remedy(inspect: Inspect, tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("words\n" * 100)
    code, _, err = inspect("words.txt")
    assert code == 1
    assert "Traceback" not in err
    assert "no media file" in err
