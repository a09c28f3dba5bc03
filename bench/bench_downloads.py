"""Downloads and clips while streams are recorded: `python bench/bench_downloads.py`.

One server records the streams of the load generator throughout. Windows follow each other: nothing else; then
as often as `--rounds` says a pair of which all clients download from Aircheck in one and the same file from
nginx (`sendfile`) in the other, while Aircheck still records; at last most download from Aircheck and twenty
ask for clips that nobody asked for before.

CPU per GB is that of the process that sends. Aircheck records as well, and what that takes is to be taken
off. Two ways of that are shown: what it took while nothing was downloaded (`alone`), and what it took while
nginx sent (`beside`), which is more, as whoever sends leaves cold caches to everybody else. The second one
compares like with like: nginx is not charged for what its traffic costs the recorder either. Ratios are those
of a pair, and of the clips to the median of nginx.

The lag of the server's event loop is sampled fifty times a second, and beside it that of a loop without work:
what the second shows is the machine's doing. In the end every packet must be in the files.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import lag_watch
from bench_clip import clip_packets, looped
from process_cost import cost_of
from servers import Server, aircheck, nginx_files

from aircheck.containers.mp4 import Mp4Writer
from aircheck.facts import RecordingFacts, RecordingState, SegmentFacts, SegmentState
from aircheck.segment_note import encode_note

HERE = Path(__file__).parent
CLIP_CLIENTS = 20
CLIP_S = 20
SETTLE_S = 3.0
_MEDIA_BYTES_PER_S = 325_000


@dataclass(frozen=True, slots=True)
class Window:
    """What happened in one: when, CPU seconds of the recorder and of whoever sends, what clients got."""

    what: str
    begin_s: float
    end_s: float
    recorder_s: float
    sender_s: float
    got: dict[str, Any]

    @property
    def seconds(self) -> float:
        return self.end_s - self.begin_s

    @property
    def gigabytes(self) -> float:
        return float(self.got["size_bytes"]) / 1e9

    @property
    def recording(self) -> float:
        """Of a window in which the recorder does nothing else: CPU seconds a second."""
        return self.recorder_s / self.seconds

    @property
    def sender_s_per_gb(self) -> float:
        return self.sender_s / self.gigabytes

    def s_per_gb_without(self, recording: float) -> float:
        """CPU seconds per GB of a recorder that sends, but for what recording took."""
        return (self.recorder_s - recording * self.seconds) / self.gigabytes


def make_recording(folder: Path, size_mb: int) -> None:
    """A finished recording with its note, which `aircheck check --repair` puts into the catalogue."""
    packets = clip_packets()
    tracks = list({id(packet.track): packet.track for packet in packets}.values())
    now_ns, length_s = time.time_ns(), size_mb * 1_000_000 // _MEDIA_BYTES_PER_S
    state = RecordingState.COMPLETE
    recording = RecordingFacts(
        "bench-file", "old", "live", "m", "s", "", "bench", "mp4", "{streamName}", state, now_ns
    )
    path = folder / "old.mp4"
    segment = SegmentFacts(
        "bench-segment", recording.id, 1, SegmentState.COMPLETE, "mp4", str(path), path.name, now_ns
    )
    segment = replace(segment, duration_ms=length_s * 1000, end_ns=now_ns + length_s * 10**9)
    writer = Mp4Writer(
        path, tracks, note=encode_note(recording, segment), creation_ns=now_ns, fragment_ms=400
    )
    for batch in looped(packets, length_s):
        writer.write(batch)
    writer.finish()
    writer.finalize()


def observe(what: str, recorder: Server, sender: Server, urls: list[str], seconds: float) -> Window:
    """Let the clients loose on `sender`, and watch it and the recorder."""
    time.sleep(SETTLE_S)
    begin_s, got = time.monotonic(), {"size_bytes": 0}
    recorder_s, sender_s = cost_of(recorder.pid).cpu_s, cost_of(sender.pid).cpu_s
    if urls:
        command = [sys.executable, str(HERE / "downloads.py"), "--port", str(sender.http_port)]
        command += ["--seconds", str(seconds), *urls]
        got = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    else:
        time.sleep(seconds)
    recorder_s, sender_s = cost_of(recorder.pid).cpu_s - recorder_s, cost_of(sender.pid).cpu_s - sender_s
    return Window(what, begin_s, time.monotonic(), recorder_s, sender_s, got)


@dataclass(frozen=True, slots=True)
class Windows:
    """All of a run; a pair is one of Aircheck and one of nginx."""

    alone: Window
    pairs: list[tuple[Window, Window]]
    clips: Window

    @property
    def reference(self) -> float:
        """CPU seconds per GB of nginx."""
        return median(theirs.sender_s_per_gb for _, theirs in self.pairs)


def observe_all(server: Server, nginx: Server, options: argparse.Namespace) -> Windows:
    clients, seconds, file = options.clients, options.seconds, "/client/records/old.mp4"
    urls = [f"{file}?start={n}.5&end={n + CLIP_S}.5" for n in range(CLIP_CLIENTS)]
    mixed = [*[file] * (clients - len(urls)), *urls]
    alone = observe("nothing else", server, server, [], seconds)
    pairs = [
        (
            observe(f"{clients} downloads", server, server, [file] * clients, seconds),
            observe(f"{clients} downloads from nginx", server, nginx, ["/old.mp4"] * clients, seconds),
        )
        for _ in range(options.rounds)
    ]
    what = f"{clients - len(urls)} downloads, {len(urls)} clips"
    return Windows(alone, pairs, observe(what, server, server, mixed, seconds))


def metric(server: Server, name: str) -> float:
    """The sum of a metric's values."""
    with urllib.request.urlopen(f"http://127.0.0.1:{server.http_port}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    values = (line.rsplit(" ", 1) for line in lines if line.startswith(name) and line[len(name)] in " {")
    return sum(float(value) for _, value in values)


def recorded_packets(server: Server) -> int:
    url = f"http://127.0.0.1:{server.http_port}/api/v1/recordings"
    with urllib.request.urlopen(f"{url}?limit=500", timeout=10) as answer:
        recordings = [one for one in json.load(answer)["items"] if one["id"] != "bench-file"]
    total = 0
    for one in recordings:
        with urllib.request.urlopen(f"{url}/{one['id']}", timeout=10) as answer:
            files = json.load(answer)["segments"]
        total += sum(track["packets"] for file in files for track in file["tracks"])
    return total


def adopt(folder: Path) -> None:
    """Put what lies in the record folder into the catalogue."""
    command = [sys.executable, "-m", "aircheck", "check", "--repair", "--config"]
    subprocess.run([*command, str(folder / "aircheck.toml")], check=True, capture_output=True)


@contextmanager
def bystander(lags: Path) -> Iterator[None]:
    process = subprocess.Popen([sys.executable, str(HERE / "lag_watch.py"), str(lags)])
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def run(folder: Path, options: argparse.Namespace) -> None:
    watched, idle = folder / "lags", folder / "idle-lags"
    with (
        bystander(idle),
        aircheck(folder, lags=watched) as server,
        nginx_files(folder, server.record_dir) as nginx,
    ):
        make_recording(server.record_dir, options.file_mb)
        adopt(folder)
        seconds = 2 * (1 + options.rounds) * (options.seconds + 2 * SETTLE_S)
        command = [sys.executable, str(HERE / "publishers.py"), "--port", str(server.rtmp_port)]
        command += ["--streams", str(options.streams), "--seconds", str(seconds)]
        publishers = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert publishers.stdout is not None
        publishers.stdout.readline()
        windows = observe_all(server, nginx, options)
        sent = json.loads(publishers.communicate()[0].splitlines()[-1])
        time.sleep(SETTLE_S)
        verdict = judge(server, sent)
    show(windows, watched, idle)
    print(f"\n{verdict}")


def show(windows: Windows, watched: Path, idle: Path) -> None:
    def row(window: Window, *cells: str) -> None:
        print("|", " | ".join((window.what, *cells, _lags(window, watched, idle))), "|")

    print(
        "| while recording | GB, GB/s | recording: CPU s a second | CPU s per GB: `alone`, `beside` "
        "| ratio to nginx: `alone`, `beside` | answers: number, median s, worst s; failed "
        "| lag of the server, ms: p50, p99, worst | of a loop without work |"
    )
    print("|---|---|---|---|---|---|---|---|")
    alone = windows.alone.recording
    row(windows.alone, "", f"{alone:.3f}", "", "", "")
    for ours, theirs in windows.pairs:
        costs = ours.s_per_gb_without(alone), ours.s_per_gb_without(theirs.recording)
        row(ours, _traffic(ours), "", *_costs(costs, theirs.sender_s_per_gb), _answers(ours))
        cost = f"{theirs.sender_s_per_gb:.3f}"
        row(theirs, _traffic(theirs), f"{theirs.recording:.3f}", cost, "1", _answers(theirs))
    clips, beside = windows.clips, median(theirs.recording for _, theirs in windows.pairs)
    costs = clips.s_per_gb_without(alone), clips.s_per_gb_without(beside)
    row(clips, _traffic(clips), "", *_costs(costs, windows.reference), _answers(clips))
    print(f"\nDownloads, median ratio of the pairs: {_medians(windows)}")


def _medians(windows: Windows) -> str:
    alone = windows.alone.recording
    ratios = (
        [ours.s_per_gb_without(alone) / theirs.sender_s_per_gb for ours, theirs in windows.pairs],
        [ours.s_per_gb_without(theirs.recording) / theirs.sender_s_per_gb for ours, theirs in windows.pairs],
    )
    return "`alone` {:.2f}, `beside` {:.2f}.".format(*map(median, ratios))


def _costs(costs: tuple[float, float], reference: float) -> tuple[str, str]:
    ratios = (cost / reference for cost in costs)
    return ", ".join(f"{cost:.3f}" for cost in costs), ", ".join(f"{ratio:.2f}" for ratio in ratios)


def _traffic(window: Window) -> str:
    return f"{window.gigabytes:.1f}, {window.gigabytes / window.seconds:.2f}"


def _answers(window: Window) -> str:
    got = window.got
    times = f"{got['answers']}, {got['median_s']:.2f}, {got['worst_s']:.2f}"
    return f"{times}; {sum(got['failures'].values())}"


def _lags(window: Window, *watches: Path) -> str:
    cells = []
    for path in watches:
        lags = lag_watch.read(path, window.begin_s, window.end_s)
        cells.append(
            ", ".join(f"{lags[int(len(lags) * part)]:.1f}" for part in (0.5, 0.99)) + f", {lags[-1]:.0f}"
        )
    return " | ".join(cells)


def judge(server: Server, sent: dict[str, Any]) -> str:
    expected = sum(sent["video_frames"]) + sum(sent["audio_frames"])
    return (
        f"{sent['streams']} streams: {expected - recorded_packets(server)} of {expected} packets missing, "
        f"{metric(server, 'aircheck_stream_gaps_total'):.0f} gaps, {sent['lost']} publishers lost, "
        f"{sent['stalls']} stalls; the generator was at most {sent['most_late_ms']} ms late. "
        f"{metric(server, 'aircheck_clips_total'):.0f} clips."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--streams", type=int, default=50)
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=15, help="of each window")
    parser.add_argument("--rounds", type=int, default=3, help="pairs of Aircheck and nginx")
    parser.add_argument("--file-mb", type=int, default=520, help="size of the file that is downloaded")
    parser.add_argument("--disk", type=Path, default=None, help="the folder to work in")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-downloads-", dir=options.disk) as folder:
        run(Path(folder), options)


if __name__ == "__main__":
    main()
