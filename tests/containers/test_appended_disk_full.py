"""A disk without space: what was written of FLV, MPEG-TS and Matroska stays, and is finalized in place."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from helpers.appended import open_writer
from helpers.appended_streams import TRACKS, expected, media, payloads

from aircheck.containers.appending import AppendingWriter
from aircheck.containers.mp4 import WriteError
from aircheck.containers.recover import Outcome, inspect_file, recover_file
from aircheck.media.packet import Packet

_SIZE_BYTES = 2 * 1024 * 1024
_PACKET_BYTES = 4000

KINDS = ["flv", "mkv", "ts"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small disk")
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={_SIZE_BYTES}", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("this system does not let us mount a small disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill(writer: AppendingWriter[Any]) -> list[Packet]:
    """Write until the disk is full; returns what was taken."""
    taken: list[Packet] = []
    for number in range(200):
        batch = media(0.2, number * 200, size=_PACKET_BYTES)
        try:
            writer.write(batch)
        except WriteError as error:
            lost = (error.errno, error.dropped_packets)
            break
        taken += batch
    assert lost in ((errno.ENOSPC, len(batch)), (errno.EFBIG, len(batch)))
    assert writer.error is not None
    return taken


def assert_plays(path: Path, taken: Sequence[Packet]) -> None:
    assert payloads(path) == expected(taken)
    facts = inspect_file(path)
    assert facts.is_final
    assert [track.packets for track in facts.tracks] == [len(track) for track in expected(taken)]


@pytest.mark.parametrize("kind", KINDS)
def test_full_disk_costs_one_fragment_and_the_file_becomes_final(kind: str, small_disk: Path) -> None:
    path = small_disk / f"a.{kind}"
    writer = open_writer(path, TRACKS)
    taken = fill(writer)
    assert path.stat().st_size == writer.size_bytes
    writer.finish()
    writer.finalize()
    assert_plays(path, taken)


@pytest.mark.parametrize("kind", KINDS)
def test_file_that_a_crash_left_on_a_full_disk_is_recovered_there(kind: str, small_disk: Path) -> None:
    path = small_disk / f"a.{kind}"
    writer = open_writer(path, TRACKS)
    taken = fill(writer)
    writer.close()
    assert recover_file(path).outcome is Outcome.RECOVERED
    assert_plays(path, taken)


@pytest.mark.parametrize("kind", KINDS)
def test_disk_that_has_room_again_is_written_to_again(kind: str, small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(1024 * 1024))
    path = small_disk / f"a.{kind}"
    writer = open_writer(path, TRACKS)
    taken = fill(writer)
    ballast.unlink()
    more = media(0.2, 60_000, size=_PACKET_BYTES)
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


@pytest.mark.parametrize("kind", KINDS)
def test_file_size_limit_is_met_like_a_full_disk(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{kind}"
    writer = open_writer(path, TRACKS)
    with largest_file(1024 * 1024):
        taken = fill(writer)
        writer.finish()
        writer.finalize()
    assert_plays(path, taken)
