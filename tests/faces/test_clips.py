"""Clips over HTTP: `?start&end` of files and whole recordings, kept under their names, cut once."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import httpx
import pytest
from helpers import cutting
from helpers.cutting import RATE, feed, pattern, pictures, record, split, stream
from helpers.http_world import AUDIO, VIDEO, World, make_recording, make_segment

from aircheck.catalog.check import check
from aircheck.cli.checking import MediaProbe
from aircheck.faces.api.app import create_app
from aircheck.facts import RecordingState, SegmentState
from aircheck.media.packet import Packet
from aircheck.service import clips
from aircheck.service.kept_clips import read_clip_note
from aircheck.service.services import Services

URL = "/client/records/studio.mp4"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """With an eight second recording of a stream that had been going on for 1000."""
    async with World.opened(tmp_path) as world:
        await add(world, "studio.mp4", stream(1000))
        yield world


@pytest.fixture
async def client(world: World) -> AsyncIterator[httpx.AsyncClient]:
    async with world.client() as client:
        yield client


async def add(world: World, name: str, packets: Sequence[Packet], **changes: object) -> None:
    """A finished file of these packets and its row."""
    path = world.record_dir / name
    path.parent.mkdir(parents=True, exist_ok=True)
    record(path, packets)
    begin_s = min(Fraction(packet.pts, packet.track.timescale) for packet in packets)
    duration_ms = changes.pop("duration_ms", cutting.SECONDS * 1000)
    segment = make_segment(
        name,
        path=str(path),
        size_bytes=path.stat().st_size,
        start_pts_ms=int(begin_s * 1000),
        duration_ms=duration_ms,
        **changes,
    )
    await world.catalog.put_segment(segment)


def files(world: World) -> set[str]:
    found = (path for path in world.record_dir.rglob("*") if path.is_file())
    return {str(path.relative_to(world.record_dir)) for path in found}


async def test_a_part_is_cut_and_kept_under_its_name(
    world: World, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    answer = await client.get(f"{URL}?start=3&end=5")

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "video/mp4"
    assert answer.headers["content-disposition"] == 'inline; filename="studio-s3-e5.mp4"'
    assert answer.headers["accept-ranges"] == "bytes"
    assert files(world) == {"studio.mp4", "studio-s3-e5.mp4"}
    assert (world.record_dir / "studio-s3-e5.mp4").read_bytes() == answer.content
    (tmp_path / "got.mp4").write_bytes(answer.content)
    whole = [shown.picture for shown in pictures(world.record_dir / "studio.mp4")]
    assert [shown.picture for shown in pictures(tmp_path / "got.mp4")] == whole[3 * RATE : 5 * RATE]


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("start=3", "studio-s3.mp4"),
        ("end=5", "studio-e5.mp4"),
        ("start=0&end=5", "studio-s0-e5.mp4"),
        ("start=1.50&end=02.250", "studio-s1.5-e2.25.mp4"),
        ("start=&end=4", "studio-e4.mp4"),
    ],
)
async def test_either_limit_may_be_left_out_and_the_same_time_has_one_name(
    world: World, client: httpx.AsyncClient, query: str, name: str
) -> None:
    assert (await client.get(f"{URL}?{query}")).status_code == 200
    assert files(world) == {"studio.mp4", name}


async def test_a_kept_clip_is_sent_again_and_has_ranges_and_validators(
    world: World, client: httpx.AsyncClient
) -> None:
    first = await client.get(f"{URL}?start=3&end=5")
    kept = world.record_dir / "studio-s3-e5.mp4"
    written_ns = kept.stat().st_mtime_ns

    again = await client.get(f"{URL}?start=3&end=5", headers={"Range": "bytes=100-199"})
    unchanged = await client.get(f"{URL}?start=3&end=5", headers={"If-None-Match": first.headers["etag"]})
    head = await client.head(f"{URL}?start=3&end=5&download=1")

    assert (again.status_code, again.content) == (206, first.content[100:200])
    assert unchanged.status_code == 304
    assert head.headers["content-length"] == str(len(first.content))
    assert head.headers["content-disposition"].startswith("attachment")
    assert kept.stat().st_mtime_ns == written_ns


async def test_a_kept_clip_is_a_download_by_its_own_name(world: World, client: httpx.AsyncClient) -> None:
    clip = await client.get(f"{URL}?start=3&end=5")

    direct = await client.get("/client/records/studio-s3-e5.mp4")

    assert (direct.status_code, direct.content) == (200, clip.content)
    assert direct.headers["etag"] == clip.headers["etag"]
    (world.record_dir / "private-s1-e2.mp4").write_bytes(b"not a clip")
    assert (await client.get("/client/records/private-s1-e2.mp4")).status_code == 404


async def test_the_same_clip_asked_for_twice_at_once_is_cut_once(world: World) -> None:
    async with world.serving() as services, _client(services) as client:
        answers = await asyncio.gather(*(client.get(f"{URL}?start=1&end=4") for _ in range(10)))

        assert {answer.status_code for answer in answers} == {200}
        assert len({answer.content for answer in answers}) == 1
        assert services.clips.counters.cut == 1
        assert files(world) == {"studio.mp4", "studio-s1-e4.mp4"}


def _client(services: Services) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(create_app(services))
    return httpx.AsyncClient(transport=transport, base_url="http://recorder")


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("start=5&end=3", "no length"),
        ("start=3&end=3", "no length"),
        ("end=0", "no length"),
        ("start=-1", "no time in seconds"),
        ("start=abc", "no time in seconds"),
        ("start=nan", "no time in seconds"),
        ("start=inf", "no time in seconds"),
        ("start=1e3", "no time in seconds"),
        ("start=1&end=%D9%A3", "no time in seconds"),
        ("start=" + "9" * 400, "no time in seconds"),
        ("start=0.00000001", "no time in seconds"),
    ],
)
async def test_nonsense_is_a_bad_request_with_a_reason(
    world: World, client: httpx.AsyncClient, query: str, reason: str
) -> None:
    answer = await client.get(f"{URL}?{query}")

    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert reason in answer.json()["detail"]
    assert answer.json()["remedy"]
    assert files(world) == {"studio.mp4"}


@pytest.mark.parametrize("query", ["start=8", "start=100&end=200"])
async def test_a_range_outside_is_416_with_the_length(
    world: World, client: httpx.AsyncClient, query: str
) -> None:
    answer = await client.get(f"{URL}?{query}")

    assert answer.status_code == 416
    assert "it is 8 s long" in answer.json()["detail"]


async def test_an_end_behind_the_end_is_the_end(
    world: World, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    answer = await client.get(f"{URL}?start=7&end=600")

    (tmp_path / "got.mp4").write_bytes(answer.content)
    assert len(pictures(tmp_path / "got.mp4")) == RATE


async def test_all_ends_behind_the_end_share_one_file_under_their_names(world: World) -> None:
    async with world.serving() as services, _client(services) as client:
        answers = [await client.get(f"{URL}?start=3&end={end}") for end in ("8", "60", "99999", "60")]
        answers.append(await client.get(f"{URL}?start=3"))

        assert services.clips.counters.cut == 1
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.headers["etag"] for answer in answers}) == 1
    assert 'filename="studio-s3-e60.mp4"' in answers[1].headers["content-disposition"]
    names = {"studio-s3.mp4", "studio-s3-e8.mp4", "studio-s3-e60.mp4", "studio-s3-e99999.mp4"}
    assert files(world) == {"studio.mp4", *names}
    assert len({(world.record_dir / name).stat().st_ino for name in names}) == 1


async def test_one_more_name_of_a_clip_replaces_no_recording_but_a_clip_of_another(
    world: World, client: httpx.AsyncClient
) -> None:
    await add(world, "studio-s3-e60.mp4", stream())
    theirs = (world.record_dir / "studio-s3-e60.mp4").read_bytes()
    await client.get("/client/records/studio-s3-e60.mp4?start=1&end=2")
    (world.record_dir / "studio-s3-e60-s1-e2.mp4").rename(world.record_dir / "studio-s3-e70.mp4")

    clips = [await client.get(f"{URL}?start=3&end={end}") for end in (60, 70)]

    assert clips[0].content == clips[1].content
    assert (world.record_dir / "studio-s3-e60.mp4").read_bytes() == theirs
    assert (world.record_dir / "studio-s3-e60_1.mp4").read_bytes() == clips[0].content
    assert (world.record_dir / "studio-s3-e70.mp4").read_bytes() == clips[0].content


@pytest.mark.parametrize("query", ["end=8", "end=99999", "start=0", "start=0&end=60"])
async def test_the_whole_of_a_finished_file_is_the_file(
    world: World, client: httpx.AsyncClient, query: str
) -> None:
    whole = await client.get(URL)

    answer = await client.get(f"{URL}?{query}")

    assert (answer.status_code, answer.content) == (200, whole.content)
    assert answer.headers["etag"] == whole.headers["etag"]
    assert files(world) == {"studio.mp4"}


@pytest.mark.parametrize(
    "name",
    ["nobody.mp4", "%2e%2e/catalog.db", "..%2fcatalog.db", ".id/none.mp4", ".aircheck/x.mp4", "a%00.mp4"],
)
async def test_what_is_no_recording_has_no_clips(client: httpx.AsyncClient, name: str) -> None:
    assert (await client.get(f"/client/records/{name}?start=1&end=2")).status_code == 404


async def test_a_file_that_has_the_clips_name_is_left_alone(world: World, client: httpx.AsyncClient) -> None:
    await add(world, "studio-s3-e5.mp4", stream())
    theirs = (world.record_dir / "studio-s3-e5.mp4").read_bytes()

    clip = await client.get(f"{URL}?start=3&end=5")
    again = await client.get(f"{URL}?start=3&end=5")

    assert (world.record_dir / "studio-s3-e5.mp4").read_bytes() == theirs
    assert (world.record_dir / "studio-s3-e5_1.mp4").read_bytes() == clip.content == again.content
    assert (await client.get("/client/records/studio-s3-e5.mp4")).content == theirs


async def test_a_clip_of_an_earlier_recording_of_that_name_is_replaced(
    world: World, client: httpx.AsyncClient
) -> None:
    before = await client.get(f"{URL}?start=3&end=5")
    segment = await world.catalog.segment_by_file_name("studio.mp4")
    assert segment is not None
    (world.record_dir / "studio.mp4").unlink()
    await world.catalog.forget_recordings("rec-1")
    await world.catalog.put_recording(make_recording("rec-2"))
    sound = [packet for packet in stream() if packet.track is pattern().audio]
    await add(
        world, "studio.mp4", sound + [p for p in stream() if p.track.is_video], id="new", recording_id="rec-2"
    )

    after = await client.get(f"{URL}?start=3&end=5")

    assert after.status_code == 200
    assert after.content != before.content
    assert files(world) == {"studio.mp4", "studio-s3-e5.mp4"}


async def test_clips_have_a_folder_of_their_own_where_one_is_set(world: World, tmp_path: Path) -> None:
    world.clips_dir = tmp_path / "clips"
    await add(world, "2026/11/studio.mp4", stream())
    async with world.client() as client:
        clip = await client.get("/client/records/2026/11/studio.mp4?start=1&end=2")
        direct = await client.get("/client/records/2026/11/studio-s1-e2.mp4")

    assert (tmp_path / "clips/2026/11/studio-s1-e2.mp4").read_bytes() == clip.content == direct.content
    assert files(world) == {"studio.mp4", "2026/11/studio.mp4"}


async def test_a_long_name_is_cut_so_that_the_range_has_room(world: World, client: httpx.AsyncClient) -> None:
    name = "ä" * 125
    await add(world, f"{name}.mp4", stream())

    answer = await client.get(f"/client/records/{name}.mp4?start=1.234567&end=2.345678")

    assert answer.status_code == 200
    kept = files(world) - {"studio.mp4", f"{name}.mp4"}
    assert len(kept) == 1
    assert len(next(iter(kept)).encode()) <= 255


async def test_a_clip_is_neither_a_recording_nor_foreign_to_us(
    world: World, client: httpx.AsyncClient
) -> None:
    await client.get(f"{URL}?start=3&end=5")

    path = world.record_dir / "studio-s3-e5.mp4"
    note = read_clip_note(path)
    assert note is not None
    assert (note.start_s, note.end_s, note.kinds) == ("3", "5", ("video", "audio"))
    assert read_clip_note(world.record_dir / "studio.mp4") is None
    report = await check(world.catalog, [world.record_dir], MediaProbe())
    assert (report.clips, report.foreign, report.findings) == (1, 0, [])


async def test_a_check_counts_clips_in_a_folder_of_their_own_and_adopts_nothing_there(
    world: World, tmp_path: Path
) -> None:
    world.clips_dir = tmp_path / "clips"

    async def counted() -> tuple[int, int, int, int]:
        report = await check(
            world.catalog, [world.record_dir], MediaProbe(), repair=True, clips=world.clips_dir
        )
        assert report.is_clean
        return report.files, report.catalogued, report.clips, report.foreign

    assert await counted() == (1, 1, 0, 0)
    async with world.client() as client:
        await client.get(f"{URL}?start=3&end=5")
    shutil.copy(world.record_dir / "studio.mp4", tmp_path / "clips" / "copy.mp4")
    assert await counted() == (3, 1, 1, 1)
    world.clips_dir = world.record_dir.parent
    (tmp_path / "record-s1-e2.mp4").write_bytes((tmp_path / "clips" / "studio-s3-e5.mp4").read_bytes())
    assert (await counted())[1:3] == (1, 2)
    world.clips_dir = world.record_dir
    assert await counted() == (1, 1, 0, 0)


@pytest.mark.parametrize("container", ["mkv", "ts", "flv"])
async def test_the_other_containers_are_cut_too(
    world: World, client: httpx.AsyncClient, container: str
) -> None:
    await add(world, f"other.{container}", stream(), tracks=(VIDEO, AUDIO))

    answer = await client.get(f"/client/records/other.{container}?start=3&end=5")

    assert answer.status_code == 200
    assert len(pictures(world.record_dir / f"other-s3-e5.{container}")) >= 3 * RATE - 3


# --- whole recordings ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("/client/records/show.mp4?start=1&end=7", "show-s1-e7.mp4"),
        ("/api/v1/recordings/rotated/clip?start_s=1&end_s=7", "show-s1-e7.mp4"),
        ("/client/records/.id/rotated.mp4?start=1&end=7", "show-s1-e7.mp4"),
        ("/api/v1/recordings/rotated/clip?start_s=1&end_s=7&format=mkv", "show-s1-e7.mkv"),
    ],
)
async def test_a_clip_of_a_rotated_recording_goes_over_its_files(
    world: World, client: httpx.AsyncClient, url: str, name: str
) -> None:
    await world.catalog.put_recording(make_recording("rotated", segment_count=3))
    for number, packets in enumerate(split(stream(1000), 2, 4), 1):
        length_ms = 4000 if number == 3 else 2000
        facts = {"index": number, "recording_id": "rotated", "duration_ms": length_ms}
        await add(world, f"show_{number}.mp4", packets, **facts)

    answer = await client.get(url)

    assert answer.status_code == 200, answer.text
    assert f'filename="{name}"' in answer.headers["content-disposition"]
    whole = [shown.picture for shown in pictures(world.record_dir / "studio.mp4")]
    found = [shown.picture for shown in pictures(world.record_dir / name)]
    begin = RATE if name.endswith("mp4") else 0
    assert found == whole[begin:][: len(found)]
    assert abs(begin + len(found) - 7 * RATE) <= 3


async def test_an_unknown_recording_has_no_clips(client: httpx.AsyncClient) -> None:
    assert (await client.get("/api/v1/recordings/nobody/clip?start_s=1")).status_code == 404
    assert (await client.get("/api/v1/recordings/rec-1/clip")).status_code == 400
    assert (await client.get("/api/v1/recordings/rec-1/clip?start_s=1&format=avi")).status_code == 422


async def test_a_container_that_cannot_hold_the_pictures_is_a_conflict(
    world: World, client: httpx.AsyncClient
) -> None:
    answer = await client.get("/api/v1/recordings/rec-1/clip?start_s=1&format=webm")

    assert answer.status_code == 409
    assert "webm cannot hold h264" in answer.json()["detail"]
    assert files(world) == {"studio.mp4"}


# --- growing ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("container", cutting.CONTAINERS)
async def test_a_growing_recording_is_cut_up_to_now(world: World, tmp_path: Path, container: str) -> None:
    path = world.record_dir / f"growing.{container}"
    writer = cutting.writer_of(path, (pattern().video, pattern().audio))
    packets = stream(1000)
    feed(writer, packets[: len(packets) // 2])
    writer.flush()
    segment = make_segment(
        f"live.{container}",
        path=str(path),
        state=SegmentState.GROWING,
        recording_id="live",
        start_pts_ms=1_000_066,
        duration_ms=4000,
    )
    recording = make_recording("live", state=RecordingState.RECORDING)
    await world.catalog.put_many(recording, segment)
    world.live_recordings, world.live_segments = [recording], [segment]
    world.writers[segment.id] = writer
    url = f"/client/records/live.{container}"
    async with world.client() as client:
        settled = await client.get(f"{url}?start=1&end=3")
        too_early = await client.get(f"{url}?start=1&end=60")
        outside = await client.get(f"{url}?start=60")
        until_now = await client.get(f"{url}?start=3")
        feed(writer, packets[len(packets) // 2 :])
        writer.flush()
        world.live_segments[:] = [replace(segment, duration_ms=8000)]
        seek = await client.get(f"{url}?start=3", headers={"Range": "bytes=1000-1999"})
    writer.close()

    assert settled.status_code == 200
    assert (world.record_dir / f"live-s1-e3.{container}").read_bytes() == settled.content
    assert too_early.status_code == 409
    assert "so far it is 4 s long" in too_early.json()["detail"]
    assert outside.status_code == 416
    assert until_now.status_code == 200
    assert until_now.headers["cache-control"] == "no-store"
    assert files(world) == {"studio.mp4", path.name, f"live-s1-e3.{container}"}
    # The same reader goes on in the same clip, not in a newer one.
    assert seek.content == until_now.content[1000:2000]


@pytest.mark.parametrize("container", cutting.CONTAINERS)
async def test_a_file_that_moves_while_it_becomes_final_is_looked_for_again(
    world: World, container: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clips, "RETRY_DELAYS_S", (0.02,) * 3000)
    path = world.record_dir / f"show.{container}"
    await add(world, path.name, stream())
    (row,) = [row for row in await world.catalog.segments("rec-1") if row.path == str(path)]
    await world.catalog.put_segment(replace(row, path=str(world.record_dir / f".growing.{container}")))

    async def settle() -> None:
        await asyncio.sleep(0.05)
        await world.catalog.put_segment(row)

    async with world.client() as client:
        settling = asyncio.create_task(settle())
        answer = await client.get(f"/client/records/{path.name}?start=1&end=3")
        await settling

    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("container", cutting.CONTAINERS)
async def test_a_file_that_was_deleted_is_not_there_and_no_path_is_told(world: World, container: str) -> None:
    await add(world, f"show.{container}", stream())
    (world.record_dir / f"show.{container}").unlink()

    async with world.client() as client:
        answer = await client.get(f"/client/records/show.{container}?start=1&end=3")

    assert answer.status_code == 404
    assert "gone from the disk" in answer.json()["detail"]
    assert str(world.record_dir) not in answer.text


async def test_clips_are_kept_where_there_are_no_links(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refuse)
    async with world.client() as client:
        answers = [await client.get(f"{URL}?start=1&end=3") for _ in range(2)]
        assert files(world) == {"studio.mp4", "studio-s1-e3.mp4"}
        until_end = [await client.get(f"{URL}?start=1&end={end}") for end in (60, 70)]

    assert [answer.status_code for answer in (*answers, *until_end)] == [200] * 4
    assert answers[0].content == answers[1].content
    assert until_end[0].content == until_end[1].content
    assert files(world) == {"studio.mp4", "studio-s1-e3.mp4", "studio-s1.mp4"}


async def test_a_clip_takes_no_space_that_recordings_need(world: World) -> None:
    async with world.serving() as services, _client(services) as client:
        services.clips._reserve_bytes = 1 << 60
        answer = await client.get(f"{URL}?start=1&end=4")

    assert answer.status_code == 507
    assert files(world) == {"studio.mp4"}


async def test_what_a_crash_left_of_a_clip_is_removed_at_the_start(world: World) -> None:
    left = world.record_dir / ".aircheck" / "clips" / "0123.mp4"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half")
    async with world.serving() as services:
        await services.clips.start()

    assert files(world) == {"studio.mp4"}
