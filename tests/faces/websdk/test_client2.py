"""/client2/: the user's folder and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from helpers.live_node import LiveNode

from aircheck.errors import ConfigError
from aircheck.faces.api.app import create_app
from aircheck.faces.websdk.client2 import DEMO


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "package"
    demo = folder / DEMO
    demo.parent.mkdir(parents=True)
    demo.write_text("<!doctype html>demo")
    (folder / "flashphoner.js").write_text("// client")
    (folder / "страница 1.html").write_text("unicode")
    (tmp_path / "secret.txt").write_text("secret")
    return folder


@pytest.fixture
async def client(folder: Path, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with LiveNode.opened(tmp_path) as node:
        transport = httpx.ASGITransport(create_app(node.services, client2_dir=folder))
        async with httpx.AsyncClient(transport=transport, base_url="http://recorder") as client:
            yield client


@pytest.mark.parametrize(
    ("path", "media_type"),
    [("flashphoner.js", "javascript"), (DEMO, "text/html"), ("страница 1.html", "text/html")],
)
async def test_files_have_their_types(client: httpx.AsyncClient, path: str, media_type: str) -> None:
    answer = await client.get(f"/client2/{path}")
    assert answer.status_code == 200
    assert media_type in answer.headers["content-type"]


async def test_browsers_ask_whether_a_file_changed(client: httpx.AsyncClient) -> None:
    answer = await client.get("/client2/flashphoner.js")
    assert answer.headers["cache-control"] == "no-cache"
    again = await client.get("/client2/flashphoner.js", headers={"if-none-match": answer.headers["etag"]})
    assert again.status_code == 304


@pytest.mark.parametrize("path", ["/client2", "/client2/"])
async def test_folder_leads_to_the_demo_that_records(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(path)
    assert answer.status_code == 307
    assert answer.headers["location"] == f"/client2/{DEMO}"


async def test_own_start_page_comes_first(client: httpx.AsyncClient, folder: Path) -> None:
    (folder / "index.html").write_text("start")
    assert (await client.get("/client2/")).headers["location"] == "/client2/index.html"


@pytest.mark.parametrize(
    "path",
    [
        "/client2/../secret.txt",
        "/client2/%2e%2e/secret.txt",
        "/client2/..%2fsecret.txt",
        "/client2/%2e%2e%2fsecret.txt",
        "/client2/examples/../../secret.txt",
        "/client2//etc/passwd",
        "/client2/%00",
        "/client2/link.txt",
        "/client2/missing.html",
        "/client2/examples",
    ],
)
async def test_nothing_else_is_served(
    client: httpx.AsyncClient, folder: Path, tmp_path: Path, path: str
) -> None:
    (folder / "link.txt").symlink_to(tmp_path / "secret.txt")
    answer = await client.get(path, follow_redirects=True)
    assert answer.status_code == 404
    assert "secret" not in answer.text.replace("secret.txt", "")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_nothing_can_be_changed(client: httpx.AsyncClient, method: str) -> None:
    assert (await client.request(method, "/client2/flashphoner.js")).status_code == 405


async def test_folder_that_is_none_is_refused_at_start(tmp_path: Path) -> None:
    async with LiveNode.opened(tmp_path) as node:
        with pytest.raises(ConfigError, match="client2_dir"):
            create_app(node.services, client2_dir=tmp_path / "missing")
