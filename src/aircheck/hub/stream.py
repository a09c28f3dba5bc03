"""Stream: a named live source, fed by one publisher and drained by any number of subscribers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from aircheck.facts import EndReason, StreamFacts, TrackFacts
from aircheck.hub.arrival_clock import ArrivalClock
from aircheck.hub.back_buffer import BackBuffer
from aircheck.hub.pace import Pace
from aircheck.hub.subscriber import Subscriber
from aircheck.media.packet import Batch
from aircheck.media.track import DATA_TRACK, Track

_log = logging.getLogger(__name__)

RATE_SPAN_NS = 2_000_000_000


@dataclass(slots=True)
class StreamCounters:
    """What passed through a stream since it was published."""

    packets: int = 0
    size_bytes: int = 0
    batches: int = 0
    subscriber_errors: int = 0
    held_back_ns: int = 0
    """Time in which its publisher had to wait."""


class Stream:
    """One publication. `publish` is called once a read with all that the read brought.

    `on_demand` is told when the stream begins or ceases to be awaited, by live subscribers for the most part:
    the publisher reads its socket as bytes arrive in the one case and a few times a second in the other.

    The back buffer fills from the first live subscriber on: most streams are recorded and never watched, and
    keeping the last seconds of each would be most of the memory of such a node, and a tenth of its CPU time.
    So the first viewer waits for a key frame; whoever comes after starts at once.
    """

    def __init__(
        self,
        facts: StreamFacts,
        *,
        back_buffer_bytes: int = 0,
        on_demand: Callable[[bool], None] | None = None,
        on_close: Callable[[EndReason], None] | None = None,
    ) -> None:
        self.facts = facts
        self.tracks: tuple[Track, ...] = ()
        self.counters = StreamCounters()
        self.first_arrival_ns = 0
        self.last_arrival_ns = 0
        self.arrival_clock = ArrivalClock()
        self.pace = Pace()
        self.back_buffer = BackBuffer(back_buffer_bytes)
        self.notices: Callable[[], Mapping[str, int]] = dict
        """What was odd in its media so far, by kind; whoever feeds the stream puts its counters here."""
        self.on_keyframe_wanted: Callable[[], None] | None = None
        """Asks the publisher for a key frame; None where it cannot be asked, as over RTMP."""
        self.on_flush: Callable[[], None] | None = None
        """Has the publisher hand over what it still holds; None where it holds nothing."""
        self.wants_recording: bool | None = None
        """What its publisher asked for; None where it did not say."""
        self.publish_type = "live"
        """How it was published, in the words of RTMP: `live`, `record`, `append`, `appendWithGap`."""
        self.on_status: Callable[[str, str, str], None] | None = None
        """Tells the publisher level, code and description, in RTMP's words; None where it cannot be told."""
        self.farewell: asyncio.Future[None] | None = None
        """Once done, the publisher has been told all there is to tell; None when nothing will be told."""
        self._rate_from: tuple[int, int] = (0, 0)
        self._rate_bps = 0
        self._timekeepers = 0
        self._subscribers: tuple[Subscriber, ...] = ()
        self._on_demand = on_demand
        self._on_close = on_close

    @property
    def id(self) -> str:
        """The media session: one publication."""
        return self.facts.id

    @property
    def name(self) -> str:
        return self.facts.name

    @property
    def is_live(self) -> bool:
        return self.facts.ended_ns is None

    @property
    def is_watched(self) -> bool:
        return any(subscriber.is_live for subscriber in self._subscribers)

    @property
    def is_awaited(self) -> bool:
        """Whether each packet is wanted, or its time, as it arrives."""
        return self._timekeepers > 0 or self.is_watched

    @property
    def subscribers(self) -> tuple[Subscriber, ...]:
        return self._subscribers

    @property
    def primary_video(self) -> Track | None:
        """The track at whose key frames segments begin and viewers start."""
        return next((track for track in self.tracks if track.is_video), None)

    @property
    def backlog_ratio(self) -> float:
        """How full the fullest queue of its subscribers is; from 1 on media is dropped."""
        return max((subscriber.backlog_ratio for subscriber in self._subscribers), default=0.0)

    def publish(self, batch: Batch) -> None:
        """Hand a batch to every subscriber. One that fails is counted and let go; the others never notice."""
        counters = self.counters
        counters.packets += len(batch.packets)
        counters.size_bytes += batch.size_bytes
        counters.batches += 1
        self.last_arrival_ns = batch.arrival_ns
        self._note_arrival(batch)
        if batch.tracks_changed or batch.has_data:
            self._know(packet.track for packet in batch.packets)
        if not self.first_arrival_ns:
            self.first_arrival_ns = batch.arrival_ns
        if self.back_buffer.is_kept:
            self.back_buffer.add(batch, has_video=self.primary_video is not None)
        for subscriber in self._subscribers:
            try:
                subscriber.deliver(batch)
            except Exception:
                self._drop_faulty(subscriber)

    def announce(self, track: Track) -> None:
        """Packets of this track are to come: whoever wants to watch may know it before."""
        self._know((track,))

    def flush(self) -> None:
        """Somebody stops who wants all that has come by now."""
        if self.on_flush is not None and self.is_live:
            self.on_flush()

    def bitrate_bps(self) -> int:
        """The bit rate of the last seconds, by arrival; asked for by people, so computed when asked."""
        from_ns, from_bytes = self._rate_from
        span_ns = self.last_arrival_ns - (from_ns or self.first_arrival_ns)
        if span_ns >= RATE_SPAN_NS:
            self._rate_bps = (self.counters.size_bytes - from_bytes) * 8_000_000_000 // span_ns
            self._rate_from = (self.last_arrival_ns, self.counters.size_bytes)
        return self._rate_bps

    def subscribe(self, subscriber: Subscriber) -> None:
        was_awaited = self.is_awaited
        self._subscribers = (*self._subscribers, subscriber)
        if subscriber.is_live:
            self.back_buffer.keep()
        self._tell_demand(was_awaited)

    def unsubscribe(self, subscriber: Subscriber) -> None:
        """Let a subscriber go; one that is not there is no error, because an end and a stop may cross."""
        was_awaited = self.is_awaited
        self._subscribers = tuple(other for other in self._subscribers if other is not subscriber)
        self._tell_demand(was_awaited)

    def keep_time(self, is_wanted: bool) -> None:
        """Have each packet's arrival seen as it happens, until the call with False that goes with it."""
        was_awaited = self.is_awaited
        self._timekeepers += 1 if is_wanted else -1
        self._tell_demand(was_awaited)

    def request_keyframe(self) -> None:
        """Somebody waits for a key frame. Publishers may take a while, or may not be able to send one."""
        if self.on_keyframe_wanted is not None and self.is_live:
            self.on_keyframe_wanted()

    def end(self, reason: EndReason, at_ns: int) -> None:
        """The publication is over: every subscriber is told once, and the stream keeps its facts."""
        if not self.is_live:
            return
        self.facts = replace(self.facts, ended_ns=at_ns, end_reason=reason, tracks=self.track_facts())
        self.back_buffer.clear()
        subscribers, self._subscribers = self._subscribers, ()
        for subscriber in subscribers:
            try:
                subscriber.ended(reason)
            except Exception:
                self._count_fault(subscriber)

    def close(self, reason: EndReason) -> None:
        """Ask the publisher to go; the stream ends when it has gone."""
        if self._on_close is not None:
            self._on_close(reason)

    def track_facts(self) -> tuple[TrackFacts, ...]:
        return tuple(describe_track(track) for track in self.tracks)

    def _note_arrival(self, batch: Batch) -> None:
        """By the last audio or video packet: the times of data are what a peer likes."""
        for packet in reversed(batch.packets):
            if packet.track is not DATA_TRACK:
                media_ns = packet.dts * 1_000_000_000 // packet.track.timescale
                self.arrival_clock.note(batch.arrival_ns, media_ns)
                self.pace.note(batch.arrival_ns, media_ns, len(batch.packets))
                return

    def _know(self, tracks: Iterable[Track]) -> None:
        known = {track.id: track for track in self.tracks}
        known.update((track.id, track) for track in tracks)
        self.tracks = tuple(known[track_id] for track_id in sorted(known))

    def _tell_demand(self, was_awaited: bool) -> None:
        is_awaited = self.is_awaited
        if is_awaited != was_awaited and self._on_demand is not None and self.is_live:
            self._on_demand(is_awaited)

    def _drop_faulty(self, subscriber: Subscriber) -> None:
        self._count_fault(subscriber)
        self.unsubscribe(subscriber)
        try:
            subscriber.ended(EndReason.INTERNAL_ERROR)
        except Exception:
            self._count_fault(subscriber)

    def _count_fault(self, subscriber: Subscriber) -> None:
        self.counters.subscriber_errors += 1
        _log.exception(
            "subscriber failed stream=%s session=%s subscriber=%r",
            self.name,
            self.facts.session_id,
            subscriber,
        )


def describe_track(track: Track) -> TrackFacts:
    return TrackFacts(
        id=track.id,
        codec=track.codec.value,
        kind=track.kind.value,
        timescale=track.timescale,
        width=track.width,
        height=track.height,
        sample_rate=track.sample_rate,
        channels=track.channels,
    )
