"""Mixer: the media of several streams as one stream, for a recording of all of them in one file.

Each source keeps tracks of its own in the mix. Where its time lies is decided once: by when, on the wall
clock, its packets came in (`hub.arrival_clock`). To know that, it is listened to for a moment, packet by
packet. From then on its own timestamps rule, so that its sound and its pictures stay in step. Time 0 of the
mix lies before it was made, as the first media may have been on its way by then. A track whose configuration
changes goes on as another one, because one track of a file cannot hold both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from aircheck.facts import EndReason, StreamFacts
from aircheck.hub.stream import Stream
from aircheck.media.packet import Batch, Packet
from aircheck.media.track import Track
from aircheck.recording.rotation import dts_ms

LISTEN_NS = 700_000_000
"""How long a source is listened to, and its media held back, before it is decided where its time lies."""

LEAD_MS = 5000
"""By how much time 0 of the mix lies before it was made: more than media can wait to be read."""

EARLY_MS = 400
"""How much a source's first media may lie before the first of the mix, where its file has its time 0."""


class Mixer:
    """`stream` is the mix, of the facts given.

    `on_tracks_over` is told which tracks of the mix get nothing more, `on_left` of a source that is out of
    the mix, and the tracks that it had there.
    """

    def __init__(
        self,
        facts: StreamFacts,
        *,
        on_tracks_over: Callable[[Sequence[Track]], None],
        on_left: Callable[[Stream, Sequence[Track]], None],
    ) -> None:
        self.stream = Stream(facts)
        self.stream.on_flush = self._flush
        self.tracks_over = on_tracks_over
        self._on_left = on_left
        self._inputs: dict[str, _Input] = {}
        self._track_count = 0
        self._earliest_ms: int | None = None
        self._last_ms = 0

    @property
    def sources(self) -> tuple[Stream, ...]:
        """In the order in which they came."""
        return tuple(one.source for one in self._inputs.values())

    def add(self, source: Stream) -> None:
        """Take a stream in, from its next key frame on; its sound from now on."""
        if source.id not in self._inputs:
            self._inputs[source.id] = _Input(self, source)
            source.subscribe(self._inputs[source.id])
            source.request_keyframe()

    def remove(self, source: Stream) -> None:
        """Let a stream go, with what it has sent by now; its tracks end."""
        source.flush()
        one = self._inputs.pop(source.id, None)
        if one is not None:
            source.unsubscribe(one)
            one.release()
            self.tracks_over(one.tracks)
            self._on_left(source, one.tracks)

    def close(self) -> None:
        for source in self.sources:
            self.remove(source)

    def _flush(self) -> None:
        for one in list(self._inputs.values()):
            one.source.flush()
            one.release()

    # what inputs call

    def publish(self, batch: Batch) -> None:
        self._last_ms = dts_ms(batch.packets[-1])
        self.stream.publish(batch)

    def time_of(self, wall_ns: int) -> int:
        """Where in the mix, in ms, that time lies: at its end when the wall clock was set back since."""
        at_ms = (wall_ns - self.stream.facts.published_ns) // 1_000_000 + LEAD_MS
        return at_ms if at_ms >= (self._earliest_ms or 0) else self._last_ms

    def new_track(self, track: Track) -> Track:
        """A track of the mix for one of a source."""
        self._track_count += 1
        return replace(track, id=self._track_count)

    def has_place_for(self, at_ms: int) -> bool:
        """Whether media of that time is not from before the mix began; the first that asks begins it."""
        if self._earliest_ms is None:
            self._earliest_ms = at_ms - EARLY_MS
        return at_ms >= self._earliest_ms


class _Input:
    """One source of a mix. Implements `Subscriber`."""

    is_live = False

    def __init__(self, mixer: Mixer, source: Stream) -> None:
        self.source = source
        self._mixer = mixer
        self._shift_ms: int | None = None
        self._held: list[Batch] = []
        """Its first media, while it is listened to."""
        self._is_listening = True
        source.keep_time(True)
        self._mixed: dict[int, tuple[Track, Track]] = {}
        """By the id of the source's track: it, and what it is in the mix."""
        self._has_new_track = False
        self._begun: set[int] = set()
        """Tracks of the mix that have media."""

    @property
    def tracks(self) -> tuple[Track, ...]:
        """Those that have media."""
        return tuple(mixed for _, mixed in self._mixed.values() if mixed.id in self._begun)

    @property
    def backlog_ratio(self) -> float:
        return self._mixer.stream.backlog_ratio

    def deliver(self, batch: Batch) -> None:
        if batch.has_data:
            batch = batch.without_data()
        if not batch.packets:
            return
        if not self._is_listening:
            self._mix(batch)
            return
        self._held.append(batch)
        if not 0 <= batch.arrival_ns - self._held[0].arrival_ns < LISTEN_NS:
            self.release()

    def release(self) -> None:
        """Hold nothing back any longer."""
        if self._is_listening:
            self._is_listening = False
            self.source.keep_time(False)
        held, self._held = self._held, []
        for batch in held:
            self._mix(batch)

    def ended(self, reason: EndReason) -> None:
        self._mixer.remove(self.source)

    def _mix(self, batch: Batch) -> None:
        if self._shift_ms is None:
            self._shift_ms = self._place_of(batch)
        packets = [moved for packet in batch.packets if (moved := self._moved(packet)) is not None]
        if packets:
            size_bytes = sum(len(packet.data) for packet in packets)
            is_new, self._has_new_track = self._has_new_track, False
            self._mixer.publish(replace(batch, packets=packets, size_bytes=size_bytes, tracks_changed=is_new))

    def _place_of(self, batch: Batch) -> int:
        """By how much, in ms, this and all that follows is moved."""
        zero_ns = self.source.arrival_clock.zero_ns
        assert zero_ns is not None, "media came"
        latest_ms = max(map(dts_ms, batch.packets))
        return self._mixer.time_of(zero_ns + latest_ms * 1_000_000) - latest_ms

    def _moved(self, packet: Packet) -> Packet | None:
        """The packet in the mix; None for one that has no place there."""
        assert self._shift_ms is not None
        track = self._track_of(packet.track)
        if track.id not in self._begun:
            if not self._may_begin(packet, dts_ms(packet) + self._shift_ms):
                return None
            self._begun.add(track.id)
            self._has_new_track = True
        shift = self._shift_ms * track.timescale // 1000
        return Packet(track, packet.pts + shift, packet.dts + shift, packet.is_keyframe, packet.data)

    def _may_begin(self, packet: Packet, at_ms: int) -> bool:
        if packet.track.is_video and not packet.is_keyframe:
            return False
        return self._mixer.has_place_for(at_ms)

    def _track_of(self, track: Track) -> Track:
        known = self._mixed.get(track.id)
        if known is not None:
            if known[0] is track or known[0] == track:
                return known[1]
            self._mixer.tracks_over((known[1],))
        mixed = self._mixer.new_track(track)
        self._mixed[track.id] = track, mixed
        return mixed
