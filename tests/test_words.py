from __future__ import annotations

from aircheck.words import clock_time, file_size


def test_lengths_and_sizes_are_written_for_people() -> None:
    assert [clock_time(each) for each in (0, 20_027, 3_600_000, 360_000_000)] == [
        "0:00:00",
        "0:00:20",
        "1:00:00",
        "100:00:00",
    ]
    assert [file_size(each) for each in (0, 999, 1000, 12_345_678, 5 * 10**15)] == [
        "0 B",
        "999 B",
        "1.0 kB",
        "12.3 MB",
        "5000.0 TB",
    ]
