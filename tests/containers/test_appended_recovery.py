"""Crashes, torn ends and damage in FLV, MPEG-TS and Matroska: all that was promised plays afterwards."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from helpers.appended import NOTE, open_writer
from helpers.appended_streams import TRACKS, VIDEO, expected, media, payloads
from helpers.mp4_crash import Death, run_and_die
from helpers.mp4_media import Clip, ffmpeg_complaints
from helpers.tools import requires

from aircheck.containers.recover import Outcome, inspect_file, recover_file
from aircheck.media.packet import Packet

_BATCHES = 10
_STEP_LIMIT = 100

LAST_NOTE = b'{"who":"test","how":"it ended"}' * 60
KINDS = ["flv", "mkv", "ts"]
EVERYTHING = [packet for number in range(_BATCHES) for packet in media(0.2, number * 200)]


def record(path: Path, promise: Callable[[], None]) -> None:
    """With a track that turns up in the middle."""
    writer = open_writer(path, [VIDEO], reserve_bytes=200)
    for number in range(_BATCHES):
        if number == _BATCHES // 2:
            assert writer.add_track(TRACKS[1])
        writer.write(batch(number))
        promise()
    writer.set_note(LAST_NOTE)
    writer.finish()
    writer.finalize()


def batch(number: int) -> list[Packet]:
    packets = media(0.2, number * 200)
    return packets if number >= _BATCHES // 2 else [packet for packet in packets if packet.track is VIDEO]


ALL = expected([packet for number in range(_BATCHES) for packet in batch(number)])


def promised(batches: int) -> list[int]:
    """How many packets of each track are in that many batches."""
    return [len(track) for track in expected([p for number in range(batches) for p in batch(number)])]


def assert_holds(path: Path, batches: int, *, is_torn: bool = False) -> None:
    """At least the promised packets are there, and no other than the first ones (a torn one may follow)."""
    found = [
        stream[: -1 if is_torn and len(stream) > least else None]
        for stream, least in zip(payloads(path), promised(batches), strict=False)
    ]
    for stream, everything, least in zip(found, ALL, promised(batches), strict=False):
        assert len(stream) >= least
        assert stream == everything[: len(stream)]
    assert len(found) == 2 or batches <= _BATCHES // 2


def assert_recovers(path: Path, batches: int) -> None:
    outcome = recover_file(path, sync=False).outcome
    if outcome is Outcome.EMPTY:
        assert batches == 0
        return
    assert outcome in (Outcome.RECOVERED, Outcome.FINAL)
    assert_holds(path, batches)
    facts = inspect_file(path)
    assert facts.is_final
    assert facts.note in (NOTE, LAST_NOTE)
    assert [track.packets for track in facts.tracks if track.packets] == [len(t) for t in payloads(path) if t]
    assert recover_file(path).outcome is Outcome.FINAL


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("death", Death)
def test_killed_at_any_step_of_recording_and_finalizing_nothing_promised_is_lost(
    kind: str, death: Death, tmp_path: Path
) -> None:
    path = tmp_path / f"a.{kind}"
    for step in range(1, _STEP_LIMIT):
        batches, is_alive = run_and_die(lambda promise: record(path, promise), step, death)
        if is_alive:
            assert step > _BATCHES
            break
        if path.exists():
            if batches:
                assert_holds(path, batches, is_torn=True)
            assert_recovers(path, batches)
            path.unlink()
    else:
        pytest.fail("the recording never came to its end")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("death", Death)
def test_killed_again_at_any_step_of_recovery_nothing_is_lost(
    kind: str, death: Death, tmp_path: Path
) -> None:
    torn, path = tmp_path / f"torn.{kind}", tmp_path / f"a.{kind}"
    writer = open_writer(torn, TRACKS)
    for number in range(_BATCHES):
        writer.write(media(0.2, number * 200))
    writer.close()
    size = writer.size_bytes
    with torn.open("r+b") as file:
        file.truncate(size - 50)
        file.seek(size // 2)
        file.write(bytes(40))
    whole = tmp_path / f"whole.{kind}"
    shutil.copy(torn, whole)
    recover_file(whole)
    for step in range(1, _STEP_LIMIT):
        shutil.copy(torn, path)
        _, is_alive = run_and_die(lambda promise: recover_quietly(path), step, death)
        recover_file(path)
        assert payloads(path, is_damaged=True) == payloads(whole, is_damaged=True)
        assert inspect_file(path).tracks == inspect_file(whole).tracks
        if is_alive:
            break
    else:
        pytest.fail("the recovery never came to its end")


def recover_quietly(path: Path) -> None:
    recover_file(path)


@pytest.mark.parametrize("kind", KINDS)
def test_random_cuts_keep_every_whole_packet(kind: str, tmp_path: Path) -> None:
    path, cut = tmp_path / f"a.{kind}", tmp_path / f"cut.{kind}"
    writer = open_writer(path, TRACKS, reserve_bytes=200)
    ends = []
    for number in range(_BATCHES):
        writer.write(media(0.2, number * 200))
        ends.append(writer.size_bytes)
    writer.close()
    data = path.read_bytes()[: ends[-1]]
    everything = expected(EVERYTHING)
    chance = random.Random(7)
    for _ in range(300):
        size = chance.randrange(len(data) + 1)
        cut.write_bytes(data[:size])
        whole = sum(end <= size for end in ends)
        recovery = recover_file(cut, sync=False)
        if recovery.facts is None:
            assert whole == 0
            assert recovery.outcome is Outcome.EMPTY or size < 1200
            continue
        assert recovery.bytes_kept == cut.stat().st_size <= size
        found = payloads(cut)
        least = expected([p for n in range(whole) for p in media(0.2, n * 200)])
        for stream, want, minimum in zip(found, everything, least, strict=True):
            assert stream == want[: len(stream)]
            assert len(stream) >= len(minimum)
        assert [track.packets for track in recovery.facts.tracks] == [len(stream) for stream in found]


@pytest.mark.parametrize("kind", KINDS)
def test_damage_in_the_middle_costs_only_what_it_hit(kind: str, tmp_path: Path) -> None:
    """A power cut may leave blocks of zeros between others that reached the disk."""
    path, hurt = tmp_path / f"a.{kind}", tmp_path / f"hurt.{kind}"
    writer = open_writer(path, TRACKS)
    for number in range(_BATCHES):
        writer.write(media(0.2, number * 200, size=700))
    writer.close()
    data = path.read_bytes()[: writer.size_bytes]
    everything = expected([p for n in range(_BATCHES) for p in media(0.2, n * 200, size=700)])
    chance = random.Random(3)
    media_begins = writer.view().start
    for filler in (b"\0", b"\xff", b"x"):
        for _ in range(30):
            start, size = chance.randrange(media_begins, len(data) - 30_000), chance.randrange(1, 5000)
            hurt.write_bytes(data[:start] + filler * size + data[start + size :])
            recovery = recover_file(hurt, sync=False)
            assert recovery.outcome is Outcome.RECOVERED
            found = payloads(hurt, is_damaged=True)
            for stream, want in zip(found, everything, strict=True):
                intact = set(want) & set(stream)
                assert len(want) - len(intact) <= 25, (filler, start, size)
                assert want[-1] in intact


@pytest.mark.parametrize("kind", KINDS)
def test_final_file_that_lost_its_end_is_recovered(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{kind}"
    writer = open_writer(path, TRACKS)
    writer.write(media(2))
    writer.finish()
    writer.finalize(sync=False)
    path.write_bytes(path.read_bytes()[:-300])
    assert not inspect_file(path).is_final
    assert recover_file(path).outcome is Outcome.RECOVERED
    facts = inspect_file(path)
    assert facts.is_final
    assert [track.packets for track in facts.tracks] == [len(stream) for stream in payloads(path)]
    assert all(
        stream == want[: len(stream)] for stream, want in zip(payloads(path), expected(media(2)), strict=True)
    )


@pytest.mark.parametrize("kind", KINDS)
def test_garbage_behind_the_last_packet_is_cut(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{kind}"
    writer = open_writer(path, TRACKS)
    writer.write(media(1))
    writer.close()
    for garbage in (b"\0" * 500, random.Random(1).randbytes(3000), b"\x1f\x43\xb6\x75" * 9, b"\x47" * 100):
        with path.open("ab") as file:
            file.write(garbage)
        recovery = recover_file(path)
        assert recovery.bytes_cut == len(garbage)
        assert payloads(path) == expected(media(1))


@pytest.mark.parametrize("kind", KINDS)
def test_progress_of_a_long_recovery_is_told(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{kind}"
    writer = open_writer(path, TRACKS)
    for number in range(20):
        writer.write(media(0.2, number * 200, size=20_000))
    writer.close()
    size = path.stat().st_size
    told: list[tuple[int, int]] = []
    recover_file(path, progress=lambda done, total: told.append((done, total)))
    assert len(told) >= 3
    assert told == sorted(told)
    assert told[-1] == (size, size)


@requires("ffmpeg")
@pytest.mark.parametrize("kind", KINDS)
def test_remnant_of_real_media_decodes_to_its_end(
    kind: str, clip_of: Callable[..., Clip], tmp_path: Path
) -> None:
    clip = clip_of("h264_plain", "aac")
    path = tmp_path / f"a.{kind}"
    writer = open_writer(path, clip.tracks)
    write_all(writer.write, clip.packets)
    writer.close()
    with path.open("r+b") as file:
        file.truncate(writer.size_bytes * 2 // 3)
    assert recover_file(path).outcome is Outcome.RECOVERED
    assert ffmpeg_complaints(path) == ""


def write_all(write: Callable[[Sequence[Packet]], None], packets: Sequence[Packet]) -> None:
    for start in range(0, len(packets), 15):
        write(packets[start : start + 15])
