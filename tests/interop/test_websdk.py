"""Flashphoner's own browser client, fetched and unmodified, against this server."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import httpx
import pytest
from helpers.driven_browser import Chromium, Tab
from helpers.npm import CHAI, MOCHA, WEBSDK, npm_package
from helpers.probe import ProbedFile, decode_complaints, is_progressive_mp4
from helpers.server import ServerProcess
from helpers.tools import requires

pytestmark = requires("chromium", "ffmpeg")

DEMO = "/client2/examples/demo/streaming/stream_recording/recording.html"
SENT_S = "__sent_s()"
"""How much sound the page's connection has sent: Opus comes in packets of 20 ms."""
SENT_S_AND_STOP = f"{SENT_S}.then(sent => (document.getElementById('publishBtn').click(), sent))"
"""Measured in the instant of the click, which may come late where a machine is busy."""
OBSERVE = """
(() => {
  const connections = [];
  const Native = window.RTCPeerConnection;
  window.RTCPeerConnection = function (...args) {
    const connection = new Native(...args);
    connections.push(connection);
    return connection;
  };
  window.RTCPeerConnection.prototype = Native.prototype;
  window.__sent_s = async () => {
    let packets = 0;
    for (const report of (await connections.at(-1).getStats()).values()) {
      if (report.type === "outbound-rtp" && report.kind === "audio") packets += report.packetsSent;
    }
    return packets * 0.02;
  };
})();
"""
STATUS = "document.getElementById('status').textContent"


@pytest.fixture(scope="module")
def package() -> Path:
    return npm_package(WEBSDK)


