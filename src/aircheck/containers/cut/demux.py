"""Files of any container as packets of ours, from a time on: libavformat reads, this translates."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from itertools import chain
from math import ceil, floor
from typing import Any

import av

from aircheck.containers.cut.elementary import Lane, turned_up_late
from aircheck.containers.cut.source import Source, ViewFile
from aircheck.containers.lane import BEFORE_EVERYTHING
from aircheck.containers.mpegts.packets import LEAD_TICKS
from aircheck.containers.recover import FileStart, ForeignFileError, read_start
from aircheck.errors import ContainerError
from aircheck.media.packet import Packet
from aircheck.media.track import Track

_FORMATS = "mov,matroska,flv,mpegts,mpeg,avi,ogg,wav,mp3,aac,ac3,flac"
"""Containers that are read: none that leads to other files, as playlists do."""
_HEADER_TELLS_ALL = {"analyzeduration": "500000", "fpsprobesize": "0"}
"""For files of ours: no need to look for tracks and their configurations in megabytes of media."""
_DECODED = {
    ".webm": {"codec_whitelist": "none"},
    ".ts": {"codec_whitelist": "aac,mp3,mp3float,opus,libopus,ac3"},
}
"""Likewise: libavformat decodes pictures to learn how far they are out of order. No codec of WebM has that,
and MPEG-TS has the time of decoding; its sound may say what it is in its frames only."""
_LOOK_BACK_S = (1, 4, 12, 40, 120, 600)
"""Seeking in MPEG-TS knows no key frames, and sound may lie before the picture that it belongs to."""
_MICROSECONDS = 1_000_000
_TS_CLOCK = 90_000
_MARGIN_S = 1
"""Tracks lie so far apart in a file at most."""


class Demuxer:
    """One open file. Times of its packets count from what players show as 0.

    `own` is what a file of ours says of its beginning, None for those of others.
    """

    def __init__(self, container: Any, source: Source) -> None:
        self._container = container
        self._streams = [stream for stream in container.streams if stream.type in ("video", "audio")]
        if not self._streams:
            raise ContainerError(f"{source.path} has neither picture nor sound", remedy="name a media file")
        self.own = _start_of(source)
        if self.own is not None and len(self._streams) < self.own.tracks:
            raise turned_up_late(f"a track of {source.path.name}")
        zero_s = self._zero_s()
        self._lanes = {stream.index: Lane(n, stream, zero_s) for n, stream in enumerate(self._streams)}
        self.tracks = tuple(lane.track for lane in self._lanes.values())
        self._file_zero_s = zero_s
        self._primary = next((track for track in self.tracks if track.is_video), self.tracks[0])

    @classmethod
    @contextmanager
    def open(cls, source: Source) -> Iterator[Demuxer]:
        """Raises ContainerError for what is no media, OSError."""
        file: Any = str(source.path) if source.view is None else ViewFile(source.view())
        try:
            options = {"format_whitelist": _FORMATS}
            if _start_of(source) is not None:
                options |= _DECODED.get(source.path.suffix, {})
                if source.path.suffix != ".ts":
                    options |= _HEADER_TELLS_ALL
            container: Any = av.open(file, options=options)
        except av.FileNotFoundError as error:
            raise FileNotFoundError(error.errno, error.strerror, str(source.path)) from error
        except (av.FFmpegError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ContainerError(
                f"{source.path} is no media file that can be read: {reason}",
                remedy="name a media file; `aircheck recover` makes a recording whole that a crash tore",
            ) from error
        try:
            with container:
                yield cls(container, source)
        finally:
            if isinstance(file, ViewFile):
                file.close()

    @property
    def end_s(self) -> Fraction | None:
        """Where the longest track ends; None if the file does not tell."""
        duration = self._container.duration
        return None if duration is None else Fraction(duration, _MICROSECONDS)

    def packets(self, start_s: Fraction | None, end_s: Fraction | None) -> Iterator[Packet]:
        """The packets that show [start_s, end_s), in the order of the file.

        Pictures from a key frame at `start_s` or before on, sound from that instant. A packet that is shown
        at `end_s` or later is there only where an earlier one needs it.
        """
        if start_s is not None and self.end_s is not None and start_s >= self.end_s:
            return iter(())
        packets = self._demux() if start_s is None else self._from_key(start_s)
        return packets if end_s is None else _until(packets, end_s, self.tracks)

    def _from_key(self, start_s: Fraction) -> Iterator[Packet]:
        for look_back_s in (*_LOOK_BACK_S, start_s):
            packets = self._seek(start_s - look_back_s)
            read, key = self._read_to_key(packets, start_s)
            if key is not None or start_s <= look_back_s:
                break
        return chain(read, packets if key is None else _due_from(key, packets))

    def _read_to_key(
        self, packets: Iterator[Packet], start_s: Fraction
    ) -> tuple[list[Packet], Packet | None]:
        """Read on until the last key frame at `start_s` or before is certain: what is needed from it on.

        Without such a key frame all that was read; of sound alone every frame is one.
        """
        read: list[Packet] = []
        key: Packet | None = None
        last = floor(start_s * self._primary.timescale)
        for packet in packets:
            is_primary = packet.track is self._primary
            if is_primary and packet.is_keyframe and packet.pts <= last:
                key = packet
                read = [key, *_due_from(key, (one for one in read if one.track is not key.track))]
                continue
            read.append(packet)
            if is_primary and packet.dts > last:
                break
        return read if key is None else list(_due_from(key, read)), key

    def _seek(self, time_s: Fraction) -> Iterator[Packet]:
        for lane in self._lanes.values():
            lane.reset()
        stream = next((one for one in self._streams if one.type == "video"), self._streams[0])
        place = int((time_s + self._file_zero_s) / stream.time_base)
        try:
            if time_s <= 0:
                self._container.seek(0, backward=True, any_frame=True)
            else:
                self._container.seek(place, stream=stream, backward=True)
        except av.FFmpegError:
            # Without an index, or before what it begins with.
            self._container.seek(max(0, place), stream=stream, backward=False, any_frame=True)
        return self._demux()

    def _demux(self) -> Iterator[Packet]:
        # A growing or torn file ends in the middle of something.
        with suppress(av.FFmpegError):
            for packet in self._container.demux(self._streams):
                yield from self._lanes[packet.stream.index].translate(packet)
        for lane in self._lanes.values():
            yield from lane.flush()

    def _zero_s(self) -> Fraction:
        """The time in the file that players show as 0."""
        if "mpeg" not in self._container.format.name:
            return Fraction(0)
        if self.own is not None:
            return Fraction(LEAD_TICKS, _TS_CLOCK)
        return Fraction(self._container.start_time or 0, _MICROSECONDS)


def _start_of(source: Source) -> FileStart | None:
    with suppress(ForeignFileError):
        return read_start(source.path)
    return None


def seconds(track: Track, ticks: int) -> Fraction:
    return Fraction(ticks, track.timescale)


def _due_from(key: Packet, packets: Iterable[Packet]) -> Iterator[Packet]:
    """Without what is due on other tracks before the key frame is."""
    begin_s = seconds(key.track, key.pts)
    begins = {key.track.id: BEFORE_EVERYTHING}
    for packet in packets:
        begin = begins.get(packet.track.id)
        if begin is None:
            begin = begins[packet.track.id] = ceil(begin_s * packet.track.timescale)
        if packet.pts >= begin:
            yield packet


def _until(packets: Iterator[Packet], end_s: Fraction, tracks: tuple[Track, ...]) -> Iterator[Packet]:
    """Up to the last packet of each track, in the order of decoding, that is shown before `end_s`.

    Where one needs a later picture, the pictures up to that one are there as well.
    """
    ends = {track.id: ceil(end_s * track.timescale) for track in tracks}
    lasts = {track.id: floor((end_s + _MARGIN_S) * track.timescale) for track in tracks}
    late: dict[int, list[Packet]] = {track.id: [] for track in tracks}
    done: set[int] = set()
    for packet in packets:
        number = packet.track.id
        if packet.pts < ends[number]:
            if late[number]:
                yield from late[number]
                ends[number] = max(ends[number], *(one.pts for one in late[number]))
                late[number] = []
            yield packet
        elif packet.dts < ends[number]:
            late[number].append(packet)
        else:
            done.add(number)
        if len(done) == len(ends) or packet.dts > lasts[number]:
            return
