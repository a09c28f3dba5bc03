"""The pages at / and /docs: complete, escaped, and without a byte from elsewhere."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from helpers.http_world import EPOCH_NS, World, make_recording, make_segment

from aircheck.faces.api.app import create_app
from aircheck.facts import RecordingState, SegmentState
from aircheck.service.health import VolumeStatus


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with World.opened(tmp_path) as world:
        yield world


@pytest.fixture
async def client(world: World) -> AsyncIterator[httpx.AsyncClient]:
    async with world.client() as client:
        yield client


async def test_landing_page_links_to_the_files(world: World, client: httpx.AsyncClient) -> None:
    await world.add_file("live/студия.mp4", b"media")
    page = (await client.get("/")).text
    link, download = re.findall(r'href="(/client/records/[^"]*)"', page)
    assert (await client.get(link)).content == b"media"
    answer = await client.get(download)
    assert answer.headers["content-disposition"].startswith("attachment;")


async def test_names_on_the_landing_page_are_only_text(world: World, client: httpx.AsyncClient) -> None:
    await world.catalog.put_recording(make_recording(stream_name="<script>alert(1)</script>"))
    await world.add_file('a"><img src=x>.mp4', b"media")
    page = (await client.get("/")).text
    assert "<script>" not in page
    assert "<img" not in page


async def test_landing_page_says_why_a_recording_has_no_file(world: World, client: httpx.AsyncClient) -> None:
    await world.catalog.put_recording(make_recording(error="its file goes on in <another>"))
    assert "its file goes on in &lt;another&gt;" in (await client.get("/")).text


async def test_landing_page_leads_to_older_recordings(world: World, client: httpx.AsyncClient) -> None:
    for number in range(25):
        await world.catalog.put_recording(
            make_recording(f"rec-{number:02}", stream_name=f"stream-{number:02}")
        )
    seen = []
    link = "/"
    while link:
        page = (await client.get(link)).text
        seen += re.findall(r">(stream-\d\d)<", page)
        link = next(iter(re.findall(r'href="(/\?cursor=[^"]+)"', page)), "")
    assert len(seen) == len(set(seen)) == 25


async def test_landing_page_without_recordings_says_so(tmp_path: Path) -> None:
    async with World.opened(tmp_path) as world:
        await world.catalog.forget_recordings("rec-1")
        async with world.client() as client:
            page = (await client.get("/")).text
    assert "Nothing has been recorded yet" in page
    assert "rtmp://" not in page


@pytest.mark.parametrize(
    ("host", "told"), [("0.0.0.0", "recorder"), ("192.0.2.7", "192.0.2.7"), ("::1", "[::1]")]
)
async def test_landing_page_without_recordings_says_how_to_begin(
    tmp_path: Path, host: str, told: str
) -> None:
    async with World.opened(tmp_path) as world, world.serving() as services:
        await world.catalog.forget_recordings("rec-1")
        transport = httpx.ASGITransport(create_app(services, publish_address=(host, 1935)))
        async with httpx.AsyncClient(transport=transport, base_url="http://recorder") as client:
            assert f"rtmp://{told}:1935/live" in (await client.get("/")).text


async def test_what_is_being_recorded_stands_on_top_and_only_there(
    world: World, client: httpx.AsyncClient
) -> None:
    running = make_recording(
        "old", stream_name="long-running", state=RecordingState.RECORDING, start_ns=EPOCH_NS - 1
    )
    left = make_recording(
        "left", stream_name="cut-off", state=RecordingState.RECORDING, start_ns=EPOCH_NS - 2
    )
    await world.catalog.put_many(running, left)
    world.live_recordings = [running]
    page = (await client.get("/")).text
    now, before = page.split("<h2>Recorded</h2>")
    assert "long-running" in now
    assert "long-running" not in before
    assert "being recovered" in before
    of_one = (await client.get("/", params={"stream": "studio"})).text
    assert "studio" in of_one
    assert "long-running" not in of_one


async def test_landing_page_tells_recovered_and_failed_files_and_folds_many(
    world: World, client: httpx.AsyncClient
) -> None:
    whole = replace(make_segment("a_1.mp4"), id="s1", index=1, is_recovered=True)
    failed = replace(
        make_segment("a_2.mp4"), id="s2", index=2, state=SegmentState.FAILED, error="Input/output error"
    )
    await world.catalog.put_many(whole, failed)
    page = (await client.get("/")).text
    assert ">recovered<" in page
    assert "a_2.mp4: Input/output error" in page
    assert "/a_2.mp4" not in page
    for n in range(3, 12):
        await world.catalog.put_segment(replace(make_segment(f"a_{n}.mp4"), id=f"s{n}", index=n))
    assert "8 more files" in (await client.get("/")).text


async def test_landing_page_says_what_is_wrong_with_a_disk(world: World, client: httpx.AsyncClient) -> None:
    world.disks = [VolumeStatus("/srv/<a>", is_failing=True, last_error="no recording can begin")]
    assert "disk of /srv/&lt;a&gt;: no recording can begin." in (await client.get("/")).text


async def test_documentation_needs_nothing_from_elsewhere(client: httpx.AsyncClient) -> None:
    for path in ("/", "/docs"):
        answer = await client.get(path)
        links = re.findall(r'(?:src|href)="([^"]*)"', answer.text)
        assert links
        assert all(link.startswith("/") and not link.startswith("//") for link in links)
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        for link in links:
            assert (await client.get(link)).status_code == 200, link


async def test_openapi_describes_every_route_with_an_operation_id(client: httpx.AsyncClient) -> None:
    api = (await client.get("/openapi.json")).json()
    operations = [operation for path in api["paths"].values() for operation in path.values()]
    ids = [operation["operationId"] for operation in operations]
    assert len(set(ids)) == len(ids) == 17
    assert all(operation["description"] and operation["tags"] for operation in operations)
    assert "HTTPValidationError" not in api["components"]["schemas"]


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/docs/", "/docs"),
        ("/api/v1/streams/?name=a%20b", "/api/v1/streams?name=a%20b"),
        ("/rest-api", "/rest-api/"),
        ("/client2", "/client2/index.html"),
        ("/client2/examples", "/client2/examples/"),
    ],
)
async def test_redirects_name_no_scheme_and_no_host(
    world: World, tmp_path: Path, path: str, target: str
) -> None:
    """Behind a proxy with TLS the server knows neither."""
    package = tmp_path / "package"
    (package / "examples").mkdir(parents=True)
    for folder in (package, package / "examples"):
        (folder / "index.html").write_text("start")
    async with world.serving() as services:
        transport = httpx.ASGITransport(create_app(services, client2_dir=package))
        async with httpx.AsyncClient(transport=transport, base_url="http://inside") as client:
            answer = await client.get(path)
    assert answer.is_redirect
    assert answer.headers["location"] == target
