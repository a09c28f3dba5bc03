"""Chromium as a judge: it opens a page of ours, which does the watching and posts what happened.

No driver is needed: the page is served by a small HTTP server on the loopback interface that also takes the
result.
"""

from __future__ import annotations

import json
import queue
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import urlencode

from helpers.programs import running

_TIMEOUT_S = 40
_OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
    "--remote-debugging-port=0",
)
"""With a debugging port a headless Chromium stays until it is stopped, rather than ending with the page."""


def watch_in_chromium(page: Path, query: Mapping[str, str], folder: Path) -> dict[str, Any]:
    """Open a page with a query and wait for the JSON that it posts to /result. Raises AssertionError."""
    with _serving(page) as (origin, results):
        command = ["chromium", *_OPTIONS, f"--user-data-dir={folder / 'profile'}"]
        command.append(f"{origin}/?{urlencode(query)}")
        with running(command, folder / "chromium.log") as chromium:
            try:
                result = results.get(timeout=_TIMEOUT_S)
            except queue.Empty:
                raise chromium.error(f"posted nothing within {_TIMEOUT_S} s") from None
            chromium.stop()
    return result


@contextmanager
def browsing(url: str, folder: Path) -> Iterator[None]:
    """A page of a server of the test's own, for as long as the block runs."""
    command = ["chromium", *_OPTIONS, f"--user-data-dir={folder / 'profile'}", url]
    with running(command, folder / "chromium.log") as chromium:
        yield
        chromium.stop()


@contextmanager
def _serving(page: Path) -> Iterator[tuple[str, queue.Queue[dict[str, Any]]]]:
    """Serve one page; yields its origin and the results that were posted."""
    results: queue.Queue[dict[str, Any]] = queue.Queue()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(page.read_bytes() if self.path.startswith("/?") else b"")

        def do_POST(self) -> None:
            results.put(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self._answer(b"")

        def _answer(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/html; charset=utf-8")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", results
        finally:
            server.shutdown()
            thread.join()
