"""WHIP and WHEP from the POST to the file, by clients that are not ours."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import httpx
import pytest
from helpers.driven_browser import Tab
from helpers.probe import ProbedFile, decode_complaints
from helpers.programs import wait_until
from helpers.raw_peer import offer
from helpers.rtc_client import RtcClient
from helpers.server import ServerProcess
from helpers.tools import requires

PAGE = Path(__file__).with_name("whip_page.js")
SDP = {"content-type": "application/sdp"}
OFFER_TO_WATCH = (
    "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n"
    "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\na=recvonly\r\na=rtcp-mux\r\n"
    "a=setup:actpass\r\na=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n"
    f"a=rtpmap:111 opus/48000/2\r\na=fingerprint:sha-256 {':'.join(['AB'] * 32)}\r\n"
)


def open_elsewhere(browser: Tab, server: ServerProcess) -> None:
    """A page that a browser takes for one of another site: it came from another host name."""
    browser.call("Page.setBypassCSP", enabled=True)
    browser.open(server.http_url("/docs").replace("127.0.0.1", "localhost"))
    browser.run(PAGE.read_text())


@requires("chromium", "ffmpeg")
def test_page_of_another_site_publishes_trickles_restarts_and_stops(
    browser: Tab, server: ServerProcess
) -> None:
    open_elsewhere(browser, server)
    assert browser.run(f"publish('{server.http_url('/whip/elsewhere')}')") == [201, 204]
    live = server.wait_for_stream("elsewhere")
    assert live["protocol"] == "whip"
    assert browser.run("restart()") == [200, True]
    goes_on = live["packets"] + 60
    wait_until("media after the restart", lambda: server.streams()[0]["packets"] > goes_on)
    assert browser.run("fetch(session, {method: 'DELETE'}).then(answer => answer.status)") == 200
    file = server.wait_for_file("elsewhere")
    assert ProbedFile(file).kinds == {"video", "audio"}
    assert decode_complaints(file) == ""
    assert server.recordings("elsewhere")[0]["gap_count"] == 0


@requires("chromium")
def test_page_of_another_site_watches(browser: Tab, server: ServerProcess) -> None:
    open_elsewhere(browser, server)
    browser.run(f"publish('{server.http_url('/whip/watched')}')")
    server.wait_for_stream("watched")
    path = browser.run(f"watch('{server.http_url('/whep/watched')}')")
    browser.wait_for("seen.currentTime > 1 && seen.videoWidth > 0")
    assert httpx.delete(server.http_url(path)).status_code == 200
    assert httpx.delete(server.http_url(path)).status_code == 404


@requires("ffmpeg")
async def test_independent_client_publishes_from_post_to_file(server: ServerProcess) -> None:
    sessions = []
    async with RtcClient() as client, httpx.AsyncClient() as http:

        async def signal(offer: str) -> str:
            answer = await http.post(server.http_url("/whip/independent"), content=offer, headers=SDP)
            assert answer.status_code == 201
            sessions.append(answer.headers["location"])
            return answer.text

        await client.publish(signal)
        await asyncio.to_thread(server.wait_for_stream, "independent")
        await asyncio.sleep(1.5)
        assert (await http.delete(server.http_url(sessions[0]))).status_code == 200
    file = await asyncio.to_thread(server.wait_for_file, "independent")
    assert ProbedFile(file).kinds == {"video", "audio"}
    assert decode_complaints(file) == ""


def test_client_that_gave_up_waiting_may_try_again_at_once(server: ServerProcess) -> None:
    def publish(patience_s: float) -> int:
        url = server.http_url("/whip/again")
        return httpx.post(url, content=offer(), headers=SDP, timeout=patience_s).status_code

    os.kill(server.pid, signal.SIGSTOP)
    try:
        with pytest.raises(httpx.ReadTimeout):
            publish(0.3)
    finally:
        os.kill(server.pid, signal.SIGCONT)
    assert publish(30) == 201


def test_stream_that_nobody_publishes_is_refused_with_a_time_to_come_again(server: ServerProcess) -> None:
    answer = httpx.post(server.http_url("/whep/nobody"), content=OFFER_TO_WATCH, headers=SDP)
    assert answer.status_code == 409
    assert int(answer.headers["retry-after"]) > 0
