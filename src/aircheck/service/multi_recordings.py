"""Recordings of several streams in one file: begin, add and remove streams while they run, end.

A recording of several is known by a URI, `multi-recorder://NAME`, and its file is called
`multi-recorder___NAME`. In the catalogue it is a recording like any other, whose stream is NAME and whose
media session is the URI; events say which streams came into it and left it. Errors are those of
`service.errors`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

from aircheck.clock import Clock
from aircheck.containers.capability import Container
from aircheck.facts import MULTI_RECORDER, EndReason, Event, EventKind, RecordingFacts, StreamFacts
from aircheck.hub.registry import Registry
from aircheck.hub.stream import Stream
from aircheck.media.track import Track
from aircheck.recording.mixer import Mixer
from aircheck.recording.naming import NameTemplate, OnConflict
from aircheck.recording.plan import RecordingPlan
from aircheck.recording.recorder import Recorder
from aircheck.recording.recording import Recording
from aircheck.recording.rotation import NEVER
from aircheck.service.control import STOP_TIMEOUT_S, ControlService
from aircheck.service.errors import Conflict, InvalidRequest, NotFound
from aircheck.service.journal import CatalogJournal
from aircheck.service.recorded_names import RecordedFile
from aircheck.tasks import TaskGroup

_log = logging.getLogger(__name__)

REQUESTED_BY = "multi-recorder"
LATE_TRACKS = 96
STREAMS_MAX = 60
"""At one time in one file: with a hundred tracks and more formats come to their limits."""

_NAME_MAX = 255
_TEMPLATE = "multi-recorder___{streamName}"
_CONTAINERS = {Container.MP4: Container.MP4, Container.MKV: Container.MKV, Container.WEBM: Container.MKV}
"""What is recorded into, by the format of the settings; MP4 for all others. Tracks may come late to these."""


@dataclass(frozen=True, slots=True)
class MultiRecording:
    """A running recording of several streams. `file_name` is relative to the record folder."""

    uri: str
    recording: RecordingFacts
    media_session_ids: tuple[str, ...]
    file_name: str


class _Running:
    def __init__(self, uri: str, mixer: Mixer, recording: Recording) -> None:
        self.uri = uri
        self.mixer = mixer
        self.recording = recording

    def facts(self, recorder: Recorder) -> MultiRecording:
        ids = tuple(source.id for source in self.mixer.sources)
        file_name = RecordedFile(recorder, self.recording).name
        return MultiRecording(self.uri, self.recording.current_facts(), ids, file_name)


class MultiRecordingService:
    """`control` begins recordings; `plan` is what the settings say of them."""

    def __init__(
        self,
        registry: Registry,
        recorder: Recorder,
        control: ControlService,
        journal: CatalogJournal,
        plan: RecordingPlan,
        clock: Clock,
        *,
        stop_timeout_s: float = STOP_TIMEOUT_S,
    ) -> None:
        self._registry = registry
        self._recorder = recorder
        self._control = control
        self._journal = journal
        self._wanted = plan.container
        self._plan = _plan_for_several(plan)
        self._clock = clock
        self._stop_timeout_s = stop_timeout_s
        self._running: dict[str, _Running] = {}
        self._tasks = TaskGroup("multi-recorder")

    def all(self) -> tuple[MultiRecording, ...]:
        """Those that run, the oldest first."""
        return tuple(one.facts(self._recorder) for one in self._running.values())

    async def start(self, uri: str) -> MultiRecording:
        """Begin an empty recording. Its file begins with the first media of a stream that is added.

        Raises `InvalidRequest`, `Conflict` when one of this URI runs, `Refused`.
        """
        name = _name_in(uri)
        if uri in self._running:
            raise Conflict(f"{uri} records already", remedy="add streams to it, or end it first")
        mixer = Mixer(
            _facts_of_mix(uri, name, self._clock.wall_ns()),
            on_tracks_over=lambda tracks: recording.forget_tracks(tracks),
            on_left=lambda source, tracks: self._say(EventKind.SOURCE_REMOVED, running, source, tracks),
        )
        recording = self._control.record(mixer.stream, self._plan, REQUESTED_BY)
        if self._plan.container != self._wanted:
            _log.info(
                "the wanted container has no room for tracks that come late wanted=%s container=%s uri=%s",
                self._wanted,
                self._plan.container,
                uri,
            )
        running = self._running[uri] = _Running(uri, mixer, recording)
        self._tasks.spawn(self._until_over(running), uri)
        await self._recorder.until_catalogued(recording)
        return running.facts(self._recorder)

    async def add(self, uri: str, media_session_id: str) -> None:
        """Take a live stream in. Raises `NotFound`, `Conflict` when it is in it or the file is full."""
        running = self._find(uri)
        stream = self._registry.by_id(media_session_id)
        if stream is None:
            raise NotFound(
                f"no live stream has the id {media_session_id!r}",
                remedy="GET /api/v1/streams lists what is live now; the id changes with each publication",
            )
        if stream in running.mixer.sources:
            raise Conflict(f"{media_session_id} is in {uri} already", remedy="once is enough")
        if len(running.mixer.sources) >= STREAMS_MAX:
            raise Conflict(
                f"{uri} has {STREAMS_MAX} streams, and no file takes more at one time",
                remedy="begin another recording of several",
            )
        running.mixer.add(stream)
        self._say(EventKind.SOURCE_ADDED, running, stream)

    async def remove(self, uri: str, media_session_id: str) -> None:
        """Let a stream go; what came of it stays in the file. Raises `NotFound`."""
        running = self._find(uri)
        stream = next((one for one in running.mixer.sources if one.id == media_session_id), None)
        if stream is None:
            raise NotFound(
                f"{uri} does not record {media_session_id!r}",
                remedy="a stream that ends is removed by itself; the list shows which are recorded",
            )
        running.mixer.remove(stream)

    async def stop(self, uri: str) -> RecordingFacts:
        """End a recording and wait for its final file, no longer than for any other. Raises `NotFound`."""
        running = self._find(uri)
        del self._running[uri]
        running.mixer.close()
        recording = running.recording
        try:
            async with asyncio.timeout(self._stop_timeout_s):
                return await self._recorder.stop_recording(recording, EndReason.STOPPED)
        except TimeoutError:
            _log.warning("stop returns before the files are final recording=%s", recording.facts.id)
            return recording.current_facts()

    async def close(self) -> None:
        """The node stops; the recordings end with all others."""
        for running in self._running.values():
            running.mixer.close()
        await self._tasks.close()

    def _find(self, uri: str) -> _Running:
        try:
            return self._running[uri]
        except KeyError:
            raise NotFound(f"nothing records {uri!r}", remedy="begin it first") from None

    async def _until_over(self, running: _Running) -> None:
        """It may be ended as any recording may: by its id, or by its maximum duration."""
        await self._recorder.until_done(running.recording)
        running.mixer.close()
        if self._running.get(running.uri) is running:
            del self._running[running.uri]

    def _say(self, kind: EventKind, running: _Running, source: Stream, tracks: Sequence[Track] = ()) -> None:
        recording = running.recording.facts
        change = "added" if kind is EventKind.SOURCE_ADDED else "removed"
        _log.info(
            "several streams uri=%s stream=%s change=%s recording=%s",
            running.uri,
            source.name,
            change,
            recording.id,
        )
        event = Event(
            kind,
            self._clock.wall_ns(),
            stream_name=source.name,
            media_session_id=source.id,
            recording_id=recording.id,
            facts={"uri": running.uri, "app": source.facts.app} | _told(tracks),
        )
        self._tasks.spawn(self._journal.add_event(event), kind)


def _told(tracks: Sequence[Track]) -> dict[str, object]:
    return {"tracks": [track.id for track in tracks]} if tracks else {}


def _name_in(uri: str) -> str:
    name = uri.removeprefix(MULTI_RECORDER)
    if name == uri or not name or len(name) > _NAME_MAX:
        raise InvalidRequest(
            f"{uri!r} is not the URI of a recording of several streams",
            remedy=f"write it as {MULTI_RECORDER}NAME",
        )
    return name


def _facts_of_mix(uri: str, name: str, now_ns: int) -> StreamFacts:
    return StreamFacts(
        id=uri, name=name, app="", session_id="", protocol="mix", remote_address="", published_ns=now_ns
    )


def _plan_for_several(plan: RecordingPlan) -> RecordingPlan:
    """A new file in a container that can have many tracks; nothing that waits for one stream's key frames."""
    template = NameTemplate.parse(
        _TEMPLATE,
        encoding=plan.template.encoding,
        excluded_characters=plan.template.excluded_characters,
    )
    return replace(
        plan,
        template=template,
        container=_CONTAINERS.get(Container(plan.container), Container.MP4),
        rotation=NEVER,
        on_conflict=(OnConflict.FREE_NUMBER if plan.on_conflict is OnConflict.APPEND else plan.on_conflict),
        pre_roll_ms=0,
        keeps_data=False,
        late_tracks=LATE_TRACKS,
    )
