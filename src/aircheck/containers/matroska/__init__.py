"""Our own Matroska and WebM: Clusters as they come; Cues and Duration have their place from the beginning."""

from aircheck.containers.matroska.scan import FORMAT
from aircheck.containers.matroska.tracks import can_hold, can_hold_in_webm
from aircheck.containers.matroska.writer import MatroskaWriter, WebmWriter

__all__ = ["FORMAT", "MatroskaWriter", "WebmWriter", "can_hold", "can_hold_in_webm"]
