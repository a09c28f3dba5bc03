"""Hooks: scripts of the user's that run for each finished file.

Theory of operation
    waiting     A finished file is written down in the waiting folder before its growing name goes away, so
                from then on one of both tells the next start of it: each file's hook runs at least once,
                whatever crashes.
    running     At most `max_parallel` at a time, each for at most `timeout_s`.
    over        Well or badly, an event says so and the note in the waiting folder goes. A script that fails
                has run and is not run again; one that could not even be started waits for the next start.
    at the end  `stop` gives them some time; what is left is ended and waits for the next start.

Recordings never wait for hooks, and never hear of their trouble: it is counted, logged and told as events.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar

from aircheck.clock import Clock
from aircheck.facts import Event, EventKind, RecordingFacts, SegmentFacts
from aircheck.recording.hook_facts import hook_arguments, hook_variables
from aircheck.recording.hook_notes import HookNotes
from aircheck.recording.hook_process import command_for, run_hook
from aircheck.recording.journal import Journal
from aircheck.segment_note import NoteError
from aircheck.tasks import TaskGroup

_log = logging.getLogger(__name__)
_Result = TypeVar("_Result")

WAITING_MAX = 10_000
"""Hooks that may wait. Who falls behind by so many will not catch up; more are refused and told so."""

SCRIPT_TIMEOUT_S = 10.0
"""How long the script may take to be looked at: it may lie on a share that does not answer."""


@dataclass(frozen=True, slots=True)
class HookPlan:
    """`script` None: no hook. `waiting_dir` keeps what has not run yet, over crashes and restarts.

    `script_for_several` is for files that hold several streams.
    """

    script: Path | None
    waiting_dir: Path
    timeout_s: float = 600.0
    max_parallel: int = 4
    script_for_several: Path | None = None

    def script_for(self, recording: RecordingFacts) -> Path | None:
        return self.script_for_several if recording.is_of_several else self.script


EndedHook = Literal["done", "failed", "kept"]


@dataclass(frozen=True, slots=True)
class HookStatus:
    """Hooks of this process; the counts are since it was started. `kept` wait for the next start."""

    waiting: int = 0
    running: int = 0
    done: int = 0
    failed: int = 0
    refused: int = 0
    kept: int = 0


@dataclass(frozen=True, slots=True)
class _Job:
    recording: RecordingFacts
    segment: SegmentFacts


class Hooks:
    """Runs the script for each file that `file_finished` tells of. Implements `FinishedFiles`."""

    def __init__(self, plan: HookPlan, journal: Journal, clock: Clock) -> None:
        self._plan = plan
        self._journal = journal
        self._clock = clock
        self._notes = HookNotes(plan.waiting_dir)
        self._queue: deque[_Job] = deque()
        self._known: dict[str, SegmentFacts] = {}
        """Segments whose hooks wait or run, by id."""
        self._again: dict[str, _Job] = {}
        """Files that went on, and were finished once more, before their hook had run."""
        self._running = 0
        self._refused = 0
        self._ended: Counter[EndedHook] = Counter()
        self._is_stopping = False
        self._tasks = TaskGroup("hooks")
        self._note_threads = ThreadPoolExecutor(4, thread_name_prefix="hook-notes")
        self._script_thread = ThreadPoolExecutor(1, thread_name_prefix="hook-script")
        self._start_threads = ThreadPoolExecutor(plan.max_parallel, thread_name_prefix="hook-start")

    def status(self) -> HookStatus:
        ended = self._ended
        return HookStatus(
            len(self._queue), self._running, ended["done"], ended["failed"], self._refused, ended["kept"]
        )

    async def start(self) -> None:
        """Take up what an earlier process has left."""
        await self._look_at_scripts()
        found = [_Job(*facts) for facts in await self._in_thread(self._notes.read)]
        jobs = [job for job in found if self._plan.script_for(job.recording) is not None]
        if len(jobs) < len(found):
            _log.warning(
                "hooks wait but none is set: set [hooks] on_record or on_multiple_record, or delete them"
                " count=%d dir=%s",
                len(found) - len(jobs),
                self._plan.waiting_dir,
            )
        if jobs:
            _log.info("hooks left from last time are run count=%d", len(jobs))
        for job in jobs:
            self._enqueue(job)

    async def _look_at_scripts(self) -> None:
        """Whoever mistyped a path learns it now, not from the first recording."""
        for script in (self._plan.script, self._plan.script_for_several):
            if script is None:
                continue
            try:
                await self._command(script)
            except OSError as error:
                _log.warning(
                    "hook cannot be run script=%s error=%s remedy=%s",
                    script,
                    error.strerror or error,
                    "put a readable script there; what is finished before waits for the next start",
                )

    async def file_finished(self, recording: RecordingFacts, segment: SegmentFacts) -> None:
        """A file has its last name and row. Returns once its hook cannot be forgotten any more."""
        if self._plan.script_for(recording) is None:
            return
        job = _Job(recording, segment)
        known = self._known.get(segment.id)
        if known is not None and known.size_bytes != segment.size_bytes:
            self._again[segment.id] = job
        if len(self._queue) >= WAITING_MAX:
            self._refused += 1
            await self._tell_failure(job, f"{WAITING_MAX} hooks wait already")
            return
        try:
            await self._in_thread(partial(self._notes.add, recording, segment))
        except (OSError, NoteError) as error:
            _log.error("hook would be forgotten by a crash file=%s error=%s", segment.path, error)
        self._enqueue(job)

    async def stop(self, timeout_s: float) -> None:
        """Wait so long for hooks, then end those that run; they and those that wait are run next time."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._tasks.join()
        except TimeoutError:
            _log.warning("hooks are left for the next start count=%d", len(self._known))
        self._is_stopping = True
        await self._tasks.close()
        self._note_threads.shutdown(wait=False, cancel_futures=True)
        self._script_thread.shutdown(wait=False, cancel_futures=True)
        self._start_threads.shutdown(wait=False, cancel_futures=True)

    def _enqueue(self, job: _Job) -> None:
        if job.segment.id not in self._known:
            self._known[job.segment.id] = job.segment
            self._queue.append(job)
            self._run_next()

    def _run_next(self) -> None:
        while self._queue and self._running < self._plan.max_parallel and not self._is_stopping:
            job = self._queue.popleft()
            self._running += 1
            self._tasks.spawn(self._run(job), job.segment.id)

    async def _run(self, job: _Job) -> None:
        outcome: EndedHook | None = None
        try:
            outcome = await self._run_script(job)
            del self._known[job.segment.id]
            if (again := self._again.pop(job.segment.id, None)) is not None:
                self._enqueue(again)
        finally:
            self._running -= 1
            if outcome is not None:
                self._ended[outcome] += 1
            self._run_next()

    async def _run_script(self, job: _Job) -> EndedHook:
        """How it ended, which is counted once it no longer runs: a hook counts in one place at a time."""
        started_s = self._clock.monotonic_s()
        try:
            status = await self._attempt(job)
        except TimeoutError:
            error = f"ended after {self._plan.timeout_s:g} s, with all that it had started"
        except OSError as refusal:
            await self._tell_failure(job, f"cannot be started: {refusal}; it waits for the next start")
            return "kept"
        else:
            error = _what_went_wrong(status)
        if error:
            await self._tell_failure(job, error)
        else:
            await self._tell_success(job, round((self._clock.monotonic_s() - started_s) * 1000))
        await self._forget(job)
        return "failed" if error else "done"

    async def _attempt(self, job: _Job) -> int:
        """Run the script. Raises OSError when it cannot be started, TimeoutError when it had to be ended."""
        script = self._plan.script_for(job.recording)
        assert script is not None
        command = await self._command(script)
        return await run_hook(
            [*command, *hook_arguments(job.recording, job.segment)],
            hook_variables(job.recording, job.segment),
            timeout_s=self._plan.timeout_s,
            on_line=partial(_log.info, "hook says file=%s line=%s", job.segment.file_name),
            threads=self._start_threads,
        )

    async def _command(self, script: Path) -> list[str]:
        look = asyncio.get_running_loop().run_in_executor(self._script_thread, command_for, script)
        try:
            return await asyncio.wait_for(look, SCRIPT_TIMEOUT_S)
        except TimeoutError:
            raise OSError(f"{script} cannot be read within {SCRIPT_TIMEOUT_S:g} s") from None

    async def _tell_success(self, job: _Job, duration_ms: int) -> None:
        _log.info("hook done file=%s duration_ms=%d", job.segment.file_name, duration_ms)
        await self._tell(EventKind.HOOK_DONE, job, {"exit_status": 0, "duration_ms": duration_ms})

    async def _tell_failure(self, job: _Job, error: str) -> None:
        _log.error("hook failed file=%s error=%s", job.segment.file_name, error)
        await self._tell(EventKind.HOOK_FAILED, job, {"error": error})

    async def _tell(self, kind: EventKind, job: _Job, facts: dict[str, object]) -> None:
        recording, segment = job.recording, job.segment
        await self._journal.add_event(
            Event(
                kind=kind,
                at_ns=self._clock.wall_ns(),
                stream_name=recording.stream_name,
                media_session_id=recording.media_session_id,
                recording_id=recording.id,
                segment_id=segment.id,
                facts={"file_name": segment.file_name, "path": segment.path} | facts,
            )
        )

    async def _forget(self, job: _Job) -> None:
        if job.segment.id in self._again:
            return  # the note is the later one's
        try:
            await self._in_thread(partial(self._notes.remove, job.segment))
        except OSError as error:
            _log.error("hook will be run again: file=%s error=%s", job.segment.file_name, error)

    async def _in_thread(self, work: Callable[[], _Result]) -> _Result:
        return await asyncio.get_running_loop().run_in_executor(self._note_threads, work)


def _what_went_wrong(status: int) -> str:
    """Empty when nothing did."""
    if status >= 0:
        return f"exit status {status}" if status else ""
    try:
        return f"ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"ended by signal {-status}"
