"""Settling: the first packets of a recording wait until the stream has shown which tracks it has."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

from aircheck.hub.stream import Stream
from aircheck.media.packet import Batch
from aircheck.media.track import Kind
from aircheck.recording.rejoin import find_start

HELD_MAX_BYTES = 8 * 1024 * 1024


class Settling:
    """Holds media until both a video and an audio track have shown themselves, or for `settle_s`.

    `on_due` is called on the loop when the time is over; who has enough then calls `end`.
    """

    def __init__(
        self, stream: Stream, settle_s: float, on_due: Callable[[], None], *, starts_on_keyframe: bool = True
    ) -> None:
        self.held_bytes = 0
        self.skipped_packets = 0
        """What came before the first key frame of a stream that was joined midway."""
        self._stream = stream
        self._settle_s = settle_s
        self._on_due = on_due
        self._held: list[Batch] = []
        self._kinds: set[Kind] = set()
        self._timer: asyncio.TimerHandle | None = None
        self.waits_for_keyframe = starts_on_keyframe and stream.counters.packets > 0
        """A stream that runs already: sound from before the first picture would play to a black screen."""

    def hold(self, batch: Batch) -> bool:
        """Keep a batch; returns whether there is enough to begin with."""
        if self.waits_for_keyframe:
            start = find_start(batch, has_video=self._stream.primary_video is not None)
            if start is None:
                self.skipped_packets += len(batch.packets)
                return False
            self.skipped_packets += start
            batch = replace(batch, packets=batch.packets[start:])
            self.waits_for_keyframe = False
        self._held.append(batch)
        self.held_bytes += batch.size_bytes
        self._kinds.update(packet.track.kind for packet in batch.packets)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._settle_s, self._on_due)
        return self._kinds >= {Kind.VIDEO, Kind.AUDIO} or self.held_bytes > HELD_MAX_BYTES

    def end(self) -> list[Batch]:
        """Wait no longer; returns what was held. Without media nothing ends, and holding goes on."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        held, self._held = self._held, []
        self.held_bytes = 0
        return held
