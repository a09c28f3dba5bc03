"""One crash: ten streams are recorded, the server is killed at some instant, and what is left is judged."""

from __future__ import annotations

import random
import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from crash_judge import Step, Verdict, judge, judge_files_as_they_lie, step_of
from crashable import CrashableServer, Rows, SegmentRow
from dying_server import MOMENTS, STEPS
from paced import PacedPublisher, publish_all

ALLOWED_LOSS_MS = 1000
_JOIN_TIMEOUT_S = 15.0
_RECOVERY_KILLS = 3
_DEATH_TIMEOUT_S, _SURE_DEATH_TIMEOUT_S = 5.0, 60.0
"""At a step that may never come, and at one that will, however busy the machine is."""
_RECOVERED = re.compile(r" recovered .*file=")
_STEPS = tuple(step for step in STEPS if step != "recover")
_RECOVERY_STEPS = ("recover", "write", "link", "sync", "place", "row", "forget", "event", "conclude")


class Phase(StrEnum):
    """When the server is killed."""

    RECORDING = "recording"
    ROTATING = "rotating"
    STARTING = "streams starting"
    UNPUBLISHING = "after unpublish"
    VANISHING = "after disconnect"
    STEP = "at a step"
    RECOVERING = "during recovery"
    RECOVERY_STEP = "at a step of recovery"


@dataclass(slots=True)
class CrashResult:
    """What came of one run. `kills` counts also those of the recovering server."""

    phase: Phase
    kills: int
    verdict: Verdict
    steps: Counter[Step] = field(default_factory=Counter)
    recovered: int = 0
    recovery_s: float = 0.0
    longest_send_s: float = 0.0


class CrashRun:
    """Kills `server`, which is up, in one phase; leaves it up again, with `next_rotation` in force."""

    def __init__(
        self,
        server: CrashableServer,
        number: int,
        phase: Phase,
        rng: random.Random,
        *,
        streams: int = 10,
        sentence: tuple[str, str, str] | None = None,
    ) -> None:
        """`sentence` is the step to die at, where the phase dies at steps; otherwise they are random."""
        self._server = server
        self._phase = phase
        self._rng = rng
        self._names = [f"r{number}-{index}" for index in range(streams)]
        self._sentence_given = sentence
        self._death_timeout_s = _SURE_DEATH_TIMEOUT_S if sentence else _DEATH_TIMEOUT_S
        self._kills = 0
        self._problems: list[str] = []

    def run(self, *, next_rotation: str = "") -> CrashResult:
        server = self._server
        if self._phase is Phase.STEP:
            server.stop()
            server.start(sentence=self._sentence(_STEPS, 40))
        with self._publishing() as publishers:
            killed_s = self._kill(publishers)
        steps = self._look_at_what_lies()
        if self._phase in (Phase.RECOVERING, Phase.RECOVERY_STEP):
            self._kill_recoveries()
        started_s = time.monotonic()
        server.start()
        server.wait_until_recovered()
        recovery_s = time.monotonic() - started_s
        verdict = judge(server, publishers, killed_s, ALLOWED_LOSS_MS)
        verdict.problems += self._problems
        recovered = len(_RECOVERED.findall(server.log))
        self._start_again(verdict, next_rotation)
        longest_send_s = max(publisher.longest_send_s for publisher in publishers)
        return CrashResult(self._phase, self._kills, verdict, steps, recovered, recovery_s, longest_send_s)

    @contextmanager
    def _publishing(self) -> Iterator[list[PacedPublisher]]:
        publishers = publish_all(self._server.rtmp_port, self._names)
        try:
            yield publishers
        finally:
            for publisher in publishers:
                publisher.stop(farewell=False)
            for publisher in publishers:
                publisher.join(_JOIN_TIMEOUT_S)

    def _kill(self, publishers: list[PacedPublisher]) -> float:
        rng = self._rng
        match self._phase:
            case Phase.STARTING:
                time.sleep(rng.uniform(0.0, 0.5))
            case Phase.UNPUBLISHING | Phase.VANISHING:
                time.sleep(rng.uniform(0.5, 1.8))
                for publisher in publishers:
                    publisher.stop(farewell=self._phase is Phase.UNPUBLISHING)
                time.sleep(rng.uniform(0.0, 0.12))
            case Phase.STEP:
                self._kills += 1
                return self._server.wait_for_death(self._death_timeout_s)
            case _:
                time.sleep(rng.uniform(0.3, 4.0))
        self._kills += 1
        return self._server.kill()

    def _look_at_what_lies(self) -> Counter[Step]:
        """Promise: whatever lies there plays, before anybody repairs it."""
        server = self._server
        rows = Rows.left_in(server.record_dir)
        own = [row for row in rows.segments if row.stream in self._names]
        steps = {row: step_of(row, server.growing_dir, server.record_dir) for row in own}
        growing = [row for row, step in steps.items() if step is Step.GROWING]
        final = [row for row, step in steps.items() if step is Step.COMPLETE]
        sample = [server.growing_dir / f"{row.id}.mp4" for row in self._some(growing)]
        sample += [row.path for row in self._some(final)]
        self._problems += judge_files_as_they_lie(server, self._names, rows, sample)
        return Counter(steps.values())

    def _some(self, rows: list[SegmentRow]) -> list[SegmentRow]:
        return self._rng.sample(rows, min(1, len(rows)))

    def _kill_recoveries(self) -> None:
        """Kill the server while it recovers, up to three times; files must stay playable."""
        server = self._server
        for _ in range(1 if self._sentence_given else self._rng.randint(1, _RECOVERY_KILLS)):
            if not Rows.left_in(server.record_dir).unfinished:
                return
            if self._phase is Phase.RECOVERING:
                server.spawn()
                server.wait_for(lambda: "recovering after" in server.log, "recovery", 30)
                time.sleep(self._rng.uniform(0.0, 0.2))
                server.kill()
            else:
                server.spawn(sentence=self._sentence(_RECOVERY_STEPS, 12))
                server.wait_for_death(self._death_timeout_s)
            self._kills += 1
            rows = Rows.left_in(server.record_dir)
            self._problems += judge_files_as_they_lie(server, self._names, rows)

    def _sentence(self, steps: Sequence[str], most_calls: int) -> tuple[str, str, str]:
        """Early calls more often than late ones, which may never come."""
        if self._sentence_given is not None:
            return self._sentence_given
        call = min(self._rng.randint(1, most_calls), self._rng.randint(1, most_calls))
        return self._rng.choice(steps), str(call), self._rng.choice(MOMENTS)

    def _start_again(self, verdict: Verdict, rotation: str) -> None:
        """A restart in good order finds nothing to do, and changes nothing."""
        server = self._server
        before = Rows.of(server.record_dir)
        code, _ = server.stop()
        if code:
            verdict.problems.append(f"stopped with exit code {code}")
        server.rotation = rotation
        server.start()
        server.wait_until_recovered()
        if "recovering after" in server.log:
            verdict.problems.append("the second start found something to recover")
        if Rows.of(server.record_dir) != before:
            verdict.problems.append("the second start changed rows")


def keep_evidence(server: CrashableServer, folder: Path, result: CrashResult) -> None:
    """The logs and findings of a run that did not keep its promises."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "problems.txt").write_text("\n".join(result.verdict.problems) + "\n")
    for log in server.folder.glob("server-*.log"):
        (folder / log.name).write_bytes(log.read_bytes())
