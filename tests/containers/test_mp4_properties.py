"""Whatever times come in: files are valid, nothing is lost, and tracks stay where they are to one another."""

from __future__ import annotations

import shutil
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest
from helpers.mp4_media import demux
from helpers.mp4_streams import AUDIO, VIDEO, open_writer
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from aircheck.containers.recover import inspect_file, recover_file
from aircheck.media.packet import Packet

pytestmark = pytest.mark.filterwarnings("error")

_SETTINGS = settings(
    max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)

steps = st.lists(st.integers(1, 400), min_size=2, max_size=25)
wild_steps = st.lists(st.integers(-300, 2000), min_size=1, max_size=25)
starts = st.integers(0, 3_000_000_000)


@st.composite
def video_packets(draw: st.DrawFn, deltas: st.SearchStrategy[list[int]] = steps) -> list[Packet]:
    """Pictures in decoding order, a key frame first; each is shown at most 300 ms after it is decoded."""
    dts, packets = draw(starts), []
    for number, delta in enumerate(draw(deltas)):
        later = draw(st.integers(0, 300)) if number else 0
        packets.append(Packet(VIDEO, dts + later, dts, number % 7 == 0, b"picture%3d" % number))
        dts += delta
    return packets


@st.composite
def audio_packets(draw: st.DrawFn, near_ms: int) -> list[Packet]:
    """Sound that begins within a second of `near_ms`."""
    dts, packets = max(0, near_ms * 48 + draw(st.integers(-48_000, 48_000))), []
    for number, delta in enumerate(draw(steps)):
        packets.append(Packet(AUDIO, dts, dts, True, b"sound%3d" % number))
        dts += delta * 48
    return packets


@st.composite
def streams(draw: st.DrawFn) -> list[list[Packet]]:
    """Both tracks in batches."""
    pictures = draw(video_packets())
    sounds = draw(audio_packets(pictures[0].pts))
    # libavformat loses count of a track that lies wholly in the lead that its edit list cuts off.
    assume(sounds[-2].pts * 1000 > pictures[0].pts * 48000)
    packets = sorted(pictures + sounds, key=lambda packet: Fraction(packet.dts, packet.track.timescale))
    size = draw(st.integers(1, 20))
    return [packets[start : start + size] for start in range(0, len(packets), size)]


@_SETTINGS
@given(batches=streams(), reserve_bytes=st.sampled_from([1, 65536]))
def test_every_packet_keeps_its_data_and_its_distance_to_all_others(
    batches: list[list[Packet]], reserve_bytes: int, tmp_path: Path
) -> None:
    path, raw = tmp_path / "a.mp4", tmp_path / "raw.mp4"
    path.unlink(missing_ok=True)
    writer = open_writer(path, reserve_bytes=reserve_bytes)
    for batch in batches:
        writer.write(batch)
    writer.flush()
    shutil.copy(path, raw)
    writer.finish()
    writer.finalize(sync=False)
    recover_file(raw, sync=False)
    assert writer.nudged_packets == 0
    assert demux(raw) == demux(path)
    written = [packet for batch in batches for packet in batch]
    distances = set()
    for track, stream in zip((VIDEO, AUDIO), demux(path), strict=True):
        expected = [packet for packet in written if packet.track is track]
        assert [packet.data for packet in stream] == [packet.data for packet in expected]
        distances |= {
            theirs.pts - Fraction(ours.pts, track.timescale)
            for ours, theirs in zip(expected, stream, strict=True)
        }
    # One shift for everything, as exact as libavformat's time base for the track that an edit list moves.
    moved = AUDIO if demux(path)[0][0].pts == 0 else VIDEO
    assert max(distances) - min(distances) <= Fraction(1, moved.timescale)


@_SETTINGS
@given(packets=video_packets(wild_steps), size=st.integers(1, 9))
def test_times_that_jump_and_go_back_still_make_a_file_with_growing_dts(
    packets: list[Packet], size: int, tmp_path: Path
) -> None:
    path = tmp_path / "a.mp4"
    path.unlink(missing_ok=True)
    writer = open_writer(path, tracks=[VIDEO])
    for start in range(0, len(packets), size):
        writer.write(packets[start : start + size])
    writer.finish()
    writer.finalize(sync=False)
    (stream,) = demux(path)
    assert [packet.data for packet in stream] == [packet.data for packet in packets]
    assert all(one.dts < other.dts for one, other in pairwise(stream))
    assert all(packet.pts >= packet.dts for packet in stream)
    goes_back = any(one.dts >= other.dts for one, other in pairwise(packets))
    assert (writer.nudged_packets > 0) == goes_back
    assert inspect_file(path).tracks[0].packets == len(packets)
