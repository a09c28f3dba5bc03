"""How late an event loop is: `lag_watch.py FILE` watches one that has nothing else to do, until SIGTERM, and
`lag_watch.py FILE serve …` that of the server.

Every 20 ms a timer is due. In the end FILE has a line for each: when (CLOCK_MONOTONIC, s), and how late (ms).
What the loop without work shows is the machine's share in what the server shows.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import uvloop

INTERVAL_S = 0.02

_samples: list[tuple[float, float]] = []


async def watch() -> None:
    """Until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        due_s = loop.time() + INTERVAL_S
        await asyncio.sleep(INTERVAL_S)
        now_s = loop.time()
        _samples.append((now_s, max(0.0, now_s - due_s) * 1000))


async def bystander() -> None:
    watching = asyncio.ensure_future(watch())
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, watching.cancel)
    await asyncio.wait({watching})


def server(arguments: list[str]) -> None:
    from aircheck.app.node import Node
    from aircheck.cli import main

    start = Node._start

    async def watched_start(node: Node) -> None:
        await start(node)
        node.tasks.spawn(watch(), "bench")

    Node._start = watched_start  # type: ignore[method-assign]
    sys.argv = ["aircheck", *arguments]
    main()


def read(path: Path, begin_s: float, end_s: float) -> list[float]:
    """How late, in ms, in that span of time; sorted."""
    lines = (line.split() for line in path.read_text().splitlines())
    return sorted(float(late_ms) for at_s, late_ms in lines if begin_s <= float(at_s) < end_s)


def run(target: Path, arguments: list[str]) -> None:
    try:
        if arguments:
            server(arguments)
        else:
            uvloop.run(bystander())
    finally:
        target.write_text("".join(f"{at_s:.4f} {late_ms:.3f}\n" for at_s, late_ms in _samples))


if __name__ == "__main__":
    run(Path(sys.argv[1]), sys.argv[2:])
