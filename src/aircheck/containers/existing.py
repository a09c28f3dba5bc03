"""Existing: a file of FLV, MPEG-TS or Matroska that is to grow on, as it is before anything is changed.

It is read all through once, because what a writer has to know (where each track ended, where key frames are,
what a reader of the file expects next) is nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from aircheck.containers.header import Header
from aircheck.containers.mp4.disk import Disk
from aircheck.containers.remnant import Scan
from aircheck.errors import ContainerError


class CannotAppend(ContainerError):
    """The file cannot go on with these tracks, or not at all. It is left as it is."""

    def __init__(self, message: str) -> None:
        super().__init__(message, remedy="the recording goes to a file of its own")


@dataclass(frozen=True, slots=True)
class Existing:
    """`start` are the bytes of the header. Whoever continues owns `disk`, the file open for writing."""

    path: Path
    disk: Disk
    header: Header
    start: bytes
    scan: Scan
