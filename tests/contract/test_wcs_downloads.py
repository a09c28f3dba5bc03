"""Downloads under /client/records as clients of WCS see them: `wcs_downloads.txt` is one session.

A request is a line with its headers behind bars; `{etag}` and `{modified}` stand there for those of the last
file. Lines with `!` are what happens meanwhile, in the words of `NodeScript`. Sizes of whole files, times and
tags are left out, and of a problem all but its type.
"""

from __future__ import annotations

import re
from pathlib import Path

import httpx
from helpers.live_node import LiveNode
from helpers.node_script import NodeScript

TRANSCRIPT = Path(__file__).with_name("wcs_downloads.txt")
TOLD = (
    "content-type",
    "content-length",
    "content-range",
    "content-disposition",
    "accept-ranges",
    "cache-control",
    "etag",
    "last-modified",
)
PART_MAX_BYTES = 1000
"""What is longer is a whole file, of a size that is nobody's promise."""


async def test_answers_are_those_of_the_transcript(tmp_path: Path) -> None:
    async with LiveNode.opened(tmp_path) as node, node.client() as client:
        session = Session(node, client)
        script = [line for line in TRANSCRIPT.read_text().splitlines() if line.startswith((">", "!"))]
        said = [await session.play(line) for line in script]
    actual = tmp_path / "said.txt"
    actual.write_text("\n".join(said))
    assert actual.read_text() == TRANSCRIPT.read_text(), f"what was said is in {actual}"


class Session:
    def __init__(self, node: LiveNode, client: httpx.AsyncClient) -> None:
        self._client = client
        self._script = NodeScript(node)
        self._known: dict[str, str] = {}

    async def play(self, line: str) -> str:
        if line.startswith("!"):
            await self._script.act(line[2:])
            return f"{line}\n"
        request, *headers = line[2:].split(" | ")
        method, url, *body = request.split(" ", 2)
        answer = await self._client.request(
            method, url, headers=self._headers(headers), content=body[0] if body else None
        )
        if "etag" in answer.headers:
            self._known = {"etag": answer.headers["etag"], "modified": answer.headers["last-modified"]}
        if method != "HEAD" and answer.status_code in (200, 206):
            assert int(answer.headers["content-length"]) == len(answer.content)
        return f"{line}\n< {answer.status_code}\n{''.join(_told(answer))}"

    def _headers(self, lines: list[str]) -> dict[str, str]:
        pairs = (line.split(": ", 1) for line in lines)
        return {name: value.format(**self._known) for name, value in pairs}


def _told(answer: httpx.Response) -> list[str]:
    """The headers that matter, without what is different each time; of a problem its type."""
    if "problem" in answer.headers.get("content-type", ""):
        return [f"  {answer.json()['type']}\n"]
    told = {name: answer.headers[name] for name in TOLD if name in answer.headers}
    told |= {name: "…" for name in ("etag", "last-modified") if name in told}
    if int(told.get("content-length", 0)) > PART_MAX_BYTES:
        told["content-length"] = "…"
    ranges = ("content-range", "content-type")
    return [f"  {name}: {_steady(value) if name in ranges else value}\n" for name, value in told.items()]


def _steady(value: str) -> str:
    return re.sub(r"boundary=\w+", "boundary=…", re.sub(r"\b\d{4,}\b", "…", value))