@pytest.fixture(scope="module")
def server(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    settings = f'[websdk]\nlisten = "127.0.0.1:0"\nclient2_dir = "{package}"'
    with ServerProcess(tmp_path_factory.mktemp("server"), settings=settings) as running:
        yield running


@pytest.fixture
def browser(browser: Tab) -> Tab:
    browser.call("Page.addScriptToEvaluateOnNewDocument", source=OBSERVE)
    return browser


def open_demo(browser: Tab, server: ServerProcess, name: str) -> None:
    """The demo page, with our port in its address field: the page expects 8080."""
    browser.open(server.http_url(DEMO))
    browser.wait_for("document.getElementById('publishBtn').textContent === 'Start'")
    browser.run(f"document.getElementById('url').value = '{server.websdk_url()}/{name}'")


def test_demo_records_shows_the_link_and_plays_the_file(browser: Tab, server: ServerProcess) -> None:
    open_demo(browser, server, "demo1")
    browser.click("#publishBtn")
    browser.wait_for(f"{STATUS} === 'PUBLISHING'")
    browser.wait_for(f"(async () => await {SENT_S} > 4)()")
    sent_s = browser.run(SENT_S_AND_STOP)
    browser.wait_for(f"{STATUS} === 'UNPUBLISHED'")

    link = browser.wait_for(
        "document.getElementById('downloadDiv').offsetParent && document.getElementById('link').href"
    )
    name = unquote(urlsplit(link).path.removeprefix("/client/records/"))
    file = server.record_dir / name
    # The page is told when the file is final, so there is nothing to wait for.
    assert file.is_file()
    assert httpx.get(link).content == file.read_bytes()
    browser.run("document.getElementById('recVideo').play()")
    browser.wait_for("document.getElementById('recVideo').currentTime > 0.5")
    probed = ProbedFile(file)
    assert probed.kinds == {"video", "audio"}
    assert abs(probed.duration_s - sent_s) < 0.3
    assert decode_complaints(file) == ""
    assert is_progressive_mp4(file)


def test_demo_can_record_again_in_the_same_session(browser: Tab, server: ServerProcess) -> None:
    open_demo(browser, server, "demo2")
    links = set()
    for _ in range(2):
        browser.click("#publishBtn")
        browser.wait_for(f"{STATUS} === 'PUBLISHING'")
        browser.wait_for(f"(async () => await {SENT_S} > 1)()")
        browser.click("#publishBtn")
        browser.wait_for(f"{STATUS} === 'UNPUBLISHED'")
        links.add(browser.run("document.getElementById('link').href"))
        browser.wait_for("document.getElementById('publishBtn').textContent === 'Start'")
    assert len(links) == 2
    assert len(server.recordings("demo2")) == 2


def test_demo_is_told_that_a_name_is_taken(browser: Tab, chromium: Chromium, server: ServerProcess) -> None:
    open_demo(browser, server, "demo3")
    browser.click("#publishBtn")
    browser.wait_for(f"{STATUS} === 'PUBLISHING'")
    with chromium.tab() as other:
        open_demo(other, server, "demo3")
        other.click("#publishBtn")
        other.wait_for(f"{STATUS} === 'FAILED'")
        assert other.run("document.getElementById('info').textContent") == "Stream name is already in use"


def test_publisher_that_is_terminated_is_told_so(browser: Tab, server: ServerProcess) -> None:
    open_demo(browser, server, "demo4")
    browser.click("#publishBtn")
    browser.wait_for(f"{STATUS} === 'PUBLISHING'")
    session = server.wait_for_stream("demo4")["id"]
    httpx.delete(server.http_url(f"/api/v1/streams/{session}")).raise_for_status()
    browser.wait_for(f"{STATUS} === 'FAILED'")
    assert browser.run("document.getElementById('info').textContent") == "Stopped by rest /terminate"
    assert browser.run("document.getElementById('downloadDiv').offsetParent !== null")


def test_page_that_is_closed_ends_its_stream(browser: Tab, server: ServerProcess) -> None:
    open_demo(browser, server, "demo5")
    browser.click("#publishBtn")
    browser.wait_for(f"{STATUS} === 'PUBLISHING'")
    browser.call("Page.navigate", url="about:blank")
    assert server.wait_for_recording("demo5")["segments"]


def test_page_is_listed_as_a_connection(browser: Tab, server: ServerProcess) -> None:
    open_demo(browser, server, "demo6")
    browser.click("#publishBtn")
    browser.wait_for(f"{STATUS} === 'PUBLISHING'")
    (stream,) = httpx.post(server.http_url("/rest-api/stream/find"), json={"name": "demo6"}).json()
    found = httpx.get(server.http_url("/rest-api/connection/find_all")).json()
    (page,) = [one for one in found if one["sessionId"] == stream["sessionId"]]
    assert page["appKey"] == "defaultApp"
    assert page["mediaProviders"] == ["WebRTC"]
    assert stream["recordName"].startswith(f"stream-{stream['mediaSessionId']}-")
    httpx.post(
        server.http_url("/rest-api/connection/terminate"), json={"sessionId": page["sessionId"]}
    ).raise_for_status()
    browser.wait_for(f"{STATUS} === 'DISCONNECTED'")


RUNNER = """\
<!doctype html>
<html lang="en">
<body>
<div id="mocha"></div>
<script src="flashphoner.js"></script>
<script src="chai.js"></script>
<script src="mocha.js"></script>
<script>
mocha.setup("bdd");
var expect = chai.expect;
var sOptions = {urlServer: "URL"};
var initOptions = {};
function addDisplay(width, height) {
  var display = document.createElement("div");
  display.style = "width:" + (width || 320) + "px; height:" + (height || 240) + "px";
  document.body.insertBefore(display, document.body.firstChild);
  return display;
}
function removeDisplay(display) { document.body.removeChild(display); }
</script>
<script src="test.js"></script>
<script>
var outcome = {};
var runner = mocha.run(() => { outcome.done = true; });
runner.on("pass", test => { outcome[test.title] = "passed"; });
runner.on("fail", (test, error) => { outcome[test.title] = String(error); });
</script>
</body>
</html>
"""


def test_package_passes_its_own_tests(browser: Tab, package: Path, tmp_path: Path) -> None:
    """Those of sessions, publishing and playing. The package's page with them has a fixed server address."""
    folder = tmp_path / "client2"
    folder.mkdir()
    shutil.copy(package / "flashphoner.js", folder)
    shutil.copy(package / "test" / "test.js", folder)
    shutil.copy(npm_package(MOCHA) / "mocha.js", folder)
    shutil.copy(npm_package(CHAI) / "chai.js", folder)
    served = tmp_path / "server"
    served.mkdir()
    settings = f'[websdk]\nlisten = "127.0.0.1:0"\nclient2_dir = "{folder}"'
    with ServerProcess(served, settings=settings) as server:
        (folder / "index.html").write_text(RUNNER.replace("URL", server.websdk_url()))
        browser.open(server.http_url("/client2/index.html"))
        browser.wait_for("outcome.done", timeout_s=120)
        outcome = json.loads(browser.run("JSON.stringify(outcome)"))
    assert outcome.pop("done")
    # Both viewers have stopped by then; what it fails on no server can change: the client keeps its elements.
    assert "to be empty" in outcome.pop("should clean up video")
    assert {title: said for title, said in outcome.items() if said != "passed"} == {}
    assert len(outcome) >= 13
