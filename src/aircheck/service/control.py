"""Control: start, stop, split, pause and resume recordings; arm them for streams to come; end streams.

Every face calls these, whatever protocol asks. Errors are those of `service.errors`, each with a remedy.

Requests for streams to come live in memory only: after a restart nothing is armed any more.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from weakref import WeakValueDictionary

from aircheck.facts import EndReason, RecordingFacts, RecordingState
from aircheck.hub.registry import Registry
from aircheck.hub.stream import Stream
from aircheck.recording.armed import Armed
from aircheck.recording.plan import RecordingPlan
from aircheck.recording.recorder import DiskReserveError, Recorder
from aircheck.recording.recording import Recording
from aircheck.service.errors import Conflict, InvalidRequest, NotFound, Refused
from aircheck.service.journal import CatalogJournal
from aircheck.service.options import RecordingOptions
from aircheck.service.recordings import UNFINISHED

_log = logging.getLogger(__name__)

STOP_TIMEOUT_S = 15.0
ARMED_MAX = 1000
"""Each is looked at whenever a stream comes."""

_AS_SET = RecordingOptions()
_UNDER_WAY = (RecordingState.RECORDING, RecordingState.PAUSED)


@dataclass(frozen=True, slots=True)
class Target:
    """Which stream: a media session, or a name, with its application where several have it."""

    media_session_id: str = ""
    name: str = ""
    app: str | None = None

    def __str__(self) -> str:
        if self.media_session_id:
            return f"with the media session {self.media_session_id!r}"
        return f"called {self.name!r}" + (f" in application {self.app!r}" if self.app is not None else "")


@dataclass(frozen=True, slots=True)
class Started:
    """What came of a request: a recording that runs, one that waits for its stream, or both."""

    recording: RecordingFacts | None
    armed: Armed | None


class ControlService:
    """`plan` is what the settings say of recordings; requests lay their options over it.

    `stop_timeout_s` is how long `stop` waits for the final file.
    """

    def __init__(
        self,
        registry: Registry,
        recorder: Recorder,
        journal: CatalogJournal,
        plan: RecordingPlan,
        *,
        stop_timeout_s: float = STOP_TIMEOUT_S,
    ) -> None:
        self._registry = registry
        self._recorder = recorder
        self._journal = journal
        self._plan = plan
        self._stop_timeout_s = stop_timeout_s
        self._replacing: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @property
    def plan(self) -> RecordingPlan:
        """What the settings say of recordings."""
        return self._plan

    # beginning

    async def start(
        self,
        target: Target,
        options: RecordingOptions = _AS_SET,
        *,
        requested_by: str,
        waits: bool = False,
        keep_alive: bool = False,
    ) -> Started:
        """Record a live stream, besides whatever records it already; returns when it is in the catalogue.

        `waits`: if the stream is not live, arm the recording for when it comes. `keep_alive`: also again each
        time it comes back. Raises `InvalidRequest`, `NotFound`, `Conflict`, `Refused`.
        """
        plan = options.laid_over(self._plan)
        if (waits or keep_alive) and not target.name:
            raise InvalidRequest(
                "a media session never comes back", remedy="give the stream's name to wait for it"
            )
        stream = self._find(target)
        if stream is None and not (waits or keep_alive):
            raise _no_stream(target)
        needs_arming = keep_alive or stream is None
        if needs_arming:
            self._check_armable(target, plan, keep_alive)
        recording = None if stream is None else self.record(stream, plan, requested_by)
        armed = None
        if needs_arming:
            armed = self._recorder.arm(
                target.name, plan, requested_by=requested_by, app=target.app, keep_alive=keep_alive
            )
        if recording is None:
            return Started(None, armed)
        await self._recorder.until_catalogued(recording)
        return Started(recording.current_facts(), armed)

    def armed(self) -> tuple[Armed, ...]:
        """What waits for streams to come, the oldest first."""
        return self._recorder.armed()

    def disarm(self, armed_id: str) -> Armed:
        """Take a request back; recordings that it began go on. Raises `NotFound`."""
        for armed in self._recorder.armed():
            if armed.id == armed_id:
                self._recorder.disarm(armed)
                return armed
        raise NotFound(
            f"no recording is armed under the id {armed_id!r}",
            remedy="GET /api/v1/armed lists what is armed; what was for one time only ends when it begins",
        )

    async def replace(
        self, media_session_id: str, options: RecordingOptions = _AS_SET, *, requested_by: str
    ) -> RecordingFacts:
        """Stop whatever records a live stream, then record it with these options.

        Options that cannot be meant stop nothing; of several such requests for one stream the last one wins.
        Raises `InvalidRequest`, `NotFound`, `Refused`.
        """
        options.laid_over(self._plan)
        target = Target(media_session_id)
        if self._find(target) is None:
            raise _no_stream(target)
        lock = self._replacing.setdefault(media_session_id, asyncio.Lock())
        async with lock:
            await self.stop_all_of(media_session_id)
            started = await self.start(target, options, requested_by=requested_by)
        assert started.recording is not None, "it is only armed where that was asked for"
        return started.recording

    # while it runs

    def running(
        self, *, media_session_id: str | None = None, name: str | None = None, app: str | None = None
    ) -> tuple[RecordingFacts, ...]:
        """Recordings under way, of a stream if one is given; the oldest first."""
        found = (recording.current_facts() for recording in self._recorder)
        return tuple(
            facts
            for facts in found
            if facts.state in _UNDER_WAY
            and media_session_id in (None, facts.media_session_id)
            and name in (None, facts.stream_name)
            and app in (None, facts.app)
        )

    async def split(self, recording_id: str) -> RecordingFacts:
        """Go on in a new file, at the next key frame. Raises `NotFound`, `Conflict`."""
        recording = await self._under_way(recording_id, "split")
        await self._recorder.split(recording)
        return recording.current_facts()

    async def pause(self, recording_id: str) -> RecordingFacts:
        """Let the stream pass by; media time stands still. Raises `NotFound`, `Conflict`."""
        recording = await self._under_way(recording_id, "paused")
        if recording.is_paused:
            raise Conflict(f"recording {recording_id} is paused already", remedy="resume or stop it")
        await self._recorder.pause(recording)
        return recording.current_facts()

    async def resume(self, recording_id: str) -> RecordingFacts:
        """Go on in the same file, at the next key frame. Raises `NotFound`, `Conflict`."""
        recording = await self._under_way(recording_id, "resumed")
        if not recording.is_paused:
            raise Conflict(f"recording {recording_id} is not paused", remedy="only what is paused goes on")
        await self._recorder.resume(recording)
        return recording.current_facts()

    # ending

    async def stop(self, recording_id: str) -> RecordingFacts:
        """End a recording and wait for its final files; idempotent.

        The state of the answer is `finalizing` if they take longer than `stop_timeout_s`: they are still
        being finished then. Raises `NotFound`, `Conflict`.
        """
        recording = self._recorder.get(recording_id)
        if recording is None:
            return await self._ended(recording_id)
        try:
            async with asyncio.timeout(self._stop_timeout_s):
                return await self._recorder.stop_recording(recording, EndReason.STOPPED)
        except TimeoutError:
            _log.warning("stop returns before the files are final recording=%s", recording_id)
            return recording.current_facts()

    async def stop_all_of(self, media_session_id: str) -> tuple[RecordingFacts, ...]:
        """End every recording of a media session, as `stop` does; returns those there were."""
        running = self.running(media_session_id=media_session_id)
        return tuple(await asyncio.gather(*(self.stop(facts.id) for facts in running)))

    def close_stream(self, media_session_id: str) -> None:
        """Ask a publisher to go; its stream and the recordings of it end. Raises `NotFound`."""
        stream = self._registry.by_id(media_session_id)
        if stream is None:
            raise NotFound(
                f"no live stream has the id {media_session_id!r}",
                remedy="GET /api/v1/streams lists what is live now; the id changes with each publication",
            )
        _log.info("publisher asked to go stream=%s session=%s", stream.name, stream.facts.session_id)
        stream.flush()
        stream.close(EndReason.STOPPED)

    # finding

    def is_live(self, media_session_id: str) -> bool:
        return self._registry.by_id(media_session_id) is not None

    def _find(self, target: Target) -> Stream | None:
        if target.media_session_id:
            stream = self._registry.by_id(target.media_session_id)
            is_meant = stream is not None and target.name in ("", stream.name)
            return stream if is_meant else None
        if not target.name:
            raise InvalidRequest("no stream is given", remedy="give its media session or its name")
        found = [one for one in self._registry if _is_meant(one, target)]
        if len(found) > 1:
            apps = ", ".join(repr(one.facts.app) for one in found)
            raise Conflict(
                f"several applications have a stream {target}: {apps}",
                remedy="name the application, or give the media session",
            )
        return found[0] if found else None

    async def _under_way(self, recording_id: str, done: str) -> Recording:
        recording = self._recorder.get(recording_id)
        if recording is None:
            facts = await self._ended(recording_id)
        elif recording.facts.state in _UNDER_WAY:
            return recording
        else:
            facts = recording.facts
        raise Conflict(
            f"recording {recording_id} cannot be {done}: it is {facts.state}",
            remedy="start another one of its stream",
        )

    async def _ended(self, recording_id: str) -> RecordingFacts:
        facts = await self._journal.recording(recording_id)
        if facts is None:
            raise NotFound(
                f"there is no recording with the id {recording_id!r}",
                remedy="GET /api/v1/recordings lists the recordings",
            )
        if facts.state in UNFINISHED:
            raise Conflict(
                f"recording {recording_id} was cut off by a crash and is being made whole",
                remedy="wait until its state is complete",
            )
        return facts

    # doing

    def record(self, stream: Stream, plan: RecordingPlan, requested_by: str) -> Recording:
        """Begin to record a stream. Raises `Refused`."""
        try:
            return self._recorder.record(stream, plan, requested_by=requested_by)
        except DiskReserveError as error:
            raise Refused(error.message, remedy=error.remedy) from error
        except OSError as error:
            raise Refused(
                f"cannot record into {plan.growing_dir}: {error.strerror or error}",
                remedy="make the folder writable for the server's user, or mount its disk",
            ) from error

    def _check_armable(self, target: Target, plan: RecordingPlan, keep_alive: bool) -> None:
        wanted = (target.name, target.app, plan)
        armed = self._recorder.armed()
        twin = next((one for one in armed if (one.name, one.app, one.plan) == wanted), None)
        if twin is not None:
            raise _armed_already(twin, keep_alive)
        if len(armed) >= ARMED_MAX:
            raise Conflict(
                f"{len(armed)} recordings are armed already, which is the most there can be",
                remedy="disarm those that are not needed: GET /api/v1/armed lists them",
            )


def _armed_already(armed: Armed, keep_alive: bool) -> Conflict:
    """Two would record the stream twice over."""
    times = "each time it comes" if armed.keep_alive else "once, when it comes next"
    remedy = f"nothing is left to do; DELETE /api/v1/armed/{armed.id} takes it back"
    if keep_alive != armed.keep_alive:
        remedy = f"to change how often, DELETE /api/v1/armed/{armed.id} and ask again"
    return Conflict(
        f"the stream {armed.name!r} will be recorded like this already, {times} (armed {armed.id})",
        remedy=remedy,
    )


def _no_stream(target: Target) -> NotFound:
    return NotFound(
        f"no live stream is {target}",
        remedy="GET /api/v1/streams lists what is live now; a recording can also be armed for later",
    )


def _is_meant(stream: Stream, target: Target) -> bool:
    return stream.name == target.name and target.app in (None, stream.facts.app)
