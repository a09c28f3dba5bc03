"""The stream's recent past, in whole batches from a key frame on: what lets a viewer start at once."""

from __future__ import annotations

from collections import deque

from aircheck.media.packet import Batch, Packet


class BackBuffer:
    """Holds the batches since the last key frame of the primary video track.

    Bounded by `limit_bytes`: a group of pictures that does not fit is not kept at all, because its head is
    what a decoder needs. Packets are kept by reference. A stream without video keeps nothing: there is
    nothing to wait for.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.size_bytes = 0
        self._batches: deque[Batch] = deque()
        self._is_open = False

    def add(self, batch: Batch) -> None:
        if batch.has_video_keyframe:
            self._batches.clear()
            self.size_bytes = 0
            self._is_open = self.limit_bytes > 0
        if not self._is_open:
            return
        self._batches.append(batch)
        self.size_bytes += batch.size_bytes
        if self.size_bytes > self.limit_bytes:
            self.clear()

    def clear(self) -> None:
        self._batches.clear()
        self.size_bytes = 0
        self._is_open = False

    def packets(self, video_track_id: int | None) -> list[Packet]:
        """The packets from the last key frame on; what came before it in the same batch is left out."""
        packets = [packet for batch in self._batches for packet in batch.packets]
        heads = (i for i, p in enumerate(packets) if p.is_keyframe and p.track.id == video_track_id)
        head = max(heads, default=None)
        return packets[head:] if head is not None else []
