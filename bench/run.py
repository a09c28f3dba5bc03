"""Compare the cost of recording: Aircheck beside nginx-rtmp, in turn, in one run on one machine.

    python bench/run.py --output /tmp/bench            # the whole table, some fifteen minutes
    python bench/run.py --cells 20:4096 --rounds 1     # a quick look
    python bench/run.py --write-readme                 # and put the table into bench/README.md
    python bench/run.py --profile --cells 100:4096     # where Aircheck's main thread spends its time

Each cell (streams : chunk size) is run for each server in each round; medians are shown. CPU seconds are
those of the server's processes within a window in which every publisher sends; the generator's are not in it.
After each run a sample of the recorded files is counted packet by packet against what was sent.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import pstats
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from clip import load_clip
from process_cost import Cost, cost_of
from servers import FORMATS, Server, aircheck, nginx_rtmp
from vp9_clip import load_vp9_clip

HERE = Path(__file__).parent
SETTLE_S = 2.0
"""Between the moment when all publishers send and the window that is measured."""

IDLE_S = 1.0
"""Between a server's start and the look at its idle memory."""

PROFILED_FUNCTIONS = 30
SAMPLE_FILES = 3
FILES_TIMEOUT_S = 30.0
BASELINE = "nginx-rtmp"
SERVERS = (BASELINE, "aircheck")

StartServer = Callable[[Path], AbstractContextManager[Server]]
_BEGIN, _END = "<!-- results: begin (written by run.py) -->", "<!-- results: end -->"


@dataclass(frozen=True, slots=True)
class Cell:
    streams: int
    chunk_size: int

    @classmethod
    def parse(cls, text: str) -> Cell:
        streams, _, chunk_size = text.partition(":")
        return cls(int(streams), int(chunk_size or 4096))


@dataclass(frozen=True, slots=True)
class Measurement:
    """One server, one cell, one round."""

    server: str
    streams: int
    chunk_size: int
    round: int
    cpu_ms_per_stream_s: float
    memory_kb_per_stream: float
    idle_memory_mb: float
    stalls: int
    longest_stall_ms: int
    lost: int
    generator_late_ms: int
    generator_cpu_s: float
    sent_bytes: int
    disk_bytes: int
    missing_packets: int
    """Packets sent but not in the files of the sample."""


def measure(server: Server, cell: Cell, round_number: int, window_s: float) -> Measurement:
    """Publish to a fresh server, measure the window, then judge the files."""
    time.sleep(IDLE_S)
    idle = cost_of(server.pid)
    with _generator(server, cell, SETTLE_S + window_s + 0.5) as process:
        begin, end = _measure_window(process, server.pid, window_s)
        report = _wait_for_event(process, "done")
    stream_seconds = cell.streams * (end.at_s - begin.at_s)
    return Measurement(
        server=server.name,
        streams=cell.streams,
        chunk_size=cell.chunk_size,
        round=round_number,
        cpu_ms_per_stream_s=(end.cost.cpu_s - begin.cost.cpu_s) * 1000 / stream_seconds,
        memory_kb_per_stream=(end.cost.memory_bytes - idle.memory_bytes) / 1024 / cell.streams,
        idle_memory_mb=idle.memory_bytes / 2**20,
        stalls=report["stalls"],
        longest_stall_ms=report["longest_stall_ms"],
        lost=report["lost"],
        generator_late_ms=report["most_late_ms"],
        generator_cpu_s=report["cpu_s"],
        sent_bytes=report["sent_bytes"],
        missing_packets=_missing_packets(server, report),
        disk_bytes=_disk_bytes(server.record_dir),
    )


@dataclass(frozen=True, slots=True)
class _Sample:
    at_s: float
    cost: Cost


def _measure_window(process: subprocess.Popen[str], pid: int, window_s: float) -> tuple[_Sample, _Sample]:
    _wait_for_event(process, "steady")
    time.sleep(SETTLE_S)
    begin = _Sample(time.monotonic(), cost_of(pid))
    time.sleep(window_s)
    return begin, _Sample(time.monotonic(), cost_of(pid))


