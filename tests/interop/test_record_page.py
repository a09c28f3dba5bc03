"""Our own page /record/ in a real browser with its fake camera: from the click to the file."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import httpx
from helpers.driven_browser import Chromium, DrivenBrowser, Tab
from helpers.probe import ProbedFile, decode_complaints
from helpers.programs import wait_until
from helpers.server import ServerProcess
from helpers.tools import requires

pytestmark = requires("chromium", "ffmpeg")

STATE = "document.body.dataset.state"
NOTICE = "document.getElementById('notice').textContent"

IMPATIENT = (
    "const native = AbortSignal.timeout; AbortSignal.timeout = (ms) => native.call(AbortSignal, ms / 8);"
)
ASTRAY = """
{
  const native = RTCPeerConnection.prototype.setRemoteDescription;
  RTCPeerConnection.prototype.setRemoteDescription = function ({ type, sdp }) {
    return native.call(this, { type, sdp: sdp.replace(/ [0-9]+ typ host/g, " 9 typ host") });
  };
}
"""
"""Nobody listens where the answer says."""


def begin(browser: Tab, server: ServerProcess, name: str) -> None:
    """The page is open, has its source and records under that name."""
    browser.open(server.http_url("/record/"))
    browser.wait_for(f"{STATE} === 'ready'")
    record(browser, name)


def record(browser: Tab, name: str) -> None:
    browser.run(f"document.getElementById('name').value = '{name}'")
    browser.click("#record")
    browser.wait_for(f"{STATE} === 'recording' || {STATE} === 'ready' && {NOTICE}")
    assert browser.run(NOTICE) == ""


def test_camera_is_recorded_played_and_offered(browser: Tab, server: ServerProcess) -> None:
    begin(browser, server, "page-camera")
    browser.wait_for("document.getElementById('clock').textContent >= '0:00:03'")
    assert browser.run("Number(document.getElementById('level').getAttribute('aria-valuenow'))") > 0
    browser.click("#record")
    browser.wait_for("!document.getElementById('result').hidden")

    browser.run("document.getElementById('player').play()")
    browser.wait_for("document.getElementById('player').currentTime > 0.5")
    assert 2.5 < browser.run("document.getElementById('player').duration") < 6
    # Left alone, browsers begin with smaller pictures, and a file with another size is another file.
    assert browser.run("document.getElementById('player').videoWidth") == 1280
    link = browser.run("document.querySelector('#files a').href")
    assert browser.run("document.querySelector('#files a').download") == "page-camera.mp4"
    answer = httpx.get(link)
    assert answer.headers["content-disposition"].startswith("attachment")
    file = server.wait_for_file("page-camera")
    assert answer.content == file.read_bytes()
    assert ProbedFile(file).kinds == {"video", "audio"}
    assert decode_complaints(file) == ""
    # Neither the settings' recording nor the page's wish for one made a second file.
    assert len(server.recordings("page-camera")) == 1


def test_files_of_one_recording_are_played_in_turn(browser: Tab, server: ServerProcess) -> None:
    begin(browser, server, "page-parts")
    browser.wait_for("document.getElementById('clock').textContent >= '0:00:01'")
    (recording,) = server.recordings("page-parts")
    httpx.post(server.http_url(f"/api/v1/recordings/{recording['id']}/split")).raise_for_status()
    wait_until("a second of the next file", lambda: has_second_file(server, recording["id"]))
    browser.click("#record")
    browser.wait_for("!document.getElementById('result').hidden")
    assert browser.run("document.querySelectorAll('#files a').length") == 2
    source = "document.getElementById('player').src"
    first = browser.run(source)
    browser.run("document.getElementById('player').play()")
    browser.wait_for(f"{source} !== '{first}' && document.getElementById('player').currentTime > 0.5")


def has_second_file(server: ServerProcess, recording_id: str) -> bool:
    segments = server.get(f"/api/v1/recordings/{recording_id}")["segments"]
    return len(segments) == 2 and segments[1]["duration_ms"] > 1000


def test_sound_alone_can_be_recorded(browser: Tab, server: ServerProcess) -> None:
    browser.open(server.http_url("/record/"))
    browser.wait_for(f"{STATE} === 'ready'")
    browser.click("input[value=sound]")
    browser.wait_for(
        f"{STATE} === 'ready' && document.getElementById('preview').srcObject.getTracks().length == 1"
    )
    record(browser, "page-sound")
    browser.wait_for("document.getElementById('clock').textContent >= '0:00:02'")
    browser.click("#record")
    browser.wait_for("!document.getElementById('result').hidden")
    assert ProbedFile(server.wait_for_file("page-sound")).kinds == {"audio"}


def test_second_recording_can_follow_the_first(browser: Tab, server: ServerProcess) -> None:
    begin(browser, server, "page-first")
    browser.wait_for("document.getElementById('clock').textContent >= '0:00:01'")
    browser.click("#record")
    browser.wait_for(f"{STATE} === 'ready'")
    record(browser, "page-second")
    browser.wait_for("document.getElementById('clock').textContent >= '0:00:01'")
    browser.click("#record")
    browser.wait_for("document.getElementById('result-title').textContent === 'page-second'")
    for name in ("page-first", "page-second"):
        assert decode_complaints(server.wait_for_file(name)) == ""


def test_page_that_is_closed_ends_its_stream_at_once(browser: Tab, server: ServerProcess) -> None:
    begin(browser, server, "page-closed")
    server.wait_for_stream("page-closed")
    browser.call("Page.navigate", url="about:blank")
    recording = server.wait_for_recording("page-closed")
    assert recording["end_reason"] == "unpublished"


def test_screen_is_recorded_with_the_microphone(browser: Tab, server: ServerProcess) -> None:
    browser.open(server.http_url("/record/"))
    browser.wait_for(f"{STATE} === 'ready'")
    browser.click("input[value=screen]")
    browser.wait_for(
        "document.getElementById('preview').srcObject?.getVideoTracks()[0].getSettings().displaySurface"
    )
    browser.wait_for(f"{STATE} === 'ready'")
    record(browser, "page-screen")
    browser.wait_for("document.getElementById('clock').textContent >= '0:00:02'")
    browser.click("#record")
    browser.wait_for("!document.getElementById('result').hidden")
    assert ProbedFile(server.wait_for_file("page-screen")).kinds == {"video", "audio"}


def test_server_that_goes_away_is_told_in_words(browser: Tab, tmp_path: Path) -> None:
    folder = tmp_path / "server"
    folder.mkdir()
    with ServerProcess(folder) as server:
        begin(browser, server, "page-lost")
        server.wait_for_stream("page-lost")
        os.kill(server.pid, signal.SIGSTOP)
        browser.wait_for(f"{NOTICE}.includes('trying again')")
        server.kill()
        browser.wait_for(f"{NOTICE}.includes('was lost')")
        browser.wait_for(f"{STATE} === 'ready'")


def test_server_that_does_not_answer_is_told_in_words(browser: Tab, server: ServerProcess) -> None:
    browser.call("Page.addScriptToEvaluateOnNewDocument", source=IMPATIENT)
    browser.open(server.http_url("/record/"))
    browser.wait_for(f"{STATE} === 'ready'")
    os.kill(server.pid, signal.SIGSTOP)
    try:
        browser.click("#record")
        assert "does not answer" in browser.wait_for(NOTICE)
        assert browser.run(STATE) == "ready"
    finally:
        os.kill(server.pid, signal.SIGCONT)


def test_media_that_do_not_get_through_are_told_in_words(browser: Tab, server: ServerProcess) -> None:
    for script in (IMPATIENT, ASTRAY):
        browser.call("Page.addScriptToEvaluateOnNewDocument", source=script)
    browser.open(server.http_url("/record/"))
    browser.wait_for(f"{STATE} === 'ready'")
    browser.run("document.getElementById('name').value = 'page-astray'")
    browser.click("#record")
    assert "no media gets through" in browser.wait_for(NOTICE)
    assert browser.run(STATE) == "ready"


def test_name_that_is_taken_is_told_in_words(browser: Tab, chromium: Chromium, server: ServerProcess) -> None:
    begin(browser, server, "page-taken")
    with chromium.tab() as other:
        other.open(server.http_url("/record/"))
        other.wait_for(f"{STATE} === 'ready'")
        other.run("document.getElementById('name').value = 'page-taken'")
        other.click("#record")
        notice = other.wait_for(NOTICE)
        assert "is being published already" in notice
        assert other.run(STATE) == "ready"


def test_server_that_wants_a_token_gets_one(browser: Tab, tmp_path: Path) -> None:
    folder = tmp_path / "server"
    folder.mkdir()
    with ServerProcess(folder, settings='[access]\npublish_tokens = ["s3cret"]') as server:
        browser.open(server.http_url("/record/"))
        browser.wait_for(f"{STATE} === 'ready'")
        assert browser.run("document.getElementById('token-field').hidden")
        browser.click("#record")
        browser.wait_for("!document.getElementById('token-field').hidden")
        assert "token" in browser.run(NOTICE)
        browser.run("document.getElementById('token').value = 's3cret'")
        record(browser, "with-token")
        server.wait_for_stream("with-token")


def test_person_who_refuses_the_camera_is_told_what_to_do(server: ServerProcess, tmp_path: Path) -> None:
    with DrivenBrowser(tmp_path, switches=("--deny-permission-prompts",)) as browser:
        browser.open(server.http_url("/record/"))
        assert "was not allowed" in browser.wait_for(NOTICE)
        assert browser.run("document.getElementById('record').disabled")
        assert not browser.run("document.getElementById('again').hidden")


def test_page_without_https_says_why_it_has_no_camera(server: ServerProcess, tmp_path: Path) -> None:
    rules = "--host-resolver-rules=MAP recorder.example 127.0.0.1"
    with DrivenBrowser(tmp_path, switches=(rules,)) as browser:
        browser.open(server.http_url("/record/").replace("127.0.0.1", "recorder.example"))
        assert "https" in browser.wait_for(NOTICE)
        assert browser.run("document.getElementById('record').disabled")


def test_landing_page_leads_to_the_page(server: ServerProcess) -> None:
    assert re.search('href="/record/"', httpx.get(server.http_url("/")).text)
