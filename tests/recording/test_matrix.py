"""Containers, codecs, rotation, ends: what was published is what is recorded, packet by packet.

Real encoders' media goes through a whole recorder. libavformat and libavcodec, which share nothing with our
writers, read the files back: no packet is missing, twice or out of order, each is at its time, everything
decodes without a word of warning, and the rows say the same.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest
from helpers.disks import needs_root, small_disk
from helpers.mp4_media import Clip, ffmpeg_complaints, make_clip
from helpers.packets import new_stream
from helpers.patience import PATIENCE_S, until
from helpers.recorded import Played, Published, at_rest, copy_of, play, publish, time_s
from helpers.recorder_rig import Rig, make_plan
from helpers.tools import requires

from aircheck.clock import SystemClock
from aircheck.containers.recover import read_note
from aircheck.facts import (
    EndReason,
    EventKind,
    GapReason,
    RecordingFacts,
    RecordingState,
    SegmentFacts,
    SegmentState,
)
from aircheck.media.packet import Batch
from aircheck.recording import recovery
from aircheck.recording.plan import RecordingPlan
from aircheck.recording.recording import Recording
from aircheck.recording.rotation import NEVER, RotationRule
from aircheck.segment_note import decode_note

pytestmark = requires("ffmpeg")

CLIP_S = 6
PUBLISHED_SINCE_S = 95_440
"""More than a day, at the end of which the clock of MPEG-TS would wrap: each file has a time 0 of its own."""

CRASH_AFTER_BATCHES = 26
"""5.2 s: with files of 2 s the second cut is over, and the third file grows."""

MAX_LOST_S = 0.7
"""Of the media that came before a crash: what is gathered for a write, and what a writer holds back."""

FLV_LEAD_MS = 80
"""Time 0 of FLV is the first decoding time; a picture that B-frames follow is shown two frames later."""

WITH_B_FRAMES = ("h264", "h265")
CODECS = [
    ("h264", "aac"),
    ("h265", "aac"),
    ("vp9", "opus"),
    ("av1", "opus"),
    ("vp9", "aac"),
    ("h264", "mp3"),
    ("h264", "opus"),
    ("aac",),
    ("h264",),
]
CONTAINERS = ("mp4", "mkv", "webm", "ts", "flv")
ROTATIONS = {"one file": NEVER, "files of 2 s": RotationRule(duration_ms=2000)}

IN_WEBM = {("vp9", "opus"), ("av1", "opus"), ("vp9", "aac"), ("aac",)}
NOT_IN_TS = {("vp9", "opus"), ("av1", "opus"), ("vp9", "aac")}


@dataclass(frozen=True, slots=True)
class Cell:
    wanted: str
    codecs: tuple[str, ...]
    rotation: str

    def __str__(self) -> str:
        return f"{self.wanted}-{'+'.join(self.codecs)}-{self.rotation.replace(' ', '_')}"

    @property
    def container(self) -> str:
        """Where the pictures go: where they can be, else into the nearest container that can hold them."""
        if self.wanted == "webm" and self.codecs not in IN_WEBM:
            return "mkv"
        if self.wanted == "ts" and self.codecs in NOT_IN_TS:
            return "mp4"
        return self.wanted

    @property
    def recorded_codecs(self) -> list[str]:
        """WebM holds no AAC; every other pair here can be copied."""
        return ["opus" if self.container == "webm" and name == "aac" else name for name in self.codecs]

    @property
    def files(self) -> int:
        """Sound alone is cut at any frame, and its encoder's priming makes it longer than the clip."""
        if self.rotation == "one file":
            return 1
        return 4 if self.codecs == ("aac",) else 3

    def plan(self, root: Path) -> RecordingPlan:
        """A stream with one track alone is not waited for: no second one comes."""
        settle_s = 1.0 if len(self.codecs) > 1 else 0.01
        return make_plan(
            root,
            container=self.wanted,
            rotation=ROTATIONS[self.rotation],
            settle_s=settle_s,
            min_free_bytes=0,
        )


CELLS = [Cell(*key) for key in ((c, k, r) for c in CONTAINERS for k in CODECS for r in ROTATIONS)]
SAMPLE = [
    Cell(container, codecs, "files of 2 s")
    for container, codecs in [
        ("mp4", ("h264", "aac")),
        ("mp4", ("av1", "opus")),
        ("mkv", ("h265", "aac")),
        ("webm", ("vp9", "aac")),
        ("ts", ("h264", "aac")),
        ("flv", ("h264", "aac")),
    ]
]

