from __future__ import annotations

from aircheck.wire.rtp.reception import Reception


def test_loss_is_told_in_total_and_since_the_last_report() -> None:
    reception = Reception(90_000)
    reception.received = 90
    block = reception.block(7, 1000, 1099, 1.0)
    assert (block.fraction_lost, block.packets_lost, block.highest_sequence) == (25, 10, 1099)
    reception.received = 190
    block = reception.block(7, 1000, 1199, 2.0)
    assert (block.fraction_lost, block.packets_lost) == (0, 10)


def test_duplicates_make_loss_negative_and_no_fraction() -> None:
    reception = Reception(90_000)
    reception.received = 105
    block = reception.block(7, 0, 99, 1.0)
    assert (block.fraction_lost, block.packets_lost) == (0, -5)


def test_the_last_sender_report_is_told_with_the_time_since() -> None:
    reception = Reception(90_000)
    assert reception.block(7, 0, 0, 1.0).delay_since_sr == 0
    reception.sender_reported(0x1111_2222_3333_4444, 10.0)
    block = reception.block(7, 0, 0, 10.5)
    assert (block.last_sr, block.delay_since_sr) == (0x2222_3333, 0x8000)


def test_jitter_follows_the_transit_times() -> None:
    steady, shaky = Reception(90_000), Reception(90_000)
    for frame in range(200):
        steady.arrived(frame * 3000 & 0xFFFFFFFF, frame / 30)
        shaky.arrived(frame * 3000 & 0xFFFFFFFF, frame / 30 + (0.01 if frame % 2 else 0))
    assert steady.jitter < 2
    assert 850 < shaky.jitter < 950


def test_a_clock_that_was_set_is_no_jitter() -> None:
    reception = Reception(48_000)
    reception.arrived(0, 1.0)
    reception.arrived(2_000_000_000, 1.02)
    assert reception.jitter == 0
