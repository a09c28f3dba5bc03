"""What the writers of FLV, MPEG-TS and Matroska promise alike: what they accept, what is on disk when."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import av
import pytest
from helpers.appended import CREATED_NS, NOTE, open_writer
from helpers.appended_streams import AUDIO, TRACKS, VIDEO, audio, expected, media, payloads, video

from aircheck.containers.matroska import MatroskaWriter
from aircheck.containers.mp4 import WriteError
from aircheck.containers.recover import ForeignFileError, inspect_file, read_note, recover_file
from aircheck.errors import ContainerError
from aircheck.media.packet import Packet
from aircheck.media.track import Codec, Track


@pytest.fixture(params=["flv", "mkv", "ts"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A file whose extension says what it will be."""
    return tmp_path / f"a.{request.param}"


def test_a_batch_of_200_ms_is_on_disk_by_one_system_call(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = open_writer(path, TRACKS)
    writer.write(media(0.2))
    calls: list[int] = []
    real = os.pwritev

    def counting(fd: int, buffers: Sequence[bytes], offset: int) -> int:
        calls.append(offset)
        return real(fd, buffers, offset)

    monkeypatch.setattr(os, "pwritev", counting)
    monkeypatch.setattr(os, "pwrite", lambda *args: pytest.fail("a second write"))
    before = writer.size_bytes
    writer.write(media(0.2, 200))
    assert calls == [before]
    assert path.stat().st_size == writer.size_bytes


def test_small_batches_wait_until_a_fragment_is_worth_it_or_flush_says_so(path: Path) -> None:
    writer = open_writer(path, TRACKS)
    before = writer.size_bytes
    writer.write([video(0, key=True)])
    assert writer.size_bytes == before
    writer.flush()
    after = writer.size_bytes
    assert after > before
    writer.flush()
    assert writer.size_bytes == after


def test_first_fragment_waits_for_all_tracks_but_not_for_long(path: Path) -> None:
    writer = open_writer(path, TRACKS)
    before = writer.size_bytes
    for ms in range(0, 400, 40):
        writer.write([video(ms, key=ms == 0)])
    assert writer.size_bytes == before
    for ms in range(400, 600, 40):
        writer.write([video(ms)])
    assert writer.size_bytes > before


def test_sound_that_comes_behind_its_picture_but_begins_before_it_keeps_its_lead(path: Path) -> None:
    """A publisher's first batch often has only one of the tracks."""
    writer = open_writer(path, TRACKS)
    writer.write([video(ms, key=ms == 1000) for ms in range(1000, 1400, 40)])
    writer.write([audio(frame) for frame in range(46, 70)])
    writer.finish()
    writer.finalize(sync=False)
    assert writer.nudged_packets == 0
    assert inspect_file(path).start_ms in ((981, 1000) if path.suffix != ".ts" else (1000,))


def test_pictures_that_begin_late_and_before_time_zero_are_kept_and_counted(path: Path) -> None:
    writer = open_writer(path, TRACKS)
    early = [audio(frame) for frame in range(100, 140)]
    writer.write(early)
    late = [video(ms, key=ms == 1000, pts=ms + 80) for ms in range(1000, 1400, 40)]
    writer.write(late)
    writer.finish()
    writer.finalize(sync=False)
    assert payloads(path) == expected(early + late)
    assert (writer.nudged_packets > 0) == (path.suffix != ".ts")


def test_packet_of_an_unknown_track_is_refused_and_nothing_of_its_batch_is_taken(path: Path) -> None:
    writer = open_writer(path, TRACKS)
    changed = replace(VIDEO, width=640)
    with pytest.raises(ContainerError, match="no track 0"):
        writer.write([video(0, key=True), replace(video(40), track=changed)])
    writer.flush()
    assert writer.track_facts()[0].packets == 0


def test_equal_track_of_a_publisher_that_came_back_is_accepted(path: Path) -> None:
    writer = open_writer(path, TRACKS)
    writer.write(media(0.2))
    for ms in (200, 240):
        writer.write([replace(video(ms), track=replace(VIDEO))])
    writer.flush()
    assert writer.track_facts()[0].packets == 7


def test_name_that_is_taken_is_never_written_over(path: Path) -> None:
    path.write_bytes(b"precious")
    with pytest.raises(FileExistsError):
        open_writer(path, TRACKS)
    assert path.read_bytes() == b"precious"


def test_same_track_id_twice_leaves_no_file(path: Path) -> None:
    with pytest.raises(ContainerError, match="must be different"):
        open_writer(path, [VIDEO, replace(AUDIO, id=0)])
    assert not path.exists()


def test_disk_that_fails_at_the_start_leaves_no_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", fail)
    with pytest.raises(OSError, match="No space"):
        open_writer(path, TRACKS)
    assert not path.exists()


def test_failed_write_is_cut_off_and_the_writer_goes_on(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = open_writer(path, TRACKS)
    writer.write(media(0.4))
    whole = path.read_bytes()
    real = os.pwritev

    def half(fd: int, buffers: Sequence[bytes], offset: int) -> int:
        real(fd, [b"".join(buffers)[:77]], offset)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    lost = media(0.2, 400)
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwritev", half)
        with pytest.raises(WriteError) as caught:
            writer.write(lost)
    assert caught.value.errno == errno.EIO
    assert caught.value.dropped_packets == writer.dropped_packets == len(lost)
    assert caught.value.dropped_bytes == sum(len(packet.data) for packet in lost)
    assert path.read_bytes() == whole
    assert writer.error is not None
    writer.write(media(0.4, 1000))
    writer.finish()
    writer.finalize(sync=False)
    assert writer.error is None
    assert payloads(path) == expected([*media(0.4), *media(0.4, 1000)])
    assert [track.packets for track in inspect_file(path).tracks] == [len(t) for t in payloads(path)]


def test_final_file_knows_itself_without_being_read(path: Path) -> None:
    writer = open_writer(path, TRACKS)
    for number in range(10):
        writer.write(media(0.2, 5000 + number * 200))
    writer.finish({0: 7040, 1: 7019 * 48})
    done = writer.finalize(sync=False)
    facts = inspect_file(path, progress=lambda *_: pytest.fail("the media was read"))
    assert facts.is_final
    assert facts.tracks == done.tracks == writer.track_facts()
    assert (facts.size_bytes, facts.duration_ms) == (done.size_bytes, done.duration_ms)
    assert facts.size_bytes == path.stat().st_size
    assert facts.creation_ns == CREATED_NS
    assert facts.note == read_note(path) == NOTE
    assert [track.packets for track in facts.tracks] == [50, 94]
    assert facts.duration_ms in range(2019, 2042)


def test_stop_reads_nothing_and_writes_the_header_however_long_the_file_is(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writers = {seconds: open_writer(path.with_stem(f"{seconds}"), TRACKS) for seconds in (4, 80)}
    for seconds, writer in writers.items():
        for at_ms in range(0, seconds * 1000, 1000):
            writer.write(media(1, at_ms))
        writer.flush()
    written: list[tuple[int, int]] = []
    real = os.pwrite

    def counting(fd: int, data: bytes, offset: int) -> int:
        written.append((offset, len(data)))
        return real(fd, data, offset)

    monkeypatch.setattr(os, "pwrite", counting)
    monkeypatch.setattr(os, "pread", lambda *args: pytest.fail("something was read"))
    monkeypatch.setattr(os, "pwritev", lambda *args: pytest.fail("media was written"))
    header_bytes = len(writers[4].view().header)
    for writer in writers.values():
        written.clear()
        writer.finish()
        writer.finalize(sync=False)
        assert written
        assert max(offset + size for offset, size in written) <= header_bytes
        assert sum(size for _, size in written) <= header_bytes


def test_growing_file_tells_what_is_in_it(path: Path) -> None:
    writer = open_writer(path, TRACKS)
    writer.write(media(1, 5000))
    facts = inspect_file(path)
    assert not facts.is_final
    assert [track.packets for track in facts.tracks] == [25, 47]
    assert abs(facts.duration_ms - writer.duration_ms) <= 2
    assert facts.start_ms in range(4900, 5001)


def test_end_of_the_last_packet_is_what_its_successor_says(path: Path) -> None:
    writer = open_writer(path, [VIDEO])
    writer.write([video(0, key=True), video(40), video(80), video(200)])
    writer.finish({0: 1000})
    assert writer.finalize(sync=False).duration_ms == 1000


def test_view_of_a_growing_file_plays_all_that_is_on_disk(path: Path) -> None:
    writer = open_writer(path, TRACKS)
    tags, written = set(), []
    for number in range(6):
        written += media(0.4, number * 400)
        writer.write(media(0.4, number * 400))
        view = writer.view()
        seen = path.with_name(f"seen{path.suffix}")
        seen.write_bytes(view.header + view.path.read_bytes()[view.start : view.end])
        assert seen.stat().st_size == view.size_bytes
        assert payloads(seen) == expected(written)
        assert inspect_file(seen).is_final
        tags.add((view.layout_tag, len(view.header), view.start, view.epoch))
    assert tags == {(view.layout_tag, len(view.header), len(view.header), writer.epoch)}
    writer.finish()
    writer.finalize(sync=False)
    assert path.read_bytes() == seen.read_bytes()


def test_view_can_still_be_had_when_the_file_is_final_and_renamed(path: Path) -> None:
    writer = open_writer(path, TRACKS)
    writer.write(media(1))
    writer.finish()
    writer.finalize(sync=False)
    moved = path.rename(path.with_name("b"))
    view = writer.view()
    assert moved.read_bytes()[: len(view.header)] == view.header


def test_empty_file_can_be_finished_and_finalized(path: Path) -> None:
    writer = open_writer(path, TRACKS)
    writer.finish()
    done = writer.finalize(sync=False)
    assert (done.duration_ms, done.size_bytes) == (0, path.stat().st_size)
    assert inspect_file(path).is_final


def test_late_track_is_in_the_file_and_in_its_facts(path: Path) -> None:
    writer = open_writer(path, [VIDEO])
    early = [video(ms, key=ms == 0) for ms in range(0, 1000, 40)]
    writer.write(early)
    assert writer.add_track(AUDIO)
    writer.write(media(1, 1000))
    raw = path.with_name(f"raw{path.suffix}")
    raw.write_bytes(path.read_bytes()[: writer.size_bytes])
    writer.finish()
    writer.finalize(sync=False)
    recover_file(raw, sync=False)
    for one in (path, raw):
        assert payloads(one) == expected(early + media(1, 1000))
        assert [track.codec for track in inspect_file(one).tracks] == ["h264", "aac"]
        assert [track.packets for track in inspect_file(one).tracks] == [50, 47]


def test_eight_tracks_fit_and_the_ninth_begins_a_new_segment(path: Path) -> None:
    tracks = [replace(AUDIO, id=number) for number in range(8)]
    writer = open_writer(path, tracks)
    writer.write([Packet(track, n * 1024, n * 1024, True, b"x") for n in range(20) for track in tracks])
    assert not writer.add_track(replace(AUDIO, id=8))
    writer.finish()
    writer.finalize(sync=False)
    assert [track.packets for track in inspect_file(path).tracks] == [20] * 8
    too_many = [replace(AUDIO, id=number) for number in range(writer.most_tracks + 1)]
    with pytest.raises(ContainerError, match=f"more than {writer.most_tracks}"):
        open_writer(path.with_name(f"b{path.suffix}"), too_many)


@pytest.mark.parametrize("is_torn", [False, True])
def test_matroska_takes_as_many_late_tracks_as_it_was_told_to_expect(is_torn: bool, tmp_path: Path) -> None:
    tracks = [replace(AUDIO, id=number) for number in range(40)]
    path = tmp_path / "many.mkv"
    writer = MatroskaWriter(path, tracks[:10], note=NOTE, creation_ns=CREATED_NS, max_tracks=39)
    taken = [writer.add_track(track) for track in tracks[10:]]
    assert taken == [True] * 29 + [False]
    writer.write([Packet(track, n * 1024, n * 1024, True, b"x") for n in range(20) for track in tracks[:39]])
    writer.finish()
    if is_torn:
        recover_file(path, sync=False)
    else:
        writer.finalize(sync=False)
    assert [track.packets for track in inspect_file(path).tracks] == [20] * 39
    assert read_note(path) == NOTE
    with av.open(str(path)) as container:
        assert len(container.streams.audio) == 39


def test_note_may_have_any_size_up_to_its_limit(path: Path) -> None:
    for size in (0, 1, 100, 519, 520, 521, 1000, 16 * 1024):
        note = bytes(number % 251 for number in range(size))
        path.unlink(missing_ok=True)
        writer = open_writer(path, TRACKS, note=note)
        assert read_note(path) == note
        writer.write(media(1))
        writer.finish()
        writer.finalize(sync=False)
        assert read_note(path) == note
        assert payloads(path) == expected(media(1))


def test_note_can_be_replaced_when_the_file_becomes_final(path: Path) -> None:
    for first, second in (
        (b"", b"x" * 4096),
        (b"a" * 900, b"b" * 4996),
        (b"a" * 900, b""),
        (b"a", b"b" * 2500),
    ):
        path.unlink(missing_ok=True)
        writer = open_writer(path, TRACKS, note=first)
        writer.write(media(1))
        writer.set_note(second)
        assert read_note(path) == first
        writer.finish()
        writer.finalize(sync=False)
        assert read_note(path) == inspect_file(path).note == second
        assert payloads(path) == expected(media(1))


def test_second_note_without_room_leaves_the_first(path: Path) -> None:
    writer = open_writer(path, TRACKS, note=b"first")
    writer.write(media(1))
    writer.set_note(b"x" * 5000)
    writer.finish()
    writer.finalize(sync=False)
    assert read_note(path) == b"first"


def test_foreign_file_of_the_same_kind_is_not_ours(path: Path) -> None:
    writer = open_writer(path, TRACKS)
    writer.write(media(1))
    writer.close()
    foreign = path.read_bytes().replace(b"Aircheck\0\0\0\1", b"Somebody\0\0\0\1")
    path.write_bytes(foreign)
    with pytest.raises(ForeignFileError):
        inspect_file(path)
    assert recover_file(path).outcome.value == "foreign"
    assert recover_file(path, force=True).outcome.value == "foreign"
    assert path.read_bytes() == foreign


def test_codec_without_configuration_is_refused(path: Path) -> None:
    with pytest.raises(ContainerError, match="track 0"):
        open_writer(path, [Track(0, Codec.H264, 1000)])
    assert not path.exists()
