"""Packets of a file as libavformat reads them, also where streams turn up in the middle."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any


def read_packets(container: Any, streams: Sequence[Any]) -> Iterator[Any]:
    """The packets of these streams, and at the end an empty one for each.

    A file may have streams that only begin later (data in FLV). PyAV does not know them, and breaks off at
    their packets; reading goes on behind these.
    """
    while True:
        try:
            yield from container.demux(streams)
        except IndexError:
            continue
        return
