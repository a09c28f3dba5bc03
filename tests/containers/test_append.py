"""Files that go on: ten times, killed in between, refused; one file that plays, and time never goes back."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import pytest
from helpers.appended import CREATED_NS, WRITERS
from helpers.appended_streams import (
    AUDIO,
    TRACKS,
    VIDEO,
    Stored,
    expected,
    media,
    payloads,
    stored_times,
)
from helpers.mp4_crash import Death, run_and_die
from helpers.mp4_media import Clip, ffmpeg_complaints
from helpers.tools import requires

from aircheck.containers.capability import Container
from aircheck.containers.continuing import ContinuedFile, examine
from aircheck.containers.existing import CannotAppend
from aircheck.containers.mp4 import Mp4Writer
from aircheck.containers.recover import Outcome, inspect_file, media_offset, recover_file
from aircheck.media.packet import Packet
from aircheck.media.track import Track

KINDS = ["mp4", "flv", "mkv", "ts"]
NOTE = b'{"who":"first"}'


def create(path: Path, tracks: Sequence[Track], packets: Sequence[Packet]) -> None:
    writer_of = Mp4Writer if path.suffix == ".mp4" else WRITERS[path.suffix[1:]]
    writer = writer_of(path, tracks, note=NOTE, creation_ns=CREATED_NS)
    writer.write(packets)
    writer.finish()
    writer.finalize(sync=False)


def reopen(path: Path, tracks: Sequence[Track] = TRACKS) -> ContinuedFile:
    return examine(path, Container(path.suffix[1:]), tracks)


def append(path: Path, tracks: Sequence[Track], packets: Sequence[Packet], *, gap_ms: int = 0) -> None:
    file = reopen(path, tracks)
    file.begin(gap_ms=gap_ms)
    for start in range(0, len(packets), 15):
        file.write(packets[start : start + 15])
    file.finish()
    file.set_note(b'{"who":"later"}')
    file.finalize(sync=False)


@requires("ffmpeg")
@pytest.mark.parametrize("kind", KINDS)
def test_ten_times_appended_is_one_file_that_decodes(
    kind: str, clip_of: Callable[..., Clip], tmp_path: Path
) -> None:
    clip, path = clip_of("h264", "aac"), tmp_path / f"a.{kind}"
    create(path, clip.tracks, clip.packets)
    for _ in range(10):
        append(path, clip.tracks, clip.packets)
    assert ffmpeg_complaints(path) == ""
    assert inspect_file(path).is_final
    assert [track.packets for track in inspect_file(path).tracks] == [
        11 * sum(packet.track is track for packet in clip.packets) for track in clip.tracks
    ]


@requires("ffmpeg")
@pytest.mark.parametrize(
    ("name", "codecs"),
    [
        ("a.webm", ("vp9", "opus")),
        ("b.mp4", ("h265", "opus")),
        ("c.mkv", ("h264", "opus")),
        ("d.ts", ("h265", "aac")),
        ("e.flv", ("h264_plain", "mp3")),
        ("f.mp4", ("aac",)),
        ("g.mkv", ("flac",)),
        ("h.ts", ("aac",)),
    ],
)
def test_other_codecs_go_on_as_well(
    name: str, codecs: tuple[str, ...], clip_of: Callable[..., Clip], tmp_path: Path
) -> None:
    clip, path = clip_of(*codecs), tmp_path / name
    create(path, clip.tracks, clip.packets)
    for _ in range(2):
        append(path, clip.tracks, clip.packets)
    assert ffmpeg_complaints(path) == ""
    with av.open(str(path)) as container:
        sizes = [0] * len(container.streams)
        for packet in container.demux():
            sizes[packet.stream.index] += bool(packet.size)
    assert sizes == [3 * sum(packet.track is track for packet in clip.packets) for track in clip.tracks]


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_head_of_a_file_that_goes_on_is_written_to(
    kind: str, clip_of: Callable[..., Clip], tmp_path: Path
) -> None:
    clip, path = clip_of("h264", "aac"), tmp_path / f"a.{kind}"
    create(path, clip.tracks, clip.packets)
    before = path.read_bytes()
    with path.open("rb") as file:
        offset = media_offset(file.fileno())
    append(path, clip.tracks, clip.packets)
    after = path.read_bytes()
    assert 0 < offset < len(before)
    assert after[:offset] != before[:offset]
    assert after[offset : len(before)] == before[offset:]


def test_file_of_somebody_else_has_no_head_of_ours(tmp_path: Path) -> None:
    for data in (b"", b"FLV\1\5\0\0\0\x09" + bytes(100), b"\0\0\0\x18ftypmp42" + bytes(2000), bytes(3000)):
        (tmp_path / "a").write_bytes(data)
        with (tmp_path / "a").open("rb") as file:
            assert media_offset(file.fileno()) == 0


# --- time ---------------------------------------------------------------------------------------------------


def stream_of(seconds: float, start_ms: int, *, ids: tuple[int, int] = (7, 3)) -> list[Packet]:
    """The same media as another publication has it: its own times and numbers of tracks."""
    own = {VIDEO: replace(VIDEO, id=ids[0]), AUDIO: replace(AUDIO, id=ids[1])}
    return [replace(packet, track=own[packet.track]) for packet in media(seconds, start_ms)]


def tracks_of(packets: Sequence[Packet]) -> list[Track]:
    return list({packet.track.id: packet.track for packet in packets}.values())


def demuxed_dts(path: Path) -> list[list[Fraction]]:
    with av.open(str(path)) as container:
        times: list[list[Fraction]] = [[] for _ in container.streams]
        for packet in container.demux():
            if packet.size and packet.dts is not None:
                times[packet.stream.index].append(packet.dts * packet.time_base)
    return times


@pytest.mark.parametrize("kind", ["mp4", "flv", "mkv"])
@pytest.mark.parametrize("start_ms", [0, 5_000_000, 100])
def test_time_goes_on_where_it_ended_whatever_the_stream_says(
    kind: str, start_ms: int, tmp_path: Path
) -> None:
    path = tmp_path / f"a.{kind}"
    create(path, TRACKS, media(2, 70_000))
    length_ms = inspect_file(path).duration_ms
    later = stream_of(2, start_ms)
    append(path, tracks_of(later), later)
    for track in demuxed_dts(path):
        steps = [after - before for before, after in pairwise(track)]
        assert all(0 < step <= Fraction(65, 1000) for step in steps)
    assert abs(inspect_file(path).duration_ms - 2 * length_ms) <= 45


@pytest.mark.parametrize("kind", KINDS)
def test_a_gap_is_kept_as_long_as_it_was(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{kind}"
    create(path, TRACKS, media(2))
    append(path, TRACKS, media(2, 9000), gap_ms=7000)
    assert abs(inspect_file(path).duration_ms - 11_000) <= 45
    if kind != "ts":
        clock = Fraction(1, 1000)
        pictures = [one.pts * clock for one in (stored_times(path) if kind != "mp4" else mp4_times(path))[0]]
        steps = [after - before for before, after in pairwise(pictures)]
        assert abs(max(steps) - Fraction(704, 100)) <= Fraction(45, 1000)
        assert sorted(steps)[-2] <= Fraction(41, 1000)


@pytest.mark.parametrize("kind", KINDS)
def test_sound_and_pictures_keep_their_distance(kind: str, tmp_path: Path) -> None:
    """The second part's sound is 400 ms late, and stays so."""
    path = tmp_path / f"a.{kind}"
    create(path, TRACKS, media(2))
    late = [replace(p, pts=p.pts + 19_200, dts=p.dts + 19_200) if p.track is AUDIO else p for p in media(2)]
    append(path, TRACKS, sorted(late, key=lambda p: Fraction(p.dts, p.track.timescale)))
    pictures, sounds = stored_times(path) if kind != "mp4" else mp4_times(path)
    rate = {"mp4": (1000, 48000), "ts": (90_000, 90_000)}.get(kind, (1000, 1000))
    first_sound = next(one.pts for one in sounds if one.number >= len(media_of(AUDIO)))
    distance = Fraction(first_sound, rate[1]) - Fraction(pictures[50].pts, rate[0])
    assert abs(distance - Fraction(4, 10)) <= Fraction(22 if kind == "ts" else 2, 1000)


