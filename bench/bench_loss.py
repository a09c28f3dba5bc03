"""Chromium publishes over bad paths for minutes; what is in the files: `python bench/bench_loss.py`.

    python bench/bench_loss.py                                        # ten minutes each, two at a time
    python bench/bench_loss.py --seconds 60 --cases vp8:5 h264:2:50:30:4

A case is codec : loss in percent, both ways [: delay in ms, both ways [: jitter in ms [: length of bursts]]].
Pictures tell when they were drawn, and beeps come at whole seconds of the same clock. Needs Chromium, FFmpeg
and what the tests need. Exit code 1 when a file does not decode clean, stands still for more than a second
where Chromium did not, or ends with sound and pictures more than 60 ms apart.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import urllib.request
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import av

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from helpers.bad_path import BadPath  # noqa: E402
from helpers.driven_browser import DrivenBrowser  # noqa: E402
from helpers.impairment import Impairment  # noqa: E402
from helpers.probe import decode_complaints  # noqa: E402
from helpers.server import ServerProcess  # noqa: E402
from helpers.told_times import ToldTimes, told_times  # noqa: E402

PAGE = ROOT / "tests" / "interop" / "flash_page.js"
CASES = ("vp8:0", "h264:0", "vp8:2", "h264:2", "vp8:5", "h264:5", "vp8:5:50:30", "h264:5:50:30:4")
FREEZE_MAX_S = 1.0
SKEW_MAX_S = 0.06
FRAME_S = 0.2
"""From drawing to capture and encoding, on a busy machine."""
EDGE_BEEPS = 10
"""At the start and at the end: over so many beeps skew is taken."""


@dataclass(frozen=True, slots=True)
class Case:
    codec: str
    loss: float
    delay_s: float
    jitter_s: float
    burst: float

    @classmethod
    def parse(cls, text: str) -> Case:
        codec, *numbers = text.split(":")
        loss, delay_ms, jitter_ms, burst = (float(one) for one in [*numbers, *"0000"][:4])
        return cls(codec, loss / 100, delay_ms / 1000, jitter_ms / 1000, burst)

    def __str__(self) -> str:
        parts = [f"{self.codec.upper()}, {self.loss:.0%}"]
        if self.delay_s or self.jitter_s:
            parts.append(f"{self.delay_s * 1000:.0f} ms + {self.jitter_s * 1000:.0f} ms of jitter")
        if self.burst:
            parts.append(f"in bursts of {self.burst:.0f}")
        return ", ".join(parts)

    def impairment(self, seed: int) -> Impairment:
        return Impairment(
            loss=self.loss, burst=self.burst, delay_s=self.delay_s, jitter_s=self.jitter_s, seed=seed
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    case: Case
    complaints: str
    times: ToldTimes
    sound_s: float
    up: Impairment
    samples: list[dict[str, Any]]
    """What the browser said of its sending, each second."""
    notices: dict[str, int]

    @property
    def problems(self) -> list[str]:
        found = [f"FFmpeg complains: {self.complaints[:300]}"] if self.complaints else []
        if self.times.longest_freeze_s > max(FREEZE_MAX_S, self.samples[-1]["pause"] + FRAME_S):
            found.append(f"stands still for {self.times.longest_freeze_s:.2f} s")
        if abs(median(self.times.skews_s[-EDGE_BEEPS:])) > SKEW_MAX_S:
            found.append("sound and pictures end apart")
        return found

    def row(self) -> str:
        last, skews = self.samples[-1], self.times.skews_s
        rates = [one["video"].get("targetBitrate", 0) for one in self.samples]
        full = max(rates)
        full_after_s = next(at for at, rate in enumerate(rates) if rate >= 0.9 * full)
        freezes = self.times.freezes_s(0.2)
        cells = (
            self.case,
            self.up.lost,
            f"{len(self.times.pictures)} of {last['video']['framesSent']}",
            f"{self.sound_s:.1f} of {_sent_sound_s(last['audio']):.1f}",
            f"{self.times.longest_freeze_s:.2f}, {last['pause']:.2f}",
            len(freezes),
            _ms(skews[:EDGE_BEEPS]),
            _ms(skews[-EDGE_BEEPS:]),
            _ms(_worst_minute(skews)),
            f"{median(rates) / 1e6:.2f}, {full / 1e6:.2f} after {full_after_s} s",
            "no" if self.complaints else "yes",
        )
        return f"| {' | '.join(map(str, cells))} |"


HEAD = (
    "| codec, path | packets lost | pictures, of those sent | s of sound, of those sent | longest freeze s:"
    " in the file, in Chromium | freezes > 0.2 s | skew ms: start | end | worst minute"
    " | Mbit/s: median, most | decodes clean |\n|---|---|---|---|---|---|---|---|---|---|---|"
)


def _sent_sound_s(report: dict[str, Any]) -> float:
    return (report["packetsSent"] - report["retransmittedPacketsSent"]) * 0.02


def _worst_minute(skews_s: list[float]) -> list[float]:
    """A beep comes each second."""
    minutes = [skews_s[at : at + 60] for at in range(0, len(skews_s), 60)]
    return max(minutes, key=lambda minute: abs(median(minute)))


def _ms(skews_s: list[float]) -> str:
    return f"{1000 * median(skews_s):.0f}"


def run(case: Case, seconds: float, folder: Path) -> Outcome:
    folder.mkdir()
    up, down = case.impairment(1), case.impairment(2)
    (folder / "server").mkdir()
    with (
        ServerProcess(folder / "server", record=['name = "{streamName}"']) as server,
        DrivenBrowser(folder) as browser,
        BadPath(up, down) as path,
    ):
        browser.open(server.http_url("/docs"))
        browser.run(PAGE.read_text())
        options = json.dumps({"port": path.port, "seconds": seconds + 30})
        url = server.http_url("/whip/lossy")
        path.lead_to(browser.run(f"publishFlashes('{url}', '{case.codec}', {options})"))
        samples = []
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s:
            time.sleep(1)
            samples.append(browser.run("sending()"))
        notices = _counters(server.http_url("/metrics"))
        urllib.request.urlopen(urllib.request.Request(browser.run("session"), method="DELETE"))
        file = server.wait_for_file("lossy")
    (folder / "samples.json").write_text(json.dumps(samples))
    (folder / "notices.json").write_text(json.dumps(notices))
    return judge(case, file, up, samples, notices)


def judge(
    case: Case, file: Path, up: Impairment, samples: list[dict[str, Any]], notices: dict[str, int]
) -> Outcome:
    with av.open(str(file)) as container:
        sound_s = sum(frame.samples / frame.sample_rate for frame in container.decode(audio=0))
    complaints = decode_complaints(file, timeout_s=1200)
    return Outcome(case, complaints, told_times(file), sound_s, up, samples, notices)


def _counters(url: str) -> dict[str, int]:
    """What the server counts of WebRTC media and its repair."""
    lines = urllib.request.urlopen(url, timeout=10).read().decode().splitlines()
    told = [line.rpartition(" ") for line in lines if line.startswith("aircheck_webrtc")]
    return {name: int(float(value)) for name, _, value in told if float(value)}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", nargs="+", type=Case.parse, default=[Case.parse(text) for text in CASES])
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--at-once", type=int, default=2)
    parser.add_argument("--keep", type=Path, help="keep files and figures there")
    options = parser.parse_args()
    is_good = True
    print(HEAD, flush=True)
    with (
        tempfile.TemporaryDirectory(prefix="bench-loss-") as temporary,
        ProcessPoolExecutor(options.at_once) as pool,
    ):
        folder = options.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        runs = [
            pool.submit(run, case, options.seconds, folder / f"run-{number}")
            for number, case in enumerate(options.cases)
        ]
        for one in runs:
            outcome = one.result()
            print(outcome.row(), flush=True)
            print(json.dumps(outcome.notices), *outcome.problems, sep="\n", file=sys.stderr, flush=True)
            is_good = is_good and not outcome.problems
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
