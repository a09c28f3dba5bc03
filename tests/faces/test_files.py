"""Recorded files over HTTP: parts, conditions, names, and what must never be served."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from email.message import Message
from email.parser import BytesParser
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from helpers.http_world import AUDIO, World

from aircheck.facts import SegmentState

CONTENT = bytes(range(256)) * 40
URL = "/client/records/studio.mp4"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with World.opened(tmp_path) as world:
        await world.add_file("studio.mp4", CONTENT)
        os.utime(world.record_dir / "studio.mp4", ns=(0, 1_795_239_600_500_000_000))
        yield world


@pytest.fixture
async def client(world: World) -> AsyncIterator[httpx.AsyncClient]:
    async with world.client() as client:
        yield client


async def test_whole_file_comes_with_its_validators(client: httpx.AsyncClient) -> None:
    answer = await client.get(URL)
    assert (answer.status_code, answer.content) == (200, CONTENT)
    assert answer.headers["content-type"] == "video/mp4"
    assert answer.headers["content-length"] == str(len(CONTENT))
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["etag"].startswith('"')
    assert answer.headers["last-modified"] == "Sat, 21 Nov 2026 05:40:00 GMT"
    assert answer.headers["content-disposition"] == 'inline; filename="studio.mp4"'


async def test_head_is_get_without_the_body(client: httpx.AsyncClient) -> None:
    whole, head = await client.get(URL), await client.head(URL)
    assert head.content == b""
    assert head.headers == whole.headers
    part = await client.head(URL, headers={"Range": "bytes=0-9"})
    assert (part.status_code, part.headers["content-length"]) == (206, "10")


@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [
        ("0-99", 0, 100),
        ("10000-", 10000, 10240),
        ("-1", 10239, 10240),
        ("0-", 0, 10240),
        ("5-99999", 5, 10240),
    ],
)
async def test_range_is_answered_with_the_part(
    client: httpx.AsyncClient, asked: str, start: int, stop: int
) -> None:
    answer = await client.get(URL, headers={"Range": f"bytes={asked}"})
    assert (answer.status_code, answer.content) == (206, CONTENT[start:stop])
    assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/10240"
    assert answer.headers["content-length"] == str(stop - start)


async def test_range_behind_the_end_is_refused_with_the_size(client: httpx.AsyncClient) -> None:
    answer = await client.get(URL, headers={"Range": "bytes=10240-"})
    assert (answer.status_code, answer.headers["content-range"]) == (416, "bytes */10240")


async def test_several_ranges_come_as_parts_that_a_mime_parser_reads(client: httpx.AsyncClient) -> None:
    answer = await client.get(URL, headers={"Range": "bytes=0-9,-10,100-199"})
    assert answer.status_code == 206
    assert len(answer.content) == int(answer.headers["content-length"])
    head = f"Content-Type: {answer.headers['content-type']}\r\n\r\n".encode()
    message: Message = BytesParser().parsebytes(head + answer.content)
    parts = message.get_payload()
    assert isinstance(parts, list)
    assert [part["Content-Range"] for part in parts] == [
        "bytes 0-9/10240",
        "bytes 100-199/10240",
        "bytes 10230-10239/10240",
    ]
    assert {part["Content-Type"] for part in parts} == {"video/mp4"}
    for span in (slice(0, 10), slice(100, 200), slice(10230, 10240)):
        assert b"\r\n\r\n" + CONTENT[span] + b"\r\n--" in answer.content


async def test_client_that_has_the_file_gets_not_modified(client: httpx.AsyncClient) -> None:
    etag = (await client.get(URL)).headers["etag"]
    for headers in (
        {"If-None-Match": etag},
        {"If-None-Match": f'"other", W/{etag}'},
        {"If-None-Match": "*"},
        {"If-Modified-Since": "Sat, 21 Nov 2026 05:40:00 GMT"},
        {"If-None-Match": etag, "If-Modified-Since": "Sat, 21 Nov 2020 00:00:00 GMT"},
    ):
        answer = await client.get(URL, headers=headers)
        assert (answer.status_code, answer.content) == (304, b"")
        assert answer.headers["etag"] == etag


async def test_tags_may_come_in_several_lines(client: httpx.AsyncClient) -> None:
    etag = (await client.get(URL)).headers["etag"]
    unchanged = await client.get(URL, headers=[("If-None-Match", '"a"'), ("If-None-Match", etag)])
    assert unchanged.status_code == 304
    assert (await client.get(URL, headers=[("If-Match", '"a"'), ("If-Match", etag)])).status_code == 200


async def test_client_with_an_old_copy_gets_the_file(client: httpx.AsyncClient) -> None:
    for headers in (
        {"If-None-Match": '"other"'},
        {"If-Modified-Since": "Sat, 21 Nov 2026 05:39:59 GMT"},
        {"If-Modified-Since": "yesterday"},
        {"If-None-Match": '"other"', "If-Modified-Since": "Sat, 21 Nov 2026 05:40:00 GMT"},
    ):
        assert (await client.get(URL, headers=headers)).status_code == 200


async def test_part_is_sent_only_to_a_client_with_the_rest_of_the_same_file(
    client: httpx.AsyncClient,
) -> None:
    first = await client.get(URL)
    part = {"Range": "bytes=0-9"}
    rfc_850, asctime = "Saturday, 21-Nov-26 05:40:00 GMT", "Sat Nov 21 05:40:00 2026"
    for condition in (first.headers["etag"], first.headers["last-modified"], rfc_850, asctime):
        assert (await client.get(URL, headers={**part, "If-Range": condition})).status_code == 206
    for condition in ('"other"', "W/" + first.headers["etag"], "Sat, 21 Nov 2026 05:40:01 GMT", "today"):
        answer = await client.get(URL, headers={**part, "If-Range": condition})
        assert (answer.status_code, len(answer.content)) == (200, len(CONTENT))


async def test_precondition_that_does_not_hold_fails(client: httpx.AsyncClient) -> None:
    etag = (await client.get(URL)).headers["etag"]
    assert (await client.get(URL, headers={"If-Match": '"other"'})).status_code == 412
    assert (await client.get(URL, headers={"If-Match": f'"other", {etag}'})).status_code == 200
    old = {"If-Unmodified-Since": "Sat, 21 Nov 2026 05:39:59 GMT"}
    assert (await client.get(URL, headers=old)).status_code == 412


@pytest.mark.parametrize(
    ("file_name", "changes", "content_type"),
    [
        ("a.mp4", {"tracks": (AUDIO,)}, "audio/mp4"),
        ("a.webm", {}, "video/webm"),
        ("a.webm", {"tracks": (AUDIO,)}, "audio/webm"),
        ("a.ts", {}, "video/mp2t"),
        ("a.flv", {"tracks": (AUDIO,)}, "video/x-flv"),
        ("a.mkv", {}, "video/x-matroska"),
        ("a.xyz", {}, "application/octet-stream"),
    ],
)
async def test_content_type_says_the_container(
    world: World, client: httpx.AsyncClient, file_name: str, changes: dict[str, object], content_type: str
) -> None:
    await world.add_file(file_name, b"x", **changes)
    answer = await client.get(f"/client/records/{file_name}")
    assert answer.headers["content-type"] == content_type


@pytest.mark.parametrize(
    "name",
    ["live/2026/студия 1.mp4", "日本語.mp4", 'a "quoted" 50%.mp4', "smile 🙂.mp4", "a;b=c,d.mp4", "ünï.mp4"],
)
async def test_file_of_any_name_is_found_and_saved_under_it(
    world: World, client: httpx.AsyncClient, name: str
) -> None:
    await world.add_file(name, CONTENT)
    answer = await client.get(f"/client/records/{quote(name)}?download=1")
    assert answer.content == CONTENT
    header = Message()
    header["Content-Disposition"] = answer.headers["content-disposition"]
    assert header.get_content_disposition() == "attachment"
    last = name.rpartition("/")[2]
    if "filename*" in answer.headers["content-disposition"]:
        assert answer.headers["content-disposition"].endswith(f"filename*=UTF-8''{quote(last, safe='')}")
    else:
        assert header.get_filename() == last


async def test_disposition_can_be_asked_for_and_has_a_default(world: World) -> None:
    async with world.client(as_attachment=True) as client:
        by_default = await client.head(URL)
        asked = await client.head(f"{URL}?disposition=inline")
    assert by_default.headers["content-disposition"].startswith("attachment;")
    assert asked.headers["content-disposition"].startswith("inline;")


async def test_link_that_leaves_the_record_folder_is_refused(
    world: World, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "b.mp4").write_text("secret")
    await world.add_file("a.mp4", b"")
    (world.record_dir / "a.mp4").unlink()
    (world.record_dir / "a.mp4").symlink_to(tmp_path / "secret.txt")
    await world.add_file("sub/b.mp4", b"")
    (world.record_dir / "sub" / "b.mp4").unlink()
    (world.record_dir / "sub").rmdir()
    (world.record_dir / "sub").symlink_to(tmp_path / "outside")
    for name in ("a.mp4", "sub/b.mp4"):
        assert (await client.get(f"/client/records/{name}")).status_code == 404


async def test_link_within_the_record_folder_is_followed(world: World, client: httpx.AsyncClient) -> None:
    await world.add_file("alias.mp4", b"")
    (world.record_dir / "alias.mp4").unlink()
    (world.record_dir / "alias.mp4").symlink_to("studio.mp4")
    assert (await client.get("/client/records/alias.mp4")).content == CONTENT


async def test_pipes_and_folders_are_no_files(world: World, client: httpx.AsyncClient) -> None:
    await world.add_file("pipe.mp4", b"")
    (world.record_dir / "pipe.mp4").unlink()
    os.mkfifo(world.record_dir / "pipe.mp4")
    await world.add_file("folder.mp4", b"")
    (world.record_dir / "folder.mp4").unlink()
    (world.record_dir / "folder.mp4").mkdir()
    for name in ("pipe.mp4", "folder.mp4"):
        assert (await client.get(f"/client/records/{name}")).status_code == 404


async def test_file_that_is_gone_says_so(world: World, client: httpx.AsyncClient) -> None:
    (world.record_dir / "studio.mp4").unlink()
    answer = await client.get(URL)
    assert answer.status_code == 404
    assert "gone from the disk" in answer.json()["detail"]


async def test_recording_without_media_yet_asks_to_come_back(world: World, client: httpx.AsyncClient) -> None:
    await world.add_file("new.mp4", b"", state=SegmentState.GROWING)
    answer = await client.get("/client/records/new.mp4")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


async def test_empty_file_is_sent_whole(world: World, client: httpx.AsyncClient) -> None:
    await world.add_file("empty.ts", b"")
    answer = await client.get("/client/records/empty.ts")
    assert (answer.status_code, answer.headers["content-length"]) == (200, "0")


async def test_no_descriptor_stays_open(world: World, client: httpx.AsyncClient) -> None:
    await client.get(URL)
    before = _open_files(world.record_dir)
    for headers in ({}, {"Range": "bytes=0-9,-9"}, {"Range": "bytes=99999-"}, {"If-Match": '"x"'}):
        await client.get(URL, headers=headers)
        await client.head(URL, headers=headers)
    assert _open_files(world.record_dir) == before == 0


def _open_files(folder: Path) -> int:
    links = [link for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return sum(str(folder) in str(link.readlink()) for link in links)
