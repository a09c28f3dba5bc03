"""Recordings that were asked for before their stream exists. They live in memory only."""

from __future__ import annotations

import logging
import secrets
from dataclasses import dataclass

from aircheck.clock import Clock
from aircheck.facts import Event, EventKind
from aircheck.hub.stream import Stream
from aircheck.recording.journal import Journal
from aircheck.recording.plan import RecordingPlan
from aircheck.tasks import TaskGroup

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Armed:
    """A recording that was asked for before its stream exists. `app` None: of any application."""

    id: str
    name: str
    app: str | None
    plan: RecordingPlan
    requested_by: str
    armed_ns: int
    keep_alive: bool = False

    def is_for(self, stream: Stream) -> bool:
        return self.name == stream.name and self.app in (None, stream.facts.app)


class ArmedRequests:
    """What waits for streams to come, the oldest first. `tasks` owns the events that are being written."""

    def __init__(self, journal: Journal, clock: Clock, tasks: TaskGroup) -> None:
        self._journal = journal
        self._clock = clock
        self._tasks = tasks
        self._requests: dict[str, Armed] = {}

    def all(self) -> tuple[Armed, ...]:
        return tuple(self._requests.values())

    def add(
        self, name: str, plan: RecordingPlan, *, requested_by: str, app: str | None, keep_alive: bool
    ) -> Armed:
        now_ns = self._clock.wall_ns()
        armed = Armed(secrets.token_hex(8), name, app, plan, requested_by, now_ns, keep_alive)
        self._requests[armed.id] = armed
        _log.info("recording armed stream=%s armed=%s by=%s", name, armed.id, requested_by)
        self._say(EventKind.RECORDING_ARMED, armed)
        return armed

    def discard(self, armed: Armed) -> None:
        """Take a request back."""
        if self._requests.pop(armed.id, None) is not None:
            _log.info("recording disarmed stream=%s armed=%s", armed.name, armed.id)
            self._say(EventKind.RECORDING_DISARMED, armed)

    def used(self, armed: Armed) -> None:
        """Its stream came and is recorded: what was for one time only is over."""
        if not armed.keep_alive:
            del self._requests[armed.id]

    def _say(self, kind: EventKind, armed: Armed) -> None:
        facts: dict[str, object] = {"armed_id": armed.id, "requested_by": armed.requested_by}
        if armed.app is not None:
            facts["app"] = armed.app
        facts["keep_alive"] = armed.keep_alive
        event = Event(kind, self._clock.wall_ns(), stream_name=armed.name, facts=facts)
        self._tasks.spawn(self._journal.add_event(event), kind)
