"""The pages at / and /docs: complete, escaped, and without a byte from elsewhere."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from helpers.http_world import World, make_recording

from aircheck.faces.api.app import create_app


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
    (link,) = re.findall(r'href="(/client/records/[^"]*)"', page)
    assert (await client.get(link)).content == b"media"


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
        seen += re.findall(r"stream-\d\d", page)
        link = next(iter(re.findall(r'href="(/\?cursor=[^"]+)"', page)), "")
    assert len(seen) == len(set(seen)) == 25


async def test_landing_page_without_recordings_says_so(tmp_path: Path) -> None:
    async with World.opened(tmp_path) as world:
        await world.catalog.forget_recordings("rec-1")
        async with world.client() as client:
            assert "Nothing has been recorded yet" in (await client.get("/")).text


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
