"""What an `AudioConversion` keeps in its hands: what waits, what a worker has, what was lost."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from aircheck.containers.audio_codecs import AudioTarget
from aircheck.containers.transcode import AudioTranscoder
from aircheck.facts import GapFacts, GapReason
from aircheck.media.packet import Batch, Packet
from aircheck.media.track import Track

LAG_MAX_NS = 5_000_000_000
QUEUE_MAX_BYTES = 16 * 1024 * 1024
JOB_MAX_PACKETS = 1000
"""Of the batches of one job, some 10 s: where there are more streams than threads, they take turns."""
REPLAY_MAX_PACKETS = 10 * JOB_MAX_PACKETS
"""Of a publisher that can wait: small ones take long, and bytes do not tell."""


@dataclass(frozen=True, slots=True)
class Run:
    """Packets of one track of sound that follow each other, and whether they are transcoded."""

    packets: list[Packet]
    is_transcoded: bool

    @property
    def track(self) -> Track:
        return self.packets[0].track


class SoundWorker:
    """The transcoders of one conversion. Used on worker threads, by one job at a time."""

    def __init__(self, target: AudioTarget) -> None:
        self._target = target
        self._transcoders: dict[int, AudioTranscoder] = {}
        self._failed_packets = 0

    def take_failed(self) -> int:
        """Packets that nobody could decode, since this was last asked; not to be called during a job."""
        failed, self._failed_packets = self._failed_packets, 0
        return failed

    def convert(self, batches: Iterable[Iterable[Run]], *, is_last: bool) -> list[list[Packet]]:
        """The sound of each batch as it is wanted; at the end of the stream, one batch more of rest."""
        converted = [[packet for run in runs for packet in self._convert(run)] for runs in batches]
        if is_last:
            tracks = tuple(self._transcoders)
            converted.append([packet for track_id in tracks for packet in self._flush(track_id)])
        return converted

    def _convert(self, run: Run) -> list[Packet]:
        if not run.is_transcoded:
            return self._flush(run.track.id) + run.packets  # it may have been of another codec before
        transcoder = self._transcoders.get(run.track.id)
        if transcoder is None:
            transcoder = self._transcoders[run.track.id] = AudioTranscoder(run.track, self._target)
        failed_before = transcoder.counters.failed_packets
        converted = transcoder.feed(run.packets)
        self._failed_packets += transcoder.counters.failed_packets - failed_before
        return converted

    def _flush(self, track_id: int) -> list[Packet]:
        transcoder = self._transcoders.pop(track_id, None)
        return transcoder.flush() if transcoder is not None else []


@dataclass(slots=True)
class Job:
    """Batches whose sound is being converted. `is_released`: the rest of them has gone on already."""

    batches: list[Batch]
    sounds: list[list[Run]]
    is_last: bool = False
    is_released: bool = False

    @property
    def transcoded_packets(self) -> int:
        return sum(len(run.packets) for runs in self.sounds for run in runs if run.is_transcoded)


@dataclass(slots=True)
class Loss:
    """Sound dropped since the machine fell behind."""

    at_ns: int
    start_ms: int
    end_ms: int
    packets: int = 0
    size_bytes: int = 0

    def facts(self) -> GapFacts:
        return GapFacts(
            self.start_ms,
            max(0, self.end_ms - self.start_ms),
            GapReason.SLOW_TRANSCODE,
            self.packets,
            self.size_bytes,
            self.at_ns,
        )


@dataclass(slots=True)
class Waiting:
    batches: list[Batch] = field(default_factory=list)
    size_bytes: int = 0

    def add(self, batch: Batch) -> None:
        self.batches.append(batch)
        self.size_bytes += batch.size_bytes

    def take_some(self) -> list[Batch]:
        """The first batches: enough for a job."""
        count, packets = 0, 0
        while count < len(self.batches) and packets < JOB_MAX_PACKETS:
            packets += len(self.batches[count].packets)
            count += 1
        taken, self.batches = self.batches[:count], self.batches[count:]
        self.size_bytes -= sum(batch.size_bytes for batch in taken)
        return taken

    def take_all(self) -> list[Batch]:
        taken, self.batches, self.size_bytes = self.batches, [], 0
        return taken

    def backlog_ratio(self, now_ns: int) -> float:
        """Of what may wait; beyond 1 it may be too long."""
        if not self.batches:
            return 0.0
        packets = sum(len(batch.packets) for batch in self.batches)
        waited_ns = now_ns - self.batches[0].arrival_ns
        return max(self.size_bytes / QUEUE_MAX_BYTES, packets / REPLAY_MAX_PACKETS, waited_ns / LAG_MAX_NS)

    def is_too_long(self, now_ns: int) -> bool:
        if not self.batches:
            return False
        return self.size_bytes > QUEUE_MAX_BYTES or now_ns - self.batches[0].arrival_ns > LAG_MAX_NS
