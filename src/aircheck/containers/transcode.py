"""Sound from one codec to another, without moving it in time.

Theory of operation
    Packets are decoded; what follows each other without a hole is a *run*, which goes through one resampler.
    A run is anchored where its first sample belongs on the target's time line: if that is behind the last
    sample written, silence fills the hole (packets were lost, or the publisher sent nothing because nobody
    spoke); if it is before, what overlaps is trimmed. Within a run samples are counted, never timed, so that
    the ratio of two sample rates is exact for as long as the run lasts; as soon as the packets' times are
    more than `TOLERANCE_MS` from that count, the run ends and the next one is anchored. So nothing drifts.

    The encoder gets one endless line of samples. Only a hole of more than `MAX_FILL_S` stays one, as it does
    where sound is copied: the encoder is drained, and begins anew behind it.

    A packet that cannot be decoded is counted and sounds as silence; so does a whole track that cannot.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av

from aircheck.containers.audio_codecs import AudioEncoder, AudioTarget, open_decoder
from aircheck.media.packet import Packet
from aircheck.media.timeline import rescale
from aircheck.media.track import Track

TOLERANCE_MS = 2
MAX_FILL_S = 10
_SILENCE_SAMPLES = 1024
_EQUALLY_LOUD = {"rematrix_volume": str(math.sqrt(2))}
"""libswresample spreads mono over two channels at 3 dB less each; a file should be as loud as its source."""


@dataclass(slots=True)
class TranscodeCounters:
    """What was not as it should be. Samples are the target's."""

    decoded_packets: int = 0
    failed_packets: int = 0
    """Packets that the decoder refused."""
    failed_frames: int = 0
    """Decoded sound that the encoder refused: damage that only shows as infinite loudness."""
    filled_samples: int = 0
    """Silence for what was not there."""
    trimmed_samples: int = 0
    """Sound for a time that had been filled already."""
    holes: int = 0
    """Breaks too long for silence."""


class AudioTranscoder:
    """Transcodes one track; `track`, under the id of its source, is what its packets belong to.

    May be used by any thread, by one at a time. A changed source track (same id, other configuration) goes
    into the same output.
    """

    def __init__(self, source: Track, target: AudioTarget) -> None:
        """Raises ContainerError when there is no such encoder; never for a source, however odd."""
        self.counters = TranscodeCounters()
        self._target = target
        self._encoder = AudioEncoder(source.id, target)
        self.track = self._encoder.track
        self._time_base = Fraction(1, target.sample_rate)
        self._end: int | None = None
        """Where the next sample goes, on the target's time line; None before the first."""
        self._excess = 0
        """Samples that the run has yet to lose because their time was over when it began."""
        self._run: _Run | None = None
        self._out: list[Packet] = []
        self._take_source(source)

    def feed(self, packets: Iterable[Packet]) -> list[Packet]:
        """What these packets (all of this track) yield. Never raises."""
        for packet in packets:
            if packet.track is not self._source:
                self._end_run()
                self._take_source(packet.track)
            self._take(packet)
        return self._yield()

    def flush(self) -> list[Packet]:
        """The rest: the source has ended. Later packets begin anew."""
        self._end_run()
        self._restart_encoder()
        return self._yield()

    def _yield(self) -> list[Packet]:
        out, self._out = self._out, []
        return out

    # decoding

    def _take_source(self, source: Track) -> None:
        self._source = source
        try:
            self._decoder: Any = open_decoder(source)
        except (av.FFmpegError, ValueError):
            self._decoder = None

    def _take(self, packet: Packet) -> None:
        frames = self._decode(packet)
        if frames is None:
            self.counters.failed_packets += 1
            self._end_run()
            self._reach(packet.pts)
            return
        self.counters.decoded_packets += 1
        for frame in frames:
            if frame.samples:
                self._place(frame, packet.pts)

    def _decode(self, packet: Packet) -> Sequence[Any] | None:
        if self._decoder is None:
            return None
        data: Any = packet.data
        encoded = av.Packet(data)
        encoded.pts = encoded.dts = packet.pts
        encoded.time_base = Fraction(1, self._source.timescale)
        try:
            frames: Sequence[Any] = self._decoder.decode(encoded)
        except (av.FFmpegError, ValueError):
            return None
        return frames

    # runs

    def _place(self, frame: Any, packet_pts: int) -> None:
        """Put a frame behind its predecessor, or where it belongs."""
        pts = packet_pts if frame.pts is None else frame.pts
        run = self._run
        if run is None or not run.continues(frame, pts):
            self._end_run()
            self._reach(pts)
            run = self._run = _Run(frame, pts, self._source.timescale, self._target)
        for converted in run.convert(frame):
            self._write(converted)

    def _end_run(self) -> None:
        run, self._run = self._run, None
        if run is not None:
            for converted in run.flush():
                self._write(converted)

    def _reach(self, pts: int) -> None:
        """Let the line end at a time of the source: by silence, by a hole, or by losing what comes first."""
        position = rescale(pts, self._source.timescale, self._target.sample_rate)
        missing = position - (position if self._end is None else self._end)
        self._excess = max(0, -missing)
        if missing > MAX_FILL_S * self._target.sample_rate:
            self.counters.holes += 1
            self._restart_encoder()
        elif missing > 0:
            self._fill(missing)
        if self._end is None:
            self._end = position

    def _fill(self, samples: int) -> None:
        self.counters.filled_samples += samples
        while samples > 0:
            part = min(samples, _SILENCE_SAMPLES)
            self._encode(_new_frame(self._target, part))
            samples -= part

    # encoding

    def _write(self, frame: Any) -> None:
        if self._excess:
            trimmed = min(self._excess, frame.samples)
            self._excess -= trimmed
            self.counters.trimmed_samples += trimmed
            if trimmed == frame.samples:
                return
            frame = _without_head(frame, trimmed, self._target)
        self._encode(frame)

    def _encode(self, frame: Any) -> None:
        assert self._end is not None
        frame.pts, frame.time_base = self._end, self._time_base
        self._end += frame.samples
        try:
            self._out += self._encoder.encode(frame)
        except av.FFmpegError:
            self.counters.failed_frames += 1
            self._encoder = self._encoder.renewed()

    def _restart_encoder(self) -> None:
        if self._end is None:
            return
        self._out += self._encoder.drain()
        self._end = None
        self._encoder = self._encoder.renewed()


