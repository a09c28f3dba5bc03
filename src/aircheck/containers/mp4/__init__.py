"""Our own MP4: fragments that survive anything, and a progressive file at once when the recording stops."""

from aircheck.containers.mp4.finalize import Method
from aircheck.containers.mp4.layout import CHANGES_BYTES, VirtualFile
from aircheck.containers.mp4.sample_entry import SUPPORTED_CODECS
from aircheck.containers.mp4.writer import Finalized, Mp4Writer, WriteError

__all__ = [
    "CHANGES_BYTES",
    "SUPPORTED_CODECS",
    "Finalized",
    "Method",
    "Mp4Writer",
    "VirtualFile",
    "WriteError",
]
