"""Commands of the API as their clients see them, word for word: `api_v1_commands.txt` is one session.

In its requests `RECORDING` and `ARMED` stand for the ids of the last ones begun; in its answers ids are
`ID`, times and sizes are left out.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
from helpers.live_node import LiveNode
from helpers.packets import av_batches

from aircheck.hub.stream import Stream

TRANSCRIPT = Path(__file__).with_name("api_v1_commands.txt")

_LEFT_OUT = {"size_bytes", "uptime_ms", "bitrate_bps", "id", "recording_id", "armed_id"}


async def test_commands_are_answered_as_in_the_transcript(tmp_path: Path) -> None:
    requests = [line[2:] for line in TRANSCRIPT.read_text().splitlines() if line.startswith("> ")]
    async with LiveNode.opened(tmp_path) as node, node.client() as client:
        session = _Session(client, node.publish("studio"))
        said = [await session.exchange(request) for request in requests]
    actual = tmp_path / "said.txt"
    actual.write_text("\n".join(said))
    assert actual.read_text() == TRANSCRIPT.read_text(), f"what was said is in {actual}"


class _Session:
    def __init__(self, client: httpx.AsyncClient, stream: Stream) -> None:
        self._client = client
        self._stream = stream
        self._media = av_batches(20_000)
        self._ids: dict[str, str] = {}

    async def exchange(self, request: str) -> str:
        """One request and its answer as text; 200 ms of media pass after it."""
        method, url, body = f"{request} ".split(" ", 2)
        for word, real in self._ids.items():
            url = url.replace(word, real)
        answer = await self._client.request(method, url, json=json.loads(body) if body.strip() else None)
        if self._stream.is_live:
            self._stream.publish(next(self._media))
        head = f"> {request}\n< {answer.status_code} {answer.headers.get('content-type', '')}".rstrip()
        if not answer.content:
            return head + "\n"
        plain = json.loads(answer.text)
        if method == "POST" and url == "/api/v1/recordings" and answer.is_success:
            self._ids["RECORDING" if answer.status_code == 201 else "ARMED"] = plain["id"]
        text = json.dumps(_steady(plain), indent=1, ensure_ascii=False)
        for real in self._ids.values():
            text = text.replace(real, "ID")
        return f"{head}\n{text}\n"


def _steady(plain: Any) -> Any:
    """Without what is different each time."""
    if isinstance(plain, list):
        return [_steady(each) for each in plain]
    if not isinstance(plain, dict):
        return plain
    return {key: _left_out(value) if _differs(key) else _steady(value) for key, value in plain.items()}


def _differs(key: str) -> bool:
    return key in _LEFT_OUT or key.endswith("_time_utc")


def _left_out(value: Any) -> Any:
    match value:
        case None:
            return None
        case str():
            return "…"
        case _:
            return 0
