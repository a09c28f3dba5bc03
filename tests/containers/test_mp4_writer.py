"""The writer's own promises: what it accepts, what is on disk when, and what a growing file shows."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from helpers.mp4_media import Clip, batches, demux, ffmpeg_complaints, shifted
from helpers.mp4_streams import AUDIO, VIDEO, audio, media, open_writer, video
from helpers.tools import requires

from aircheck.containers.mp4 import Method, WriteError
from aircheck.containers.mp4.disk import Disk
from aircheck.containers.recover import ForeignFileError, Outcome, inspect_file, read_note, recover_file
from aircheck.errors import ContainerError
from aircheck.media.packet import Packet
from aircheck.media.track import Codec, Track

MakeClip = Callable[..., Clip]


def test_a_batch_of_200_ms_is_on_disk_by_one_system_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = open_writer(tmp_path / "a.mp4")
    writer.write(media(0.2))
    calls: list[int] = []
    real = os.pwritev

    def counting(fd: int, buffers: Sequence[bytes], offset: int) -> int:
        calls.append(len(buffers))
        return real(fd, buffers, offset)

    monkeypatch.setattr(os, "pwritev", counting)
    monkeypatch.setattr(os, "pwrite", lambda *args: pytest.fail("a second write"))
    batch = media(0.2, 200)
    writer.write(batch)
    assert calls == [len(batch) + 1]
    assert (tmp_path / "a.mp4").stat().st_size == writer.size_bytes


def test_small_batches_wait_until_a_fragment_is_worth_it_or_flush_says_so(tmp_path: Path) -> None:
    writer = open_writer(tmp_path / "a.mp4")
    before = writer.size_bytes
    writer.write([video(0, key=True)])
    assert writer.size_bytes == before
    writer.flush()
    after = writer.size_bytes
    assert after > before
    writer.flush()
    assert writer.size_bytes == after


def test_packet_of_an_unknown_track_is_refused_and_nothing_of_its_batch_is_taken(tmp_path: Path) -> None:
    writer = open_writer(tmp_path / "a.mp4")
    changed = replace(VIDEO, width=640)
    with pytest.raises(ContainerError, match="no track 0"):
        writer.write([video(0, key=True), Packet(changed, 40, 40, True, b"x")])
    writer.flush()
    assert writer.track_facts()[0].packets == 0


def test_equal_track_of_a_publisher_that_came_back_is_accepted(tmp_path: Path) -> None:
    writer = open_writer(tmp_path / "a.mp4")
    writer.write(media(0.2))
    writer.write([Packet(replace(VIDEO), 400, 400, True, b"again")])
    writer.flush()
    assert writer.track_facts()[0].packets == 6


def test_name_that_is_taken_is_never_written_over(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"precious")
    with pytest.raises(FileExistsError):
        open_writer(tmp_path / "a.mp4")
    assert (tmp_path / "a.mp4").read_bytes() == b"precious"


@pytest.mark.parametrize(
    "track",
    [Track(0, Codec.VP8, 1000), Track(0, Codec.H264, 1000), Track(-1, Codec.MP3, 44100, sample_rate=44100)],
    ids=["codec", "configuration", "id"],
)
def test_track_that_mp4_cannot_hold_leaves_no_file(track: Track, tmp_path: Path) -> None:
    with pytest.raises(ContainerError):
        open_writer(tmp_path / "a.mp4", tracks=[track])
    assert not list(tmp_path.iterdir())


def test_disk_that_fails_at_the_start_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", fail)
    with pytest.raises(OSError, match="No space"):
        open_writer(tmp_path / "a.mp4")
    assert not list(tmp_path.iterdir())


def test_failed_write_is_cut_off_and_the_writer_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.mp4"
    writer = open_writer(path)
    writer.write(media(0.4))
    whole = path.stat().st_size
    real = os.pwritev

    def half(fd: int, buffers: Sequence[bytes], offset: int) -> int:
        real(fd, buffers[:3], offset)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "pwritev", half)
    with pytest.raises(WriteError) as caught:
        writer.write(media(0.2, 400))
    assert caught.value.errno == errno.EIO
    assert caught.value.dropped_packets == writer.dropped_packets > 0
    assert writer.error is not None
    assert path.stat().st_size == whole
    monkeypatch.undo()
    writer.write(media(0.2, 1000))
    assert writer.error is None
    writer.finish()
    assert writer.finalize().how is Method.RESERVE
    pictures, _ = demux(path)
    assert [int(packet.pts * 1000) for packet in pictures[-6:]] == [360, 1000, 1040, 1080, 1120, 1160]


def test_view_only_ever_appends_and_equals_the_final_file(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    writer = open_writer(path)
    shown = b""
    for start_ms in range(0, 4000, 200):
        writer.write(media(0.2, start_ms))
        view = writer.view()
        data = path.read_bytes()[view.start : view.end]
        assert len(view.header) + len(data) == view.size_bytes
        assert data.startswith(shown)
        shown = data
    writer.finish()
    writer.finalize()
    assert path.read_bytes() == view.header + shown
    assert view.epoch == writer.epoch == 0


def test_view_that_outgrows_the_reserve_gets_another_tag_and_still_equals_the_final_file(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.mp4"
    writer = open_writer(path, reserve_bytes=1)
    tags = []
    for start_ms in range(0, 60_000, 200):
        writer.write(media(0.2, start_ms))
        if start_ms % 10_000 == 0:
            tags.append(writer.view().layout_tag)
    assert len(set(tags)) > 1
    view = writer.view()
    seen = view.header + path.read_bytes()[view.start : view.end]
    writer.finish()
    assert writer.finalize().how in (Method.INSERT, Method.COPY, Method.CLONE)
    assert path.read_bytes() == seen
    assert writer.epoch > view.epoch
    assert writer.epoch % 2 == 0


@requires("ffmpeg")
def test_late_track_is_added_in_place(clip_of: MakeClip, tmp_path: Path) -> None:
    clip = clip_of("h264", "aac")
    path = tmp_path / "a.mp4"
    writer = open_writer(path, tracks=clip.tracks[:1])
    pictures = [packet for packet in clip.packets if packet.track.is_video]
    writer.write(pictures[:10])
    assert writer.add_track(clip.tracks[1])
    sound = [packet for packet in clip.packets if packet.track.is_audio and packet.dts > 24000]
    writer.write(pictures[10:] + sound)
    raw = tmp_path / "raw.mp4"
    raw.write_bytes(path.read_bytes())
    assert ffmpeg_complaints(raw) == ""
    writer.finish()
    writer.finalize()
    recover_file(raw)
    assert raw.read_bytes() == path.read_bytes()
    assert [len(stream) for stream in demux(path)] == [len(pictures), len(sound)]
    assert demux(path)[1][0].pts == Fraction(sound[0].pts, 48000)


def test_with_room_for_them_many_tracks_may_turn_up_late_and_a_crash_between_two_writes_costs_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Versions of the init `moov` take turns in the room that there is; each is at once the only one."""
    path, torn = tmp_path / "a.mp4", tmp_path / "torn.mp4"
    writer = open_writer(path, init_bytes=64 * 1024)
    pictures = media(0.2)
    writer.write(pictures)
    writer.flush()
    write = Disk.write

    def write_and_crash(disk: Disk, data: bytes, offset: int) -> None:
        write(disk, data, offset)
        if disk is not writer._disk:
            return  # recovery itself
        torn.write_bytes(path.read_bytes())
        assert recover_file(torn).outcome is Outcome.RECOVERED
        assert sum(map(len, demux(torn))) == len(pictures)

    with monkeypatch.context() as patched:
        patched.setattr(Disk, "write", write_and_crash)
        added = [replace(AUDIO, id=number) for number in range(2, 40)]
        assert all(map(writer.add_track, added))
    writer.write([replace(packet, track=added[-1]) for packet in media(0.2) if packet.track is AUDIO])
    writer.finish()
    assert writer.finalize().how is Method.RESERVE
    assert len(demux(path)) == 3


