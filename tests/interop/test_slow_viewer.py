"""A viewer behind a link that is too narrow sees single pictures and hears, and nobody else notices."""

from __future__ import annotations

import time
from pathlib import Path

from helpers.bad_path import BadPath
from helpers.driven_browser import DrivenBrowser
from helpers.impairment import Impairment
from helpers.server import ServerProcess
from helpers.throttle import Throttle
from helpers.tools import requires

PAGE = Path(__file__).with_name("codec_page.js")
WATCHED_S = 8
LINK_BPS = 150_000
"""The sound takes 50,000 of it, the pictures would take more than what is left."""


@requires("chromium")
def test_slow_viewer_skips_pictures_and_disturbs_nobody(server: ServerProcess, tmp_path: Path) -> None:
    whip, whep = server.http_url("/whip/narrow"), server.http_url("/whep/narrow")
    link = Throttle(bits_per_s=LINK_BPS, queue_bytes=LINK_BPS // 8 // 3)
    with DrivenBrowser(tmp_path) as browser, BadPath(Impairment(), link) as path:
        browser.open(server.http_url("/docs"))
        browser.run(PAGE.read_text())
        browser.run(f"publish('{whip}', 'VP8')")
        server.wait_for_stream("narrow")
        browser.run(f"watch('{whep}').then(() => {{ window.other = viewer; }})")
        media = server.said(r"media by 127\.0\.0\.1:(\d+)")
        path.lead_to(int(media[1]))
        browser.run(f"watch('{whep}', 'port', {path.port})")
        browser.wait_for("receivedEnough(1)")
        time.sleep(WATCHED_S)
        slow, other = browser.run("receivedEnough(1)"), browser.run("receivedEnough(1, other)")
        asked = browser.run("keyFrames()")
    assert link.lost > 20, "the link is too narrow"
    assert link.lost < 4 * link.passed, "and is not flooded"
    assert slow["audio"]["packetsLost"] < 0.5 * slow["audio"]["packetsReceived"]
    assert slow["video"]["framesDecoded"] < other["video"]["framesDecoded"]
    assert (other["video"]["packetsLost"], other["audio"]["packetsLost"]) == (0, 0)
    assert asked <= 8, "key frames cost everybody"
    server.said("viewer is slow")
    assert server.log.count("viewer is slow") == 1
