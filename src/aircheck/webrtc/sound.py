"""Sound for viewers whose browsers do not know its codec: to Opus, once for a stream, however many listen.

Encoding is done by one thread beside the loop. Packets wait for it in order; if it cannot keep up, what waits
longest is lost, and there is silence instead.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from aircheck.containers.audio_codecs import AudioTarget, can_decode
from aircheck.containers.transcode import AudioTranscoder
from aircheck.facts import EndReason
from aircheck.hub.stream import Stream
from aircheck.media import opus
from aircheck.media.packet import Batch, Packet
from aircheck.media.track import Codec, Track

_log = logging.getLogger(__name__)

WAITING_MAX_PACKETS = 256
"""Some five seconds of AAC."""
BITRATE_MODE = 4
"""96 kbit/s of stereo."""

Listener = Callable[[Sequence[Packet]], None]


class Sounds:
    """The sound of streams as Opus. `counters` tell how many packets were transcoded and lost."""

    def __init__(self) -> None:
        self.counters: Counter[str] = Counter()
        self._relays: dict[str, OpusRelay] = {}
        self._thread: ThreadPoolExecutor | None = None

    def __len__(self) -> int:
        return len(self._relays)

    @property
    def thread(self) -> ThreadPoolExecutor:
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="webrtc-sound")
        return self._thread

    def listen(self, stream: Stream, track: Track, listener: Listener) -> None:
        """Hand that track to a listener as Opus, from now on."""
        relay = self._relays.get(stream.id)
        if relay is None:
            relay = self._relays[stream.id] = OpusRelay(self, stream, track)
            stream.subscribe(relay)
            _log.info("sound is transcoded for viewers stream=%s codec=%s", stream.name, track.codec)
        relay.listeners = (*relay.listeners, listener)

    def leave(self, stream: Stream, listener: Listener) -> None:
        relay = self._relays.get(stream.id)
        if relay is None:
            return
        relay.listeners = tuple(one for one in relay.listeners if one != listener)
        if not relay.listeners:
            self.forget(relay)
            stream.unsubscribe(relay)

    def forget(self, relay: OpusRelay) -> None:
        self._relays.pop(relay.stream.id, None)

    def close(self) -> None:
        for relay in list(self._relays.values()):
            relay.stream.unsubscribe(relay)
        self._relays.clear()
        if self._thread is not None:
            self._thread.shutdown(wait=True, cancel_futures=True)
            self._thread = None


def can_become_opus(codec: Codec) -> bool:
    return can_decode(codec)


class OpusRelay:
    """One stream's sound; a live subscriber of the stream."""

    is_live = True

    def __init__(self, sounds: Sounds, stream: Stream, track: Track) -> None:
        """Raises ContainerError when nothing can encode Opus."""
        self.stream = stream
        self.listeners: tuple[Listener, ...] = ()
        self._sounds = sounds
        self._track_id = track.id
        self._transcoder = AudioTranscoder(
            track, AudioTarget(Codec.OPUS, opus.SAMPLE_RATE, 2, bitrate_mode=BITRATE_MODE)
        )
        self._waiting: list[Packet] = []
        self._is_working = False

    def deliver(self, batch: Batch) -> None:
        self._waiting += [packet for packet in batch.packets if packet.track.id == self._track_id]
        lost = len(self._waiting) - WAITING_MAX_PACKETS
        if lost > 0:
            del self._waiting[:lost]
            self._sounds.counters["sound_lost_packets"] += lost
        self._work_on()

    def ended(self, reason: EndReason) -> None:
        self._sounds.forget(self)

    def _work_on(self) -> None:
        if not self._waiting or self._is_working:
            return
        self._is_working = True
        packets, self._waiting = self._waiting, []
        self._sounds.counters["sound_transcoded_packets"] += len(packets)
        loop = asyncio.get_running_loop()
        loop.run_in_executor(self._sounds.thread, self._transcoder.feed, packets).add_done_callback(
            self._done
        )

    def _done(self, work: asyncio.Future[list[Packet]]) -> None:
        self._is_working = False
        if work.cancelled():
            return
        if (error := work.exception()) is not None:
            self._sounds.counters["sound_failed"] += 1
            _log.error("sound cannot be transcoded stream=%s", self.stream.name, exc_info=error)
            return
        for listener in self.listeners:
            listener(work.result())
        self._work_on()