def media_of(track: Track) -> list[Packet]:
    return [packet for packet in media(2) if packet.track is track]


def mp4_times(path: Path) -> list[list[Stored]]:
    with av.open(str(path)) as container:
        streams: list[list[Stored]] = [[] for _ in container.streams]
        for packet in container.demux():
            if packet.size:
                times = streams[packet.stream.index]
                times.append(Stored(len(times), packet.pts, packet.dts))
    return streams


# --- crashes ------------------------------------------------------------------------------------------------

_STEP_LIMIT = 100
_PARTS = 4


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("death", Death)
def test_killed_at_any_step_the_old_media_and_all_that_was_promised_is_there(
    kind: str, death: Death, tmp_path: Path
) -> None:
    """Before recovery every file plays what it played before; after it, what was promised, too."""
    origin, path = tmp_path / f"origin.{kind}", tmp_path / f"a.{kind}"
    create(origin, TRACKS, media(1))
    old = payloads(origin)

    def go_on(promise: Callable[[], None]) -> None:
        file = reopen(path)
        file.begin()
        for number in range(_PARTS):
            file.write(media(0.25, number * 250, size=900))
            promise()
        file.set_note(b'{"who":"later"}')
        file.finish()
        file.finalize()

    for step in range(1, _STEP_LIMIT):
        shutil.copy(origin, path)
        parts, is_alive = run_and_die(go_on, step, death)
        assert_begins_with(payloads(path), old)
        assert recover_file(path, sync=False).outcome in (Outcome.FINAL, Outcome.RECOVERED)
        found = payloads(path)
        new = expected([packet for number in range(parts) for packet in media(0.25, number * 250, size=900)])
        assert_begins_with(found, [a + b for a, b in zip(old, new, strict=True)])
        facts = inspect_file(path)
        assert facts.is_final
        assert [track.packets for track in facts.tracks] == [len(track) for track in found]
        assert facts.note in (NOTE, b'{"who":"later"}')
        if is_alive:
            assert step > _PARTS
            return
    pytest.fail("it never came to its end")


