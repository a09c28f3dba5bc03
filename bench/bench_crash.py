"""What `kill -9` costs: `python bench/bench_crash.py --runs 200`.

Ten streams are recorded in real time; the server is killed at a random instant, a part of the times aimed
(streams starting, just unpublished, just disconnected, one exact step of a segment's life, recovery itself).
Each time the files are judged as they lie, the server is started again, and what it recovered is compared,
packet by packet, with what had been sent: see `crash_run.py` and `crash_judge.py`. Exit code 1 when a promise
was broken.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from crash_judge import Step
from crash_run import CrashResult, CrashRun, Phase, keep_evidence
from crashable import CrashableServer

RUNS_A_FOLDER = 20
_WEIGHTS = {
    Phase.RECORDING: 2,
    Phase.ROTATING: 4,
    Phase.STARTING: 2,
    Phase.UNPUBLISHING: 3,
    Phase.VANISHING: 1,
    Phase.STEP: 6,
    Phase.RECOVERING: 2,
    Phase.RECOVERY_STEP: 3,
}


def campaign(runs: int, seed: int, evidence: Path | None, base: Path | None) -> list[CrashResult]:
    rng = random.Random(seed)
    phases = rng.choices(list(_WEIGHTS), list(_WEIGHTS.values()), k=runs)
    results: list[CrashResult] = []
    for first in range(0, runs, RUNS_A_FOLDER):
        folder = Path(tempfile.mkdtemp(prefix="aircheck-crash-", dir=base))
        try:
            results += _in_folder(folder, first, phases[first : first + RUNS_A_FOLDER], rng, evidence)
        finally:
            shutil.rmtree(folder)
    return results


def _in_folder(
    folder: Path, first: int, phases: list[Phase], rng: random.Random, evidence: Path | None
) -> list[CrashResult]:
    results = []
    rotations = [*(_rotation(phase, rng) for phase in phases), ""]
    server = CrashableServer(folder, rotation=rotations[0])
    server.start()
    try:
        for index, phase in enumerate(phases):
            number = first + index
            started_s = time.monotonic()
            result = CrashRun(server, number, phase, rng).run(next_rotation=rotations[index + 1])
            results.append(result)
            _tell(number, result, time.monotonic() - started_s)
            if result.verdict.problems and evidence is not None:
                keep_evidence(server, evidence / f"run-{number}", result)
    finally:
        server.close()
    return results


def _rotation(phase: Phase, rng: random.Random) -> str:
    """Segments of a second wherever many of them matter."""
    if phase in (Phase.ROTATING, Phase.STEP):
        return "1"
    return rng.choice(("", "1", "2")) if phase is not Phase.RECORDING else ""


def _tell(number: int, result: CrashResult, took_s: float) -> None:
    verdict = result.verdict
    line = {
        "run": number,
        "phase": result.phase,
        "kills": result.kills,
        "files": verdict.files,
        "worst_loss_ms": max(verdict.losses_ms, default=0),
        "recovered": result.recovered,
        "recovery_s": round(result.recovery_s, 2),
        "steps": dict(result.steps),
        "longest_send_ms": round(result.longest_send_s * 1000),
        "took_s": round(took_s, 1),
        "problems": verdict.problems,
    }
    print(json.dumps(line), flush=True)


def table(results: list[CrashResult]) -> str:
    """Markdown, for bench/README.md."""
    lines = [
        "| killed | runs | kills | files | packets | loss ms: median, worst | recovered | broken promises |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [_row(phase, [r for r in results if r.phase is phase]) for phase in Phase]
    lines.append(_row("all", results))
    steps = sum((result.steps for result in results), Counter())
    told = ", ".join(f"{step} {steps[step]}" for step in Step if steps[step])
    return "\n".join([*lines, "", f"Segments by the step of their life at which the kill met them: {told}."])


def _row(name: str, results: list[CrashResult]) -> str:
    losses_ms = [loss_ms for result in results for loss_ms in result.verdict.losses_ms]
    loss = f"{statistics.median(losses_ms):.0f}, {max(losses_ms)}" if losses_ms else "-"
    verdicts = [result.verdict for result in results]
    kills, recovered = sum(r.kills for r in results), sum(r.recovered for r in results)
    files, packets = sum(v.files for v in verdicts), sum(v.packets for v in verdicts)
    broken = sum(len(v.problems) for v in verdicts)
    return f"| {name} | {len(results)} | {kills} | {files} | {packets:,} | {loss} | {recovered} | {broken} |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1, help="the same seed aims the same kills")
    parser.add_argument("--evidence", type=Path, help="keep the logs of runs with problems here")
    parser.add_argument("--folder", type=Path, help="where to record; default: a temporary folder")
    options = parser.parse_args()
    results = campaign(options.runs, options.seed, options.evidence, options.folder)
    print(table(results))
    return 1 if any(result.verdict.problems for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
