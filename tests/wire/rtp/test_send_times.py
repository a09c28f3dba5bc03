from __future__ import annotations

from aircheck.wire.rtp.send_times import read_abs_send_time_s, read_transmission_offset


def test_send_times_are_seconds_with_18_bits_of_fraction() -> None:
    assert read_abs_send_time_s(b"\xff\x04\x00\x00", 1) == 1.0
    assert read_abs_send_time_s(b"\xff\xff\xff", 0) == 64 - 2**-18


def test_transmission_offsets_have_a_sign() -> None:
    assert read_transmission_offset(b"\x00\x03\x84", 0) == 900
    assert read_transmission_offset(b"\xff\xff\xfe", 0) == -2
