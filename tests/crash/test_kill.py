"""`kill -9` at instants that matter. `bench/bench_crash.py` is the same, hundreds of times."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import count

import pytest
from crash_judge import Step
from crash_run import CrashRun, Phase
from crashable import CrashableServer
from helpers.tools import requires

pytestmark = requires("ffmpeg")

STREAMS = 4
_numbers = count()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CrashableServer]:
    """One folder for all: each run leaves a server that is up and has nothing to recover."""
    server = CrashableServer(tmp_path_factory.mktemp("crash"), rotation="1")
    server.start()
    yield server
    server.close()


@pytest.mark.parametrize(
    ("phase", "sentence", "step"),
    [
        (Phase.ROTATING, None, Step.GROWING),
        (Phase.UNPUBLISHING, None, None),
        (Phase.STEP, ("finalize", "1", "after"), Step.FINAL),
        (Phase.STEP, ("forget", "2", "before"), Step.CATALOGUED),
        (Phase.RECOVERY_STEP, ("link", "1", "after"), Step.GROWING),
    ],
)
def test_a_kill_costs_less_than_a_second_of_each_stream(
    server: CrashableServer, phase: Phase, sentence: tuple[str, str, str] | None, step: Step | None
) -> None:
    number, rng = next(_numbers), random.Random(f"{phase} {sentence}")
    run = CrashRun(server, number, phase, rng, streams=STREAMS, sentence=sentence)
    result = run.run(next_rotation="1")
    assert result.verdict.problems == []
    assert step is None or result.steps[step]
    assert result.kills == (2 if phase is Phase.RECOVERY_STEP else 1)
