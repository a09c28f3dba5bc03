"""Health: is this node well, and if not, which disk is it?"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Protocol

from aircheck.clock import Clock
from aircheck.recording.hooks import HookStatus
from aircheck.webrtc.status import PeersStatus


@dataclass(frozen=True, slots=True)
class VolumeStatus:
    """A disk that recordings go to. `last_error` stays when the disk has recovered; `is_failing` does not."""

    path: str
    size_bytes: int = 0
    free_bytes: int = 0
    is_failing: bool = False
    last_error: str = ""
    queued_bytes: int = 0
    write_errors: int = 0
    sync_errors: int = 0
    write_latency_s: float = 0.0
    max_write_latency_s: float = 0.0
    since_sync_s: float = 0.0


@dataclass(frozen=True, slots=True)
class CatalogStatus:
    """How the catalogue keeps up. `late_rows` wait until it takes them; the mapping is by trouble."""

    late_rows: int = 0
    write_errors: Mapping[str, int] = field(default_factory=dict)
    last_commit_s: float = 0.0
    max_commit_s: float = 0.0


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """Totals of this process since it was started. The mappings are by protocol, by reason and by kind."""

    connections: Mapping[str, int] = field(default_factory=dict)
    refused: Mapping[str, int] = field(default_factory=dict)
    errors: Mapping[str, int] = field(default_factory=dict)
    loop_lag_s: float = 0.0
    max_loop_lag_s: float = 0.0
    hooks: HookStatus = field(default_factory=HookStatus)
    transcoded: Mapping[str, int] = field(default_factory=dict)
    """Packets of sound that a container could not hold, by what became of them."""
    webrtc: PeersStatus = field(default_factory=PeersStatus)
    catalog: CatalogStatus = field(default_factory=CatalogStatus)
    backend_calls: Mapping[str, int] = field(default_factory=dict)
    """Questions to the backend and news for it, by what became of them; empty without one."""
    log_records: Mapping[str, int] = field(default_factory=dict)
    """By level."""
    dropped_log_lines: int = 0
    viewer_dropped_packets: int = 0
    """What viewers by RTMP missed because they are slow."""


class LiveNode(Protocol):
    """What the health service asks of the app. `volumes` is called in a thread: a dead mount blocks."""

    def status(self) -> NodeStatus: ...

    def volumes(self) -> Sequence[VolumeStatus]: ...


class HealthService:
    """Asks the disks in a thread, one question at a time: a silent disk costs one thread, once."""

    def __init__(self, live: LiveNode, clock: Clock, *, patience_s: float = 2.0) -> None:
        self._live = live
        self._clock = clock
        self._patience_s = patience_s
        self._started_s = clock.monotonic_s()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="volume-check")
        self._question: Future[Sequence[VolumeStatus]] | None = None
        self._known: tuple[VolumeStatus, ...] = ()

    @property
    def uptime_s(self) -> float:
        return self._clock.monotonic_s() - self._started_s

    def node(self) -> NodeStatus:
        return self._live.status()

    async def volumes(self) -> tuple[VolumeStatus, ...]:
        """The disks as they are now, or as they were and failing if they do not answer in time."""
        question = self._question
        if question is None or question.done():
            question = self._question = self._pool.submit(self._live.volumes)
        answer = asyncio.wrap_future(question)
        answer.add_done_callback(_take_note)
        await asyncio.wait({answer}, timeout=self._patience_s)
        if not answer.done():
            return self._all_failing("the volume does not answer")
        if error := answer.exception():
            return self._all_failing(f"{type(error).__name__}: {error}")
        self._known = tuple(answer.result())
        return self._known

    def stop(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _all_failing(self, reason: str) -> tuple[VolumeStatus, ...]:
        known = self._known or (VolumeStatus(path=""),)
        return tuple(replace(volume, is_failing=True, last_error=reason) for volume in known)


def _take_note(answer: asyncio.Future[Sequence[VolumeStatus]]) -> None:
    """An answer that nobody waits for any more may be a refusal: the loop need not complain of it."""
    if not answer.cancelled():
        answer.exception()
