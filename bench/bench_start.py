"""How soon a recording begins: `python bench/bench_start.py`, from the POST of WHIP on.

Chromium and aiortc publish again and again, VP8 and H.264 in turn, to candidates of this host. Measured are
when Chromium drew the first picture of the file, as the picture itself tells, and when the first media of the
file could be read on the disk.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from statistics import median

import httpx

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from helpers.driven_browser import DrivenBrowser  # noqa: E402
from helpers.rtc_client import RtcClient  # noqa: E402
from helpers.server import ServerProcess  # noqa: E402
from helpers.told_times import told_times  # noqa: E402

PAGE = ROOT / "tests" / "interop" / "flash_page.js"
CODECS = ("VP8", "H264")
RECORD_S = 1.5
TIMEOUT_S = 10.0
LOOK_S = 0.005
_MEDIA_MARKS = {".mp4": b"moof", ".webm": b"\x1f\x43\xb6\x75"}
"""What comes before the first media of a file."""


@dataclass(frozen=True, slots=True)
class Start:
    """Seconds from the POST on. `drawn_s` is None for a client whose pictures do not tell."""

    client: str
    drawn_s: float | None
    on_disk_s: float


class DiskWatch:
    """Looks again and again whether there is a new file in a folder with media in it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known = self._files()
        self._found_s: float | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def found_s(self) -> float:
        self._thread.join()
        if self._found_s is None:
            raise RuntimeError(f"no media within {TIMEOUT_S} s")
        return self._found_s

    def _run(self) -> None:
        end_s = time.monotonic() + TIMEOUT_S
        while self._found_s is None and time.monotonic() < end_s:
            time.sleep(LOOK_S)
            if any(_MEDIA_MARKS[path.suffix] in path.read_bytes() for path in self._files() - self._known):
                self._found_s = time.monotonic()

    def _files(self) -> set[Path]:
        return {path for path in self._folder.rglob("*") if path.suffix in _MEDIA_MARKS}


def chromium_starts(server: ServerProcess, folder: Path, rounds: int) -> Iterator[Start]:
    with DrivenBrowser(folder) as browser:
        for number in range(rounds):
            codec, name = CODECS[number % len(CODECS)], f"chromium-{number}"
            browser.open(server.http_url("/docs"))
            browser.run(PAGE.read_text())
            watch = DiskWatch(server.record_dir)
            browser.run(f"publishFlashes('{server.http_url(f'/whip/{name}')}', '{codec}')")
            found_s = watch.found_s()
            time.sleep(RECORD_S)
            posted = browser.run("({at: postedAt, ago: soundTime() - postedAt})")
            on_disk_s = found_s - (time.monotonic() - posted["ago"])
            httpx.delete(browser.run("session"))
            first = told_times(server.wait_for_file(name)).pictures[0]
            yield Start(f"Chromium, {codec}", first.told_s - posted["at"], on_disk_s)


def aiortc_starts(server: ServerProcess, rounds: int) -> Iterator[Start]:
    for number in range(rounds):
        codec, name = CODECS[number % len(CODECS)], f"aiortc-{number}"
        watch = DiskWatch(server.record_dir)
        posted_s = asyncio.run(_publish_by_aiortc(server.http_url(f"/whip/{name}"), codec, watch))
        server.wait_for_file(name)
        yield Start(f"aiortc, {codec}", None, watch.found_s() - posted_s)


async def _publish_by_aiortc(url: str, codec: str, watch: DiskWatch) -> float:
    """When it was posted."""
    posted_s = 0.0

    async def signal(offer: str) -> str:
        nonlocal posted_s
        async with httpx.AsyncClient() as http:
            posted_s = time.monotonic()
            return (await http.post(url, content=offer, headers={"content-type": "application/sdp"})).text

    async with RtcClient() as client:
        await client.publish(signal, video_codecs=(codec,))
        await asyncio.to_thread(watch.found_s)
    return posted_s


def row(client: str, starts: list[Start]) -> str:
    drawn = [start.drawn_s for start in starts if start.drawn_s is not None]
    on_disk = [start.on_disk_s for start in starts]
    cells = (client, len(starts), _ms(drawn) if drawn else "", _ms(on_disk))
    return f"| {' | '.join(map(str, cells))} |"


def _ms(times_s: list[float]) -> str:
    return f"{1000 * median(times_s):.0f}, {1000 * max(times_s):.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    print(
        "| client, codec | starts | first picture drawn: ms median, worst | on the disk: ms median, worst |"
    )
    print("|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory(prefix="bench-start-") as temporary:
        folder = Path(temporary)
        with ServerProcess(folder, record=['name = "{streamName}"']) as server:
            starts = [
                *chromium_starts(server, folder, options.rounds),
                *aiortc_starts(server, options.rounds),
            ]
    starts.sort(key=lambda start: start.client)
    for client, some in groupby(starts, key=lambda start: start.client):
        print(row(client, list(some)))


if __name__ == "__main__":
    main()
