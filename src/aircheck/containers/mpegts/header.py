"""The header of our MPEG-TS files: the tables, the time of the recording, and our file record.

PAT | PMT | TDT | null packets with the record, 184 bytes in each
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from aircheck.containers.file_record import FileRecord, Patch
from aircheck.containers.header import Summary
from aircheck.containers.mpegts.packets import (
    PAT_PID,
    PMT_PID,
    SYNC,
    TDT_PID,
    null_packet,
)
from aircheck.containers.mpegts.psi import pat, section_packet, time_table
from aircheck.containers.mpegts.rows import BODY_BYTES, PACKET_BYTES

CLOCK_RATE = 90_000
_RECORD_OFFSET = 3 * PACKET_BYTES
_PACKET_HEAD = PACKET_BYTES - BODY_BYTES


@dataclass(frozen=True, slots=True)
class TsHeader:
    """Where things lie."""

    record: FileRecord

    @property
    def size_bytes(self) -> int:
        return _RECORD_OFFSET + -(-self.record.total_bytes // BODY_BYTES) * PACKET_BYTES

    def final_patches(self, summary: Summary) -> Iterator[Patch]:
        """MPEG-TS itself has nothing to say of a whole file."""
        return iter(())

    def growing_patches(self) -> Iterator[Patch]:
        return iter(())

    def place(self, patch: Patch) -> Iterator[Patch]:
        offset, data = patch
        while data:
            packet, position = divmod(offset, BODY_BYTES)
            piece = data[: BODY_BYTES - position]
            yield _RECORD_OFFSET + packet * PACKET_BYTES + _PACKET_HEAD + position, piece
            offset, data = offset + len(piece), data[len(piece) :]


def serialize_header(record: FileRecord, pmt: bytes) -> bytes:
    data = record.serialize()
    return b"".join(
        (
            section_packet(PAT_PID, 0, pat()),
            section_packet(PMT_PID, 0, pmt),
            section_packet(TDT_PID, 0, time_table(record.creation_ns)),
            *(null_packet(data[start : start + BODY_BYTES]) for start in range(0, len(data), BODY_BYTES)),
        )
    )


def read_record(start: bytes) -> TsHeader | None:
    """From the first bytes of a file; None when it is not ours or its record is not all there."""
    if not start or start[0] != SYNC:
        return None
    packets = range(_RECORD_OFFSET, len(start) - PACKET_BYTES + 1, PACKET_BYTES)
    data = b"".join(start[at + _PACKET_HEAD : at + PACKET_BYTES] for at in packets)
    try:
        return TsHeader(FileRecord.parse(data))
    except ValueError:
        return None