def _generator(server: Server, cell: Cell, seconds: float) -> subprocess.Popen[str]:
    command = [sys.executable, str(HERE / "publishers.py"), "--port", str(server.rtmp_port)]
    command += ["--streams", str(cell.streams), "--chunk-size", str(cell.chunk_size)]
    command += ["--seconds", str(seconds), "--clip", server.clip]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def _wait_for_event(process: subprocess.Popen[str], event: str) -> dict[str, Any]:
    assert process.stdout is not None
    for line in process.stdout:
        message: dict[str, Any] = json.loads(line)
        if message["event"] == event:
            return message
    raise RuntimeError(f"the load generator ended before {event!r} (exit {process.wait()})")


def _disk_bytes(folder: Path) -> int:
    """Bytes that the files occupy on disk."""
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


def _missing_packets(server: Server, report: dict[str, Any]) -> int:
    """Compare a sample of the files with what their publishers sent."""
    files = _finished_files(server, report["streams"])
    missing = 0
    for index in _sample(report["streams"]):
        counted = _count_packets(files[f"bench{index:03d}"])
        missing += max(0, report["video_frames"][index] - counted.get("video", 0))
        audio_packets = int(report["audio_frames"][index] * server.audio_packets)
        missing += max(0, audio_packets - counted.get("audio", 0))
    return missing


def _sample(streams: int) -> list[int]:
    return sorted({round(at * (streams - 1) / (SAMPLE_FILES - 1)) for at in range(SAMPLE_FILES)})


def _finished_files(server: Server, streams: int) -> dict[str, Path]:
    """The recorded file of each stream, once all are there and no longer grow."""
    end_s = time.monotonic() + FILES_TIMEOUT_S
    before = -1
    while time.monotonic() < end_s:
        paths = [path for path in server.record_dir.rglob(f"*{server.suffix}") if not _is_hidden(path)]
        size_bytes = sum(path.stat().st_size for path in paths)
        if len(paths) >= streams and size_bytes == before:
            return {name: path for path in paths if (name := _stream_name(path))}
        before = size_bytes
        time.sleep(0.5)
    raise RuntimeError(f"{server.name}: {len(paths)} of {streams} files after {FILES_TIMEOUT_S} s")


def _is_hidden(path: Path) -> bool:
    """Whether it is, or lies in, a hidden one: Aircheck's files grow there, and a stalled disk keeps them."""
    return any(part.startswith(".") for part in path.parts)


def _stream_name(path: Path) -> str:
    at = str(path).rfind("bench")
    return str(path)[at : at + len("bench000")] if at >= 0 else ""


def _count_packets(path: Path) -> dict[str, int]:
    command = ["ffprobe", "-v", "error", "-count_packets", "-of", "json"]
    command += ["-show_entries", "stream=codec_type,nb_read_packets", str(path)]
    answer = json.loads(subprocess.run(command, check=True, capture_output=True, timeout=120).stdout)
    return {stream["codec_type"]: int(stream["nb_read_packets"]) for stream in answer["streams"]}


def run_all(options: argparse.Namespace) -> list[Measurement]:
    load_clip()
    if any(FORMATS[name][1] == "vp9" for name in options.formats):
        load_vp9_clip()
    measurements = []
    for round_number, cell, start_server in _schedule(options):
        folder = Path(tempfile.mkdtemp(prefix="aircheck-bench-", dir=options.disk))
        try:
            with start_server(folder) as server:
                measurement = measure(server, cell, round_number, options.window)
        finally:
            if not options.keep:
                shutil.rmtree(folder, ignore_errors=True)
        measurements.append(measurement)
        print(_progress(measurement), flush=True)
    return measurements


def profile(options: argparse.Namespace) -> None:
    """One run of Aircheck under cProfile; the functions that cost most. Absolute times are distorted."""
    options.output.mkdir(parents=True, exist_ok=True)
    path = options.output / "aircheck.prof"
    with (
        tempfile.TemporaryDirectory(prefix="aircheck-bench-", dir=options.disk) as folder,
        aircheck(Path(folder), profile=path) as server,
    ):
        print(_progress(measure(server, options.cells[0], 1, options.window)))
    pstats.Stats(str(path)).sort_stats("tottime").print_stats(PROFILED_FUNCTIONS)


def _schedule(options: argparse.Namespace) -> Iterator[tuple[int, Cell, StartServer]]:
    """Servers take turns within a round, so that a slow minute of the machine meets all of them."""
    for round_number in range(1, options.rounds + 1):
        for cell in options.cells:
            for start_server in _contestants(options):
                yield round_number, cell, start_server


