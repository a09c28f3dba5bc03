"""What was not as it should be in a publisher's media: counted, and told now and then."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from aircheck.media.timeline import Jump

NoticeListener = Callable[[str, dict[str, Any]], None]
"""Told the name of a counter and facts; `count` among them says how often so far."""


@dataclass(slots=True)
class DemuxCounters:
    """What was not as it should be, by name; the names are those of the notices too."""

    empty_frames: int = 0
    """Frames and AAC configurations without a byte in them."""
    frames_before_header: int = 0
    """Dropped: no sequence header (or key frame) had come yet."""
    annex_b_frames: int = 0
    """Dropped: H.264 with start codes and no sequence header."""
    malformed_tags: int = 0
    malformed_headers: int = 0
    """Sequence headers that make no sense; the track goes on with what it had."""
    malformed_metadata: int = 0
    unsupported_frames: int = 0
    """Dropped: nothing of ours understands this codec."""
    ignored_messages: int = 0
    """Of no use to a recorder: seek marks, ends of sequences, empty data, too much data before any media."""
    displaced_data: int = 0
    """Data messages put where the media stood, because their own time was not on its clock."""
    bad_composition_times: int = 0
    early_timestamps: int = 0
    """Packets put one tick after their predecessor."""
    timestamp_jumps: int = 0
    """Backward: the timeline was re-based."""
    timestamp_gaps: int = 0
    """Forward: kept as they are."""
    audio_resyncs: int = 0
    """Audio frames that did not begin where their predecessor ended."""


class Notices:
    """Counts; `on_notice` is told of the first, the tenth, the hundredth of a kind, and of every jump."""

    def __init__(self, on_notice: NoticeListener | None) -> None:
        self.counters = DemuxCounters()
        self._on_notice = on_notice or (lambda name, facts: None)

    def jumped(self, jump: Jump) -> None:
        name = "timestamp_gaps" if jump.is_gap else "timestamp_jumps"
        count = getattr(self.counters, name) + 1
        setattr(self.counters, name, count)
        self._on_notice(name, {"count": count, **asdict(jump)})

    def count(self, name: str, **facts: Any) -> None:
        count = getattr(self.counters, name) + 1
        setattr(self.counters, name, count)
        if str(count).strip("0") == "1":
            self._on_notice(name, {"count": count, **facts})
