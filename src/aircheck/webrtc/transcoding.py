"""What browsers cannot take as it is: other sound becomes Opus, pictures become H.264 without B-frames.

Done once for a stream, however many watch, by threads beside the loop, and only while somebody needs it.
Packets wait in order; if the machine cannot keep up, what waits is lost: sound becomes silence, pictures go
on at the next key frame.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from aircheck.containers.audio_codecs import AudioTarget
from aircheck.containers.transcode import AudioTranscoder
from aircheck.containers.video_transcode import VideoTranscoder
from aircheck.facts import EndReason
from aircheck.hub.stream import Stream
from aircheck.media import opus
from aircheck.media.packet import Batch, Packet
from aircheck.media.track import Codec, Kind, Track

_log = logging.getLogger(__name__)

WAITING_MAX_PACKETS = 256
"""Some five seconds of AAC, and eight of pictures."""
THREADS = 2
SOUND_BITRATE_MODE = 4
"""96 kbit/s of stereo."""

Listener = Callable[[Sequence[Packet]], None]


class Transcoder(Protocol):
    def feed(self, packets: Iterable[Packet]) -> list[Packet]: ...


class Transcoding:
    """The transcoded tracks of all streams. `counters` tell of packets by kind and by what became of them."""

    def __init__(self) -> None:
        self.counters: Counter[str] = Counter()
        self._relays: dict[tuple[str, Kind], Relay] = {}
        self._threads: ThreadPoolExecutor | None = None
        self._reordered: set[str] = set()
        """Streams that were seen to have B-frames."""

    def __len__(self) -> int:
        return len(self._relays)

    @property
    def threads(self) -> ThreadPoolExecutor:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="webrtc-transcoding")
        return self._threads

    def has_b_frames(self, stream: Stream) -> bool:
        return stream.id in self._reordered

    def note_b_frames(self, stream: Stream) -> None:
        self._reordered.add(stream.id)

    def listen(self, stream: Stream, track: Track, listener: Listener) -> None:
        """Hand a track to a listener as Opus or as H.264, from now on. Raises ContainerError."""
        relay = self._relays.get((stream.id, track.kind))
        if relay is None:
            relay = self._relays[stream.id, track.kind] = Relay(self, stream, track)
            stream.subscribe(relay)
            log = _log.warning if track.is_video else _log.info
            log("transcoded for viewers stream=%s codec=%s", stream.name, track.codec)
        relay.listeners = (*relay.listeners, listener)
        relay.want_keyframe()

    def want_keyframe(self, stream: Stream) -> None:
        relay = self._relays.get((stream.id, Kind.VIDEO))
        if relay is not None:
            relay.want_keyframe()

    def leave(self, stream: Stream, listener: Listener) -> None:
        for kind in (Kind.AUDIO, Kind.VIDEO):
            relay = self._relays.get((stream.id, kind))
            if relay is not None and listener in relay.listeners:
                relay.listeners = tuple(one for one in relay.listeners if one != listener)
                if not relay.listeners:
                    self.forget(relay)
                    stream.unsubscribe(relay)

    def forget(self, relay: Relay) -> None:
        self._relays.pop((relay.stream.id, relay.kind), None)
        if not relay.stream.is_live:
            self._reordered.discard(relay.stream.id)

    def close(self) -> None:
        for relay in list(self._relays.values()):
            relay.stream.unsubscribe(relay)
        self._relays.clear()
        if self._threads is not None:
            self._threads.shutdown(wait=True, cancel_futures=True)
            self._threads = None


class Relay:
    """One track of one stream; a live subscriber of the stream."""

    is_live = True
    backlog_ratio = 0.0

    def __init__(self, owner: Transcoding, stream: Stream, track: Track) -> None:
        """Raises ContainerError when nothing can be made of the track."""
        self.stream = stream
        self.kind = track.kind
        self.listeners: tuple[Listener, ...] = ()
        self._owner = owner
        self._track_id = track.id
        self._video = VideoTranscoder(track) if track.is_video else None
        self._transcoder: Transcoder = self._video or _to_opus(track)
        self._waiting: list[Packet] = []
        self._needs_key = track.is_video
        self._is_working = False

    def want_keyframe(self) -> None:
        if self._video is not None:
            self._video.wants_keyframe = True

    def deliver(self, batch: Batch) -> None:
        for packet in batch.packets:
            if packet.track.id == self._track_id and (packet.is_keyframe or not self._needs_key):
                self._needs_key = False
                self._waiting.append(packet)
        if len(self._waiting) > WAITING_MAX_PACKETS:
            self._fall_behind()
        self._work_on()

    def ended(self, reason: EndReason) -> None:
        self._owner.forget(self)

    def _fall_behind(self) -> None:
        self._owner.counters[f"{self.kind}_lost_packets"] += len(self._waiting)
        self._waiting = []
        self._needs_key = self._video is not None
        _log.warning("transcoding cannot keep up stream=%s kind=%s", self.stream.name, self.kind)

    def _work_on(self) -> None:
        if not self._waiting or self._is_working:
            return
        self._is_working = True
        packets, self._waiting = self._waiting, []
        self._owner.counters[f"{self.kind}_transcoded_packets"] += len(packets)
        loop = asyncio.get_running_loop()
        work = loop.run_in_executor(self._owner.threads, self._transcoder.feed, packets)
        work.add_done_callback(self._done)

    def _done(self, work: asyncio.Future[list[Packet]]) -> None:
        self._is_working = False
        if work.cancelled():
            return
        if (error := work.exception()) is not None:
            self._owner.counters[f"{self.kind}_failed"] += 1
            _log.error("cannot transcode stream=%s kind=%s", self.stream.name, self.kind, exc_info=error)
            return
        for listener in self.listeners:
            listener(work.result())
        self._work_on()


def _to_opus(track: Track) -> AudioTranscoder:
    target = AudioTarget(Codec.OPUS, opus.SAMPLE_RATE, 2, bitrate_mode=SOUND_BITRATE_MODE)
    return AudioTranscoder(track, target)
