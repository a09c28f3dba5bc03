from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aircheck.wire.rtp.errors import RtpError
from aircheck.wire.rtp.rtcp import (
    FullIntraRequest,
    Goodbye,
    Nack,
    PictureLossIndication,
    ReceiverEstimatedMaximumBitrate,
    ReceiverReport,
    Report,
    ReportBlock,
    SenderReport,
    SourceDescription,
    UnknownReport,
    parse_compound,
    serialize_compound,
)

u32 = st.integers(0, 0xFFFFFFFF)
blocks = st.lists(
    st.builds(
        ReportBlock,
        ssrc=u32,
        fraction_lost=st.integers(0, 255),
        packets_lost=st.integers(-(1 << 23) + 1, (1 << 23) - 1),
        highest_sequence=u32,
        jitter=u32,
        last_sr=u32,
        delay_since_sr=u32,
    ),
    max_size=4,
).map(tuple)
ssrcs = st.lists(u32, max_size=4).map(tuple)

reports = st.one_of(
    st.builds(SenderReport, u32, st.integers(0, (1 << 64) - 1), u32, u32, u32, blocks),
    st.builds(ReceiverReport, u32, blocks),
    st.builds(SourceDescription, st.lists(st.tuples(u32, st.text(max_size=20)), max_size=3).map(tuple)),
    st.builds(Goodbye, ssrcs, st.text(max_size=20)),
    st.builds(PictureLossIndication, u32, u32),
    st.builds(FullIntraRequest, u32, st.lists(st.tuples(u32, st.integers(0, 255)), max_size=3).map(tuple)),
    st.builds(UnknownReport, st.just(207), st.integers(0, 31), st.binary(min_size=4, max_size=4)),
)


@given(st.lists(reports, min_size=1, max_size=4))
def test_a_compound_survives_serializing_and_parsing(sent: list[Report]) -> None:
    assert parse_compound(serialize_compound(sent)) == sent


@given(st.lists(st.integers(0, 200), min_size=1, unique=True), st.integers(0, 0xFFFF))
def test_every_number_of_a_nack_arrives(offsets: list[int], first: int) -> None:
    numbers = tuple((first + offset) & 0xFFFF for offset in sorted(offsets))
    (parsed,) = parse_compound(Nack(1, 2, numbers).serialize())
    assert parsed == Nack(1, 2, numbers)


def test_neighbours_share_an_entry_of_a_nack() -> None:
    assert len(Nack(1, 2, tuple(range(100, 117))).serialize()) == 12 + 4


@given(st.integers(0, 1 << 40), ssrcs)
def test_a_bit_rate_is_told_to_five_digits(bitrate_bps: int, told: tuple[int, ...]) -> None:
    (parsed,) = parse_compound(ReceiverEstimatedMaximumBitrate(1, bitrate_bps, told).serialize())
    assert isinstance(parsed, ReceiverEstimatedMaximumBitrate)
    assert parsed.ssrcs == told
    assert bitrate_bps * (1 - 1e-5) <= parsed.bitrate_bps <= bitrate_bps


@given(st.binary(max_size=100), st.sampled_from([200, 201, 202, 203, 205, 206, 207]), st.integers(0, 31))
def test_any_bytes_are_reports_or_a_typed_error(body: bytes, packet_type: int, count: int) -> None:
    body += bytes(-len(body) % 4)
    data = bytes((0x80 | count, packet_type)) + (len(body) // 4).to_bytes(2, "big") + body
    for candidate in (data, body):
        try:
            parse_compound(candidate)
        except RtpError:
            continue


def test_a_sender_report_with_a_description_is_understood() -> None:
    data = bytes.fromhex(
        "80c80006 2fa41b6c e8f2a1b3 4d5e6f70 0a0b0c0d 00000123 0001e240"
        "81ca0006 2fa41b6c 0110 6a51584c6e5a6b2f48593774 6e6a6f4d 0000".replace(" ", "")
    )
    report, description = parse_compound(data)
    assert isinstance(report, SenderReport)
    assert (report.ssrc, report.packets, report.octets) == (0x2FA41B6C, 0x123, 0x1E240)
    assert report.ntp == 0xE8F2A1B34D5E6F70
    assert description == SourceDescription(((0x2FA41B6C, "jQXLnZk/HY7tnjoM"),))


def test_a_cut_off_compound_is_refused() -> None:
    with pytest.raises(RtpError):
        parse_compound(PictureLossIndication(1, 2).serialize()[:-1])
