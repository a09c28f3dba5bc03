"""Real parameter sets and configurations, and damaged copies of them for property tests."""

from __future__ import annotations

from helpers.flv_media import encode
from hypothesis import strategies as st

from aircheck.ingest.flv_demux import FlvDemuxer


def config_of(codec: str, size: tuple[int, int] = (64, 48)) -> bytes:
    """The decoder configuration that libavformat writes for an encoder's stream."""
    demuxer = FlvDemuxer()
    demuxer.feed(encode(codec, frames=1, size=size).messages(), 0)
    return demuxer.tracks[0].config


def damaged(whole: bytes) -> st.SearchStrategy[bytes]:
    """A record cut short, with octets changed or with octets put in."""

    def damage(cut: int, edits: list[tuple[int, int]], extra: bytes) -> bytes:
        octets = bytearray(whole[:cut])
        for position, value in edits:
            if octets:
                octets[position % len(octets)] = value
        return bytes(octets) + extra

    edits = st.lists(st.tuples(st.integers(0, len(whole)), st.integers(0, 255)), max_size=6)
    return st.builds(damage, st.integers(0, len(whole)), edits, st.binary(max_size=8))
