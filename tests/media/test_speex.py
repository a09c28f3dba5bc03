"""How long a Speex packet sounds, counted from real packets and from made ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from helpers.sound import SPEEX, make_sound

from aircheck.media import speex
from aircheck.media.bits import BitstreamError


@pytest.mark.parametrize("quality", ["0", "4", "10"])
@pytest.mark.parametrize("frames", [1, 2, 5])
def test_frames_of_an_encoder_are_counted(quality: str, frames: int, tmp_path: Path) -> None:
    options = ("-compression_level", quality, "-frames_per_packet", str(frames))
    spec = replace(SPEEX, options=options)
    packets = make_sound(spec, tmp_path, seconds=1, level="0.3*(random(0)-0.5)").packets
    assert {speex.packet_frames(packet.data) for packet in packets[:-1]} == {frames}


def bits(*fields: str) -> bytes:
    text = "".join(fields)
    return int(text.ljust(-(-len(text) // 8) * 8, "0"), 2).to_bytes(-(-len(text) // 8), "big")


def test_messages_between_frames_are_passed_over() -> None:
    silent, intensity_stereo = "00000", "01110" + "1001" + 8 * "1"
    user_message = "01101" + "0010" + "1" + 16 * "1"
    assert speex.packet_frames(bits(silent, intensity_stereo, user_message, silent, "01111")) == 2


@pytest.mark.parametrize(
    "packet",
    [b"", b"\x7f", bits("01111"), bits("01010", 40 * "0"), bits("00001", "0"), bits("1", "111", "0000")],
    ids=["empty", "terminator", "nothing", "submode 10", "torn", "wideband submode 7"],
)
def test_what_is_no_speex_is_refused(packet: bytes) -> None:
    with pytest.raises(BitstreamError):
        speex.packet_frames(packet)
