"""AudioConversion: between a stream and its recordings, the sound that their container cannot hold.

Theory of operation
    passing     Every track is of a codec that is kept: batches go through untouched, at once. Each track is
                looked at when it first shows itself, so one that comes late or changes its codec is treated
                like the first, and stays what it was found to be.
    converting  Batches wait until the last job began `INTERVAL_S` ago and while a worker thread transcodes
                their sound, one job at a time so that order is kept, and go on whole: pictures untouched,
                sound in its new codec merged in by time. The some 50 ms that an encoder holds back come with
                the next batch, the last of them with the end.
    dropping    The machine is too slow for it (`LAG_MAX_NS` of arrival, or `QUEUE_MAX_BYTES`): pictures and
                sound that needs no work pass at once, the rest is dropped until the job in flight is done.
                Recordings are told of the hole (reason `slow_transcode`), and the transcoder fills it with
                silence, so that the sound behind it is not late.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections.abc import Iterable
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Protocol

from aircheck.clock import Clock
from aircheck.facts import EndReason, GapFacts
from aircheck.hub.stream import Stream
from aircheck.hub.subscriber import Subscriber
from aircheck.media.packet import Batch, Packet
from aircheck.media.track import Track
from aircheck.recording.audio_policy import AudioPolicy
from aircheck.recording.conversion_jobs import Job, Loss, Run, SoundWorker, Waiting

_log = logging.getLogger(__name__)

INTERVAL_S = 0.3
"""From the begin of one job to that of the next: to wake a thread for the 20 ms of sound that a drain of
WebRTC brings costs more than to transcode them. Batches of RTMP, 400 ms apart, do not wait. Longer than what
a file gathers for a write (`segment.GATHER_MS`), so that what comes of a job does not wait for another."""

DECIDED_MAX = 64
"""Tracks to keep a decision of; a publisher may change its configuration again and again."""


class Recipient(Subscriber, Protocol):
    """A recording, as a conversion sees it."""

    def note_gap(self, gap: GapFacts) -> None:
        """Sound is missing; told when the hole ends."""
        ...


@dataclass(slots=True)
class ConversionCounters:
    """What all conversions did and what they could not do, in packets of their sources."""

    converted_packets: int = 0
    failed_packets: int = 0
    """Nobody could decode them: there is silence instead."""
    dropped_packets: int = 0
    """The machine was too slow: there is silence instead."""

    def by_outcome(self) -> dict[str, int]:
        return {
            "converted": self.converted_packets,
            "failed": self.failed_packets,
            "dropped": self.dropped_packets,
        }


class Workshop(Protocol):
    """What the conversions of a node share."""

    @property
    def threads(self) -> Executor: ...
    @property
    def counters(self) -> ConversionCounters: ...
    @property
    def clock(self) -> Clock: ...
    def detach(self, recording: Recipient) -> None: ...
    def forget(self, conversion: AudioConversion) -> None:
        """Its stream has ended."""
        ...


class AudioConversion:
    """Between a stream and those of its recordings that want the same sound. Lives on the loop."""

    is_live = False

    def __init__(self, workshop: Workshop, stream: Stream, policy: AudioPolicy) -> None:
        self.stream = stream
        self.policy = policy
        self.recipients: tuple[Recipient, ...] = ()
        self.idle = asyncio.Event()
        """No sound waits to be converted."""
        self.idle.set()
        self._workshop = workshop
        self._target = policy.target
        self._sound = SoundWorker(self._target)
        self._waiting = Waiting()
        self._job: Job | None = None
        self._began_s = float("-inf")
        """When the last job did."""
        self._timer: asyncio.TimerHandle | None = None
        """Begins the next one."""
        self._is_hurried = False
        self._loss: Loss | None = None
        self._tracks: dict[int, Track] = {}
        """What has been passed on: a new object is a changed track."""
        self._decided: dict[int, tuple[Track, bool]] = {}
        """By the object's id: tracks seen so far, and whether they are transcoded."""
        self._end_reason: EndReason | None = None
        self._is_converting = False
        self._has_failed = False
        self._look_at_tracks()

    # what the stream calls

    @property
    def backlog_ratio(self) -> float:
        """What waits here will wait for the disk next."""
        behind = max((recipient.backlog_ratio for recipient in self.recipients), default=0.0)
        return self._waiting.backlog_ratio(self._workshop.clock.wall_ns()) + behind

    def deliver(self, batch: Batch) -> None:
        if batch.tracks_changed:
            self._look_at_tracks()
        if not self._is_converting:
            self._pass_on(batch)
            return
        if self._loss is not None:
            self._pass_without_sound(batch)
            return
        self._waiting.add(batch)
        self.idle.clear()
        if self._job is None:
            self._start_when_due()
        elif self._waiting.is_too_long(batch.arrival_ns):
            self._fall_behind()

    def deliver_past(self, batch: Batch, recipient: Recipient) -> None:
        """What one recipient gets before it gets what the others get; before the first of those."""
        if self._is_converting:
            self.deliver(batch)
        else:
            recipient.deliver(batch)

    def ended(self, reason: EndReason) -> None:
        self._end_reason = reason
        if not self._is_converting:
            self._conclude()
        else:
            self.hurry()

    def hurry(self) -> None:
        """Convert what has come without waiting for more, until all is done."""
        if self.idle.is_set() and self._end_reason is None:
            return
        self._is_hurried = True
        if self._job is None:
            self._start_when_due()

    def _look_at_tracks(self) -> None:
        if len(self._decided) > DECIDED_MAX:
            self._decided.clear()  # the same will be decided again for those that are still there
        for track in self.stream.tracks:
            if not self._is_converting and self._is_transcoded(track):
                self._is_converting = True

    def _is_transcoded(self, track: Track) -> bool:
        """Decided when the track first shows itself, for as long as it lasts."""
        known = self._decided.get(id(track))
        if known is not None:
            return known[1]
        is_wanted = track.is_audio and self.policy.converts(track, self.stream.tracks)
        self._decided[id(track)] = track, is_wanted
        if is_wanted:
            _log.info(
                "sound is transcoded stream=%s track=%d from=%s to=%s sample_rate=%d channels=%d",
                self.stream.name,
                track.id,
                track.codec,
                self._target.codec,
                self._target.sample_rate,
                self._target.channels,
            )
        return is_wanted

    # jobs

    def _start_when_due(self) -> None:
        loop = asyncio.get_running_loop()
        due_s = self._began_s + INTERVAL_S
        if self._is_hurried or loop.time() >= due_s:
            self._start_job()
        elif self._timer is None:
            self._timer = loop.call_at(due_s, self._go_on)

    def _start_job(self) -> None:
        """Give the worker what waits; when nothing does any more and the stream has ended, the rest."""
        self._stop_timer()
        batches = self._waiting.take_some()
        is_last = self._end_reason is not None and not self._waiting.batches
        job = self._job = Job(batches, [self._runs(batch) for batch in batches], is_last)
        self.idle.clear()
        loop = asyncio.get_running_loop()
        self._began_s = loop.time()
        work = loop.run_in_executor(self._workshop.threads, self._work, job)
        work.add_done_callback(lambda done: self._take_result(job, done))

    def _runs(self, batch: Batch) -> list[Run]:
        groups = groupby((p for p in batch.packets if p.track.is_audio), key=lambda packet: id(packet.track))
        runs = [list(group) for _, group in groups]
        return [Run(run, self._is_transcoded(run[0].track)) for run in runs]

    def _work(self, job: Job) -> list[list[Packet]]:
        return self._sound.convert(job.sounds, is_last=job.is_last)

    def _take_result(self, job: Job, done: asyncio.Future[list[list[Packet]]]) -> None:
        self._job = None
        sounds = self._result(job, done)
        for batch, sound in zip(job.batches, sounds, strict=False):
            self._pass_merged(job, batch, sound)
        self._end_loss()
        if job.is_last:
            self._pass_rest(job, sounds[-1] if len(sounds) > len(job.batches) else [])
            self._conclude()
        self._go_on()

    def _go_on(self) -> None:
        """No job is under way: see to what came meanwhile, if anybody wants it."""
        self._stop_timer()
        if self.recipients and (self._waiting.batches or self._end_reason is not None):
            self._start_when_due()
        else:
            self._is_hurried = False
            self.idle.set()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _result(self, job: Job, done: asyncio.Future[list[list[Packet]]]) -> list[list[Packet]]:
        """What the worker made; if it failed, sound that needed no work."""
        error = asyncio.CancelledError() if done.cancelled() else done.exception()
        if error is None:
            self._count(job.transcoded_packets, self._sound.take_failed())
            return done.result()
        self._count(job.transcoded_packets, job.transcoded_packets, error)
        return [[p for run in runs if not run.is_transcoded for p in run.packets] for runs in job.sounds]

    def _count(self, packets: int, failed: int, error: BaseException | None = None) -> None:
        counters = self._workshop.counters
        counters.converted_packets += packets - failed
        counters.failed_packets += failed
        if failed and (error is not None or not self._has_failed):
            self._has_failed = True
            _log.error(
                "sound cannot be transcoded, there is silence stream=%s packets=%d error=%r",
                self.stream.name,
                failed,
                error,
            )

    # going on

    def _pass_merged(self, job: Job, batch: Batch, sound: list[Packet]) -> None:
        if job.is_released:
            passed = {id(packet.track) for packet in batch.packets}
            rest = [packet for packet in sound if id(packet.track) not in passed]
            self._pass_changed(replace(batch, has_video_keyframe=False), rest)
        else:
            others = [packet for packet in batch.packets if not packet.track.is_audio]
            self._pass_changed(batch, list(heapq.merge(others, sound, key=_dts_us)))

    def _pass_rest(self, job: Job, sound: list[Packet]) -> None:
        arrival_ns = job.batches[-1].arrival_ns if job.batches else self._workshop.clock.wall_ns()
        self._pass_changed(Batch([], arrival_ns, 0), sound)

    def _pass_changed(self, batch: Batch, packets: list[Packet]) -> None:
        """Pass these packets on in the batch's place."""
        if not packets:
            return
        size_bytes = sum(len(packet.data) for packet in packets)
        has_new = self._take_new_tracks(packets)
        self._pass_on(replace(batch, packets=packets, size_bytes=size_bytes, tracks_changed=has_new))

    def _take_new_tracks(self, packets: Iterable[Packet]) -> bool:
        has_new = False
        for packet in packets:
            track = packet.track
            if self._tracks.get(track.id) is not track:
                self._tracks[track.id] = track
                has_new = True
        return has_new

    def _pass_on(self, batch: Batch) -> None:
        for recipient in self.recipients:
            try:
                recipient.deliver(batch)
            except Exception:
                self._drop_faulty(recipient)

    def _drop_faulty(self, recipient: Recipient) -> None:
        """As the stream does: one that fails is counted and let go; the others never notice."""
        self.stream.counters.subscriber_errors += 1
        _log.exception("recording failed stream=%s recording=%r", self.stream.name, recipient)
        self._workshop.detach(recipient)
        recipient.ended(EndReason.INTERNAL_ERROR)

    def _conclude(self) -> None:
        assert self._end_reason is not None
        self._workshop.forget(self)
        recipients, self.recipients = self.recipients, ()
        for recipient in recipients:
            recipient.ended(self._end_reason)

    # falling behind

    def _fall_behind(self) -> None:
        """Let all that waits go on without the sound that is not ready."""
        assert self._job is not None
        _log.warning("transcoding is too slow: sound is dropped stream=%s", self.stream.name)
        if not self._job.is_released:
            self._job.is_released = True
            for batch in self._job.batches:
                self._pass_changed(batch, [p for p in batch.packets if not self._is_transcoded(p.track)])
        for batch in self._waiting.take_all():
            self._pass_without_sound(batch)

    def _pass_without_sound(self, batch: Batch) -> None:
        kept = []
        for packet in batch.packets:
            if self._is_transcoded(packet.track):
                self._lose(packet)
            else:
                kept.append(packet)
        self._pass_changed(batch, kept)

    def _lose(self, packet: Packet) -> None:
        at_ms = packet.pts * 1000 // packet.track.timescale
        if self._loss is None:
            self._loss = Loss(self._workshop.clock.wall_ns(), at_ms, at_ms)
        loss = self._loss
        loss.end_ms = max(loss.end_ms, at_ms)
        loss.packets += 1
        loss.size_bytes += len(packet.data)
        self._workshop.counters.dropped_packets += 1

    def _end_loss(self) -> None:
        loss, self._loss = self._loss, None
        if loss is not None:
            for recipient in self.recipients:
                recipient.note_gap(loss.facts())


def _dts_us(packet: Packet) -> int:
    return packet.dts * 1_000_000 // packet.track.timescale