def test_tracks_are_refused_when_the_init_area_is_full(tmp_path: Path) -> None:
    writer = open_writer(tmp_path / "a.mp4")
    writer.write(media(0.2))
    answers = [writer.add_track(replace(AUDIO, id=number)) for number in range(2, 60)]
    assert answers[0]
    assert not answers[-1]
    writer.write(media(0.2, 200))
    writer.finish()
    assert writer.finalize().how is Method.RESERVE


@pytest.mark.parametrize(("lead_ms", "nudged"), [(400, 0), (800, 1)])
def test_track_that_turns_up_late_may_begin_half_a_second_before_the_first_fragment(
    lead_ms: int, nudged: int, tmp_path: Path
) -> None:
    path = tmp_path / "a.mp4"
    writer = open_writer(path)
    writer.write([video(ms, key=ms == 10_000) for ms in range(10_000, 10_200, 40)])
    first = (10_000 - lead_ms) * 48 // 1024
    sound = [audio(first), *(audio(frame) for frame in range(first + 20, first + 60))]
    writer.write(sound)
    writer.finish()
    writer.finalize()
    assert writer.nudged_packets == nudged
    pictures, sounds = demux(path)
    assert sounds[-1].pts - pictures[0].pts == Fraction(sound[-1].pts, 48000) - 10


