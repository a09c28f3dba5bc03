"""A recording that grows when it is told to, and becomes final as the recorder does it."""

from __future__ import annotations

import asyncio

from helpers.http_world import World, make_segment
from helpers.mp4_media import Clip, batches, shifted

from aircheck.containers.mp4 import Mp4Writer
from aircheck.facts import SegmentState

CLIP_S = 3
FRAMES_PER_CLIP = 75


class GrowingRecording:
    """A writer that is fed the same clip again and again, and its row."""

    def __init__(self, world: World, clip: Clip, *, reserve_bytes: int = 512 * 1024) -> None:
        self._world = world
        self._clip = clip
        self._path = world.record_dir / "live.growing"
        self._loops = 0
        world.record_dir.mkdir(exist_ok=True)
        self.segment = make_segment("live.mp4", path=str(self._path), state=SegmentState.GROWING)
        self.writer = Mp4Writer(self._path, clip.tracks, creation_ns=0, reserve_bytes=reserve_bytes)
        world.writers[self.segment.id] = self.writer

    async def begin(self) -> None:
        await self._world.catalog.put_segment(self.segment)

    def grow(self, loops: int = 1) -> None:
        for _ in range(loops):
            for packets in batches(shifted(self._clip.packets, self._loops * CLIP_S)):
                self.writer.write(packets)
            self._loops += 1
        self.writer.flush()

    async def end(self) -> None:
        """Finalize, rename, tell the catalogue: as the recorder does."""
        final = self._world.record_dir / "live.mp4"
        self.writer.finish()
        await asyncio.to_thread(self.writer.finalize, sync=False)
        self._path.rename(final)
        del self._world.writers[self.segment.id]
        done = make_segment("live.mp4", path=str(final), state=SegmentState.COMPLETE)
        await self._world.catalog.put_segment(done)
