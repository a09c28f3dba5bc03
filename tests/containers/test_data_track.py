"""Data messages in every container: read back by libavformat and by ourselves, at the right times."""

from __future__ import annotations

import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest
from helpers.appended import open_writer
from helpers.mp4_media import Clip, ffmpeg_complaints

from aircheck.containers.libav_packets import read_packets
from aircheck.containers.mp4 import Mp4Writer
from aircheck.containers.mpegts.id3 import build_tag
from aircheck.containers.recover import Outcome, inspect_file, recover_file
from aircheck.containers.survey import survey_file
from aircheck.facts import TrackFacts
from aircheck.media.packet import Packet
from aircheck.media.track import DATA_TRACK
from aircheck.wire import amf, flv

CODECS = {
    "mp4": ("h264", "aac"),
    "flv": ("h264", "aac"),
    "ts": ("h264", "aac"),
    "mkv": ("h264", "aac"),
    "webm": ("vp9", "opus"),
}
META = amf.serialize("onMetaData", amf.EcmaArray(width=160.0, duration=0.0, fileSize=0.0, encoder="x"))
TEXT = amf.serialize("onTextData", {"text": "hé --> llo"})
CUE = amf.serialize("onCuePoint", {"name": "advert", "time": 1.2})
MESSAGES = {Fraction(0): META, Fraction(12, 10): TEXT, Fraction(108001, 90000): CUE, Fraction(25, 10): TEXT}


@pytest.fixture(params=list(CODECS))
def recorded(request: pytest.FixtureRequest, clip_of: Callable[..., Clip], tmp_path: Path) -> Any:
    """A file of three seconds with four messages, written but not finished, and its writer."""
    clip = clip_of(*CODECS[request.param])
    return write(tmp_path / f"file.{request.param}", clip, messages(MESSAGES))


def messages(at: dict[Fraction, bytes]) -> list[Packet]:
    return [Packet(DATA_TRACK, round(s * 90_000), round(s * 90_000), True, data) for s, data in at.items()]


def write(path: Path, clip: Clip, data: list[Packet], *, add_track: bool = True) -> Any:
    """The track turns up with its first message."""
    settings = {"note": b"{}", "creation_ns": 10**18}
    is_mp4 = path.suffix == ".mp4"
    writer: Any = (
        Mp4Writer(path, clip.tracks, note=b"{}", creation_ns=10**18)
        if is_mp4
        else open_writer(path, clip.tracks, **settings)
    )
    packets = sorted([*clip.packets, *data], key=lambda p: Fraction(p.dts, p.track.timescale))
    for start in range(0, len(packets), 15):
        batch = packets[start : start + 15]
        if add_track and any(packet.track is DATA_TRACK for packet in batch):
            assert writer.add_track(DATA_TRACK)
            add_track = False
        writer.write(batch)
    return writer


def data_facts(tracks: tuple[TrackFacts, ...]) -> TrackFacts:
    (found,) = (track for track in tracks if track.kind == "data")
    return found


def read_data(path: Path) -> list[tuple[float, bytes]]:
    """The data packets as libavformat has them, in seconds from the file's first packet."""
    with av.open(str(path)) as container:
        streams = list(container.streams)
        zero = min(float(s.start_time * s.time_base) for s in streams if s.type in ("video", "audio"))
        return [
            (float(packet.pts * packet.time_base) - zero, bytes(packet))
            for packet in read_packets(container, streams)
            if packet.size and packet.stream.type not in ("video", "audio")
        ]


def script_tags(path: Path) -> list[tuple[int, bytes]]:
    """Those behind the file's own onMetaData."""
    content = path.read_bytes()
    tags = flv.split_tags(content, flv.parse_file_header(content))
    return [(tag.timestamp_ms, bytes(tag.payload)) for tag in tags if tag.type_id == 18][1:]


def cue(name: str, content: str) -> bytes:
    return f"{name}\n\n{content}".encode()


JSON_TEXT = r'{"text":"hé --\u003e llo"}'
JSON_CUE = '{"name":"advert","time":1.2}'


def test_libavformat_reads_the_messages_at_their_times(recorded: Any) -> None:
    recorded.finish()
    recorded.finalize(sync=False)
    path: Path = recorded.path
    if path.suffix == ".flv":
        found = [(ms / 1000 - script_tags(path)[0][0] / 1000, data) for ms, data in script_tags(path)]
        short = amf.serialize("onMetaData", amf.EcmaArray(width=160.0, encoder="x"))
        assert [data[20:] for _, data in found] == [short[20:], TEXT[20:], CUE[20:], TEXT[20:]]
    else:
        found = read_data(path)
    expected = [0.0, 1.2, 1.2, 2.5]
    assert [at for at, _ in found] == pytest.approx(expected, abs=0.1)
    assert found[3][0] - found[1][0] == pytest.approx(1.3, abs=0.0011)
    match path.suffix:
        case ".mp4":
            assert [data for _, data in found] == list(MESSAGES.values())
        case ".ts":
            assert [data for _, data in found] == list(map(build_tag, MESSAGES.values()))
        case ".mkv" | ".webm":
            assert [data for _, data in found[1:]] == [
                JSON_TEXT.encode(),
                JSON_CUE.encode(),
                JSON_TEXT.encode(),
            ]
    if path.suffix != ".flv":  # of data in FLV it tells that it comes late
        assert not ffmpeg_complaints(path)


