"""MP4 whose pictures change while it is written: one file, one track, several sample entries."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import groupby
from pathlib import Path

import av
import pytest
from helpers.mp4_crash import Death, payloads, run_and_die
from helpers.mp4_media import Clip, batches, demux, ffmpeg_complaints, make_clip, shifted
from helpers.mp4_streams import AUDIO, VIDEO, media, open_writer
from helpers.tools import requires

from aircheck.containers.capability import Container
from aircheck.containers.continuing import examine
from aircheck.containers.cut import NothingThere, Range, Source, cut, join
from aircheck.containers.mp4 import Mp4Writer
from aircheck.containers.mp4.disk import Disk
from aircheck.containers.mp4.final_index import read_final_index
from aircheck.containers.mp4.scan import outline, read_contents, reopened
from aircheck.containers.recover import Outcome, inspect_file, recover_file
from aircheck.containers.survey import PictureChange, survey_file
from aircheck.errors import ContainerError
from aircheck.media.packet import Packet
from aircheck.media.track import Codec, Track

SIZES = ("160x96", "320x192", "160x96", "96x160")
CLIP_S = 2
FRAMES = CLIP_S * 25
OTHER = replace(VIDEO, config=VIDEO.config[:-1] + b"\x81", width=640, height=360)
Part = tuple[tuple[Track, ...], list[Packet]]


@pytest.fixture(scope="module")
def parts_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[Part]]:
    """The parts of a stream whose pictures change: tracks, and packets one behind the other."""
    folder = tmp_path_factory.mktemp("sizes")
    clips: dict[tuple[tuple[str, ...], str], Clip] = {}

    def make(*codecs: str, sizes: Sequence[str] = SIZES) -> list[Part]:
        for size in sizes:
            if (codecs, size) not in clips:
                clips[codecs, size] = make_clip(folder, *codecs, seconds=CLIP_S, size=size)
        return [part_of(clips[codecs, size], number * CLIP_S) for number, size in enumerate(sizes)]

    return make


def part_of(clip: Clip, at_s: int) -> Part:
    packets = sorted(shifted(clip.packets, at_s), key=lambda one: Fraction(one.dts, one.track.timescale))
    return clip.tracks, packets


def begin(path: Path, parts: Sequence[Part], *, note: bytes = b"{}") -> Mp4Writer:
    return Mp4Writer(path, parts[0][0], note=note, creation_ns=10**18)


def feed(writer: Mp4Writer, parts: Sequence[Part]) -> None:
    """As a recording does: what is new of a track is told before its first packet."""
    for tracks, packets in parts:
        for track in tracks:
            if track.is_video:
                assert writer.change_track(track)
        for batch in batches(packets):
            writer.write(batch)


def write(path: Path, parts: Sequence[Part]) -> Path:
    writer = begin(path, parts)
    feed(writer, parts)
    writer.finish()
    writer.finalize(sync=False)
    return path


def shown_sizes(path: Path) -> list[tuple[str, int]]:
    """The sizes of the decoded pictures, and how many have each."""
    with av.open(str(path)) as container:
        sizes = [f"{frame.width}x{frame.height}" for frame in container.decode(video=0)]
    return [(size, len(list(group))) for size, group in groupby(sizes)]


def entries(path: Path) -> int:
    """How many sample entries the track of pictures has."""
    disk = Disk.open(path, writable=False)
    try:
        moov = outline(disk).moov
        assert moov is not None
        return len(moov.traks[0][1].entries)
    finally:
        disk.close()


# --- what players see ---------------------------------------------------------------------------------------


@requires("ffmpeg")
@pytest.mark.parametrize("codec", ["h264_carried", "h265_carried", "av1", "vp9"])
def test_pictures_of_any_size_are_decoded_from_one_file_growing_recovered_and_final(
    codec: str, parts_of: Callable[..., list[Part]], tmp_path: Path
) -> None:
    path, torn, seen = (tmp_path / name for name in ("a.mp4", "torn.mp4", "seen.mp4"))
    parts = parts_of(codec, "aac")
    expected = [(size, FRAMES) for size in SIZES]
    writer = begin(path, parts)
    feed(writer, parts)
    writer.flush()
    view = writer.view()
    seen.write_bytes(view.header + path.read_bytes()[view.start : view.end])
    shutil.copy(path, torn)
    writer.finish()
    shutil.copy(path, tmp_path / "growing.mp4")
    writer.finalize(sync=False)
    assert recover_file(torn, sync=False).outcome is Outcome.RECOVERED
    for file in (path, torn, seen, tmp_path / "growing.mp4"):
        assert ffmpeg_complaints(file) == ""
        assert shown_sizes(file) == expected
    assert entries(path) == entries(torn) == 3
    sent = [p for _, packets in parts for p in packets]
    for stream, is_video in zip(demux(path), (True, False), strict=True):
        assert [found.data for found in stream] == [p.data for p in sent if p.track.is_video is is_video]


@requires("gstreamer")
def test_gstreamer_decodes_every_picture_in_its_size(
    parts_of: Callable[..., list[Part]], tmp_path: Path
) -> None:
    path = write(tmp_path / "a.mp4", parts_of("h264_plain"))
    command = f"filesrc location={path} ! qtdemux ! h264parse ! avdec_h264 ! fakesink silent=false"
    done = subprocess.run(
        ["gst-launch-1.0", "-v", *command.split()], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.count("chain ") == len(SIZES) * FRAMES
    raw = [line for line in done.stdout.splitlines() if "avdec" in line and "src: caps = video/x-raw" in line]
    sizes = [
        tuple(line.split(f"{side}=(int)")[1].split(",")[0] for side in ("width", "height")) for line in raw
    ]
    assert ["x".join(size) for size, _ in groupby(sizes)] == list(SIZES)


@pytest.mark.parametrize(
    ("sizes", "shown"),
    [
        ([(640, 360), (960, 540), (1280, 720)], (1280, 720)),
        ([(1280, 720), (640, 360)], (1280, 720)),
        ([(640, 360), (360, 640)], (640, 360)),
        ([(640, 360), (720, 1280), (1280, 720)], (1280, 720)),
    ],
)
def test_a_track_has_the_size_of_the_largest_pictures_of_its_first_shape(
    sizes: list[tuple[int, int]], shown: tuple[int, int], tmp_path: Path
) -> None:
    path = tmp_path / "a.mp4"
    tracks = [replace(VIDEO, width=width, height=height) for width, height in sizes]
    writer = open_writer(path, tracks=tracks[:1])
    for number, track in enumerate(tracks):
        assert writer.change_track(track)
        writer.write([Packet(track, number * 500, number * 500, True, b"v")])
        writer.flush()
    writer.finish()
    facts = writer.finalize(sync=False).tracks[0]
    assert (facts.width, facts.height) == shown
    read = inspect_file(path).tracks[0]
    assert (read.width, read.height, read.packets) == (*shown, len(sizes))


@requires("ffprobe")
def test_pictures_of_several_shapes_are_not_stretched(
    parts_of: Callable[..., list[Part]], tmp_path: Path
) -> None:
    path = write(tmp_path / "a.mp4", parts_of("h264_plain", sizes=("160x96", "96x160")))
    with av.open(str(path)) as container:
        assert container.streams.video[0].sample_aspect_ratio == 1


# --- configurations -----------------------------------------------------------------------------------------


def changed(packets: Sequence[Packet], track: Track) -> list[Packet]:
    return [replace(packet, track=track) if packet.track is VIDEO else packet for packet in packets]


def turn(writer: Mp4Writer, number: int) -> None:
    """The number-th second of a stream that has been turned so many times."""
    track = OTHER if number % 2 else VIDEO
    assert writer.change_track(track)
    writer.write(changed(media(1, number * 1000), track))


def test_a_configuration_that_comes_back_is_not_told_twice(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    writer = open_writer(path)
    for number in range(40):
        turn(writer, number)
    writer.finish()
    writer.finalize(sync=False)
    assert entries(path) == 2
    assert [len(stream) for stream in payloads(path)] == [
        sum(packet.track is track for packet in media(40)) for track in (VIDEO, AUDIO)
    ]


def test_a_track_that_changes_before_its_first_picture_has_one_configuration(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    writer = open_writer(path)
    assert writer.change_track(OTHER)
    writer.write(changed(media(1), OTHER))
    writer.finish()
    assert (writer.finalize(sync=False).tracks[0].width, entries(path)) == (640, 1)


def test_only_so_many_configurations_find_room_and_the_rest_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    writer = open_writer(path)
    writer.write(media(1))
    taken = 1
    while writer.change_track(other := replace(VIDEO, width=16 * taken, height=16)):
        writer.write(changed(media(1, taken * 1000), other))
        taken += 1
    assert taken > 20
    turn(writer, taken + taken % 2)
    writer.finish()
    writer.finalize(sync=False)
    assert entries(path) == taken
    assert len(payloads(path)[0]) == 25 * (taken + 1)


@pytest.mark.parametrize(
    "other",
    [
        replace(VIDEO, codec=Codec.VP9, config=b""),
        replace(VIDEO, timescale=90_000),
        replace(AUDIO, config=b"\x11\x88"),
        replace(VIDEO, id=7),
    ],
    ids=["codec", "clock", "sound", "number"],
)
def test_what_is_more_than_another_configuration_is_refused(other: Track, tmp_path: Path) -> None:
    writer = open_writer(tmp_path / "a.mp4")
    writer.write(media(1))
    assert not writer.change_track(other)
    writer.close()


# --- crashes ------------------------------------------------------------------------------------------------


def record_turning(path: Path, promise: Callable[[], None]) -> None:
    writer = open_writer(path)
    for number in range(4):
        turn(writer, number)
        writer.flush()
        promise()
    writer.finish()
    writer.finalize()


@pytest.mark.parametrize("death", Death)
def test_killed_at_any_step_of_a_change_nothing_promised_is_lost(death: Death, tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    expected = [[p.data for p in media(4) if p.track is track] for track in (VIDEO, AUDIO)]
    for step in range(1, 200):
        seconds, is_alive = run_and_die(lambda promise: record_turning(path, promise), step, death)
        if is_alive:
            assert step > 20
            break
        if path.exists():
            outcome = recover_file(path, sync=False).outcome
            assert outcome is not Outcome.EMPTY or not seconds
            if outcome is not Outcome.EMPTY:
                for found, sent in zip(payloads(path), expected, strict=True):
                    assert found == sent[: len(found)]
                assert len(payloads(path)[0]) >= 25 * seconds
            path.unlink()
    else:
        pytest.fail("the recording never came to its end")


def test_cut_anywhere_every_whole_fragment_is_recovered_with_its_configuration(tmp_path: Path) -> None:
    path, torn = tmp_path / "a.mp4", tmp_path / "torn.mp4"
    writer = open_writer(path, reserve_bytes=1)
    ends = []
    for number in range(6):
        turn(writer, number)
        writer.flush()
        ends.append(writer.size_bytes)
    writer.close()
    whole = path.read_bytes()
    for size in range(ends[0] + 1, ends[-1], 97):
        torn.write_bytes(whole[:size])
        recovery = recover_file(torn, sync=False)
        assert recovery.outcome is Outcome.RECOVERED
        kept = sum(end <= size for end in ends)
        disk = Disk.open(torn, writable=False)
        final = outline(disk).moov
        assert final is not None
        index = read_contents(disk, reopened(disk, outline(disk))).tracks[0]
        disk.close()
        whole_turns = [bool(number % 2) for number in range(kept)]
        per_second = [bool(entry) for entry, _ in groupby(index.chunk_entries or [0] * kept)]
        assert per_second[: len(whole_turns)] == whole_turns


def test_the_index_of_a_final_file_is_that_of_its_fragments(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    writer = open_writer(path)
    for number in range(5):
        turn(writer, number)
    writer.finish()
    writer.finalize(sync=False)
    disk = Disk.open(path, writable=False)
    file = outline(disk)
    assert file.moov is not None
    fragments = reopened(disk, file)
    contents, read = read_contents(disk, fragments), read_final_index(disk, file.moov, fragments)
    disk.close()
    assert read is not None
    assert read.tracks == contents.tracks
    assert {*contents.tracks[0].chunk_entries} == {0, 1}


# --- clips and joins ----------------------------------------------------------------------------------------


@requires("ffmpeg")
@pytest.mark.parametrize(
    ("start", "end", "sizes"),
    [
        ("2.5", "3.5", ["320x192"]),
        ("1", "3", ["160x96", "320x192"]),
        ("3", "7", ["320x192", "160x96", "96x160"]),
        ("4.5", None, ["160x96", "96x160"]),
    ],
)
def test_a_clip_has_the_configurations_of_its_pictures_the_first_one_first(
    start: str, end: str | None, sizes: list[str], parts_of: Callable[..., list[Part]], tmp_path: Path
) -> None:
    path, clip = write(tmp_path / "a.mp4", parts_of("h264_carried", "aac")), tmp_path / "clip.mp4"
    cut([Source(path)], Range(Fraction(start), Fraction(end) if end else None), clip)
    assert [size for size, _ in shown_sizes(clip)] == sizes
    assert entries(clip) == len(sizes)
    assert ffmpeg_complaints(clip) == ""


@requires("ffmpeg")
def test_files_of_different_sizes_are_joined(parts_of: Callable[..., list[Part]], tmp_path: Path) -> None:
    parts = parts_of("h264_carried", "aac", sizes=("160x96", "320x192", "160x96"))
    files = [write(tmp_path / f"{number}.mp4", [part]) for number, part in enumerate(parts)]
    both = write(tmp_path / "both.mp4", parts[:2])
    join([Source(path) for path in (*files, both)], tmp_path / "joined.mp4")
    assert shown_sizes(tmp_path / "joined.mp4") == [
        ("160x96", FRAMES), ("320x192", FRAMES), ("160x96", 2 * FRAMES), ("320x192", FRAMES),
    ]  # fmt: skip
    assert entries(tmp_path / "joined.mp4") == 2
    assert ffmpeg_complaints(tmp_path / "joined.mp4") == ""


def test_files_whose_key_frames_do_not_carry_their_configuration_are_not_joined(tmp_path: Path) -> None:
    for name, track in (("a", VIDEO), ("b", OTHER)):
        writer = open_writer(tmp_path / f"{name}.mp4", tracks=(track, AUDIO))
        writer.write(changed(media(1), track))
        writer.finish()
        writer.finalize(sync=False)
    with pytest.raises(ContainerError, match="encoded otherwise"):
        join([Source(tmp_path / "a.mp4"), Source(tmp_path / "b.mp4")], tmp_path / "joined.mp4")
    assert not (tmp_path / "joined.mp4").exists()


def test_a_range_behind_the_end_is_still_nothing(parts_of: Callable[..., list[Part]], tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", parts_of("h264_plain", sizes=SIZES[:2]))
    with pytest.raises(NothingThere):
        cut([Source(path)], Range(Fraction(60)), tmp_path / "clip.mp4")


# --- going on -----------------------------------------------------------------------------------------------


@requires("ffmpeg")
def test_pictures_may_change_in_a_file_that_goes_on(
    parts_of: Callable[..., list[Part]], tmp_path: Path
) -> None:
    path = tmp_path / "a.mp4"
    parts = parts_of("h264", "aac")
    write(path, parts[:2])
    tracks, _ = parts[2]
    # As a stream numbers them.
    numbered = [replace(track, id=track.id + 5) for track in tracks]
    file = examine(path, Container.MP4, numbered)
    file.begin()
    for number in (2, 3):
        theirs = {track.id: replace(track, id=track.id + 5) for track in parts[number][0]}
        for track in theirs.values():
            assert not track.is_video or file.change_track(track)
        for batch in batches(parts[number][1]):
            file.write([replace(packet, track=theirs[packet.track.id]) for packet in batch])
    file.finish()
    file.finalize(sync=False)
    assert [size for size, _ in shown_sizes(path)] == list(SIZES)
    assert ffmpeg_complaints(path) == ""


# --- what is told of it -------------------------------------------------------------------------------------


def test_a_survey_tells_where_pictures_change_and_their_size(
    parts_of: Callable[..., list[Part]], tmp_path: Path
) -> None:
    path = write(tmp_path / "a.mp4", parts_of("h264", "aac"))
    found = survey_file(path).tracks[0].picture_changes
    assert found == (
        PictureChange(2000, 320, 192),
        PictureChange(4000, 160, 96),
        PictureChange(6000, 96, 160),
    )
