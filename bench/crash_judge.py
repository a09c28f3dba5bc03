"""What a crash cost, judged from outside: what was sent, what the files hold, what the catalogue says.

The reader is libavformat (through PyAV); nothing of the writer is used to judge it.
"""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import md5
from pathlib import Path

import av
from crashable import CrashableServer, Rows, SegmentRow
from paced import PacedPublisher, SentPacket

from aircheck.catalog import Catalog
from aircheck.catalog.check import check
from aircheck.cli.checking import MediaProbe

Payloads = dict[str, list[bytes]]
"""Hashes of a file's packets by kind, in decoding order."""


class Step(StrEnum):
    """How far a segment was in its life when the server died."""

    ROW = "row, no file"
    OPEN = "file, no media"
    GROWING = "growing"
    FINISHED = "finished"
    FINAL = "final in place"
    LINKED = "linked"
    CATALOGUED = "row complete"
    COMPLETE = "complete"
    FAILED = "failed (no media)"


@dataclass(slots=True)
class Verdict:
    """One run. `losses_ms` is per stream: media sent before the kill that no file holds."""

    losses_ms: list[int] = field(default_factory=list)
    packets: int = 0
    files: int = 0
    problems: list[str] = field(default_factory=list)


def step_of(row: SegmentRow, growing_dir: Path, record_dir: Path) -> Step:
    growing = growing_dir / f"{row.id}.mp4"
    if row.state == "complete":
        return Step.CATALOGUED if growing.exists() else Step.COMPLETE
    if row.state == "failed":
        return Step.FAILED
    if not growing.exists():
        return Step.ROW
    if growing.stat().st_nlink > 1:
        return Step.LINKED
    if _is_final(growing):
        return Step.FINAL
    if row.state == "finalizing":
        return Step.FINISHED
    return Step.GROWING if has_media(growing) else Step.OPEN


def _is_final(path: Path) -> bool:
    """Whether the index stands at the head: `ftyp`, then a `free` box shrunk to nothing, then `moov`."""
    head = path.read_bytes()[:64]
    return b"moov" in head


def has_media(path: Path) -> bool:
    return b"moof" in path.read_bytes()


def payloads_of(path: Path) -> Payloads:
    """Raises av.FFmpegError when the file does not open."""
    with av.open(str(path), options={"ignore_editlist": "1"}) as container:
        found: Payloads = {stream.type: [] for stream in container.streams}
        for packet in container.demux():
            if packet.size:
                found[packet.stream.type].append(md5(bytes(packet)).digest())
    return found


