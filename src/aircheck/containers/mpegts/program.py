"""The program's clock and tables (ISO/IEC 13818-1, 2.4.4 and 2.7): what is told again and again."""

from __future__ import annotations

from dataclasses import dataclass

from aircheck.containers.mpegts.header import CLOCK_RATE
from aircheck.containers.mpegts.packets import PAT_PID, PMT_PID, PacketRun
from aircheck.containers.mpegts.psi import pat, section_packet

DECODER_DELAY_TICKS = 81_000
"""How long before its decoding time a picture has arrived: other tracks lie up to half of that behind it in
the file, and may have been sent as late again. No decoder has to keep anything for more than a second."""

_TABLES_INTERVAL_TICKS = CLOCK_RATE * 9 // 20
_NEVER = -(1 << 80)
_UNTOLD = -CLOCK_RATE
"""The time of tables that have still to be written."""


@dataclass(slots=True)
class Program:
    """How far the file has come: what a fragment that is not written must not have changed."""

    pmt: bytes
    tables_time: int = _UNTOLD
    tables_counter: int = 1
    reference: int = _NEVER
    """The last clock reference."""

    def copy(self) -> Program:
        return Program(self.pmt, self.tables_time, self.tables_counter, self.reference)

    def change_tracks(self, pmt: bytes) -> None:
        """Readers are told before the next packet of media."""
        self.pmt, self.tables_time = pmt, _UNTOLD

    def append_tables(self, run: PacketRun, time: int) -> None:
        run.add_packet(section_packet(PAT_PID, self.tables_counter, pat()))
        run.add_packet(section_packet(PMT_PID, self.tables_counter, self.pmt))
        self.tables_counter = self.tables_counter + 1 & 15
        self.tables_time = time

    def refresh_tables(self, run: PacketRun, time: int) -> None:
        """The tables, when they are due again."""
        if not 0 <= time - self.tables_time < _TABLES_INTERVAL_TICKS:
            self.append_tables(run, time)

    def tell_tables(self, run: PacketRun, time: int) -> None:
        """The tables, when nobody knows yet of the tracks that there are."""
        if self.tables_time == _UNTOLD:
            self.append_tables(run, time)

    def clock(self, time: int) -> int:
        """A clock reference for what is due at `time`: never back, unless that would make it late."""
        reference = time - DECODER_DELAY_TICKS
        if reference <= self.reference < time:
            reference = self.reference + 1
        self.reference = reference
        return reference
