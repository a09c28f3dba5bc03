"""The volumes of a node: one for each file system that recordings grow on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from aircheck.recording.volume import Volume


class Volumes:
    """Volumes by folder, made and started when they are first asked for."""

    def __init__(self, durability_interval_s: float) -> None:
        self._durability_interval_s = durability_interval_s
        self._by_device: dict[int, Volume] = {}
        self._by_folder: dict[Path, Volume] = {}

    def __iter__(self) -> Iterator[Volume]:
        return iter(tuple(self._by_device.values()))

    def of(self, directory: Path) -> Volume:
        """The volume of a folder. Raises OSError.

        Only when it is first asked for is the disk touched: one that stands still would hold up the loop.
        """
        if (known := self._by_folder.get(directory)) is not None:
            return known
        directory.mkdir(parents=True, exist_ok=True)
        device = directory.stat().st_dev
        volume = self._by_device.get(device)
        if volume is None:
            volume = Volume(directory, durability_interval_s=self._durability_interval_s)
            volume.start()
            self._by_device[device] = volume
        self._by_folder[directory] = volume
        return volume

    async def stop(self) -> None:
        for volume in self:
            await volume.stop()
