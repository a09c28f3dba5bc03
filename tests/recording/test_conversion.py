"""Between a stream and its recordings: sound is transcoded off the loop, pictures pass untouched."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from itertools import groupby, pairwise
from pathlib import Path

import pytest
from helpers.packets import AUDIO, VIDEO, av_batches, new_stream
from helpers.recorder_rig import Rig, feed, make_plan, payloads
from helpers.sound import beeps_s, g711_batches

from aircheck.clock import SystemClock
from aircheck.containers.transcode import AudioTranscoder
from aircheck.facts import EndReason, GapFacts, GapReason
from aircheck.hub.stream import Stream
from aircheck.ingest.pump import Pump
from aircheck.media.packet import Batch, Packet
from aircheck.media.track import Codec, Track
from aircheck.recording import conversion, conversion_jobs
from aircheck.recording.audio import AudioStage
from aircheck.recording.naming import NameTemplate
from aircheck.recording.plan import AudioPlan, RecordingPlan
from aircheck.recording.segment import GATHER_MS

MP4 = RecordingPlan(Path("/r"), Path("/g"), NameTemplate.parse("{streamName}"))
MAX_SKEW_S = 0.002


class Listener:
    """A recording that only remembers."""

    is_live = False
    backlog_ratio = 0.0

    def __init__(self, plan: RecordingPlan = MP4) -> None:
        self.plan = plan
        self.batches: list[Batch] = []
        self.gaps: list[GapFacts] = []
        self.end: EndReason | None = None
        self._is_over = asyncio.Event()

    def deliver(self, batch: Batch) -> None:
        assert self.end is None
        self.batches.append(batch)

    def ended(self, reason: EndReason) -> None:
        self.end = reason
        self._is_over.set()

    async def over(self) -> None:
        async with asyncio.timeout(20):
            await self._is_over.wait()

    def note_gap(self, gap: GapFacts) -> None:
        self.gaps.append(gap)

    def packets(self, *codecs: Codec) -> list[Packet]:
        return [p for b in self.batches for p in b.packets if not codecs or p.track.codec in codecs]


class Gate:
    """Keeps worker threads from going on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open = threading.Event()
        self.is_reached = threading.Event()
        self.threads: set[str] = set()
        feed = AudioTranscoder.feed

        def gated(transcoder: AudioTranscoder, packets: Sequence[Packet]) -> list[Packet]:
            self.threads.add(threading.current_thread().name)
            self.is_reached.set()
            assert self.open.wait(20)
            return feed(transcoder, packets)

        monkeypatch.setattr(AudioTranscoder, "feed", gated)


@pytest.fixture
async def stage() -> AsyncIterator[AudioStage]:
    stage = AudioStage(SystemClock())
    yield stage
    stage.close()


@pytest.fixture
def stream() -> Stream:
    return new_stream()


async def convert(stage: AudioStage, stream: Stream, batches: Sequence[Batch]) -> Listener:
    listener = Listener()
    stage.attach(stream, listener)
    for one in batches:
        stream.publish(one)
    stream.end(EndReason.UNPUBLISHED, 0)
    await listener.over()
    return listener


def pictures(batches: Sequence[Batch]) -> list[Packet]:
    return [packet for one in batches for packet in one.packets if packet.track.is_video]


async def test_sound_that_is_kept_passes_at_once_and_untouched(stage: AudioStage, stream: Stream) -> None:
    listener, batches = Listener(), list(av_batches(1000))
    stage.attach(stream, listener)
    for one in batches:
        stream.publish(one)
        assert listener.batches[-1] is one
    stream.end(EndReason.DISCONNECTED, 0)
    assert listener.end is EndReason.DISCONNECTED
    assert stage._threads is None
    assert len(stage) == 0


async def test_pictures_are_the_same_and_sound_is_where_it_was(
    stage: AudioStage, stream: Stream, tmp_path: Path
) -> None:
    batches = g711_batches(3, tmp_path)
    listener = await convert(stage, stream, batches)
    assert listener.end is EndReason.UNPUBLISHED
    sent, passed = pictures(batches), pictures(listener.batches)
    assert len(sent) == len(passed)
    assert all(a is b for a, b in zip(sent, passed, strict=True))
    assert {packet.track.codec for packet in listener.packets()} == {Codec.H264, Codec.AAC}
    assert beeps_s(listener.packets(Codec.AAC)) == pytest.approx([0, 1, 2], abs=MAX_SKEW_S)
    assert listener.packets(Codec.AAC)[-1].pts > 2.98 * 44_100, "the rest comes before the end"
    assert stage.counters.converted_packets == 150