PublishClip = Callable[..., Published]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """In memory where that can be: two hundred recordings are synced, and other users' disks are slow."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="aircheck-", dir=memory if memory.is_dir() else tmp_path) as name:
        yield Path(name)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> PublishClip:
    """A clip with these codecs, made once, as something that is published now."""
    folder, clips = tmp_path_factory.mktemp("clips"), dict[tuple[str, ...], Clip]()

    def get(codecs: tuple[str, ...], times: int = 1) -> Published:
        if codecs not in clips:
            clips[codecs] = make_clip(folder, *codecs, seconds=CLIP_S)
        return publish(clips[codecs], at_s=PUBLISHED_SINCE_S, now_ns=time.time_ns(), times=times)

    return get


async def feed(rig: Rig, recording: Recording, batches: tuple[Batch, ...]) -> None:
    for one in batches:
        recording.stream.publish(one)
        await rig.recorder.audio.drain()
        await asyncio.sleep(0.001)
    await asyncio.sleep(2 * recording.plan.settle_s if len(recording.stream.tracks) == 1 else 0)


async def record(rig: Rig, cell: Cell, media: Published) -> tuple[RecordingFacts, list[SegmentFacts]]:
    recording = rig.recorder.record(new_stream(), cell.plan(rig.root), requested_by="test")
    await feed(rig, recording, media.batches)
    return await rig.finish(recording)


def assert_whole(cell: Cell, played: list[Played], media: Published) -> None:
    """Every packet that was published, once and in order; sound in a new codec for as long."""
    for track, codec, found in zip(media.tracks, cell.recorded_codecs, played, strict=True):
        source = [bytes(packet.data) for packet in media.packets(track)]
        if codec == track.codec:
            assert found.payloads == source
        else:
            assert len(found.payloads) * 0.02 == pytest.approx(CLIP_S, abs=0.1)
        assert found.frames == len(found.payloads)


def assert_rows_agree(
    cell: Cell, facts: RecordingFacts, segments: list[SegmentFacts], media: Published
) -> None:
    assert facts.state is RecordingState.COMPLETE
    assert facts.error == ""
    assert (facts.gaps, facts.dropped_packets) == (0, 0)
    assert facts.container == cell.container
    assert facts.segment_count == len(segments)
    assert facts.size_bytes == sum(segment.size_bytes for segment in segments)
    assert facts.duration_ms == sum(segment.duration_ms for segment in segments)
    for index, segment in enumerate(segments, 1):
        path = Path(segment.path)
        assert segment.state is SegmentState.COMPLETE
        assert (segment.index, segment.container) == (index, cell.container)
        assert (segment.error, segment.gaps) == ("", ())
        assert [track.codec for track in segment.tracks] == cell.recorded_codecs
        assert path.stat().st_size == segment.size_bytes
        assert path.name == ("cam" if cell.rotation == "one file" else f"cam_{index}") + f".{cell.container}"
        _, noted = decode_note(read_note(path))
        assert (noted.id, noted.index) == (segment.id, segment.index)
        assert segment.end_ns is not None
        assert media.batches[0].arrival_ns <= segment.end_ns <= media.batches[-1].arrival_ns
    for before, after in pairwise(segments):
        assert after.start_pts_ms - before.start_pts_ms == pytest.approx(2000, abs=50)
        assert before.duration_ms == pytest.approx(2000, abs=100)


@pytest.mark.parametrize("cell", CELLS, ids=str)
async def test_a_clean_stop_leaves_the_stream_as_it_was(
    cell: Cell, published: PublishClip, folder: Path
) -> None:
    media = published(cell.codecs)
    async with Rig(folder) as rig:
        facts, segments = await record(rig, cell, media)
    assert len(segments) == cell.files
    played, complaints = play(segments, media)
    assert_whole(cell, played, media)
    assert complaints == []
    assert_rows_agree(cell, facts, segments, media)
    assert facts.end_reason is EndReason.UNPUBLISHED
    has_lead = cell.container == "flv" and cell.codecs[0] in WITH_B_FRAMES
    lead_ms = FLV_LEAD_MS * len(segments) if has_lead else 0
    assert facts.duration_ms == pytest.approx(CLIP_S * 1000 + lead_ms, abs=60)
    changes = [event for event in rig.journal.events if event.kind is EventKind.CONTAINER_CHANGED]
    assert len(changes) == (cell.container != cell.wanted)


@pytest.mark.parametrize("cell", CELLS, ids=str)
async def test_a_crash_costs_less_than_a_second(cell: Cell, published: PublishClip, folder: Path) -> None:
    media = published(cell.codecs)
    async with Rig(folder / "live") as rig:
        recording = rig.recorder.record(new_stream(), cell.plan(rig.root), requested_by="test")
        await feed(rig, recording, media.batches[:CRASH_AFTER_BATCHES])
        await at_rest(rig, recording)
        journal = copy_of(rig, folder / "copy")
    plan = cell.plan(folder / "copy")
    unfinished = await recovery.find_unfinished(journal, plan.growing_dir)
    report = await recovery.recover(unfinished, journal, plan, SystemClock())
    assert (report.recovered, report.failed, report.missing) == (1, 0, 0)
    (facts,) = journal.recordings.values()
    segments = list(await journal.segments(facts.id))
    assert len(segments) == (1 if cell.rotation == "one file" else 3)
    played, complaints = play(segments, media)
    assert_head(cell, played, media)
    assert complaints == []
    assert_rows_agree(cell, facts, segments, media)
    assert [segment.is_recovered for segment in segments] == [False] * (len(segments) - 1) + [True]
    assert facts.end_reason is EndReason.CRASHED


def assert_head(cell: Cell, played: list[Played], media: Published) -> None:
    """What was published from the beginning on, less at most `MAX_LOST_S` at the end."""
    for track, codec, found in zip(media.tracks, cell.recorded_codecs, played, strict=True):
        source = media.packets(track, CRASH_AFTER_BATCHES)
        end_s = time_s(track, source[-1].dts)
        if codec == track.codec:
            kept = found.payloads
            assert kept == [bytes(packet.data) for packet in source[: len(kept)]]
            assert end_s - time_s(track, source[len(kept) - 1].dts) <= MAX_LOST_S
        else:
            begin_s = time_s(track, source[0].dts)
            assert len(found.payloads) * 0.02 >= end_s - begin_s - MAX_LOST_S
        assert found.frames == len(found.payloads)


@pytest.mark.parametrize("cell", SAMPLE, ids=str)
async def test_ffmpeg_decodes_every_file_without_a_word(
    cell: Cell, published: PublishClip, folder: Path
) -> None:
    async with Rig(folder) as rig:
        _, segments = await record(rig, cell, published(cell.codecs))
    assert [ffmpeg_complaints(Path(segment.path)) for segment in segments] == ["", "", ""]


DISK_MB = 1
FULL_DISKS = [
    Cell(container, codecs, rotation)
    for container, codecs in [
        ("mp4", ("h264", "aac")),
        ("mkv", ("h265", "aac")),
        ("webm", ("vp9", "opus")),
        ("ts", ("h264", "aac")),
        ("flv", ("h264", "aac")),
    ]
    for rotation in ROTATIONS
]


async def has_answered(recording: Recording) -> None:
    """Wait until the disk has taken or refused what it was asked for: media comes slower than that."""
    await until(
        lambda: (
            all(segment.writer or segment.error for segment in recording.segments)
            and not recording.volume.queued_bytes
        )
    )
    await asyncio.sleep(0)  # a refusal is on its way


@needs_root
@pytest.mark.parametrize("cell", FULL_DISKS, ids=str)
async def test_a_full_disk_keeps_all_that_came_before_and_counts_the_rest(
    cell: Cell, published: PublishClip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aircheck.recording.patience.RETRY_MIN_S", PATIENCE_S)
    media = published(cell.codecs, times=8)
    with small_disk(tmp_path / "disk", DISK_MB) as root:
        async with Rig(root) as rig:
            recording = rig.recorder.record(new_stream(), cell.plan(rig.root), requested_by="test")
            for one in media.batches:
                recording.stream.publish(one)
                await has_answered(recording)
            facts, segments = await rig.finish(recording)
        kept = [segment for segment in segments if segment.state is SegmentState.COMPLETE]
        assert [segment.index for segment in kept] == list(range(1, len(kept) + 1))
        played, complaints = play(kept, media)
    assert complaints == []
    assert facts.state is RecordingState.COMPLETE
    assert sum(segment.size_bytes for segment in kept) > DISK_MB * 2**19
    gaps = [gap for segment in kept for gap in segment.gaps]
    assert [gap.reason for gap in gaps] == [GapReason.DISK_FULL]
    for track, found in zip(media.tracks, played, strict=True):
        source = [bytes(packet.data) for packet in media.packets(track)]
        assert len(found.payloads) < len(source)
        assert found.payloads == source[: len(found.payloads)]
    published_packets = sum(len(one.packets) for one in media.batches)
    assert facts.dropped_packets == published_packets - sum(len(found.payloads) for found in played)
