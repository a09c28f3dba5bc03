"""Whatever times come in: FLV, MPEG-TS and Matroska files are valid, nothing is lost, distances are kept."""

from __future__ import annotations

import shutil
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest
from helpers.appended import open_writer
from helpers.appended_streams import TRACKS, VIDEO, audio, expected, payloads, stored_times, video
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aircheck.containers.recover import inspect_file, recover_file
from aircheck.media.packet import Packet

_SETTINGS = settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
CLOCKS = {"flv": 1000, "mkv": 1000, "ts": 90_000}

steps = st.lists(st.integers(1, 400), min_size=2, max_size=25)
wild_steps = st.lists(st.integers(-300, 60_000), min_size=1, max_size=25)
starts = st.integers(0, 3_000_000_000)


@st.composite
def pictures(draw: st.DrawFn, deltas: st.SearchStrategy[list[int]] = steps) -> list[Packet]:
    """In decoding order, a key frame first; each is shown at most 300 ms after it is decoded."""
    dts, packets = draw(starts), []
    for number, delta in enumerate(draw(deltas)):
        later = draw(st.integers(0, 300)) if number else 0
        packets.append(video(dts, key=number % 7 == 0, pts=dts + later))
        dts += delta
    return packets


@st.composite
def sounds(draw: st.DrawFn, near_ms: int) -> list[Packet]:
    """That begin within 400 ms of `near_ms`, mostly one behind the other."""
    frame = max(0, near_ms * 48 // 1024 + draw(st.integers(-18, 18)))
    packets = []
    for _ in range(draw(st.integers(2, 40))):
        packets.append(audio(frame))
        frame += draw(st.sampled_from([1, 1, 1, 1, 1, 7]))
    return packets


@st.composite
def streams(draw: st.DrawFn) -> list[list[Packet]]:
    """Both tracks in batches; the first one has the beginning of both."""
    both = draw(pictures())
    both += draw(sounds(both[0].pts))
    packets = sorted(both, key=lambda packet: Fraction(packet.dts, packet.track.timescale))
    size = draw(st.integers(1, 20))
    begin = max(next(i for i, p in enumerate(packets) if p.track is track) for track in TRACKS) + 1
    return [packets[:begin], *(packets[at : at + size] for at in range(begin, len(packets), size))]


@pytest.mark.parametrize("kind", CLOCKS)
@_SETTINGS
@given(batches=streams())
def test_every_packet_keeps_its_data_and_its_distance_to_all_others(
    kind: str, batches: list[list[Packet]], tmp_path: Path
) -> None:
    path, raw = tmp_path / f"a.{kind}", tmp_path / f"raw.{kind}"
    path.unlink(missing_ok=True)
    writer = open_writer(path, TRACKS)
    for batch in batches:
        writer.write(batch)
    writer.flush()
    shutil.copy(path, raw)
    writer.finish()
    writer.finalize(sync=False)
    recovered = recover_file(raw, sync=False).facts
    written = [packet for batch in batches for packet in batch]
    assert payloads(path) == payloads(raw) == expected(written)
    shifts = [
        Fraction(stored.pts, CLOCKS[kind]) - Fraction(one[stored.number].pts, track.timescale)
        for track, times in zip(TRACKS, stored_times(path), strict=True)
        for one in [[packet for packet in written if packet.track is track]]
        for stored in times
    ]
    assert max(shifts) - min(shifts) <= Fraction(1, CLOCKS[kind])
    assert writer.nudged_packets == 0
    final = inspect_file(path)
    assert recovered is not None
    assert [track.packets for track in recovered.tracks] == [track.packets for track in final.tracks]
    assert [track.packets for track in final.tracks] == [len(track) for track in expected(written)]


@pytest.mark.parametrize("kind", CLOCKS)
@_SETTINGS
@given(packets=pictures(wild_steps), size=st.integers(1, 9))
def test_times_that_jump_and_go_back_still_make_a_file_with_growing_dts(
    kind: str, packets: list[Packet], size: int, tmp_path: Path
) -> None:
    path = tmp_path / f"a.{kind}"
    path.unlink(missing_ok=True)
    writer = open_writer(path, [VIDEO])
    for start in range(0, len(packets), size):
        writer.write(packets[start : start + size])
    writer.finish()
    writer.finalize(sync=False)
    assert payloads(path)[0] == expected(packets)[0]
    (stream,) = stored_times(path)
    if kind != "mkv":
        assert all(one.dts < other.dts for one, other in pairwise(stream))
        assert all(packet.pts >= packet.dts for packet in stream)
    goes_back = any(one.dts >= other.dts for one, other in pairwise(packets))
    assert not goes_back or writer.nudged_packets > 0
    assert inspect_file(path).tracks[0].packets == len(packets)
