"""Reading one of our Matroska files back: the heads of its Clusters and Blocks."""

from __future__ import annotations

import re
from collections.abc import Iterator

from aircheck.containers.file_record import Patch
from aircheck.containers.header import Header
from aircheck.containers.matroska import ebml
from aircheck.containers.matroska.ebml import element_id, size_field, void_header
from aircheck.containers.matroska.header import CLOCK_RATE, MatroskaHeader, read_record
from aircheck.containers.matroska.writer import (
    BLOCK_HEAD,
    CLUSTER_HEAD,
    CLUSTER_SIZE_END,
    KEY_FLAG,
    NUMBER_MARK,
    SIZE_MARK,
    TIMESTAMP_HEAD,
)
from aircheck.containers.mp4.disk import Disk
from aircheck.containers.remnant import Format, Progress, Scan, TrackScan, Window

_HEADER_READ = 64 * 1024
_MAGIC = element_id(ebml.EBML)
_CLUSTER_ID = element_id(ebml.CLUSTER)
_CLUSTER_START = re.compile(re.escape(_CLUSTER_ID) + rb"[\x10-\x1f]...\xe7\x88", re.DOTALL)
_SEARCH_BYTES = 256 * 1024
_SHORT_VOID = 100
_BLOCK_FIELDS = BLOCK_HEAD.size - 5


def read_header(disk: Disk) -> MatroskaHeader | None:
    return read_record(disk.read(0, _HEADER_READ))


def scan(disk: Disk, header: Header, progress: Progress | None = None) -> Scan:
    """All whole Blocks. A Cluster that is torn is cut down to those that it has."""
    tracks = [TrackScan(facts) for facts in header.record.tracks]
    result = Scan(header.size_bytes, CLOCK_RATE, tracks)
    window = Window(disk, progress)
    offset = header.size_bytes
    while True:
        end, whole = _scan_cluster(window, offset, result)
        if whole == end > offset:
            result.end = offset = end
            continue
        if whole > offset:
            body = whole - offset - CLUSTER_SIZE_END
            result.repairs.append((offset + 4, size_field(body, 4)))
            result.end = whole
        following = _next_cluster(window, whole + 2)
        if not following:
            return result
        result.repairs += _cover(whole, following)
        result.skipped += following - whole
        offset = following


def _scan_cluster(window: Window, offset: int, result: Scan) -> tuple[int, int]:
    """Where the Cluster at `offset` ends and where its last whole Block does; both `offset` without any."""
    position = window.seek(offset, CLUSTER_HEAD.size)
    if position < 0:
        return offset, offset
    number, size, timestamp, time = CLUSTER_HEAD.unpack_from(window.data, position)
    if number != _CLUSTER_ID or timestamp != TIMESTAMP_HEAD or size >> 28 != 1:
        return offset, offset
    end = offset + CLUSTER_SIZE_END + (size ^ SIZE_MARK)
    whole = _scan_blocks(window, offset, min(end, window.size_bytes), time, result)
    return (end, whole) if whole > offset + CLUSTER_HEAD.size else (offset, offset)


def _next_cluster(window: Window, offset: int) -> int:
    """Where the next Cluster of ours seems to begin, from `offset` on; 0 when there is none."""
    while offset < window.size_bytes:
        size = min(_SEARCH_BYTES, window.size_bytes - offset)
        position = window.seek(offset, size)
        found = _CLUSTER_START.search(window.data, position, position + size)
        if found is not None:
            return offset + found.start() - position
        offset += max(1, size - CLUSTER_HEAD.size)
    return 0


def _cover(start: int, end: int) -> Iterator[Patch]:
    """Makes damage a Void."""
    yield start, void_header(end - start, 8 if end - start > _SHORT_VOID else 1)


def _scan_blocks(window: Window, cluster: int, end: int, origin: int, result: Scan) -> int:
    """Count the Blocks of a Cluster, and where the last whole one ends."""
    offset, primary = cluster + CLUSTER_HEAD.size, result.primary
    while offset < end and (position := window.seek(offset, BLOCK_HEAD.size)) >= 0:
        kind, size, number, relative, flags = BLOCK_HEAD.unpack_from(window.data, position)
        size -= SIZE_MARK
        number -= NUMBER_MARK
        block_end = offset + 5 + size
        if kind != ebml.SIMPLE_BLOCK or size < _BLOCK_FIELDS or block_end > end:
            break
        if not 1 <= number <= len(result.tracks):
            break
        track, time = result.tracks[number - 1], origin + relative
        track.add(time, time, size - _BLOCK_FIELDS)
        if flags & KEY_FLAG and track is primary:
            result.keys.offer(time, cluster)
        offset = block_end
    return offset


FORMAT = Format(_MAGIC, read_header, scan)
