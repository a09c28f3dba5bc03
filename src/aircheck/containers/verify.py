"""Judging a finished file by decoding all of it: what players would find, found first.

This is libavformat's and libavcodec's word, not ours: the reader shares nothing with our writer.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from aircheck.containers.libav_packets import read_packets
from aircheck.errors import ContainerError

FLASH_LUMA = 200
"""A picture is a flash when more than half of it is brighter; white is 235, the lightest bar 180."""

BEEP_LEVEL = 0.08
"""Sample values (full scale is 1) above which there is sound."""

_MIN_SILENCE_S = Fraction(1, 20)
_LUMA_STEP = 8
"""Every so many-th luma sample of every so many-th line is looked at."""


@dataclass(slots=True)
class TrackVerdict:
    """One track: packets found, frames decoded, the time from its first packet to the end of its last."""

    kind: str
    codec: str
    packets: int = 0
    decoded_frames: int = 0
    keyframes: int = 0
    duration_s: float = 0.0
    errors: list[str] = field(default_factory=list)


@dataclass(slots=True)
class FileVerdict:
    """A file, its tracks, and where picture and sound jump (`flashes_s`, `beeps_s`)."""

    container: str
    size_bytes: int
    duration_s: float
    tracks: list[TrackVerdict] = field(default_factory=list)
    flashes_s: list[float] = field(default_factory=list)
    beeps_s: list[float] = field(default_factory=list)

    def track(self, kind: str) -> TrackVerdict | None:
        """The first track of a kind, `video` or `audio`."""
        return next((track for track in self.tracks if track.kind == kind), None)

    @property
    def errors(self) -> list[str]:
        return [f"{track.kind}: {error}" for track in self.tracks for error in track.errors]

    @property
    def worst_skew_ms(self) -> float | None:
        """How far a beep is from its flash at the worst; positive: the sound is late. None without pairs."""
        pairs = zip(self.flashes_s, self.beeps_s, strict=False)
        skews = [(beep_s - flash_s) * 1000 for flash_s, beep_s in pairs]
        return max(skews, key=abs) if skews else None


def verify_file(path: Path) -> FileVerdict:
    """Demux and decode the whole file. What a packet refuses is noted in its track; blocking, CPU-bound.

    Raises ContainerError when the file cannot be opened at all.
    """
    try:
        container: Any = av.open(str(path))
    except (av.FFmpegError, OSError) as error:
        raise ContainerError(
            f"{path} cannot be read: {error}", remedy="`aircheck recover` makes a torn file whole"
        ) from error
    with container:
        duration_s = (container.duration or 0) / av.time_base
        verdict = FileVerdict(container.format.name, container.size, duration_s)
        _read_all(container, verdict)
    return verdict


def _read_all(container: Any, verdict: FileVerdict) -> None:
    watched = [stream for stream in container.streams if stream.type in ("video", "audio")]
    tracks = {stream.index: TrackVerdict(stream.type, stream.codec_context.name) for stream in watched}
    flashes, beeps = _Onsets(verdict.flashes_s), _Onsets(verdict.beeps_s)
    for packet in read_packets(container, watched):
        track = tracks[packet.stream.index]
        _count(packet, track)
        for frame in _decode(packet, track):
            track.decoded_frames += 1
            if track.kind == "video":
                flashes.video(frame)
            else:
                beeps.audio(frame)
    for stream in watched:
        tracks[stream.index].duration_s = float((stream.duration or 0) * stream.time_base)
    verdict.tracks = list(tracks.values())


def _count(packet: Any, track: TrackVerdict) -> None:
    """The demuxer ends with an empty packet per stream, which only flushes the decoder."""
    if packet.size:
        track.packets += 1
        track.keyframes += packet.is_keyframe


def _decode(packet: Any, track: TrackVerdict) -> list[Any]:
    try:
        frames: list[Any] = packet.decode()
    except av.FFmpegError as error:
        track.errors.append(f"packet {track.packets} (dts {packet.dts}) does not decode: {error}")
        return []
    track.errors += [f"frame at {frame.time} s is damaged" for frame in frames if frame.is_corrupt]
    return frames


class _Onsets:
    """Finds where something begins: the first moment that is loud after one that was quiet."""

    def __init__(self, found: list[float]) -> None:
        self._found = found
        self._was_flash = False
        self._last_sound_s: Fraction | None = None

    def video(self, frame: Any) -> None:
        samples = sorted(_some_luma(frame))
        is_flash = samples[len(samples) // 2] > FLASH_LUMA
        if is_flash and not self._was_flash:
            self._found.append(float(frame.pts * frame.time_base))
        self._was_flash = is_flash

    def audio(self, frame: Any) -> None:
        """Planar or packed floats of the first channel; other sample formats are left out."""
        if frame.format.name not in ("flt", "fltp"):
            return
        channels = 1 if frame.format.is_planar else len(frame.layout.channels)
        samples = array("f", bytes(frame.planes[0])[: 4 * frame.samples * channels])[::channels]
        if max(samples) < BEEP_LEVEL:
            return
        start_s = frame.pts * frame.time_base
        for index, sample in enumerate(samples):
            if abs(sample) >= BEEP_LEVEL:
                self._sound(start_s + Fraction(index, frame.sample_rate))

    def _sound(self, at_s: Fraction) -> None:
        if self._last_sound_s is None or at_s - self._last_sound_s > _MIN_SILENCE_S:
            self._found.append(float(at_s))
        self._last_sound_s = at_s


def _some_luma(frame: Any) -> bytes:
    """Samples spread over the picture; lines may be padded behind its width."""
    luma = frame.planes[0]
    data, stride = memoryview(luma).cast("B"), luma.line_size
    lines = (data[y * stride : y * stride + frame.width] for y in range(0, frame.height, _LUMA_STEP))
    return b"".join(bytes(line[::_LUMA_STEP]) for line in lines)
