"""Demos of Flashphoner's package over https and wss, unmodified: one records, one watches an encoder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from helpers import media as clips
from helpers.certificates import TestCertificate
from helpers.driven_browser import ALLOWS_MEDIA, DrivenBrowser
from helpers.media import MediaFolder
from helpers.npm import WEBSDK, npm_package
from helpers.publishers import ffmpeg_publishing
from helpers.server import ServerProcess
from helpers.tools import requires

pytestmark = requires("chromium", "ffmpeg")

DEMOS = "/client2/examples/demo/streaming"


class Site:
    """Addresses of a server inside TLS."""

    def __init__(self, server: ServerProcess) -> None:
        https, wss = (server.said(rf"{scheme}://127\.0\.0\.1:\d+") for scheme in ("https", "wss"))
        self.server = server
        self.https, self.wss = https[0], wss[0]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("server")
    ports = f'listen = "127.0.0.1:0"\nlisten_tls = "127.0.0.1:0"\nclient2_dir = "{npm_package(WEBSDK)}"'
    settings = f"{TestCertificate.made(folder).settings()}[websdk]\n{ports}"
    with ServerProcess(folder, record=['name = "{streamName}"'], settings=settings) as server:
        yield Site(server)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DrivenBrowser]:
    switches = (*ALLOWS_MEDIA, "--ignore-certificate-errors")
    with DrivenBrowser(tmp_path_factory.mktemp("browser"), switches) as browser:
        yield browser


def text_of(selector: str) -> str:
    return f"document.querySelector('{selector}').textContent"


def test_recording_demo_over_https(browser: DrivenBrowser, site: Site) -> None:
    browser.open(f"{site.https}{DEMOS}/stream_recording/recording.html")
    browser.wait_for(f"{text_of('#publishBtn')} === 'Start'")
    browser.run(f"document.getElementById('url').value = '{site.wss}/secure'")
    browser.click("#publishBtn")
    browser.wait_for(f"{text_of('#status')} === 'PUBLISHING'")
    browser.click("#publishBtn")
    browser.wait_for(f"{text_of('#status')} === 'UNPUBLISHED'")
    assert browser.run("document.getElementById('link').href") == f"{site.https}/client/records/secure.mp4"
    browser.run("document.getElementById('recVideo').play()")
    browser.wait_for("document.getElementById('recVideo').currentTime > 0")


def test_two_way_demo_watches_an_encoder_while_it_publishes(
    browser: DrivenBrowser, site: Site, media: MediaFolder
) -> None:
    browser.open(f"{site.https}{DEMOS}/two_way_streaming/two_way_streaming.html")
    browser.wait_for("document.getElementById('urlServer').value")
    browser.run(f"document.getElementById('urlServer').value = '{site.wss}'")
    browser.click("#connectBtn")
    browser.wait_for(f"{text_of('#connectStatus')} === 'ESTABLISHED'")
    clip, log = media.clip(clips.FLASH_AND_BEEP_LIVE), site.server.folder / "ffmpeg.log"
    with ffmpeg_publishing(clip, site.server.rtmp_url("encoder"), log):
        site.server.wait_for_stream("encoder")
        browser.run("document.getElementById('playStream').value = 'encoder'")
        browser.click("#availableBtn")
        browser.wait_for(f"{text_of('#availableStatus')} === 'AVAILABLE'")
        browser.click("#playBtn")
        browser.wait_for(f"{text_of('#playStatus')} === 'PLAYING'")
        browser.run("document.getElementById('publishStream').value = 'page'")
        browser.click("#publishBtn")
        browser.wait_for(f"{text_of('#publishStatus')} === 'PUBLISHING'")
        browser.wait_for("document.querySelector('#remoteVideo video').currentTime > 1")
        assert browser.run("document.querySelector('#remoteVideo video').videoWidth") == 320
        browser.click("#publishBtn")
        browser.wait_for(f"{text_of('#publishStatus')} === 'UNPUBLISHED'")
        browser.click("#playBtn")
        browser.wait_for(f"{text_of('#playStatus')} === 'STOPPED'")
    assert site.server.recordings("page") == [], "the demo does not ask for a recording"
