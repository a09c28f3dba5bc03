"""PES packets are cut into transport packets that hold them again, whatever their size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aircheck.containers.mpegts import rows
from aircheck.containers.mpegts.packets import (
    RANDOM_ACCESS_FIELD,
    PacketRun,
    clock_packet,
    headers_of,
    pcr_field,
)
from aircheck.containers.mpegts.rows import BODY_BYTES, PACKET_BYTES
from aircheck.media.packet import Payload

PIDS = (0x100, 0x1FFE)
HEAD = bytes(range(14))
PCR_FIELD = pcr_field((1 << 33) - 1, is_random_access=True)
FIELDS = (b"", RANDOM_ACCESS_FIELD, PCR_FIELD)


@dataclass
class Unit:
    """What a reader puts together again."""

    pid: int
    adaptation: bytes
    data: bytearray = field(default_factory=bytearray)


def cut(units: Sequence[tuple[int, bytes, Payload, int]]) -> bytes:
    """Of PID, adaptation field, body, and how much of it is skipped."""
    run, counters = PacketRun(), dict.fromkeys(PIDS, 13)
    for pid, adaptation, body, skipped in units:
        counters[pid] = run.add_unit(
            headers_of(pid), counters[pid], adaptation + HEAD, len(adaptation), body, skipped
        )
    return bytes(run.serialize())


def read(data: bytes) -> list[Unit]:
    units: list[Unit] = []
    open_units: dict[int, Unit] = {}
    counters = dict.fromkeys(PIDS, 12)
    assert len(data) % PACKET_BYTES == 0
    for start in range(0, len(data), PACKET_BYTES):
        packet = data[start : start + PACKET_BYTES]
        pid = (packet[1] & 0x1F) << 8 | packet[2]
        assert packet[0] == 0x47
        assert packet[1] & 0xA0 == 0
        assert packet[3] & 0xD0 == 0x10
        counters[pid] = counters[pid] + 1 & 15
        assert packet[3] & 15 == counters[pid]
        size = 1 + packet[4] if packet[3] & 0x20 else 0
        assert size <= BODY_BYTES
        adaptation, body = packet[4 : 4 + size], packet[4 + size :]
        if packet[1] & 0x40:
            open_units[pid] = Unit(pid, adaptation)
            units.append(open_units[pid])
        elif size > 1:
            assert adaptation[1] == 0
            assert set(adaptation[2:]) <= {0xFF}
        open_units[pid].data += body
    return units


SIZES = st.one_of(
    st.integers(0, 3 * BODY_BYTES),
    st.sampled_from((64, 65, 254, 1023, 1024, 1025, 2100)).flatmap(
        lambda packets: st.integers(-40, 40).map(lambda more: packets * BODY_BYTES + more)
    ),
)


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(st.sampled_from(PIDS), st.sampled_from(FIELDS), SIZES, st.integers(0, 4), st.booleans()),
        max_size=20,
    )
)
def test_units_of_any_size_are_read_back(drawn: list[tuple[int, bytes, int, int, bool]]) -> None:
    units: list[tuple[int, bytes, Payload, int]] = []
    for number, (pid, adaptation, size, skipped, is_view) in enumerate(drawn):
        body = bytes((number,)) * (size // 2) + b"\x47" * (size - size // 2)
        units.append((pid, adaptation, memoryview(body) if is_view else body, min(size, skipped)))
    found = read(cut(units))
    assert [(unit.pid, bytes(unit.data)) for unit in found] == [
        (pid, HEAD + bytes(body[skipped:])) for pid, _, body, skipped in units
    ]
    for unit, (_, adaptation, _, _) in zip(found, units, strict=True):
        assert unit.adaptation[1 : len(adaptation)] == adaptation[1:]
        assert set(unit.adaptation[max(2, len(adaptation)) :]) <= {0xFF}


@pytest.mark.parametrize("time", [0, 1, (1 << 33) - 1, 1 << 33])
def test_clock_reference_has_33_bits_of_time(time: int) -> None:
    packet = clock_packet(0x100, 5, time)
    assert len(packet) == PACKET_BYTES
    assert packet[:6] == bytes((0x47, 0x01, 0x00, 0x24, 183, 0x10))
    assert int.from_bytes(packet[6:12], "big") >> 15 == time & (1 << 33) - 1
    assert set(packet[12:]) == {0xFF}


@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 300])
def test_both_ways_to_put_packets_together_agree(count: int) -> None:
    headers = b"".join(number.to_bytes(4, "big") for number in range(count))
    bodies = bytes(range(256)) * count
    bodies = bodies[: count * BODY_BYTES]
    expected = b"".join(
        headers[4 * n : 4 * n + 4] + bodies[n * BODY_BYTES : (n + 1) * BODY_BYTES] for n in range(count)
    )
    assert rows.by_struct(headers, bodies) == rows.by_library(headers, bodies) == expected


def test_contents_that_do_not_fill_their_packets_are_refused() -> None:
    with pytest.raises(ValueError, match="4 bytes of headers, 183 of contents"):
        rows.to_packets(bytes(4), bytes(183))