async def test_batches_say_what_is_in_them(stage: AudioStage, stream: Stream, tmp_path: Path) -> None:
    batches = g711_batches(3, tmp_path)
    listener = await convert(stage, stream, batches)
    seen: dict[int, Track] = {}
    for one in listener.batches:
        new = [p.track for p in one.packets if seen.get(p.track.id) is not p.track]
        assert one.tracks_changed == bool(new)
        seen |= {track.id: track for track in new}
        assert one.size_bytes == sum(len(p.data) for p in one.packets)
        assert one.has_video_keyframe == any(p.track.is_video and p.is_keyframe for p in one.packets)
        times = [p.dts / p.track.timescale for p in one.packets]
        assert times == sorted(times)
    arrivals = [one.arrival_ns for one in listener.batches]
    assert arrivals == sorted(arrivals)


async def test_sound_alone_is_converted_too(stage: AudioStage, stream: Stream, tmp_path: Path) -> None:
    listener = await convert(stage, stream, g711_batches(2, tmp_path, has_video=False))
    assert beeps_s(listener.packets(Codec.AAC)) == pytest.approx([0, 1], abs=MAX_SKEW_S)


async def test_work_is_done_off_the_loop(
    stage: AudioStage, stream: Stream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch)
    listener = Listener()
    stage.attach(stream, listener)
    for one in g711_batches(2, tmp_path):
        stream.publish(one)  # returns although the worker does not go on
    assert await asyncio.to_thread(gate.is_reached.wait, 20)
    assert listener.batches == []
    gate.open.set()
    await stage.drain()
    assert listener.batches
    assert all(name.startswith("aircheck-audio") for name in gate.threads)


async def test_recordings_that_want_the_same_share_the_work(
    stage: AudioStage, stream: Stream, tmp_path: Path
) -> None:
    same, other = Listener(), Listener(replace(MP4, audio=AudioPlan(sample_rate=8000, channels=1)))
    stage.attach(stream, same)
    stage.attach(stream, other)
    first = await convert(stage, stream, g711_batches(1, tmp_path))
    await same.over()
    await other.over()
    assert [id(p) for p in first.packets()] == [id(p) for p in same.packets()]
    assert other.packets(Codec.AAC)[0].track.sample_rate == 8000
    assert stage.counters.converted_packets == 2 * 50


async def test_the_last_recording_that_goes_ends_the_work(stage: AudioStage, stream: Stream) -> None:
    first, second = Listener(), Listener()
    stage.attach(stream, first)
    stage.attach(stream, second)
    assert len(stream.subscribers) == 1
    stage.detach(first)
    stage.detach(first)
    assert len(stream.subscribers) == 1
    stage.detach(second)
    assert stream.subscribers == ()
    assert len(stage) == 0


async def test_a_recording_that_fails_does_not_disturb_the_others(
    stage: AudioStage, stream: Stream, tmp_path: Path
) -> None:
    class Broken(Listener):
        def deliver(self, batch: Batch) -> None:
            raise RuntimeError("broken")

    broken = Broken()
    stage.attach(stream, broken)
    listener = await convert(stage, stream, g711_batches(1, tmp_path))
    assert broken.end is EndReason.INTERNAL_ERROR
    assert len(pictures(listener.batches)) == 25
    assert stream.counters.subscriber_errors == 1


async def test_a_late_track_is_looked_at_like_the_first(
    stage: AudioStage, stream: Stream, tmp_path: Path
) -> None:
    listener = Listener()
    stage.attach(stream, listener)
    both = g711_batches(2, tmp_path)
    only_video = [replace(b, packets=[p for p in b.packets if p.track.is_video]) for b in both[:5]]
    for one in only_video:
        stream.publish(one)
    assert listener.batches == only_video
    for one in [replace(both[5], tracks_changed=True), *both[6:]]:
        stream.publish(one)
    await stage.drain()
    assert len(pictures(listener.batches)) == 50
    assert beeps_s(listener.packets(Codec.AAC)) == pytest.approx([1], abs=MAX_SKEW_S)


async def test_a_track_that_changes_its_codec_is_converted_from_there(
    stage: AudioStage, stream: Stream, tmp_path: Path
) -> None:
    copied = list(av_batches(1000))
    later = [
        replace(
            b,
            packets=[
                replace(p, pts=p.pts + p.track.timescale, dts=p.dts + p.track.timescale) for p in b.packets
            ],
        )
        for b in g711_batches(1, tmp_path)
    ]
    again = list(av_batches(1000, start_ms=2000, audio_track=replace(AUDIO)))
    listener = await convert(stage, stream, [*copied, *later, *again])
    sounds = [p for p in listener.packets() if p.track.is_audio]
    changes = [next(group).track for _, group in groupby(sounds, key=lambda packet: id(packet.track))]
    assert [track.sample_rate for track in changes] == [48_000, 44_100, 48_000]
    assert len(pictures(listener.batches)) == 75
    kept = [p for p in sounds if p.track is changes[0] or p.track is changes[2]]
    assert [bytes(p.data) for p in kept] == [
        bytes(p.data) for b in [*copied, *again] for p in b.packets if p.track.is_audio
    ]


