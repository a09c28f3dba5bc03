"""What cutting a clip costs: `python bench/bench_clip.py [--hours 4] [--seconds 20]`.

For each container a recording of that length is written by its writer: the bench's clip of 2.6 Mbit/s again
and again (H.264 with B-frames, AAC; in WebM VP9 and Opus; a key frame every two seconds, times in
milliseconds as RTMP has them), or its sound alone. Then parts of it are cut at the beginning, in the middle
and near the end, by the code that the server runs, once with the recording in the page cache and once
without. Bytes read are all that the process asked the kernel for, as it counts them itself; the last column
compares them with the size of the clip.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from clip import CLIP_NAME, DURATION_MS, cache_dir, load_clip
from vp9_clip import VP9_CLIP_NAME, load_vp9_clip

from aircheck.containers.capability import Container, index_bytes
from aircheck.containers.cut import Range, Source, cut
from aircheck.containers.cut.demux import Demuxer
from aircheck.containers.flv import FlvWriter
from aircheck.containers.matroska import MatroskaWriter, WebmWriter
from aircheck.containers.mp4 import Mp4Writer
from aircheck.containers.mpegts import TsWriter
from aircheck.media.packet import Packet

_WRITERS: dict[str, Any] = {
    "mp4": Mp4Writer,
    "mkv": MatroskaWriter,
    "webm": WebmWriter,
    "ts": TsWriter,
    "flv": FlvWriter,
}
_SUBJECTS = (*_WRITERS, "mp4 sound", "webm sound")
_BATCH = 32
_PLACES = (0.0, 0.5, 0.97)


def clip_packets(name: str = CLIP_NAME) -> list[Packet]:
    """Sixteen seconds that can be looped without a seam."""
    load_clip()
    with Demuxer.open(Source(cache_dir() / name)) as demuxer:
        packets = [
            packet
            for packet in demuxer.packets(None, None)
            if packet.dts * 1000 < DURATION_MS * packet.track.timescale
        ]
    return sorted(packets, key=lambda packet: Fraction(packet.dts, packet.track.timescale))


def subject_packets(subject: str) -> list[Packet]:
    if subject.startswith("webm"):
        load_vp9_clip()
    packets = clip_packets(VP9_CLIP_NAME if subject.startswith("webm") else CLIP_NAME)
    return [packet for packet in packets if not subject.endswith("sound") or not packet.track.is_video]


def looped(packets: list[Packet], seconds: float) -> Iterator[list[Packet]]:
    for turn in range(int(seconds * 1000 / DURATION_MS)):
        moved = [
            replace(packet, pts=packet.pts + shift, dts=packet.dts + shift)
            for packet in packets
            for shift in (turn * DURATION_MS * packet.track.timescale // 1000,)
        ]
        for start in range(0, len(moved), _BATCH):
            yield moved[start : start + _BATCH]


def record(path: Path, packets: list[Packet], seconds: float) -> None:
    tracks = list({id(packet.track): packet.track for packet in packets}.values())
    reserve = index_bytes(Container(path.suffix[1:]), int(seconds))
    writer = _WRITERS[path.suffix[1:]](
        path, tracks, creation_ns=time.time_ns(), reserve_bytes=reserve, fragment_ms=400
    )
    for batch in looped(packets, seconds):
        writer.write(batch)
    writer.finish()
    writer.finalize()


def read_bytes() -> int:
    """What this process has asked read calls and copies inside the kernel for."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("rchar")))


def forget(path: Path) -> None:
    """Out of the page cache, as far as nobody else has it open."""
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(fd)


def measure(path: Path, start_s: float, length_s: float, *, is_cold: bool) -> tuple[float, float, int, int]:
    """Milliseconds until the clip is on the disk, CPU milliseconds, bytes read, bytes of the clip."""
    target = path.with_name(f"clip{path.suffix}")
    target.unlink(missing_ok=True)
    if is_cold:
        forget(path)
    read, started_s, cpu_s = read_bytes(), time.perf_counter(), time.process_time()
    made = cut([Source(path)], Range(Fraction(start_s), Fraction(start_s + length_s)), target)
    took_ms, took_cpu_ms = (time.perf_counter() - started_s) * 1000, (time.process_time() - cpu_s) * 1000
    return took_ms, took_cpu_ms, read_bytes() - read, made.size_bytes


def report(subject: str, path: Path, hours: float, length_s: float) -> None:
    size_mb = path.stat().st_size / 1e6
    for place in _PLACES:
        start_s = round(hours * 3600 * place) + 0.7
        for is_cold in (False, True):
            runs = sorted(measure(path, start_s, length_s, is_cold=is_cold) for _ in range(5))
            took_ms, cpu_ms, read, size = runs[2]
            print(
                f"| {subject} | {size_mb:.0f} | {start_s:.1f} | {'cold' if is_cold else 'warm'} "
                f"| {took_ms:.0f} ({runs[0][0]:.0f}, {runs[-1][0]:.0f}) | {cpu_ms:.0f} "
                f"| {read / 1e6:.2f} | {size / 1e6:.2f} | {read / size:.2f} |",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--hours", type=float, default=4)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--subjects", nargs="+", choices=_SUBJECTS, default=_SUBJECTS)
    parser.add_argument("--disk", type=Path, default=None, help="the folder to work in")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="bench-clip-", dir=options.disk))
    print("| | file MB | at s | cache | ms: median (best, worst) | CPU ms | read MB | clip MB | ratio |")
    print("|---|---|---|---|---|---|---|---|---|")
    try:
        for subject in options.subjects:
            path = folder / f"recording.{subject.partition(' ')[0]}"
            record(path, subject_packets(subject), options.hours * 3600)
            report(subject, path, options.hours, options.seconds)
            path.unlink()
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    sys.exit(main())
