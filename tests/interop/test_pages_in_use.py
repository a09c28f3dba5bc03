"""The pages / and /record/ on a phone, by keyboard alone, and where a device is missing."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from helpers.driven_browser import ALLOWS_MEDIA, DrivenBrowser
from helpers.server import ServerProcess
from helpers.tools import requires

pytestmark = requires("chromium")

STATE = "document.body.dataset.state"
LONG = "a-recording-with-a-long-name-that-has-no-place-to-break-" + "x" * 60
IS_TOO_WIDE = "document.documentElement.scrollWidth > innerWidth"


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[DrivenBrowser]:
    with DrivenBrowser(tmp_path) as browser:
        yield browser


def test_all_can_be_done_by_keyboard(browser: DrivenBrowser, server: ServerProcess) -> None:
    """The button keeps the focus from Start to Stop and beyond, though it rests in between."""
    browser.open(server.http_url("/record/"))
    browser.wait_for(f"{STATE} === 'ready'")
    browser.run("document.getElementById('name').select()")
    browser.type("by-keyboard")
    browser.press("Enter")
    browser.wait_for(f"{STATE} === 'recording'")
    browser.wait_for("document.getElementById('clock').textContent >= '0:00:01'")
    browser.press("Enter")
    browser.wait_for("!document.getElementById('result').hidden")
    assert browser.run("document.activeElement.id") == "record"
    assert server.wait_for_recording("by-keyboard")["state"] == "complete"


def test_nothing_is_wider_than_a_phone(browser: DrivenBrowser, server: ServerProcess) -> None:
    browser.open(server.http_url("/record/"))
    browser.resize(360, 740, is_phone=True)
    browser.wait_for(f"{STATE} === 'ready'")
    browser.run(f"document.getElementById('name').value = '{LONG}'")
    browser.click("#record")
    browser.wait_for("document.getElementById('clock').textContent >= '0:00:01'")
    assert not browser.run(IS_TOO_WIDE)
    browser.click("#record")
    browser.wait_for("!document.getElementById('result').hidden")
    assert not browser.run(IS_TOO_WIDE)
    browser.call("Emulation.setTimezoneOverride", timezoneId="Asia/Tokyo")
    for width in (360, 768, 1280):
        browser.resize(width, 740, is_phone=width == 360)
        browser.open(server.http_url("/"))
        assert browser.run("document.querySelectorAll('td a').length") >= 1
        assert not browser.run(IS_TOO_WIDE), width
    meant = browser.run("document.querySelector('time').dateTime")
    in_tokyo = datetime.fromisoformat(meant) + timedelta(hours=9)
    assert f"{in_tokyo:%-I:%M:%S}" in browser.run("document.querySelector('time').textContent")


def test_machine_without_a_camera_can_record_sound(server: ServerProcess, tmp_path: Path) -> None:
    no_camera = "--use-fake-device-for-media-stream=device-count=0"
    with DrivenBrowser(tmp_path, switches=(*ALLOWS_MEDIA, no_camera)) as browser:
        browser.open(server.http_url("/record/"))
        assert "missing" in browser.wait_for("document.getElementById('notice').textContent")
        microphones = "[...document.getElementById('microphone').options].map(one => one.textContent)"
        assert "No microphone" in browser.run(microphones)
        browser.click("input[value=sound]")
        browser.wait_for(f"{STATE} === 'ready'")
        assert browser.run("document.getElementById('notice').textContent") == ""