def _contestants(options: argparse.Namespace) -> Iterator[StartServer]:
    """nginx-rtmp, and Aircheck once for each format."""
    if BASELINE in options.servers:
        yield nginx_rtmp
    if "aircheck" in options.servers:
        yield from (partial(aircheck, format=name) for name in options.formats)


def _progress(m: Measurement) -> str:
    return (
        f"round {m.round} {m.server:>12} {m.streams:>4} streams, chunk {m.chunk_size:>5}: "
        f"{m.cpu_ms_per_stream_s:.2f} ms/stream-s, {m.memory_kb_per_stream:.0f} KB/stream, "
        f"{m.stalls} stalls, {m.missing_packets} missing (generator at most {m.generator_late_ms} ms late)"
    )


def table(measurements: list[Measurement]) -> str:
    """The medians as a Markdown table."""
    lines = [
        "| streams | chunk size | server | CPU ms per stream-second | ratio to nginx-rtmp "
        "| memory per stream | stalls | missing packets |",
        "|---|---|---|---|---|---|---|---|",
    ]
    groups: dict[tuple[int, int, str], list[Measurement]] = {}
    for m in measurements:
        groups.setdefault((m.streams, m.chunk_size, m.server), []).append(m)
    for (streams, chunk_size, server), group in groups.items():
        cpu_ms = _median_cpu_ms(group)
        baseline = groups.get((streams, chunk_size, BASELINE))
        ratio = f"{cpu_ms / _median_cpu_ms(baseline):.2f}" if baseline else ""
        memory_kb = statistics.median(m.memory_kb_per_stream for m in group)
        lines.append(
            f"| {streams} | {chunk_size} | {server} | {cpu_ms:.2f} | {ratio} | {memory_kb:.0f} KB "
            f"| {sum(m.stalls for m in group)} | {sum(m.missing_packets for m in group)} |"
        )
    return "\n".join(lines)


def _median_cpu_ms(group: list[Measurement]) -> float:
    return statistics.median(m.cpu_ms_per_stream_s for m in group)


def summary(measurements: list[Measurement], options: argparse.Namespace) -> str:
    late_ms = max(m.generator_late_ms for m in measurements)
    return (
        f"{table(measurements)}\n\n"
        f"Medians of {options.rounds} rounds, window {options.window:g} s, {datetime.now(UTC):%Y-%m-%d}; "
        f"{os.cpu_count()} cores, Python {platform.python_version()}, Linux {platform.release()}. "
        f"The generator ran at most {late_ms} ms late.\n"
    )


def write_results(folder: Path, measurements: list[Measurement], text: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rows = [asdict(measurement) for measurement in measurements]
    (folder / "results.json").write_text(json.dumps(rows, indent=1) + "\n")
    (folder / "results.md").write_text(text)


def write_readme(text: str) -> None:
    readme = HERE / "README.md"
    before, _, rest = readme.read_text().partition(_BEGIN)
    _, _, after = rest.partition(_END)
    readme.write_text(f"{before}{_BEGIN}\n{text}{_END}{after}")


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    cells = [Cell.parse(text) for text in ("20:4096", "50:4096", "100:4096", "100:128", "100:60000")]
    parser.add_argument("--cells", nargs="+", type=Cell.parse, default=cells, metavar="STREAMS:CHUNK")
    parser.add_argument("--servers", nargs="+", choices=SERVERS, default=list(SERVERS))
    parser.add_argument(
        "--formats", nargs="+", choices=tuple(FORMATS), default=["mp4"], help="what Aircheck records to"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--window", type=float, default=10.0, help="seconds that are measured")
    parser.add_argument("--output", type=Path, default=Path(tempfile.gettempdir()) / "aircheck-bench")
    parser.add_argument("--disk", type=Path, help="folder to record to (default: the temporary folder)")
    parser.add_argument("--keep", action="store_true", help="keep recordings, configurations and logs")
    parser.add_argument(
        "--profile", action="store_true", help="only run Aircheck's first cell, under cProfile"
    )
    parser.add_argument("--write-readme", action="store_true", help="put the table into bench/README.md")
    return parser.parse_args()


def main() -> None:
    options = parse_options()
    if options.profile:
        profile(options)
        return
    measurements = run_all(options)
    text = summary(measurements, options)
    write_results(options.output, measurements, text)
    if options.write_readme:
        write_readme(text)
    print(f"\n{text}\nWritten to {options.output}")


if __name__ == "__main__":
    main()