class _Run:
    """Frames that follow each other without a hole, on their way to the target's format."""

    __slots__ = ("_anchor", "_rate", "_resampler", "_samples", "_shape", "_timescale")

    def __init__(self, frame: Any, pts: int, timescale: int, target: AudioTarget) -> None:
        self._anchor, self._timescale = pts, timescale
        self._samples = 0
        self._rate = frame.sample_rate
        self._shape = _shape(frame)
        is_doubled = frame.layout.name == "mono" and target.layout == "stereo"
        self._resampler = av.AudioResampler(
            target.sample_format,
            target.layout,
            target.sample_rate,
            options=_EQUALLY_LOUD if is_doubled else None,
        )

    def continues(self, frame: Any, pts: int) -> bool:
        """Whether a frame is of the same kind and begins where the last one ended."""
        error = (pts - self._anchor) * self._rate - self._samples * self._timescale
        tolerance = TOLERANCE_MS * self._rate * self._timescale // 1000
        return abs(error) <= tolerance and _shape(frame) == self._shape

    def convert(self, frame: Any) -> Sequence[Any]:
        self._samples += frame.samples
        return self._resampler.resample(frame)

    def flush(self) -> Sequence[Any]:
        return [frame for frame in self._resampler.resample(None) if frame is not None]


def _shape(frame: Any) -> tuple[str, str, int]:
    return frame.format.name, frame.layout.name, frame.sample_rate


def _new_frame(target: AudioTarget, samples: int) -> Any:
    """A frame of silence."""
    frame: Any = av.AudioFrame(target.sample_format, target.layout, samples)
    frame.sample_rate = target.sample_rate
    for plane in frame.planes:
        plane.update(bytes(plane.buffer_size))
    return frame


def _without_head(frame: Any, samples: int, target: AudioTarget) -> Any:
    """The frame without its first samples. Planes may be padded behind their last one."""
    rest = _new_frame(target, frame.samples - samples)
    for old, new in zip(frame.planes, rest.planes, strict=True):
        sample_bytes = new.buffer_size // rest.samples
        new.update(memoryview(old)[samples * sample_bytes : frame.samples * sample_bytes])
    return rest
