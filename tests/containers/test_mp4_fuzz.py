"""Damaged files: whatever their bytes say, reading them ends well and soon."""

from __future__ import annotations

import random
import struct
from contextlib import suppress
from pathlib import Path

import pytest
from helpers.mp4_streams import media, open_writer

from aircheck.containers.recover import ForeignFileError, Outcome, inspect_file, read_note, recover_file


@pytest.mark.parametrize("is_final", [False, True], ids=["growing", "final"])
def test_damaged_files_raise_nothing_but_foreign_file(is_final: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    writer = open_writer(path, reserve_bytes=1)
    writer.write(media(1))
    writer.write(media(1, 1000))
    writer.finish()
    if is_final:
        writer.finalize()
    writer.close()
    good = path.read_bytes()
    places = [place for place in range(len(good)) if good[place]] + list(range(64))
    chance = random.Random(11)
    for _ in range(700):
        data = bytearray(good)
        for _ in range(chance.randrange(1, 4)):
            place = chance.choice(places)
            if chance.random() < 0.5 and place + 4 <= len(data):
                struct.pack_into(">I", data, place, chance.choice((0, 1, 7, 9, 0x7FFFFFFF, 0xFFFFFFFF)))
            else:
                data[place] = chance.randrange(256)
        path.write_bytes(data)
        for look in (inspect_file, read_note):
            with suppress(ForeignFileError):
                look(path)
        recovery = recover_file(path, sync=False)
        if recovery.outcome is Outcome.FOREIGN:
            assert path.read_bytes() == data
        elif recovery.outcome is Outcome.RECOVERED:
            assert inspect_file(path).is_final
            assert recover_file(path, sync=False).outcome is Outcome.FINAL