def decode_complaints(path: Path) -> str:
    """What FFmpeg says while it decodes the file; empty when all is well."""
    command = ["ffmpeg", "-v", "error", "-i", str(path), "-fps_mode", "passthrough", "-f", "null", "-"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.stderr + (f"exit code {done.returncode}" if done.returncode else "")


def judge_files_as_they_lie(
    server: CrashableServer, names: Sequence[str], rows: Rows, decode: Iterable[Path] = ()
) -> list[str]:
    """Whether every file that holds media plays before anybody has repaired anything."""
    problems = []
    ids = {row.id for row in rows.segments if row.stream in names}
    growing = [path for path in server.growing_dir.glob("*.mp4") if path.stem in ids and has_media(path)]
    for path in [*growing, *(server.record_dir / f for f in final_names(server, names))]:
        try:
            if not any(payloads_of(path).values()):
                problems.append(f"as it lies {path.name}: no packets")
        except (av.FFmpegError, OSError) as error:
            problems.append(f"as it lies {path.name}: {error}")
    for path in decode:
        if complaint := decode_complaints(path):
            problems.append(f"as it lies {path.name}: decoder: {complaint[:300]}")
    return problems


def final_names(server: CrashableServer, names: Sequence[str]) -> list[str]:
    """Finished files of these streams, by the template of the campaign."""
    wanted = set(names)
    return sorted(p.name for p in server.record_dir.glob("*.mp4") if p.stem.rsplit("_", 1)[0] in wanted)


def judge(
    server: CrashableServer, publishers: Sequence[PacedPublisher], killed_s: float, allowed_ms: int
) -> Verdict:
    """After recovery: is everything there, once, and does the catalogue say so?"""
    verdict = Verdict()
    rows = Rows.of(server.record_dir)
    for publisher in publishers:
        _judge_stream(verdict, publisher, rows.files_of(publisher.stream), killed_s, allowed_ms)
    _judge_rows(verdict, server, rows, {publisher.stream for publisher in publishers})
    verdict.problems += [f"check: {finding}" for finding in _findings(server)]
    return verdict


def _judge_stream(
    verdict: Verdict, publisher: PacedPublisher, files: Sequence[Path], killed_s: float, allowed_ms: int
) -> None:
    kept: Payloads = {"video": [], "audio": []}
    for path in files:
        verdict.files += 1
        try:
            for kind, digests in payloads_of(path).items():
                kept[kind] += digests
        except (av.FFmpegError, OSError) as error:
            verdict.problems.append(f"{path.name} does not play: {error}")
    sent, in_time = publisher.sent(), publisher.sent(killed_s)
    loss_ms = 0
    for kind, digests in kept.items():
        whole = [packet.digest for packet in sent if packet.kind == kind]
        verdict.packets += len(digests)
        if digests != whole[: len(digests)]:
            verdict.problems.append(f"{publisher.stream} {kind}: {_difference(digests, whole)}")
        loss_ms = max(loss_ms, _loss_ms(len(digests), [packet for packet in in_time if packet.kind == kind]))
    if in_time:
        verdict.losses_ms.append(loss_ms)
    if loss_ms > allowed_ms + round(publisher.latest_s * 1000):  # where nobody is in time, nor is the disk
        verdict.problems.append(f"{publisher.stream}: {loss_ms} ms lost")


def _loss_ms(kept: int, sent: Sequence[SentPacket]) -> int:
    """Media time from the end of what was kept to the last packet that had been sent."""
    if kept >= len(sent):
        return 0
    return sent[-1].timestamp_ms - (sent[kept - 1].timestamp_ms if kept else 0)


def _difference(kept: Sequence[bytes], sent: Sequence[bytes]) -> str:
    at = next((i for i, pair in enumerate(zip(kept, sent, strict=False)) if pair[0] != pair[1]), len(sent))
    return f"packet {at} of {len(kept)} is not the one that was sent ({len(sent)} were)"


def _judge_rows(verdict: Verdict, server: CrashableServer, rows: Rows, names: set[str]) -> None:
    problems = verdict.problems
    problems += [f"unfinished row: {row}" for row in rows.unfinished]
    complete = [row for row in rows.segments if row.state == "complete"]
    for row in complete:
        if not row.path.exists():
            problems.append(f"{row.path.name}: row without file")
        elif row.path.stat().st_size != row.size_bytes:
            problems.append(f"{row.path.name}: {row.path.stat().st_size} bytes, row says {row.size_bytes}")
        if row.stream in names and not rows.completed_events.get(row.id):
            problems.append(f"{row.path.name}: nobody was told that it is complete")
    files = {
        path for path in server.record_dir.rglob("*") if path.is_file() and ".aircheck" not in path.parts
    }
    problems += [f"{path.name}: file without row" for path in files - {row.path for row in complete}]
    problems += [f"left in growing: {path.name}" for path in server.growing_dir.glob("*")]
    for recording in rows.recordings:
        own = [row.size_bytes for row in complete if row.recording_id == recording.id]
        told = (recording.segment_count, recording.size_bytes)
        if recording.stream in names and told != (len(own), sum(own)):
            problems.append(
                f"recording of {recording.stream}: {told} segments and bytes told, not {len(own)}"
            )


def _findings(server: CrashableServer) -> list[str]:
    """What `aircheck check` would say."""

    async def look() -> list[str]:
        catalog = await Catalog.open(server.record_dir / ".aircheck" / "aircheck.db")
        try:
            report = await check(catalog, [server.record_dir], MediaProbe(), repair=False)
        finally:
            await catalog.close()
        return [f"{finding.kind} {finding.path}: {finding.message}" for finding in report.findings]

    return asyncio.run(look())
