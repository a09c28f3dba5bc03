"""/client2/: the user's own copy of Flashphoner's package, at the address that its pages expect."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from aircheck.errors import ConfigError

CLIENT2_PATH = "/client2"
DEMO = "examples/demo/streaming/stream_recording/recording.html"


def add_client2(app: FastAPI, folder: Path) -> None:
    """Serve a folder. Raises `ConfigError` when it is none."""
    if not folder.is_dir():
        raise ConfigError(
            f"[websdk] client2_dir is no folder: {folder}",
            remedy="unpack the package there and give the folder that holds flashphoner.js and examples",
        )

    async def to_start() -> Response:
        """To the package's own start page, or to the demo that records."""
        start = next((name for name in ("index.html", DEMO) if (folder / name).is_file()), None)
        if start is None:
            raise HTTPException(404)
        return RedirectResponse(f"{CLIENT2_PATH}/{start}")

    for path in (CLIENT2_PATH, f"{CLIENT2_PATH}/"):
        app.add_api_route(path, to_start, include_in_schema=False)
    app.mount(CLIENT2_PATH, _Folder(directory=folder, html=True))


class _Folder(StaticFiles):
    """Files below one folder, no matter what links lie there. Browsers ask each time whether they changed."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers["cache-control"] = "no-cache"
        return response
