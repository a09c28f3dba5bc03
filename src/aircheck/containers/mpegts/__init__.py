"""Our own MPEG-TS: tables, PES packets and our file record in null packets; append-safe by nature."""

from aircheck.containers.mpegts.framing import can_hold
from aircheck.containers.mpegts.scan import FORMAT
from aircheck.containers.mpegts.writer import TsWriter

__all__ = ["FORMAT", "TsWriter", "can_hold"]
