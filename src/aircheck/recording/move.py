"""How far a finished file has come on its way to another file system: for the log, the API and metrics."""

from __future__ import annotations

import logging
import time

_log = logging.getLogger(__name__)

LOG_INTERVAL_S = 10.0
"""Between lines of the log; a move that is over sooner has none."""


class Move:
    """One file's. `tell` is called by the thread that copies; what it says may be read by any."""

    def __init__(self, file_name: str) -> None:
        self.file_name = file_name
        self.moved_bytes = 0
        self.size_bytes = 0
        """0: the file is not moved, or not yet."""
        self._told_s = time.monotonic()

    @property
    def percent(self) -> int | None:
        """None when there is nothing to move."""
        return self.moved_bytes * 100 // self.size_bytes if self.size_bytes else None

    def tell(self, moved_bytes: int, size_bytes: int) -> None:
        self.moved_bytes, self.size_bytes = moved_bytes, size_bytes
        now_s = time.monotonic()
        if now_s - self._told_s >= LOG_INTERVAL_S:
            self._told_s = now_s
            _log.info(
                "file is moved to its folder file=%s percent=%d moved_mb=%.1f size_mb=%.1f",
                self.file_name,
                self.percent or 0,
                moved_bytes / 1e6,
                size_bytes / 1e6,
            )
