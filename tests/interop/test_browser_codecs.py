"""What Chromium can encode is recorded as it is and watched as it is, codec by codec."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.driven_browser import DrivenBrowser
from helpers.probe import ProbedFile, decode_complaints
from helpers.server import ServerProcess
from helpers.tools import requires

PAGE = Path(__file__).with_name("codec_page.js")

pytestmark = requires("chromium", "ffmpeg")


@pytest.fixture(scope="module")
def browser(server: ServerProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DrivenBrowser]:
    with DrivenBrowser(tmp_path_factory.mktemp("browser")) as browser:
        browser.open(server.http_url("/docs"))
        browser.run(PAGE.read_text())
        yield browser


@pytest.mark.parametrize(
    ("codec", "file_name", "sound"),
    [
        ("H264", "H264.mp4", "aac"),
        ("AV1", "AV1.mp4", "aac"),
        ("VP8", "VP8.webm", "opus"),
        ("VP9", "VP9.webm", "opus"),
    ],
)
def test_each_codec_is_passed_through_to_file_and_viewer(
    codec: str, file_name: str, sound: str, browser: DrivenBrowser, server: ServerProcess
) -> None:
    browser.run(f"publish('{server.http_url(f'/whip/{codec}')}', '{codec}')")
    server.wait_for_stream(codec)
    browser.run(f"watch('{server.http_url(f'/whep/{codec}')}')")
    received = browser.wait_for("receivedEnough(15)")
    browser.run("stop()")
    assert received["audio"]["codec"] == "audio/opus"
    assert received["video"]["codec"] == f"video/{codec}"
    # Where a busy machine keeps Chromium from reading, the kernel drops what comes meanwhile.
    assert received["video"]["packetsLost"] < received["video"]["packetsReceived"] / 20
    file = server.wait_for_file(codec)
    probed = ProbedFile(file)
    assert file.name == file_name
    assert {kind: track.codec for kind, track in probed.tracks.items()} == {
        "video": codec.lower(),
        "audio": sound,
    }
    assert decode_complaints(file) == ""


def test_who_has_no_udp_publishes_and_watches_by_tcp(browser: DrivenBrowser, server: ServerProcess) -> None:
    browser.run(f"publish('{server.http_url('/whip/by-tcp')}', 'VP8', 'tcp')")
    server.wait_for_stream("by-tcp")
    browser.run(f"watch('{server.http_url('/whep/by-tcp')}', 'tcp')")
    browser.wait_for("receivedEnough(15)")
    browser.run("stop()")
    server.said("(?s)transport=tcp.*transport=tcp")
    assert server.log.count("transport=tcp") == 2
    assert decode_complaints(server.wait_for_file("by-tcp")) == ""
