"""The WCS REST API as its clients see it, word for word: `wcs_rest.txt` is one session.

Lines with `!` are what happens meanwhile, in the words of `NodeScript`. Times are left out, and so are the
words of errors.
"""

from __future__ import annotations

import json
import re
import socket
from pathlib import Path

import httpx
from helpers.live_node import LiveNode
from helpers.node_script import NodeScript

from aircheck.faces.wcs.app import WcsOptions, wcs_methods
from aircheck.service.connections import ConnectionStatus

TRANSCRIPT = Path(__file__).with_name("wcs_rest.txt")

PEER = ConnectionStatus(
    session_id="s1",
    protocol="rtmp",
    app="live",
    remote_address="192.0.2.7:41000",
    client="FMLE/3.0",
    login="anna",
    connected_ns=1_616_730_493_789_000_000,
)


class Peers:
    """Connections without sockets."""

    def __init__(self) -> None:
        self.connected = [PEER]

    def connections(self) -> list[ConnectionStatus]:
        return self.connected

    def close_connection(self, session_id: str) -> bool:
        before = len(self.connected)
        self.connected = [peer for peer in self.connected if peer.session_id != session_id]
        return len(self.connected) < before


async def test_answers_are_those_of_the_transcript(tmp_path: Path) -> None:
    async with LiveNode.opened(tmp_path, template="{streamName}-{startTime}-{endTime}") as node:
        node.services.connections.add_source(Peers())
        async with node.client() as client:
            session = Session(node, client)
            script = [line for line in TRANSCRIPT.read_text().splitlines() if line.startswith((">", "!"))]
            said = [await session.play(line) for line in script]
    actual = tmp_path / "said.txt"
    actual.write_text("\n".join(said))
    assert actual.read_text() == TRANSCRIPT.read_text(), f"what was said is in {actual}"


async def test_each_method_is_in_the_transcript(tmp_path: Path) -> None:
    async with LiveNode.opened(tmp_path) as node:
        known = set(wcs_methods(node.services, WcsOptions()))
    asked = set(re.findall(r"^> \S+ /rest-api(\S+)", TRANSCRIPT.read_text(), re.MULTILINE))
    assert known - asked == set()


class Session:
    def __init__(self, node: LiveNode, client: httpx.AsyncClient) -> None:
        self._client = client
        self._script = NodeScript(node)

    async def play(self, line: str) -> str:
        if line.startswith("!"):
            await self._script.act(line[2:])
            return f"{line}\n"
        return await self._exchange(line[2:])

    async def _exchange(self, request: str) -> str:
        method, url, body = f"{request} ".split(" ", 2)
        answer = await self._client.request(method, url, content=body.strip() or None)
        head = f"> {request}\n< {answer.status_code} {answer.headers.get('content-type', '')}".rstrip()
        assert answer.headers["access-control-allow-origin"] == "*"
        if not answer.content:
            assert answer.headers["content-length"] == "0"
            return f"{head}\n"
        return f"{head}\n{_steady(json.dumps(answer.json(), indent=1, ensure_ascii=False))}\n"


def _steady(text: str) -> str:
    """Without what is different each time, and without the words of errors: only their status is promised."""
    text = re.sub(r'^ ("reason"|"message"): ".*"', r' \1: "…"', text, flags=re.MULTILINE)
    text = re.sub(r'("timestamp"|"createDate"): [1-9]\d{12}', r"\1: 0", text)
    return text.replace(f'"nodeId": "{socket.gethostname()}"', '"nodeId": "node"')
