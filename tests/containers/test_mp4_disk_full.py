"""A disk without space: what was written stays, and is finalized in the space that was set aside for it."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.mp4_crash import payloads
from helpers.mp4_streams import media, open_writer

from aircheck.containers.mp4 import Method, Mp4Writer, WriteError
from aircheck.containers.mp4 import disk as disk_module
from aircheck.containers.mp4.disk import BLOCK, Disk
from aircheck.containers.recover import Outcome, inspect_file, recover_file
from aircheck.media.packet import Packet

_SIZE_BYTES = 3 * 1024 * 1024


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MiB."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small disk")
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={_SIZE_BYTES}", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("this system does not let us mount a small disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def large(packets: Sequence[Packet], size: int = 4000) -> list[Packet]:
    return [replace(packet, data=bytes(packet.data).ljust(size, b".")) for packet in packets]


def fill(writer: Mp4Writer) -> list[Packet]:
    """Write until the disk is full; returns what was taken."""
    taken: list[Packet] = []
    for number in range(200):
        batch = large(media(0.2, number * 200))
        try:
            writer.write(batch)
        except WriteError:
            break
        taken += batch
    assert writer.error is not None
    assert writer.error.errno in (errno.ENOSPC, errno.EFBIG)
    return taken


def assert_plays(path: Path, taken: Sequence[Packet]) -> None:
    expected = [[packet.data for packet in taken if packet.track.id == number] for number in (0, 1)]
    assert payloads(path) == expected


def test_full_disk_costs_one_fragment_and_the_file_becomes_final(small_disk: Path) -> None:
    path = small_disk / "a.mp4"
    writer = open_writer(path)
    taken = fill(writer)
    assert path.stat().st_size == writer.size_bytes
    writer.finish()
    assert writer.finalize().how is Method.RESERVE
    assert inspect_file(path).is_final
    assert_plays(path, taken)


def test_full_disk_and_no_room_for_the_moov_leave_a_file_that_plays_until_there_is_room(
    small_disk: Path,
) -> None:
    path = small_disk / "a.mp4"
    writer = open_writer(path, reserve_bytes=1, note=bytes(9000))
    taken = fill(writer)
    writer.finish()
    assert writer.finalize().how is Method.FRAGMENTED
    assert_plays(path, taken)
    recovery = recover_file(path)
    assert (recovery.outcome, recovery.how) == (Outcome.RECOVERED, Method.FRAGMENTED)
    assert [other.name for other in small_disk.iterdir()] == ["a.mp4"]
    subprocess.run(["mount", "-o", f"remount,size={4 * _SIZE_BYTES}", str(small_disk)], check=True)
    assert recover_file(path).how is Method.COPY
    assert_plays(path, taken)
    assert recover_file(path).outcome is Outcome.FINAL


def test_disk_that_has_room_again_is_written_to_again(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(1024 * 1024))
    path = small_disk / "a.mp4"
    writer = open_writer(path)
    taken = fill(writer)
    ballast.unlink()
    more = large(media(0.2, 60_000))
    writer.write(more)
    writer.finish()
    writer.finalize()
    assert_plays(path, [*taken, *more])


@contextmanager
def largest_file(size_bytes: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_file_size_limit_is_met_like_a_full_disk(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    writer = open_writer(path)
    with largest_file(1024 * 1024):
        taken = fill(writer)
        writer.finish()
        assert writer.finalize().how is Method.RESERVE
    assert_plays(path, taken)


def test_file_system_without_fallocate_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr(disk_module, "_fallocate", refuse)
    for reserve_bytes, methods in ((65536, {Method.RESERVE}), (1, {Method.COPY, Method.CLONE})):
        path = tmp_path / f"{reserve_bytes}.mp4"
        writer = open_writer(path, reserve_bytes=reserve_bytes, note=bytes(9000))
        packets = large(media(2))
        writer.write(packets)
        writer.finish()
        assert writer.finalize().how in methods
        assert_plays(path, packets)


def test_reserve_grows_in_place_where_the_file_system_can(tmp_path: Path) -> None:
    if not _can_insert(tmp_path):
        pytest.skip("needs a file system with FALLOC_FL_INSERT_RANGE (ext4, XFS)")
    path = tmp_path / "a.mp4"
    writer = open_writer(path, reserve_bytes=1, note=bytes(40_000))
    packets = large(media(2))
    writer.write(packets)
    writer.finish()
    inode = path.stat().st_ino
    assert writer.finalize().how is Method.INSERT
    assert path.stat().st_ino == inode
    assert_plays(path, packets)


def test_reserve_that_got_no_blocks_is_shrunk_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not _can_insert(tmp_path):
        pytest.skip("needs a file system with FALLOC_FL_INSERT_RANGE (ext4, XFS)")
    path = tmp_path / "a.mp4"
    writer = open_writer(path, reserve_bytes=1, note=bytes(40_000))
    packets = large(media(2))
    writer.write(packets)
    writer.finish()
    before = path.read_bytes()

    def no_space(*args: object, **kwargs: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Disk, "allocate", no_space)
    monkeypatch.setattr(Disk, "clone_from", no_space)
    assert writer.finalize().how is Method.FRAGMENTED
    assert len(path.read_bytes()) == len(before)
    assert path.read_bytes()[2 * BLOCK :] == before[2 * BLOCK :]
    assert writer.epoch % 2 == 0
    assert_plays(path, packets)
    monkeypatch.undo()
    assert recover_file(path).how is Method.INSERT
    assert_plays(path, packets)


def _can_insert(folder: Path) -> bool:
    disk = Disk.create(folder / "probe")
    try:
        disk.write(bytes(2 * BLOCK), 0)
        disk.insert(BLOCK, BLOCK)
    except OSError:
        return False
    finally:
        disk.close()
        (folder / "probe").unlink()
    return True