def test_sound_pictures_and_length_are_those_of_a_file_without_data(
    recorded: Any, clip_of: Callable[..., Clip], tmp_path: Path
) -> None:
    recorded.finish()
    finalized = recorded.finalize(sync=False)
    clip = clip_of(*CODECS[recorded.path.suffix[1:]])
    plain = write(tmp_path / f"plain{recorded.path.suffix}", clip, [])
    plain.finish()
    without = plain.finalize(sync=False)
    assert finalized.duration_ms == without.duration_ms
    assert finalized.tracks[:2] == without.tracks
    assert media_of(recorded.path) == media_of(plain.path)


def media_of(path: Path) -> list[tuple[int, Fraction, bytes]]:
    with av.open(str(path)) as container:
        streams = [stream for stream in container.streams if stream.type in ("video", "audio")]
        packets = read_packets(container, streams)
        found = [(p.stream.index, p.pts * p.time_base, bytes(p)) for p in packets if p.size]
    return sorted(found, key=lambda packet: packet[0])


def test_a_torn_file_keeps_its_messages(recorded: Any) -> None:
    recorded.finish()
    path: Path = recorded.path
    whole = data_facts(recorded.track_facts())
    recorded.close()
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 100)
    assert data_facts(inspect_file(path).tracks).packets == 4
    recovery = recover_file(path, sync=False)
    assert recovery.outcome is Outcome.RECOVERED
    assert recovery.facts is not None
    found = data_facts(recovery.facts.tracks)
    assert (found.packets, found.size_bytes) == (whole.packets, whole.size_bytes)
    assert found.duration_ms == pytest.approx(2500, abs=2)
    assert len(script_tags(path) if path.suffix == ".flv" else read_data(path)) == 4


def test_a_file_torn_early_keeps_the_messages_before(recorded: Any) -> None:
    recorded.finish()
    path: Path = recorded.path
    recorded.close()
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size * 3 // 4 if path.suffix != ".mp4" else path.stat().st_size - 60_000)
    recovery = recover_file(path, sync=False)
    assert recovery.facts is not None
    assert data_facts(recovery.facts.tracks).packets == 3


def test_a_survey_shows_the_data(recorded: Any) -> None:
    recorded.finish()
    recorded.finalize(sync=False)
    (data,) = (track for track in survey_file(recorded.path).tracks if track.facts.kind == "data")
    assert data.facts.packets == 4
    assert (data.start_ms, data.end_ms) == pytest.approx((0, 2500), abs=100)
    assert data.jumps == ()


def test_a_growing_file_shows_its_messages(recorded: Any, tmp_path: Path) -> None:
    recorded.flush()
    view = recorded.view()
    copy = tmp_path / f"copy{recorded.path.suffix}"
    copy.write_bytes(view.header + recorded.path.read_bytes()[view.start : view.end])
    assert len(script_tags(copy) if copy.suffix == ".flv" else read_data(copy)) == 4
    recorded.close()


def test_a_first_fragment_does_not_wait_for_data(clip_of: Callable[..., Clip], tmp_path: Path) -> None:
    clip = clip_of("h264", "aac")
    writer = open_writer(tmp_path / "file.flv", [*clip.tracks, DATA_TRACK], fragment_ms=150)
    size = writer.size_bytes
    writer.write([packet for packet in clip.packets if packet.dts * 4 < packet.track.timescale])
    assert writer.size_bytes > size
    writer.close()


def test_a_message_longer_than_a_pes_packet_is_one_message_in_ts(
    clip_of: Callable[..., Clip], tmp_path: Path
) -> None:
    long = amf.serialize("onImageData", {"data": "x" * 200_000})
    path = tmp_path / "file.ts"
    writer = write(path, clip_of("h264", "aac"), messages({Fraction(1): long, Fraction(2): CUE}))
    writer.finish()
    writer.close()
    recovery = recover_file(path, sync=False)
    assert recovery.facts is not None
    found = data_facts(recovery.facts.tracks)
    assert (found.packets, found.size_bytes) == (2, len(long) + len(CUE))
    joined = b"".join(data for _, data in read_ts_data(path))
    assert joined == build_tag(long) + build_tag(CUE)


def read_ts_data(path: Path) -> list[tuple[int, bytes]]:
    with av.open(str(path)) as container:
        return [(p.size, bytes(p)) for p in container.demux(container.streams[2]) if p.size]


def test_the_tag_of_a_message_has_its_text_and_the_message_itself() -> None:
    tag = build_tag(TEXT)
    assert tag[:6] == b"ID3\4\0\0"
    assert b"TXXX" in tag
    assert (
        b"onTextData\0"
        + json.dumps({"text": "hé --> llo"}, ensure_ascii=False, separators=(",", ":")).encode()
        in tag
    )
    assert tag.endswith(b"application/x-amf\0" + TEXT)