def test_ends_give_the_last_samples_their_exact_durations(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    writer = open_writer(path)
    writer.write([video(0, key=True), video(40), video(80), audio(0), audio(1), audio(2), audio(3), audio(4)])
    writer.finish({0: 95, 1: 5 * 1024})
    assert writer.finalize().tracks[0].duration_ms == 95
    assert inspect_file(path).duration_ms == 106


def test_duplicate_and_backward_times_are_nudged_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    writer = open_writer(path, tracks=[VIDEO])
    writer.write([video(0, key=True), video(40), video(40), video(30), video(120, pts=100), video(160)])
    writer.flush()
    writer.write([video(160), video(200)])
    writer.finish()
    writer.finalize()
    (pictures,) = demux(path)
    assert [int(packet.dts * 1000) for packet in pictures] == [0, 40, 41, 42, 120, 160, 161, 200]
    assert writer.nudged_packets == 4


def test_file_without_a_packet_is_still_a_valid_file(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    writer = open_writer(path)
    writer.finish()
    assert writer.finalize().duration_ms == 0
    assert inspect_file(path).is_final


def test_note_and_facts_can_be_read_from_growing_and_final_files(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    writer = open_writer(path)
    assert read_note(path) == b'{"who":"test"}'
    writer.write(shifted(media(2), 100))
    growing = inspect_file(path)
    writer.finish()
    writer.set_note(b"the end")
    assert writer.duration_ms == 2005
    done = writer.finalize()
    final = inspect_file(path)
    assert (growing.is_final, final.is_final) == (False, True)
    assert growing.start_ms == final.start_ms == 100_000
    assert growing.creation_ns == final.creation_ns == 1_700_000_000 * 10**9
    assert growing.duration_ms == final.duration_ms == done.duration_ms == 2005
    assert growing.tracks == done.tracks
    assert [track.packets for track in final.tracks] == [50, 94]
    assert done.size_bytes == path.stat().st_size
    assert read_note(path) == b"the end"


def test_foreign_files_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"\0\0\0\x18ftypmp42" + bytes(200))
    with pytest.raises(ForeignFileError):
        inspect_file(path)
    with pytest.raises(ForeignFileError):
        read_note(path)


def test_more_packets_than_one_system_call_takes_are_written_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    writer = open_writer(path)
    packets = media(30)
    assert len(packets) > 2000
    writer.write(packets)
    writer.finish()
    writer.finalize()
    assert sum(map(len, demux(path))) == len(packets)


def test_batches_of_a_clip_may_have_any_size(tmp_path: Path) -> None:
    results = []
    for size in (1, 7, 1000):
        path = tmp_path / f"{size}.mp4"
        writer = open_writer(path)
        for batch in batches(media(3), size):
            writer.write(batch)
        writer.finish()
        writer.finalize()
        results.append(demux(path))
    assert results[0] == results[1] == results[2]
