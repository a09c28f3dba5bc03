"""Reading one of our FLV files back: the heads of its tags."""

from __future__ import annotations

import struct

from aircheck.containers.flv.header import (
    CLOCK_RATE,
    FIRST_TAG_OFFSET,
    RECORD_OFFSET,
    SIGNATURE,
    FlvHeader,
    parse_record,
)
from aircheck.containers.flv.tags import AUDIO, SCRIPT, TAG_HEADER_BYTES, VIDEO, TagForm, form_of
from aircheck.containers.header import Header
from aircheck.containers.mp4.disk import Disk
from aircheck.containers.remnant import Format, Progress, Scan, TrackScan, Window
from aircheck.facts import TrackFacts
from aircheck.media.track import Codec, Track

_TYPES = frozenset((AUDIO, VIDEO, SCRIPT))
_HEADER_READ = 64 * 1024
_PEEK = 32
"""More than a tag's header and the longest prefix take."""

_unpack_head = struct.Struct(">II").unpack_from
_unpack_size = struct.Struct(">I").unpack_from


def read_header(disk: Disk) -> FlvHeader | None:
    start = disk.read(0, _HEADER_READ)
    if len(start) <= RECORD_OFFSET or not start.startswith(SIGNATURE):
        return None
    record = parse_record(start)
    if record is None:
        return None
    (metadata,) = _unpack_head(start, FIRST_TAG_OFFSET)[:1]
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
    """All whole tags. Each is followed by its own size, which tells where a tear is."""
    lanes = _lanes_of(header.record.tracks)
    result = Scan(header.size_bytes, CLOCK_RATE, [lane.scan for lane in lanes])
    primary = result.primary
    window = Window(disk, progress)
    offset = header.size_bytes
    while (position := window.seek(offset, TAG_HEADER_BYTES + 4)) >= 0:
        head, stamp = _unpack_head(window.data, position)
        type_id, body = head >> 24, head & 0xFFFFFF
        peek = window.data[position + TAG_HEADER_BYTES : position + TAG_HEADER_BYTES + min(body, _PEEK)]
        end = offset + TAG_HEADER_BYTES + body
        tail = window.seek(end, 4)
        if type_id not in _TYPES or tail < 0 or _unpack_size(window.data, tail)[0] != end - offset:
            break
        lane, is_key = _match(lanes, type_id, peek)
        if lane is not None:
            time = stamp >> 8 | (stamp & 0xFF) << 24
            pts, payload = time, body - lane.prefix_bytes
            if lane.form.has_composition_time:
                at = lane.prefix_bytes
                pts, payload = time + int.from_bytes(peek[at : at + 3], "big", signed=True), payload - 3
            lane.scan.add(time, pts, payload)
            if is_key and lane.scan is primary:
                result.keys.offer(time, offset)
        offset = result.end = end + 4
    return result


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
