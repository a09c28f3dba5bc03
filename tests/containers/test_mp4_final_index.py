"""The index out of a `moov` is that of the fragments: for every codec, after appending, with late tracks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest
from helpers.appended import CREATED_NS
from helpers.appended_streams import AUDIO, TRACKS, VIDEO, media
from helpers.mp4_media import Clip, batches, shifted
from helpers.tools import requires

from aircheck.containers.capability import Container
from aircheck.containers.continuing import examine
from aircheck.containers.mp4 import Mp4Writer
from aircheck.containers.mp4.disk import Disk
from aircheck.containers.mp4.final_index import read_final_index
from aircheck.containers.mp4.index import TrackIndex
from aircheck.containers.mp4.scan import outline, read_contents, reopened
from aircheck.media.packet import Packet


def assert_same_index(path: Path) -> None:
    disk = Disk.open(path, writable=False)
    final = outline(disk)
    assert final.moov is not None
    file = reopened(disk, final)
    found, read = read_final_index(disk, final.moov, file), read_contents(disk, file)
    disk.close()
    assert found is not None
    assert (found.facts, found.end) == (read.facts, read.end)
    for one, other in zip(found.tracks, read.tracks, strict=True):
        for field in fields(TrackIndex):
            if field.name != "last_duration":  # the moov knows it better: the next segment told
                assert getattr(one, field.name) == getattr(other, field.name), field.name
        assert one.last_duration >= other.last_duration or not one.samples


def write(path: Path, tracks: list[object], packets: list[Packet]) -> None:
    writer = Mp4Writer(path, tracks, creation_ns=CREATED_NS, note=b"{}", reserve_bytes=4096)  # type: ignore[arg-type]
    for some in batches(packets):
        writer.write(some)
    writer.finish()
    writer.finalize(sync=False)


@requires("ffmpeg")
@pytest.mark.parametrize(
    "codecs", [("h264", "aac"), ("h264_plain", "mp3"), ("h265", "opus"), ("vp9", "opus"), ("aac",), ("flac",)]
)
@pytest.mark.parametrize("at_s", [0, 100_000])
def test_index_of_a_clip_is_that_of_its_fragments(
    codecs: tuple[str, ...], at_s: int, clip_of: Callable[..., Clip], tmp_path: Path
) -> None:
    clip, path = clip_of(*codecs), tmp_path / "a.mp4"
    packets = shifted(clip.packets, at_s)
    write(path, list(clip.tracks), packets)
    assert_same_index(path)
    for _ in range(2):
        file = examine(path, Container.MP4, clip.tracks)
        file.write(packets)
        file.finish()
        file.finalize(sync=False)
        assert_same_index(path)


def test_tracks_that_begin_late_or_never_have_their_index(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    write(path, list(TRACKS), [packet for packet in media(3) if packet.track is VIDEO])
    assert_same_index(path)
    file = examine(path, Container.MP4, TRACKS)
    file.write([packet for packet in media(20) if packet.track is AUDIO])
    file.finish()
    file.finalize(sync=False)
    assert_same_index(path)


def test_a_file_whose_sound_begins_after_an_hour_is_read_all_through(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    packets = [p for p in media(60) if p.track is VIDEO] + [p for p in media(62) if p.track is AUDIO][-50:]
    writer = Mp4Writer(path, TRACKS, creation_ns=CREATED_NS, note=b"{}")
    for some in batches(packets, 5):
        writer.write(some)
        writer.flush()
    writer.finish()
    writer.finalize(sync=False)
    file = examine(path, Container.MP4, TRACKS)
    assert [track.packets for track in file.earlier_tracks] == [1500, 50]
    file.close()
