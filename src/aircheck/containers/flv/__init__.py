"""Our own FLV: tags as they come, one write a batch; onMetaData is completed in place at the end."""

from aircheck.containers.flv.scan import FORMAT
from aircheck.containers.flv.tags import can_hold
from aircheck.containers.flv.writer import FlvWriter

__all__ = ["FORMAT", "FlvWriter", "can_hold"]
