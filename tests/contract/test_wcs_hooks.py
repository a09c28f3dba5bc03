"""REST hooks as a backend made for WCS hears them, word for word: `wcs_hooks.txt`, a peer after the other.

Of each peer first the questions stand there, in order, then the news, in order: which comes first between the
two is not promised. Ids, times and ports are left out.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from pathlib import Path

from helpers.hooks_rig import running
from helpers.http_backend import ASKED, HttpBackend, Question
from helpers.packets import av_batches
from helpers.rtmp_peer import Peer

TRANSCRIPT = Path(__file__).with_name("wcs_hooks.txt")
SECRET = "1234567890"


async def test_a_backend_hears_what_is_in_the_transcript(tmp_path: Path) -> None:
    async with (
        HttpBackend.serving() as there,
        running(there, secret=SECRET, record_name=lambda _: "cam.mp4") as rig,
    ):
        async with Peer(rig.address) as publisher, Peer(rig.address) as viewer:
            number = await publisher.publish("cam?token=T0KEN&room=7")
            await publisher.send(number, list(av_batches(500)))
            await there.heard(4)
            await viewer.unpublish(await viewer.play("cam?user=anna"))
            await there.heard(10)
            await publisher.unpublish(number)
        there.statuses["publishStream"] = 403
        async with Peer(rig.address) as refused:
            await refused.refused("other")
        await there.heard(19)
    actual = tmp_path / "said.txt"
    actual.write_text(transcript(there))
    assert actual.read_text() == TRANSCRIPT.read_text(), f"what was said is in {actual}"


def transcript(there: HttpBackend) -> str:
    sessions = dict.fromkeys(question.body["sessionId"] for question in there.questions)
    peers = [[one for one in there.questions if one.body["sessionId"] == session] for session in sessions]
    return "\n".join(
        said(question, there.statuses.get(question.method, 200) if peer is peers[-1] else 200)
        for peer in peers
        for question in sorted(peer, key=lambda one: one.method not in ASKED)
    )


def said(question: Question, status: int) -> str:
    signature = hmac.new(SECRET.encode(), question.content, hashlib.md5).hexdigest()
    assert question.headers["authorization"] == f"WCS {signature}"
    body = json.dumps(question.body, indent=1, ensure_ascii=False)
    body = re.sub(r'("sessionId"|"mediaSessionId"): "[^"]+"', r'\1: "…"', body)
    body = re.sub(r'("createDate"): [1-9]\d{12}', r"\1: 0", body)
    body = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:…", body)
    return f"> POST {question.path}\n{body}\n< {status}\n"
