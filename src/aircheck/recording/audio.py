"""AudioStage: the sound of every stream as each of its recordings wants it.

Two decisions are made at different times. What happens to sound is decided track by track, when a track first
shows itself (`AudioPolicy`, by the container that is wanted and the pictures known by then): a stream cannot
wait until all its tracks are there. Which container a file really gets is decided when it is opened, because
that depends on all of its tracks (`Recorder`): pictures are never transcoded, so they may need another one,
which then holds the sound too, whatever was made of it.

Recordings of one stream that want the same share one conversion, which is the stream's only subscriber; only
one that begins in the past has its own, when there is something to convert.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from aircheck.clock import Clock
from aircheck.hub.stream import Stream
from aircheck.media.packet import Batch
from aircheck.recording.audio_policy import AudioPolicy
from aircheck.recording.conversion import AudioConversion, ConversionCounters, Recipient
from aircheck.recording.plan import RecordingPlan

CATCH_UP_S = 1.0
"""How long the end of a recording may wait for sound that is being converted."""


class PlannedRecipient(Recipient, Protocol):
    @property
    def plan(self) -> RecordingPlan: ...


class AudioStage:
    """All conversions of a node, and the threads that they share."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.counters = ConversionCounters()
        self._threads: ThreadPoolExecutor | None = None
        self._conversions: set[AudioConversion] = set()
        self._shared: dict[tuple[Stream, AudioPolicy], AudioConversion] = {}

    def __len__(self) -> int:
        return len(self._conversions)

    def attach(self, stream: Stream, recording: PlannedRecipient, past: Batch | None = None) -> None:
        """Subscribe a recording to a stream whose sound it gets as its plan says.

        `past` is what the recording gets of the time before. Raises ContainerError for sound that no encoder
        makes.
        """
        policy = AudioPolicy.of(recording.plan)
        if past is not None and any(policy.converts(t, stream.tracks) for t in stream.tracks if t.is_audio):
            # Encoders go forward only: who begins in the past needs one of its own.
            conversion = self._new_conversion(stream, policy)
        else:
            conversion = self._shared.get((stream, policy)) or self._new_conversion(stream, policy)
            self._shared[stream, policy] = conversion
        if past is not None:
            conversion.deliver_past(past, recording)
        conversion.recipients = (*conversion.recipients, recording)

    def _new_conversion(self, stream: Stream, policy: AudioPolicy) -> AudioConversion:
        conversion = AudioConversion(self, stream, policy)
        self._conversions.add(conversion)
        stream.subscribe(conversion)
        return conversion

    def detach(self, recording: Recipient) -> None:
        """Let a recording go; one that is not there is no error, because an end and a stop may cross."""
        conversion = self._conversion_of(recording)
        if conversion is None:
            return
        conversion.recipients = tuple(other for other in conversion.recipients if other is not recording)
        if not conversion.recipients:
            conversion.stream.unsubscribe(conversion)
            self.forget(conversion)

    def _conversion_of(self, recording: Recipient) -> AudioConversion | None:
        return next((c for c in self._conversions if recording in c.recipients), None)

    def forget(self, conversion: AudioConversion) -> None:
        self._conversions.discard(conversion)
        key = conversion.stream, conversion.policy
        if self._shared.get(key) is conversion:
            del self._shared[key]

    async def catch_up(self, recording: Recipient) -> None:
        """Return when sound that came in is with the recording, or earlier on a machine too slow for it."""
        conversion = self._conversion_of(recording)
        if conversion is not None:
            conversion.hurry()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CATCH_UP_S):
                    await conversion.idle.wait()

    async def drain(self) -> None:
        """Return when the sound of all streams that came in is with the recordings."""
        for conversion in tuple(self._conversions):
            conversion.hurry()
            await conversion.idle.wait()

    def close(self) -> None:
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._threads = None

    @property
    def threads(self) -> ThreadPoolExecutor:
        """Made when the first sound is converted: most nodes never need them."""
        if self._threads is None:
            self._threads = ThreadPoolExecutor(os.cpu_count(), "aircheck-audio")
        return self._threads
