"""The code that docs/how-to/webrtc.md gives for pages, run as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

from helpers.driven_browser import DrivenBrowser
from helpers.server import ServerProcess
from helpers.tools import requires

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "webrtc.md"


@requires("chromium")
def test_code_for_pages_publishes_and_watches(server: ServerProcess, tmp_path: Path) -> None:
    own = server.http_url("")
    publish, watch = (
        f"(async () => {{ {code.replace('http://127.0.0.1:8081', own)} }})()"
        for code in re.findall(r"```js\n(.*?)```", PAGE.read_text(), re.DOTALL)
    )
    with DrivenBrowser(tmp_path) as browser:
        browser.open(server.http_url("/docs"))
        browser.run("document.body.innerHTML = '<video autoplay muted></video>'")
        browser.run(publish)
        server.wait_for_stream("studio")
        browser.run(watch)
        browser.wait_for("document.querySelector('video').currentTime > 0.5")
