"""What it costs to receive and record WebRTC: Aircheck, and MediaMTX (Go) beside it in the same run if given.

    python bench/bench_webrtc.py                                  # Aircheck alone
    python bench/bench_webrtc.py --mediamtx /path/to/mediamtx     # both, in turn
    python bench/bench_webrtc.py --cells 5:2500:h264 --rounds 1   # streams : kbit/s : codec

Publishers are made by `rtc_publishers.py`: WHIP, one process, in real time. CPU seconds are those of the
server's processes within a window in which all of them send. MediaMTX records H.264 and Opus as they are to
fragmented MP4.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import av
from process_cost import cost_of
from servers import free_port, running

SETTLE_S = 6.0
"""For the first seconds after somebody came the server looks more often for what comes."""
HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Cell:
    streams: int
    kbps: int
    codec: str

    @classmethod
    def parse(cls, text: str) -> Cell:
        streams, kbps, codec = text.split(":")
        return cls(int(streams), int(kbps), codec)


@dataclass(frozen=True, slots=True)
class Target:
    """A running server: its process, and where a stream is offered to it."""

    pid: int
    url: str
    record_dir: Path


@dataclass(frozen=True, slots=True)
class Result:
    cpu_ms: float
    """Per stream and second."""
    late_ms: int
    repairs: int
    """Packets or pictures that the server asked for again."""
    pictures: int
    """In one of the files; 0 when nothing is recorded."""


StartServer = Callable[[Path], AbstractContextManager[Target]]


@contextmanager
def aircheck(folder: Path, *, options: str) -> Iterator[Target]:
    http_port, record_dir = free_port(), folder / "recorded"
    ports = {name: free_port() for name in ("rtmp", "websdk", "webrtc")}
    configuration = folder / "aircheck.toml"
    listens = "\n".join(f'[{name}]\nlisten = "127.0.0.1:{port}"' for name, port in ports.items())
    configuration.write_text(
        f'{listens}\npublic_addresses = ["127.0.0.1"]\n[http]\nlisten = "127.0.0.1:{http_port}"\n'
        f'[record]\ndir = "{record_dir}"\nname = "{{streamName}}"\n{options}\n'
    )
    command = [sys.executable, "-m", "aircheck", "serve", "--config", str(configuration)]
    with running(command, folder / "aircheck.log", http_port) as pid:
        yield Target(pid, f"http://127.0.0.1:{http_port}/whip/{{}}", record_dir)


@contextmanager
def mediamtx(folder: Path, *, binary: Path, records: bool) -> Iterator[Target]:
    http_port, udp_port, record_dir = free_port(), free_port(), folder / "recorded"
    configuration = folder / "mediamtx.yml"
    configuration.write_text(
        "logLevel: warn\nrtsp: no\nrtmp: no\nhls: no\nsrt: no\nmoq: no\n"
        f"webrtcAddress: 127.0.0.1:{http_port}\nwebrtcLocalUDPAddress: 127.0.0.1:{udp_port}\n"
        "webrtcIPsFromInterfaces: no\nwebrtcAdditionalHosts: [127.0.0.1]\n"
        f"paths:\n  all_others:\n    record: {'yes' if records else 'no'}\n"
        f"    recordPath: {record_dir}/%path-%s-%f\n    recordFormat: fmp4\n"
    )
    with running([str(binary), str(configuration)], folder / "mediamtx.log", http_port) as pid:
        yield Target(pid, f"http://127.0.0.1:{http_port}/{{}}/whip", record_dir)


def measure(start: StartServer, cell: Cell, window_s: float) -> Result:
    folder = Path(tempfile.mkdtemp(prefix="bench-webrtc-"))
    try:
        with start(folder) as target:
            cpu_s, said = _publish(target, cell, window_s)
        pictures = _pictures_in(target.record_dir)
    finally:
        shutil.rmtree(folder)
    asked = said["asked"]
    repairs = asked.get("Nack", 0) + asked.get("PictureLossIndication", 0)
    return Result(cpu_s * 1000 / cell.streams / window_s, said["late_ms"], repairs, pictures)


def _publish(target: Target, cell: Cell, window_s: float) -> tuple[float, dict]:
    options = {"streams": cell.streams, "kbps": cell.kbps, "codec": cell.codec}
    options["seconds"] = window_s + 2 * SETTLE_S
    command = [sys.executable, str(HERE / "rtc_publishers.py"), target.url]
    command += [part for name, value in options.items() for part in (f"--{name}", str(value))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as generator:
        assert generator.stdout is not None
        generator.stdout.readline()
        time.sleep(SETTLE_S)
        before_s = cost_of(target.pid).cpu_s
        time.sleep(window_s)
        cpu_s = cost_of(target.pid).cpu_s - before_s
        said = json.loads(generator.stdout.readline())
    return cpu_s, said


def _pictures_in(folder: Path) -> int:
    """Of the largest file, decoded: a file that cannot be decoded ends the bench."""
    files = [path for path in folder.rglob("*.*") if path.suffix in (".mp4", ".webm", ".mkv")]
    if not files:
        return 0
    with av.open(max(files, key=lambda path: path.stat().st_size)) as container:
        return sum(1 for _ in container.decode(video=0))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mediamtx", type=Path)
    default = ["5:2500:h264", "5:2500:vp8", "5:1000:h264", "16:1000:h264"]
    parser.add_argument("--cells", nargs="+", default=default)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--window", type=float, default=10.0)
    options = parser.parse_args()
    servers: dict[str, StartServer] = {
        "aircheck, receives": partial(aircheck, options="enabled = false"),
        "aircheck, records, Opus as AAC in MP4": partial(aircheck, options='mp4_audio = "aac"'),
        "aircheck, records as it is": partial(aircheck, options='mp4_audio = "copy"'),
    }
    if options.mediamtx is not None:
        servers["mediamtx, receives"] = partial(mediamtx, binary=options.mediamtx, records=False)
        servers["mediamtx, records as it is"] = partial(mediamtx, binary=options.mediamtx, records=True)
    print("| streams | kbit/s | codec | server | CPU ms per stream-second | late ms | repairs | pictures |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    for cell in map(Cell.parse, options.cells):
        results: dict[str, list[Result]] = {name: [] for name in servers}
        for _ in range(options.rounds):
            for name, start in servers.items():
                results[name].append(measure(start, cell, options.window))
        for name, rounds in results.items():
            cpu_ms = statistics.median(one.cpu_ms for one in rounds)
            late_ms, repairs = max(one.late_ms for one in rounds), sum(one.repairs for one in rounds)
            pictures = min(one.pictures for one in rounds)
            row = (cell.streams, cell.kbps, cell.codec, name, f"{cpu_ms:.1f}", late_ms, repairs, pictures)
            print("|", " | ".join(map(str, row)), "|", flush=True)


if __name__ == "__main__":
    main()
