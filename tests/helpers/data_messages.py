"""Data messages as a reader of each container finds them, whatever form they have there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av

from aircheck.containers.libav_packets import read_packets
from aircheck.wire import amf, flv


def read_messages(path: Path) -> list[tuple[int, str]]:
    """Milliseconds from the file's first picture, and the message's name, in the order of the file."""
    if path.suffix == ".flv":
        return _in_flv(path)
    with av.open(str(path)) as container:
        streams, picture = list(container.streams), container.streams.video[0]
        found, first = [], None
        for packet in read_packets(container, streams):
            if not packet.size:
                continue
            at_ms = float(packet.pts * packet.time_base) * 1000
            if packet.stream is picture:
                first = at_ms if first is None else min(first, at_ms)
            elif packet.stream.type != "audio":
                found.append((at_ms, _name(packet)))
    assert first is not None
    return [(round(at_ms - first), name) for at_ms, name in found]


def _in_flv(path: Path) -> list[tuple[int, str]]:
    content = path.read_bytes()
    tags = list(flv.split_tags(content, flv.parse_file_header(content)))
    # Behind the composition time of the first picture, which is no configuration.
    pictures = [tag for tag in tags if tag.type_id == 9 and tag.payload[1] == 1]
    first = pictures[0].timestamp_ms + int.from_bytes(pictures[0].payload[2:5], "big")
    scripts = [tag for tag in tags if tag.type_id == 18][1:]  # the first is the file's own
    return [(tag.timestamp_ms - first, _name_in_amf(bytes(tag.payload))) for tag in scripts]


def _name(packet: Any) -> str:
    if packet.has_sidedata("webvtt_identifier"):
        return bytes(packet.get_sidedata("webvtt_identifier")).decode()
    data = bytes(packet)
    if data.startswith(b"ID3"):
        return _name_in_amf(data.partition(b"PRIV")[2].partition(b"\0\0application/x-amf\0")[2])
    return _name_in_amf(data)


def _name_in_amf(data: bytes) -> str:
    name = amf.parse(data)[0]
    assert isinstance(name, str)
    return name
