"""Long and large: beyond 4 GiB, beyond 32 bits of duration."""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import pytest
from helpers.mp4_media import demux, start_times
from helpers.mp4_streams import AUDIO, VIDEO, open_writer
from helpers.tools import requires

from aircheck.containers.mp4 import writer as writer_module
from aircheck.containers.mp4.disk import Disk
from aircheck.containers.recover import inspect_file, recover_file
from aircheck.media.packet import Packet, Payload

_PICTURE = memoryview(bytes(64 * 1024 * 1024))
_GIB = 1 << 30


@pytest.fixture
def sparse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave holes where large payloads would be."""

    def write_all(self: Disk, buffers: Sequence[Payload], offset: int) -> None:
        for buffer in buffers:
            if len(buffer) < len(_PICTURE):
                os.pwrite(self.fd, buffer, offset)
            offset += len(buffer)
        os.ftruncate(self.fd, max(offset, self.size_bytes))

    monkeypatch.setattr(Disk, "write_all", write_all)
    monkeypatch.setattr(Disk, "allocate", lambda *args, **kwargs: True)


@pytest.mark.usefixtures("sparse")
@requires("ffprobe")
def test_file_beyond_4_gib_has_64_bit_offsets_that_point_to_the_samples(tmp_path: Path) -> None:
    path, torn = tmp_path / "a.mp4", tmp_path / "torn.mp4"
    writer = open_writer(path)
    sounds = [Packet(AUDIO, number * 1024, number * 1024, True, b"sound%3d" % number) for number in range(90)]
    for number in range(90):
        writer.write([Packet(VIDEO, number * 200, number * 200, True, _PICTURE), sounds[number]])
        writer.flush()
    view = writer.view()
    writer.finish()
    os.link(path, torn)
    assert writer.finalize().size_bytes > 5 * _GIB
    with path.open("rb") as file:
        header = file.read(len(view.header))
        assert header == view.header
        offsets = _last_offsets(header)
        assert max(offsets) > 5 * _GIB
        file.seek(offsets[1])
        assert file.read(8) == sounds[-1].data
    assert start_times(path) == [0.0, 0.0]
    assert [track.size_bytes for track in inspect_file(path).tracks] == [90 * len(_PICTURE), 90 * 8]


def _last_offsets(header: bytes) -> list[int]:
    """The last chunk offset of each track."""
    found, position = [], 0
    while (position := header.find(b"co64", position + 1)) > 0:
        (count,) = struct.unpack_from(">I", header, position + 8)
        found += struct.unpack_from(">Q", header, position + 4 + 8 * count)
    return found


def test_day_long_file_has_64_bit_durations_and_keeps_its_times(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    writer = open_writer(path)
    for minute in range(30 * 60):
        ms, ticks = minute * 60_000, minute * 60 * 48000
        writer.write([Packet(VIDEO, ms, ms, True, b"picture"), Packet(AUDIO, ticks, ticks, True, b"sound")])
    writer.finish()
    done = writer.finalize()
    assert done.duration_ms >= (30 * 60 - 1) * 60_000
    pictures, sounds = demux(path)
    assert pictures[-1].pts == sounds[-1].pts == Fraction((30 * 60 - 1) * 60)
    assert inspect_file(path).duration_ms == done.duration_ms


@pytest.mark.usefixtures("sparse")
def test_recovery_beyond_4_gib_reads_headers_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.mp4"
    writer = open_writer(path)
    for number in range(80):
        writer.write([Packet(VIDEO, number * 200, number * 200, True, _PICTURE)])
    writer.close()
    read = 0
    real = os.pread

    def counting(fd: int, size: int, offset: int) -> bytes:
        nonlocal read
        data = real(fd, size, offset)
        read += len(data)
        return data

    monkeypatch.setattr(os, "pread", counting)
    recovery = recover_file(path, sync=False)
    assert recovery.facts is not None
    assert recovery.facts.tracks[0].packets == 80
    assert recovery.facts.size_bytes > 5 * _GIB
    assert read < 1_000_000


def test_old_parts_of_a_growing_file_leave_the_page_cache_as_it_grows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stop that had to drop them all would take 0.1 s per GB."""
    monkeypatch.setattr(writer_module, "_KEEP_CACHED_BYTES", 1 << 20)
    monkeypatch.setattr(writer_module, "_DROP_BYTES", 1 << 18)
    dropped: list[tuple[int, int]] = []
    drop_cache = Disk.drop_cache

    def watched(disk: Disk, offset: int = 0, size: int = 0) -> None:
        dropped.append((offset, size))
        drop_cache(disk, offset, size)

    monkeypatch.setattr(Disk, "drop_cache", watched)
    writer = open_writer(tmp_path / "a.mp4")
    picture = memoryview(bytes(50_000))
    for number in range(100):
        ms = number * 200
        writer.write([Packet(VIDEO, ms, ms, True, picture)])
        end = sum(size for _, size in dropped)
        assert end == 0 or end <= writer.size_bytes - (1 << 20)
    writer.close()
    assert len(dropped) >= 10
    assert all(size >= 1 << 18 for _, size in dropped)
    assert [offset for offset, _ in dropped[1:]] == [offset + size for offset, size in dropped[:-1]]
