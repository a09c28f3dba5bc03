"""Chromium with a fake camera and microphone, driven from the test by its DevTools protocol.

    with DrivenBrowser(tmp_path) as browser:
        browser.open("http://127.0.0.1:8081/record/")
        browser.wait_for("document.title")

Every wait is bounded; what the page wrote to its console is in the error when one fails.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from helpers.programs import Program, wait_until
from websockets.sync.client import ClientConnection, connect

PATIENCE_S = 30.0

_SWITCHES = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
    "--remote-debugging-port=0",
    "--remote-allow-origins=*",
    "--use-fake-device-for-media-stream",
)
_KEYS = {"Enter": (13, "\r"), "Tab": (9, "")}
ALLOWS_MEDIA = ("--use-fake-ui-for-media-stream",)
"""Whoever asks for the camera gets it."""


class DrivenBrowser:
    """One tab. Values come back as JSON does."""

    def __init__(self, folder: Path, switches: Sequence[str] = ALLOWS_MEDIA) -> None:
        self.console: list[str] = []
        self._folder = folder
        self._profile = folder / "profile"
        self._switches = switches
        self._program: Program | None = None
        self._socket: ClientConnection | None = None
        self._owned = ExitStack()
        self._calls = 0

    def __enter__(self) -> DrivenBrowser:
        command = ["chromium", *_SWITCHES, *self._switches, f"--user-data-dir={self._profile}", "about:blank"]
        self._program = Program(command, self._folder / "chromium.log")
        try:
            url = wait_until("the tab of Chromium", self._find_tab, PATIENCE_S)
            self._socket = self._owned.enter_context(connect(url, max_size=None, compression=None))
            self.call("Runtime.enable")
            self.call("Page.enable")
        except BaseException:
            self._program.kill()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            error.add_note("the page said:\n" + "\n".join(self.console[-40:]))
        self._owned.close()
        if self._program is not None:
            self._program.kill()

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """A command of the protocol and its result. Raises AssertionError for an error.

        Dialogs that a page opens meanwhile are accepted.
        """
        number = self._send(method, **params)
        assert self._socket is not None
        end_s = time.monotonic() + PATIENCE_S
        while time.monotonic() < end_s:
            message = json.loads(self._socket.recv(timeout=PATIENCE_S))
            if message.get("id") == number:
                assert "error" not in message, f"{method}: {message['error']}"
                result: dict[str, Any] = message["result"]
                return result
            self._note(message)
        raise AssertionError(f"{method}: no answer within {PATIENCE_S} s")

    def open(self, url: str) -> None:
        """Go to a page and wait until it is loaded."""
        self.call("Page.navigate", url=url)
        self.wait_for(f"location.href.startsWith({json.dumps(url)}) && document.readyState === 'complete'")

    def run(self, script: str) -> Any:
        """The value of an expression; a promise is waited for."""
        answer = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True, userGesture=True
        )
        assert "exceptionDetails" not in answer, json.dumps(answer["exceptionDetails"])[:1000]
        return answer["result"].get("value")

    def wait_for(self, condition: str, timeout_s: float = PATIENCE_S) -> Any:
        """Ask until an expression is true; its value."""
        return wait_until(condition, lambda: self.run(condition), timeout_s, every_s=0.1)

    def click(self, selector: str) -> None:
        """With the mouse, as a person does, so that the page may do what needs a person."""
        self.run(f"document.querySelector({json.dumps(selector)}).scrollIntoView({{block: 'center'}})")
        box = self.run(
            f"(({{x, y, width, height}}) => [x + width / 2, y + height / 2])"
            f"(document.querySelector({json.dumps(selector)}).getBoundingClientRect())"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=box[0], y=box[1], button="left", clickCount=1)

    def type(self, text: str) -> None:
        """Into whatever has the focus."""
        self.call("Input.insertText", text=text)

    def press(self, key: str) -> None:
        """Enter or Tab, on whatever has the focus."""
        code, text = _KEYS[key]
        common = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **common)
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def resize(self, width: int, height: int, *, is_phone: bool = False, is_dark: bool = False) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=2 if is_phone else 1,
            mobile=is_phone,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def screenshot(self, path: Path) -> None:
        """The whole page as PNG."""
        answer = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(answer["data"]))

    def _find_tab(self) -> str | None:
        assert self._program is not None
        if not self._program.is_running:
            raise self._program.error("ended while starting")
        port_file = self._profile / "DevToolsActivePort"
        if not port_file.exists() or len(lines := port_file.read_text().splitlines()) < 2:
            return None
        port, path = int(lines[0]), lines[1]
        with connect(f"ws://127.0.0.1:{port}{path}", compression=None) as browser:
            browser.send(json.dumps({"id": 1, "method": "Target.getTargets"}))
            targets = json.loads(browser.recv(timeout=PATIENCE_S))["result"]["targetInfos"]
        tab = next((target for target in targets if target["type"] == "page"), None)
        return f"ws://127.0.0.1:{port}/devtools/page/{tab['targetId']}" if tab is not None else None

    def _send(self, method: str, **params: Any) -> int:
        assert self._socket is not None
        self._calls += 1
        self._socket.send(json.dumps({"id": self._calls, "method": method, "params": params}))
        return self._calls

    def _note(self, message: dict[str, Any]) -> None:
        params = message.get("params", {})
        if message.get("method") == "Page.javascriptDialogOpening":
            self._send("Page.handleJavaScriptDialog", accept=True)
        if message.get("method") == "Runtime.consoleAPICalled":
            words = [str(one.get("value", one.get("description", ""))) for one in params["args"]]
            self.console.append(" ".join(words))
        elif message.get("method") == "Runtime.exceptionThrown":
            self.console.append("EXCEPTION " + json.dumps(params["exceptionDetails"])[:600])
