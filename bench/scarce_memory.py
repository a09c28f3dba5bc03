"""Memory as a server has it that has recorded for a while: all in use, its pages passed from file to file.

On a machine with gigabytes that nobody has touched, each page that a recording adds to the page cache is new.
A virtual machine then gets it from its host, page by page, at several times the cost of writing to it; where
freed memory goes back to the host, this goes on for ever. It is a property of the empty machine and not of
the servers, and it blurs what they cost. With the rest of the memory taken away, the page cache uses a little
of it again and again.
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PAGE_BYTES = 4096


@contextmanager
def scarce_memory(left_bytes: int | None) -> Iterator[None]:
    """Hold all memory that could be had but this much; None leaves it all."""
    size_bytes = _available_bytes() - left_bytes if left_bytes is not None else 0
    if size_bytes <= 0:
        yield
        return
    with mmap.mmap(-1, size_bytes) as region:
        region.madvise(mmap.MADV_HUGEPAGE)
        for offset in range(0, size_bytes, _PAGE_BYTES):
            region[offset] = 1
        yield


def _available_bytes() -> int:
    found = re.search(r"MemAvailable: +(\d+) kB", Path("/proc/meminfo").read_text())
    assert found is not None
    return int(found[1]) * 1024
