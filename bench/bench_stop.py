"""How long stopping an MP4 recording takes, and what it writes: `python bench/bench_stop.py [MB ...]`.

Writes recordings of these sizes (default 100 and 5000) by the writer alone: 30 pictures and 47 audio frames a
second at 2.6 Mbit/s, synced now and then as the server does. Each is then finished and finalized, once with a
reserve that is large enough, once with one that must grow; recovery of the same file is timed as well.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from aircheck.containers.mp4 import Mp4Writer
from aircheck.containers.recover import recover_file
from aircheck.media.packet import Packet
from aircheck.media.track import Codec, Track

_AVCC = bytes.fromhex("0142c00dffe1001a6742c00ddb0141fb016a020202800001f4000075300078a15500000468ce3c80")
_VIDEO = Track(0, Codec.H264, 1000, _AVCC, 1280, 720)
_AUDIO = Track(1, Codec.AAC, 48000, b"\x11\x90", sample_rate=48000, channels=2)
_PICTURE = memoryview(os.urandom(1 << 20))[:10_500]
_SOUND = memoryview(os.urandom(256))
_PICTURES_PER_BATCH = 6
_SYNC_BYTES = 64 << 20


def media_batches(size_bytes: int) -> Iterator[list[Packet]]:
    """Batches of 200 ms until they make `size_bytes`."""
    picture = sound = total = 0
    while total < size_bytes:
        batch = []
        for _ in range(_PICTURES_PER_BATCH):
            ms = picture * 1000 // 30
            batch.append(Packet(_VIDEO, ms, ms, picture % 60 == 0, _PICTURE))
            picture += 1
        while sound * 1024 * 30 < picture * 48000:
            batch.append(Packet(_AUDIO, sound * 1024, sound * 1024, True, _SOUND))
            sound += 1
        total += sum(len(packet.data) for packet in batch)
        yield batch


def written_bytes() -> int:
    """What this process has handed to write calls."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("wchar")))


def record(path: Path, size_bytes: int, reserve_bytes: int) -> tuple[Mp4Writer, int]:
    """The writer at its stop, and how many bytes of media it has."""
    writer = Mp4Writer(path, [_VIDEO, _AUDIO], creation_ns=time.time_ns(), reserve_bytes=reserve_bytes)
    media = since_sync = 0
    with path.open("rb") as file:
        for batch in media_batches(size_bytes):
            writer.write(batch)
            size = sum(len(packet.data) for packet in batch)
            media, since_sync = media + size, since_sync + size
            if since_sync > _SYNC_BYTES:
                os.fdatasync(file.fileno())
                since_sync = 0
        os.fdatasync(file.fileno())
    return writer, media


def measure(folder: Path, size_bytes: int, reserve_bytes: int) -> None:
    path, before = folder / "stop.mp4", written_bytes()
    started_s, started_cpu_s = time.perf_counter(), time.process_time()
    writer, media = record(path, size_bytes, reserve_bytes)
    recorded_s, recorded_cpu_s = time.perf_counter() - started_s, time.process_time() - started_cpu_s
    packets = sum(track.packets for track in writer.track_facts())
    at_stop, started_s, started_cpu_s = written_bytes(), time.perf_counter(), time.process_time()
    writer.finish()
    done = writer.finalize()
    stop_ms = (time.perf_counter() - started_s) * 1000
    cpu_ms = (time.process_time() - started_cpu_s) * 1000
    print(
        f"{media / 1e6:8.0f} MB media  {done.duration_ms / 3.6e6:5.2f} h  {done.how:8}"
        f"  stop {stop_ms:7.1f} ms ({cpu_ms:6.1f} CPU)"
        f"  written at stop {(written_bytes() - at_stop) / 1e6:7.2f} MB"
        f"  written/media {(written_bytes() - before) / media:.4f}"
        f"  recording {recorded_cpu_s / packets * 1e6:.1f} us CPU/packet, {recorded_s:.1f} s"
    )
    path.unlink()


def measure_recovery(folder: Path, size_bytes: int) -> None:
    path = folder / "torn.mp4"
    writer, media = record(path, size_bytes, 16 << 20)
    writer.close()
    started_s = time.perf_counter()
    recovery = recover_file(path)
    elapsed_s = time.perf_counter() - started_s
    print(f"{media / 1e6:8.0f} MB media  recovered by {recovery.how} in {elapsed_s:.2f} s (warm cache)")
    path.unlink()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("megabytes", nargs="*", type=int, default=[100, 5000])
    parser.add_argument("--folder", type=Path, help="where to write; default: a temporary folder")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="aircheck-bench-", dir=options.folder))
    try:
        for megabytes in options.megabytes:
            size_bytes = megabytes * 1_000_000
            if shutil.disk_usage(folder).free < 2 * size_bytes:
                sys.exit(f"{folder} has no room for {megabytes} MB")
            measure(folder, size_bytes, reserve_bytes=16 << 20)
            measure(folder, size_bytes, reserve_bytes=min(512 * 1024, size_bytes // 10_000))
            measure_recovery(folder, size_bytes)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
