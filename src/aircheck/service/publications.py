"""What happens when a stream comes and goes: its row, its events, the recording that settings ask for.

What a crash cut off is closed at the next start: rows of streams that nobody ended (`live_streams` of the
journal, asked before anybody can publish) get the end that their recordings show.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from aircheck.errors import AircheckError
from aircheck.facts import EndReason, Event, EventKind, StreamFacts
from aircheck.hub.registry import Registry
from aircheck.hub.stream import Stream
from aircheck.recording.plan import RecordingPlan
from aircheck.recording.recorder import BY_SETTINGS, Recorder
from aircheck.recording.recording import Recording
from aircheck.service import publish_modes
from aircheck.service.journal import CatalogJournal
from aircheck.service.publish_modes import BY_PUBLISHER
from aircheck.tasks import TaskGroup

_log = logging.getLogger(__name__)

RETRY_S = 3.0


@dataclass(frozen=True, slots=True)
class _Wish:
    """The recording that a stream gets as it comes."""

    plan: RecordingPlan
    requested_by: str


class PublicationService:
    """Follows the registry.

    `plan` is the recording that every stream gets whose publisher did not decline, but for those of
    `unrecorded_protocols`; `None` records only what calls ask for, whatever publishers want. `modes_plan` is
    what recordings are based on that publishers ask for by their publish mode (`publish_modes`), which then
    take the place of those by the settings; `None` leaves modes unheard.
    """

    def __init__(
        self,
        registry: Registry,
        recorder: Recorder,
        journal: CatalogJournal,
        plan: RecordingPlan | None,
        *,
        modes_plan: RecordingPlan | None = None,
        keep_past_ms: int = 0,
        unrecorded_protocols: Collection[str] = (),
    ) -> None:
        self.tasks = TaskGroup("publications")
        self.failed_starts = 0
        self._waiting: dict[str, asyncio.Task[None]] = {}
        """For room on the disk; by media session."""
        self._recorder = recorder
        self._journal = journal
        self._plan = plan
        self._modes_plan = modes_plan
        self._keep_past_ms = keep_past_ms
        self._unrecorded_protocols = frozenset(unrecorded_protocols)
        registry.listen(published=self._published, ended=self._ended)

    def _published(self, stream: Stream) -> None:
        facts = stream.facts
        if self._keep_past_ms:
            stream.back_buffer.keep(self._keep_past_ms)
        self.tasks.spawn(self._keep(stream, EventKind.STREAM_PUBLISHED, facts.published_ns), "published")
        wish = self._wish_for(stream)
        try:
            continued = self._recorder.welcome(stream)
            self._greet(stream, wish, continued)
        except (OSError, AircheckError) as error:
            self.failed_starts += 1
            _log.error("cannot record stream=%s session=%s error=%s", stream.name, facts.session_id, error)
            self.tasks.spawn(self._keep_refusal(stream, error), "refused")
            if wish is not None:
                self._waiting[stream.id] = self.tasks.spawn(self._try_again(stream, wish), "try again")
                is_asked_for = wish.requested_by == BY_PUBLISHER
                refusal = publish_modes.tell_refused(stream, error, is_asked_for=is_asked_for)
                stream.farewell = self.tasks.spawn(refusal, f"refuse {stream.id}")

    def _wish_for(self, stream: Stream) -> _Wish | None:
        if self._modes_plan is not None:
            asked = publish_modes.plan_of_mode(stream, self._modes_plan)
            if asked is not None:
                return _Wish(asked, BY_PUBLISHER)
        is_declined = stream.wants_recording is False
        if self._plan is None or is_declined or stream.facts.protocol in self._unrecorded_protocols:
            return None
        return _Wish(self._plan, BY_SETTINGS)

    def _greet(self, stream: Stream, wish: _Wish | None, continued: Sequence[Recording]) -> None:
        """Begin what is wished for, unless it goes on. Raises OSError, DiskReserveError."""
        if wish is None:
            return
        recording = next((one for one in continued if one.facts.requested_by == wish.requested_by), None)
        if recording is None:
            recording = self._recorder.record(stream, wish.plan, requested_by=wish.requested_by)
        if wish.requested_by == BY_PUBLISHER:
            told = publish_modes.accompany(stream, recording, self._recorder)
            stream.farewell = self.tasks.spawn(told, f"accompany {stream.id}")

    async def _try_again(self, stream: Stream, wish: _Wish) -> None:
        """A disk that was full or gone when the stream came need not stay so."""
        while stream.is_live:
            await asyncio.sleep(RETRY_S)
            with contextlib.suppress(OSError, AircheckError):
                self._greet(stream, wish, ())
                return

    def _ended(self, stream: Stream) -> None:
        if (waiting := self._waiting.pop(stream.id, None)) is not None:
            waiting.cancel()
        at_ns = stream.facts.ended_ns or stream.facts.published_ns
        self.tasks.spawn(self._keep(stream, EventKind.STREAM_UNPUBLISHED, at_ns), "ended")

    async def _keep_refusal(self, stream: Stream, error: Exception) -> None:
        """A recording that could not even begin has no row: the event alone tells of it."""
        await self._journal.add_event(
            Event(
                EventKind.RECORDING_FAILED,
                stream.facts.published_ns,
                stream_name=stream.name,
                media_session_id=stream.id,
                facts={"app": stream.facts.app, "login": stream.facts.login, "error": str(error)},
            )
        )

    async def _keep(self, stream: Stream, kind: EventKind, at_ns: int) -> None:
        facts = stream.facts
        await self._journal.put_stream(facts)
        details: dict[str, object] = {"app": facts.app, "protocol": facts.protocol}
        if facts.end_reason is not None:
            details |= {
                "end_reason": facts.end_reason.value,
                "packets": stream.counters.packets,
                "size_bytes": stream.counters.size_bytes,
            }
        event = Event(kind, at_ns, stream_name=facts.name, media_session_id=facts.id, facts=details)
        await self._journal.add_event(event)


async def close_abandoned(streams: Sequence[StreamFacts], journal: CatalogJournal) -> None:
    """End the rows of streams that were live at a crash, after their recordings were made whole."""
    for stream in streams:
        ends_ns = [one.end_ns or one.start_ns for one in await journal.recordings_of(stream.id)]
        ended_ns = max(ends_ns, default=stream.published_ns)
        await journal.put_stream(replace(stream, ended_ns=ended_ns, end_reason=EndReason.CRASHED))
        details = {"app": stream.app, "protocol": stream.protocol, "end_reason": EndReason.CRASHED.value}
        await journal.add_event(
            Event(
                EventKind.STREAM_UNPUBLISHED,
                ended_ns,
                stream_name=stream.name,
                media_session_id=stream.id,
                facts=details,
            )
        )
