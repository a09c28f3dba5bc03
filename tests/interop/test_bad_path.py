"""Chromium publishes over a path that loses packets both ways and takes its microphone away for a while; the
file has all that was sent, sound and pictures in step."""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median

import httpx
from helpers.bad_path import BadPath
from helpers.driven_browser import Tab
from helpers.impairment import Impairment
from helpers.probe import decode_complaints
from helpers.server import ServerProcess
from helpers.told_times import told_times
from helpers.tools import requires

PAGE = Path(__file__).with_name("flash_page.js")
PUBLISH_S = 3.0
"""Before and after sound is taken away."""

MUTE_S = 1.5
FREEZE_MAX_S = 1.0
SKEW_MAX_S = 0.15
"""On a busy machine Chromium itself is mistaken about its sound by up to that."""


@requires("chromium", "ffmpeg")
def test_a_path_that_loses_packets_costs_no_picture(browser: Tab, server: ServerProcess) -> None:
    name = "lossy"
    browser.open(server.http_url("/docs"))
    browser.run(PAGE.read_text())
    up = Impairment(loss=0.05, delay_s=0.02, jitter_s=0.005)
    with BadPath(up, Impairment(loss=0.05, delay_s=0.02, seed=2)) as path:
        url = server.http_url(f"/whip/{name}")
        path.lead_to(browser.run(f"publishFlashes('{url}', 'VP8', {{port: {path.port}}})"))
        server.wait_for_stream(name)
        time.sleep(PUBLISH_S)
        browser.run(f"mute('audio', {MUTE_S})")
        time.sleep(PUBLISH_S + 0.5)
        sent = browser.run("sending()")
        assert httpx.delete(browser.run("session")).status_code == 200
    file = server.wait_for_file(name)
    assert file.suffix == ".webm"
    assert up.lost > 20
    assert sent["video"]["retransmittedPacketsSent"] > 5
    assert decode_complaints(file) == ""
    times = told_times(file)
    assert len(times.pictures) >= 0.9 * sent["video"]["framesSent"]
    assert times.longest_freeze_s < FREEZE_MAX_S + sent["pause"]
    assert len(times.skews_s) >= 2 * PUBLISH_S - 2
    for skews_s in (times.skews_s[:2], times.skews_s[-2:]):
        assert abs(median(skews_s)) < SKEW_MAX_S, times.skews_s
