"""What independent readers find in a recorded file: ffprobe's packets, FFmpeg's full decode."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

_TIMEOUT_S = 120


@dataclass(frozen=True, slots=True)
class ProbedPacket:
    """Times are milliseconds, rounded as RTMP would carry them; `data_hash` is of the payload."""

    pts_ms: int
    dts_ms: int
    size_bytes: int
    is_keyframe: bool
    data_hash: str


@dataclass(frozen=True, slots=True)
class ProbedTrack:
    kind: str
    codec: str
    packets: tuple[ProbedPacket, ...]


class ProbedFile:
    """A file as ffprobe sees it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def _answer(self) -> dict[str, Any]:
        command = ["ffprobe", "-v", "error", "-of", "json", "-show_data_hash", "md5"]
        command += ["-show_format", "-show_streams", "-show_packets", str(self.path)]
        answer = subprocess.run(command, check=True, capture_output=True, timeout=_TIMEOUT_S)
        assert not answer.stderr, answer.stderr.decode()
        probed: dict[str, Any] = json.loads(answer.stdout)
        return probed

    @cached_property
    def tracks(self) -> dict[str, ProbedTrack]:
        """By kind: `video`, `audio`."""
        streams = [s for s in self._answer["streams"] if s["codec_type"] in ("video", "audio")]
        return {stream["codec_type"]: self._track(stream) for stream in streams}

    @property
    def kinds(self) -> set[str]:
        return set(self.tracks)

    @property
    def duration_s(self) -> float:
        return float(self._answer["format"]["duration"])

    def _track(self, stream: dict[str, Any]) -> ProbedTrack:
        packets = (p for p in self._answer["packets"] if p["stream_index"] == stream["index"])
        return ProbedTrack(stream["codec_type"], stream["codec_name"], tuple(map(_packet, packets)))


def _packet(fields: dict[str, Any]) -> ProbedPacket:
    return ProbedPacket(
        pts_ms=round(float(fields["pts_time"]) * 1000),
        dts_ms=round(float(fields["dts_time"]) * 1000),
        size_bytes=int(fields["size"]),
        is_keyframe="K" in fields["flags"],
        data_hash=fields["data_hash"],
    )


def decode_complaints(path: Path, *, timeout_s: float = _TIMEOUT_S) -> str:
    """Everything FFmpeg says while it decodes the whole file; empty when all is well.

    Frames keep the file's own times: to count in frames of a guessed rate would bring complaints of its own.
    """
    as_they_are = ["-fps_mode", "passthrough", "-enc_time_base", "-1"]
    command = ["ffmpeg", "-nostdin", "-v", "warning", "-i", str(path), *as_they_are, "-f", "null", "-"]
    answer = subprocess.run(command, capture_output=True, timeout=timeout_s)
    return answer.stderr.decode() + (f"exit code {answer.returncode}" if answer.returncode else "")


def is_progressive_mp4(path: Path) -> bool:
    """Whether `moov` stands before `mdat` at the top level, so that playing can begin at once."""
    boxes = top_level_boxes(path)
    return boxes.index("moov") < boxes.index("mdat")


def top_level_boxes(path: Path) -> list[str]:
    """The types of an MP4's top-level boxes, in order."""
    found = []
    with path.open("rb") as file:
        while len(header := file.read(8)) == 8:
            size_bytes, header_bytes = int.from_bytes(header[:4], "big"), 8
            if size_bytes == 1:
                size_bytes, header_bytes = int.from_bytes(file.read(8), "big"), 16
            found.append(header[4:].decode("latin-1"))
            if size_bytes == 0:
                break
            file.seek(size_bytes - header_bytes, 1)
    return found


def assert_same_media(recorded: ProbedFile, source: ProbedFile, *, untimed_packets: int = 0) -> None:
    """Every packet of the source is in the recording, with its bytes, key flag and times.

    Times may differ by one offset for the whole file, as a publisher begins where it likes, and by a
    millisecond either way, as RTMP counts in them. The times of the first `untimed_packets` of each track are
    not compared, for a publisher that itself changes them.
    """
    assert recorded.kinds == source.kinds
    offsets: set[int] = set()
    for kind, expected in source.tracks.items():
        found = recorded.tracks[kind]
        _assert_same_packets(found, expected)
        offsets |= _offsets_ms(found.packets[untimed_packets:], expected.packets[untimed_packets:])
    assert max(offsets) - min(offsets) <= 2, f"times moved apart: {sorted(offsets)}"


def _assert_same_packets(found: ProbedTrack, expected: ProbedTrack) -> None:
    kind = found.kind
    assert found.codec == expected.codec
    assert len(found.packets) == len(expected.packets), f"{kind}: packets"
    assert [p.data_hash for p in found.packets] == [p.data_hash for p in expected.packets], kind
    assert [p.is_keyframe for p in found.packets] == [p.is_keyframe for p in expected.packets], kind
    dts = [packet.dts_ms for packet in found.packets]
    assert dts == sorted(dts), f"{kind}: dts goes back"


def _offsets_ms(found: Sequence[ProbedPacket], expected: Sequence[ProbedPacket]) -> set[int]:
    """By how much packets were moved in time: one value, or neighbours of it by rounding."""
    pairs = list(zip(found, expected, strict=True))
    return {have.pts_ms - want.pts_ms for have, want in pairs} | {
        have.dts_ms - want.dts_ms for have, want in pairs
    }