def assert_begins_with(found: list[list[bytes]], least: list[list[bytes]]) -> None:
    for stream, minimum in zip(found, least, strict=True):
        assert stream[: len(minimum)] == minimum


@pytest.mark.parametrize("kind", KINDS)
def test_ten_times_cut_off_and_recovered_it_is_one_file(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{kind}"
    create(path, TRACKS, media(1))
    kept = payloads(path)
    for number in range(10):
        file = reopen(path)
        file.begin()
        for part in range(4):
            file.write(media(0.25, part * 250))
        file.close()
        with path.open("r+b") as raw:
            raw.truncate(file.size_bytes - 300 * (number % 2))
        assert recover_file(path, sync=False).outcome is Outcome.RECOVERED
        found = payloads(path)
        assert_begins_with(found, kept)
        assert all(len(now) > len(before) for now, before in zip(found, kept, strict=True))
        kept = found
    assert inspect_file(path).is_final
    if kind != "ts":
        assert all(track == sorted(set(track)) for track in demuxed_dts(path))


@pytest.mark.parametrize("kind", KINDS)
def test_what_grows_on_is_seen_as_the_file_that_it_will_be(kind: str, tmp_path: Path) -> None:
    path, seen = tmp_path / f"a.{kind}", tmp_path / f"seen.{kind}"
    create(path, TRACKS, media(1))
    file = reopen(path)
    for least in (1.0, 2.0):
        view = file.view()
        seen.write_bytes(view.header + path.read_bytes()[view.start : view.end])
        assert_begins_with(payloads(seen), expected(media(1)))
        assert len(payloads(seen)[0]) >= 25 * least
        assert abs(inspect_file(seen).duration_ms - 1000 * least) <= 45
        file.write(media(1))
    file.close()


# --- what cannot be -----------------------------------------------------------------------------------------

OTHER_SPS = b"\x67\x42\xc0\x1e"
OTHER_VIDEO = replace(
    VIDEO, config=VIDEO.config.replace(b"\x67\x42\xc0\x0d", OTHER_SPS), width=640, height=360
)


@pytest.mark.parametrize("kind", ["mp4", "mkv"])
def test_another_decoder_configuration_is_refused(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{kind}"
    create(path, TRACKS, media(1))
    before = path.read_bytes()
    with pytest.raises(CannotAppend, match="video"):
        reopen(path, [OTHER_VIDEO, AUDIO])
    assert path.read_bytes() == before


@pytest.mark.parametrize("kind", ["flv", "ts"])
def test_containers_that_repeat_the_configuration_take_another_one(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{kind}"
    create(path, TRACKS, media(1))
    other = [replace(p, track=OTHER_VIDEO) if p.track is VIDEO else p for p in media(1)]
    append(path, [OTHER_VIDEO, AUDIO], other)
    assert payloads(path) == [2 * track for track in expected(media(1))]
    assert OTHER_SPS in path.read_bytes()


@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_without_the_sound_of_the_file_is_refused(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{kind}"
    create(path, TRACKS, media(1))
    with pytest.raises(CannotAppend, match="audio"):
        reopen(path, [VIDEO])


@pytest.mark.parametrize("kind", KINDS)
def test_sound_that_the_file_does_not_have_yet_is_a_late_track(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{kind}"
    create(path, [VIDEO], [packet for packet in media(1) if packet.track is VIDEO])
    append(path, TRACKS, media(1))
    pictures, sounds = expected(media(1))
    assert payloads(path) == [2 * pictures, sounds]
    append(path, TRACKS, media(1))
    assert payloads(path) == [3 * pictures, 2 * sounds]


@pytest.mark.parametrize("kind", KINDS)
def test_foreign_torn_and_empty_files_are_refused_and_left_alone(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{kind}"
    create(path, TRACKS, media(1))
    whole = path.read_bytes()
    for content in (b"", b"hello", whole[:-100], whole + b"more", bytes(5000), b"G" * 5000):
        path.write_bytes(content)
        with pytest.raises(CannotAppend):
            reopen(path)
        assert path.read_bytes() == content


@pytest.mark.parametrize("kind", KINDS)
def test_without_media_the_file_is_what_it_was(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{kind}"
    create(path, TRACKS, media(1))
    before = path.read_bytes()
    file = reopen(path)
    file.begin()
    file.give_back()
    assert path.read_bytes() == before


@pytest.mark.parametrize("kind", ["flv", "mkv", "ts"])
def test_the_last_of_many_notes_is_the_one_that_is_read(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{kind}"
    create(path, TRACKS, media(1))
    for number in range(12):
        file = reopen(path)
        file.write(media(0.2))
        file.finish()
        note = b"%d" % number * (1 + 400 * (number % 4))
        file.set_note(note)
        file.finalize(sync=False)
        assert inspect_file(path).note == note
    assert payloads(path) == [
        a + 12 * b for a, b in zip(expected(media(1)), expected(media(0.2)), strict=True)
    ]
