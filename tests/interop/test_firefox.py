"""Firefox records by our own page and watches what it publishes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.firefox import Firefox
from helpers.probe import ProbedFile, decode_complaints
from helpers.server import ServerProcess
from helpers.tools import requires

from aircheck.webrtc.addresses import reachable_addresses

PAGE = Path(__file__).with_name("codec_page.js")
IS_ALONE = reachable_addresses("0.0.0.0") == ("127.0.0.1",)
SLOW_TO_CLOSE = """
window.closings = [];
AudioContext.prototype.close = function () {
  closings.push(this);
  return new Promise(() => {});
};
"""
"""As sound devices are; to close one again meanwhile is an error."""
STATE = "document.body.dataset.state"
NOTICE = "document.getElementById('notice').textContent"
SOURCES = "document.getElementById('preview').srcObject.getTracks().length"
RESULT = "!document.getElementById('result').hidden"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """With media on loopback as it is by default: by every address of this machine, to this machine alone."""
    settings = '[webrtc]\nlisten = "127.0.0.1:0"'
    record = ['name = "{streamName}"']
    with ServerProcess(tmp_path_factory.mktemp("server"), record=record, settings=settings) as running:
        yield running


@requires("firefox", "ffmpeg")
@pytest.mark.skipif(IS_ALONE, reason="Firefox sends by the addresses of networks only, and there are none")
def test_firefox_records_by_the_page_and_watches(server: ServerProcess, tmp_path: Path) -> None:
    with Firefox(tmp_path) as firefox, firefox.tab() as tab:
        tab.open(server.http_url("/record/"))
        tab.run(SLOW_TO_CLOSE)
        for kind, tracks in (("camera", 2), ("sound", 1), ("camera", 2)):
            tab.click(f"input[value={kind}]")
            tab.wait_for(f"{STATE} === 'ready' && {SOURCES} === {tracks}")
        assert tab.run("closings.length === new Set(closings).size"), "none is closed twice"
        tab.run("document.getElementById('name').value = 'firefox'")
        tab.click("#record")
        tab.wait_for(f"{STATE} === 'recording' || {NOTICE}")
        assert tab.run(NOTICE) == ""
        tab.run(PAGE.read_text())
        tab.run(f"watch('{server.http_url('/whep/firefox')}')")
        received = tab.wait_for("receivedEnough(15)")
        tab.wait_for("document.getElementById('clock').textContent >= '0:00:02'")
        tab.click("#record")
        tab.wait_for(RESULT)
        tab.run("document.getElementById('player').play()")
        tab.wait_for("document.getElementById('player').currentTime > 0.5")
        duration_s = tab.run("document.getElementById('player').duration")
        assert tab.console == []
    assert (received["audio"]["packetsLost"], received["video"]["packetsLost"]) == (0, 0)
    file = server.wait_for_file("firefox")
    probed = ProbedFile(file)
    assert probed.kinds == {"video", "audio"}
    assert abs(duration_s - probed.duration_s) < 0.5
    assert duration_s > 2
    assert decode_complaints(file) == ""
