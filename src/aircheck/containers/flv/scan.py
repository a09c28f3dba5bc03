"""Reading one of our FLV files back: the heads of its tags."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import NamedTuple

from aircheck.containers.file_record import Patch
from aircheck.containers.flv.header import (
    CLOCK_RATE,
    FIRST_TAG_OFFSET,
    RECORD_OFFSET,
    SIGNATURE,
    FlvHeader,
    parse_record,
)
from aircheck.containers.flv.tags import (
    AUDIO,
    MAX_BODY_BYTES,
    SCRIPT,
    TAG_HEADER_BYTES,
    VIDEO,
    TagForm,
    form_of,
)
from aircheck.containers.header import Header
from aircheck.containers.mp4.disk import Disk
from aircheck.containers.remnant import Format, Progress, Scan, TrackScan, Window
from aircheck.facts import TrackFacts
from aircheck.media.track import Codec, Track

_FILLER = 1
"""A type of tag that nobody knows."""
_TYPES = frozenset((AUDIO, VIDEO, SCRIPT, _FILLER))
_HEADER_READ = 64 * 1024
_PEEK = 32
"""More than a tag's header and the longest prefix take."""

_MAX_FILLER = MAX_BODY_BYTES + TAG_HEADER_BYTES + 4
_SEARCH_BYTES = 256 * 1024
_TAG_START = re.compile(rb"(?=[\x08\x09\x12].{7}\0\0\0)", re.DOTALL)
"""A tag's header: its type, and a stream ID of 0."""

_unpack_head = struct.Struct(">III").unpack_from
_unpack_size = struct.Struct(">I").unpack_from


def read_header(disk: Disk) -> FlvHeader | None:
    start = disk.read(0, _HEADER_READ)
    if len(start) <= RECORD_OFFSET or not start.startswith(SIGNATURE):
        return None
    record = parse_record(start)
    if record is None:
        return None
    metadata = _unpack_head(start, FIRST_TAG_OFFSET)[0]
    metadata_end = FIRST_TAG_OFFSET + TAG_HEADER_BYTES + (metadata & 0xFFFFFF) + 4
    # The configurations behind it are tags like others: the scan passes over them.
    return FlvHeader(record, metadata_end, metadata_end)


class _Lane:
    """A track of the file and how its tags begin."""

    __slots__ = ("form", "prefix_bytes", "scan")

    def __init__(self, facts: TrackFacts, form: TagForm) -> None:
        self.scan = TrackScan(facts)
        self.form = form
        self.prefix_bytes = len(form.key_prefix)


def _lanes_of(tracks: tuple[TrackFacts, ...]) -> list[_Lane]:
    seen: dict[str, int] = {}
    lanes = []
    for facts in tracks:
        index = seen.get(facts.kind, 0)
        seen[facts.kind] = index + 1
        track = Track(
            facts.id,
            Codec(facts.codec),
            facts.timescale,
            sample_rate=facts.sample_rate,
            channels=facts.channels,
        )
        lanes.append(_Lane(facts, form_of(track, index)))
    return lanes


def scan(disk: Disk, header: Header, progress: Progress | None = None) -> Scan:
    """All whole tags. Each is followed by its own size, which tells where a tear or damage is."""
    lanes = _lanes_of(header.record.tracks)
    result = Scan(header.size_bytes, CLOCK_RATE, [lane.scan for lane in lanes])
    window = Window(disk, progress)
    offset = header.size_bytes
    while True:
        tag = _whole_tag(window, offset)
        if tag is None:
            following = _next_tag(window, offset + 1)
            if not following:
                return result
            result.repairs += _filler(offset, following)
            result.skipped += following - offset
            offset = following
            continue
        _count(lanes, tag, offset, result)
        offset = result.end = tag.end


class _Tag(NamedTuple):
    type_id: int
    time: int
    body_bytes: int
    peek: bytes
    """How its body begins."""
    end: int
    """Behind the size that follows it."""


def _whole_tag(window: Window, offset: int) -> _Tag | None:
    position = window.seek(offset, TAG_HEADER_BYTES + 4)
    if position < 0:
        return None
    head, stamp, stream = _unpack_head(window.data, position)
    type_id, body = head >> 24, head & 0xFFFFFF
    begin = position + TAG_HEADER_BYTES
    peek = window.data[begin : begin + min(body, _PEEK)]
    end = offset + TAG_HEADER_BYTES + body
    tail = window.seek(end, 4)
    if type_id not in _TYPES or stream >> 8 or tail < 0:
        return None
    if _unpack_size(window.data, tail)[0] != end - offset:
        return None
    return _Tag(type_id & 0x1F, stamp >> 8 | (stamp & 0xFF) << 24, body, peek, end + 4)


def _count(lanes: list[_Lane], tag: _Tag, offset: int, result: Scan) -> None:
    lane, is_key = _match(lanes, tag.type_id, tag.peek)
    if lane is None:
        return
    pts, payload = tag.time, tag.body_bytes - lane.prefix_bytes
    if lane.form.has_composition_time:
        at = lane.prefix_bytes
        pts, payload = pts + int.from_bytes(tag.peek[at : at + 3], "big", signed=True), payload - 3
    lane.scan.add(tag.time, pts, payload)
    if is_key and lane.scan is result.primary:
        result.keys.offer(tag.time, offset)


def _next_tag(window: Window, offset: int) -> int:
    """Where the next whole tag begins, from `offset` on; 0 when there is none."""
    while offset < window.size_bytes:
        size = min(_SEARCH_BYTES, window.size_bytes - offset)
        position = window.seek(offset, size)
        data = window.data[position : position + size]
        for found in _TAG_START.finditer(data):
            if _whole_tag(window, offset + found.start()) is not None:
                return offset + found.start()
        offset += max(1, size - TAG_HEADER_BYTES)
    return 0


def _filler(start: int, end: int) -> Iterator[Patch]:
    """Makes damage a tag of a type that readers pass over, or several."""
    while start < end:
        size = min(end - start, _MAX_FILLER)
        if 0 < end - start - size < TAG_HEADER_BYTES + 4:
            size -= TAG_HEADER_BYTES + 4
        body = size - TAG_HEADER_BYTES - 4
        yield start, struct.pack(">III", _FILLER << 24 | body, 0, 0)[:TAG_HEADER_BYTES]
        yield start + size - 4, struct.pack(">I", size - 4)
        start += size


def _match(lanes: list[_Lane], type_id: int, peek: bytes) -> tuple[_Lane | None, bool]:
    """The track that a tag belongs to, and whether it is a key frame; None for configurations."""
    for lane in lanes:
        form = lane.form
        if form.type_id == type_id:
            if peek.startswith(form.key_prefix):
                return lane, True
            if peek.startswith(form.inter_prefix):
                return lane, False
    return None, False


FORMAT = Format(SIGNATURE, read_header, scan)