async def test_pictures_that_need_another_container_spare_the_sound(
    stage: AudioStage, stream: Stream, tmp_path: Path
) -> None:
    """VP8 goes to WebM, with G.711 to Matroska, which holds both."""
    vp8 = Track(1, Codec.VP8, 1000, width=320, height=180)
    batches = [
        replace(b, packets=[replace(p, track=vp8) if p.track is VIDEO else p for p in b.packets])
        for b in g711_batches(1, tmp_path)
    ]
    listener = await convert(stage, stream, batches)
    assert {p.track.codec for p in listener.packets()} == {Codec.VP8, Codec.PCMA}


async def turns() -> None:
    """Long enough for what is due now."""
    for _ in range(20):
        await asyncio.sleep(0.001)


class Jobs:
    """Counts what worker threads are given, in batches."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sizes: list[int] = []
        convert = conversion_jobs.SoundWorker.convert

        def counted(
            worker: conversion_jobs.SoundWorker, batches: list[list[conversion_jobs.Run]], *, is_last: bool
        ) -> list[list[Packet]]:
            self.sizes.append(len(batches))
            return convert(worker, batches, is_last=is_last)

        monkeypatch.setattr(conversion_jobs.SoundWorker, "convert", counted)


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> Jobs:
    return Jobs(monkeypatch)


async def test_batches_that_come_soon_wait_and_are_converted_together(
    stage: AudioStage, stream: Stream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jobs: Jobs
) -> None:
    monkeypatch.setattr(conversion, "INTERVAL_S", 1000)
    listener, batches = Listener(), g711_batches(3, tmp_path)
    stage.attach(stream, listener)
    stream.publish(batches[0])
    for one in batches[1:10]:
        stream.publish(one)
        await turns()
    assert jobs.sizes == [1]
    async with asyncio.timeout(20):
        await stage.catch_up(listener)
        assert jobs.sizes == [1, 9]
        assert len(pictures(listener.batches)) == len(pictures(batches[:10]))
        stream.publish(batches[10])
        stream.publish(batches[11])
        await turns()
        assert jobs.sizes == [1, 9], "after the hurry they wait again"
        await stage.drain()
        assert jobs.sizes == [1, 9, 2]
        for one in batches[12:]:
            stream.publish(one)
        stream.end(EndReason.UNPUBLISHED, 0)
        await listener.over()
    assert len(pictures(listener.batches)) == len(pictures(batches))
    assert beeps_s(listener.packets(Codec.AAC)) == pytest.approx([0, 1, 2], abs=MAX_SKEW_S)


async def test_what_waits_for_the_next_job_waits_for_a_while_only(
    stage: AudioStage, stream: Stream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jobs: Jobs
) -> None:
    monkeypatch.setattr(conversion, "INTERVAL_S", 0.05)
    listener, batches = Listener(), g711_batches(1, tmp_path)
    stage.attach(stream, listener)
    (waiting,) = stage._conversions
    for one in batches:
        stream.publish(one)
    async with asyncio.timeout(20):
        await waiting.idle.wait()
    assert jobs.sizes == [1, len(batches) - 1]
    assert len(pictures(listener.batches)) == len(pictures(batches))


async def test_what_waits_when_the_last_recording_goes_holds_nobody_up(
    stage: AudioStage, stream: Stream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jobs: Jobs
) -> None:
    monkeypatch.setattr(conversion, "INTERVAL_S", 0.05)
    listener, batches = Listener(), g711_batches(1, tmp_path)
    stage.attach(stream, listener)
    (waiting,) = stage._conversions
    for one in batches:
        stream.publish(one)
    stage.detach(listener)
    async with asyncio.timeout(20):
        await waiting.idle.wait()
    assert len(jobs.sizes) == 1
    assert listener.batches == []


async def test_a_pause_and_a_split_come_behind_what_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversion, "INTERVAL_S", 1000)
    batches = g711_batches(6, tmp_path)
    async with Rig(tmp_path) as rig:
        stream = new_stream("cam")
        recording = rig.recorder.record(stream, make_plan(tmp_path), requested_by="test")
        await feed(stream, batches[:12])
        await rig.recorder.split(recording)  # a key frame comes each second, with the next batch but two
        await feed(stream, batches[12:17])
        await rig.recorder.pause(recording)
        await feed(stream, batches[17:18])
        await rig.recorder.resume(recording)
        await feed(stream, batches[18:])
        _, segments = await rig.finish(recording)
    found = [len(payloads(segment.path)["video"]) for segment in segments]
    sent = [len(pictures(part)) for part in (batches[:15], batches[15:17], batches[20:])]
    assert found == [sent[0], sent[1] + sent[2]]


def test_reads_of_rtmp_and_writes_of_files_do_not_wait_for_a_job() -> None:
    pump_s = inspect.signature(Pump).parameters["interval_s"].default
    assert GATHER_MS / 1000 < conversion.INTERVAL_S < pump_s


# --------------------------------------------------------------------------------------------- trouble


async def test_a_machine_that_is_too_slow_loses_sound_and_says_so_but_no_picture(
    stage: AudioStage, stream: Stream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch)
    listener = Listener()
    stage.attach(stream, listener)
    batches = g711_batches(12, tmp_path)
    limit = conversion_jobs.LAG_MAX_NS
    while_stuck = [b for b in batches if b.arrival_ns <= limit + 1_500_000_000]
    for one in while_stuck:
        stream.publish(one)
    assert len(pictures(listener.batches)) == len(pictures(while_stuck))
    assert listener.packets(Codec.AAC) == []
    assert listener.gaps == []
    gate.open.set()
    await stage.drain()
    for one in batches[len(while_stuck) :]:
        stream.publish(one)
        await stage.drain()
    stream.end(EndReason.UNPUBLISHED, 0)
    await listener.over()
    passed = pictures(listener.batches)
    assert all(a is b for a, b in zip(pictures(batches), passed, strict=True))
    (gap,) = listener.gaps
    assert gap.reason is GapReason.SLOW_TRANSCODE
    assert gap.start_ms == 200
    assert gap.dropped_packets == stage.counters.dropped_packets == (len(while_stuck) - 1) * 10
    assert gap.dropped_bytes == gap.dropped_packets * 160
    sound = listener.packets(Codec.AAC)
    assert {b.pts - a.pts for a, b in pairwise(sound)} == {1024}
    assert beeps_s(sound)[1:] == pytest.approx([7, 8, 9, 10, 11], abs=MAX_SKEW_S)


async def test_many_bytes_count_as_too_slow_as_well(
    stage: AudioStage, stream: Stream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch)
    monkeypatch.setattr(conversion_jobs, "QUEUE_MAX_BYTES", 10_000)
    listener = Listener()
    stage.attach(stream, listener)
    batches = g711_batches(2, tmp_path)
    for one in batches:
        stream.publish(replace(one, arrival_ns=1))
    assert len(pictures(listener.batches)) == 50
    gate.open.set()
    await stage.drain()
    assert len(listener.gaps) == 1


async def test_a_worker_that_fails_costs_sound_only(
    stage: AudioStage, stream: Stream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(transcoder: AudioTranscoder, packets: Sequence[Packet]) -> list[Packet]:
        raise RuntimeError("no such thing")

    monkeypatch.setattr(AudioTranscoder, "feed", fail)
    listener = await convert(stage, stream, g711_batches(1, tmp_path))
    assert len(pictures(listener.batches)) == 25
    assert stage.counters.failed_packets == 50


async def test_packets_that_nobody_can_decode_are_counted_and_told_once(
    stage: AudioStage, stream: Stream, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """MPEG-TS cannot hold FLAC, and this is none."""
    flac = Track(2, Codec.FLAC, 8000, b"\1", sample_rate=8000, channels=1)
    listener = Listener(replace(MP4, container="ts"))
    stage.attach(stream, listener)
    for one in g711_batches(2, tmp_path):
        packets = [replace(p, track=flac) if p.track.is_audio else p for p in one.packets]
        stream.publish(replace(one, packets=packets))
        await stage.drain()
    stream.end(EndReason.UNPUBLISHED, 0)
    await listener.over()
    assert stage.counters.by_outcome() == {"converted": 0, "failed": 100, "dropped": 0}
    assert listener.packets(Codec.AAC)[-1].pts > 1.9 * 44_100
    assert caplog.text.count("sound cannot be transcoded") == 1


async def test_the_past_comes_first_and_is_converted_too(
    stage: AudioStage, stream: Stream, tmp_path: Path
) -> None:
    shared, begins_early = Listener(), Listener()
    stage.attach(stream, shared)
    batches = g711_batches(3, tmp_path)
    for one in batches[:10]:
        stream.publish(one)
    past = [p for b in batches[5:10] for p in b.packets]
    stage.attach(stream, begins_early, replace(batches[9], packets=past))
    for one in batches[10:]:
        stream.publish(one)
    stream.end(EndReason.UNPUBLISHED, 0)
    await begins_early.over()
    await shared.over()
    assert beeps_s(shared.packets(Codec.AAC)) == pytest.approx([0, 1, 2], abs=MAX_SKEW_S)
    assert beeps_s(begins_early.packets(Codec.AAC)) == pytest.approx([1, 2], abs=MAX_SKEW_S)
    assert pictures(begins_early.batches)[0].pts == 1000
