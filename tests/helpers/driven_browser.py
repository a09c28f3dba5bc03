"""Chromium with a fake camera and microphone, driven from the test by its DevTools protocol.

    with DrivenBrowser(tmp_path) as browser:
        browser.open("http://127.0.0.1:8081/record/")
        browser.wait_for("document.title")

Every wait is bounded; what the page shows and what it wrote to its console is in the error when one fails.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

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


STEADY_PLACE = """
(async (selector) => {
  const element = document.querySelector(selector);
  const frame = () => new Promise(requestAnimationFrame);
  const middle = () => {
    const {x, y, width, height} = element.getBoundingClientRect();
    return [x + width / 2, y + height / 2];
  };
  const isHit = (place) => {
    const hit = document.elementFromPoint(...place);
    return [element, ...(element.labels ?? [])].some((one) => one.contains(hit));
  };
  element.scrollIntoView({block: "center", behavior: "instant"});
  for (let place = middle(), steady = 0; ; place = middle()) {
    await frame();
    steady = String(middle()) === String(place) && isHit(place) ? steady + 1 : 0;
    if (steady === 3) return place;
  }
})
"""
"""Where to click an element, once it has come to rest there and nothing lies over it."""

SHOWN = "JSON.stringify({...document.body.dataset}) + ' ' + document.body.innerText.slice(0, 800)"


class Tab:
    """One page. Values come back as JSON does."""

    def __init__(self) -> None:
        self.console: list[str] = []
        self._socket: ClientConnection | None = None
        self._owned = ExitStack()
        self._calls = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._owned.close()

    def attach(self, url: str) -> None:
        """Drive the page whose DevTools are at that address."""
        self._socket = self._owned.enter_context(connect(url, max_size=None, compression=None))
        self.call("Runtime.enable")
        self.call("Page.enable")

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
        try:
            return wait_until(condition, lambda: self.run(condition), timeout_s, every_s=0.1)
        except AssertionError as error:
            error.add_note(self._last_words())
            raise

    def click(self, selector: str) -> None:
        """With the mouse, as a person does, so that the page may do what needs a person."""
        x, y = self.run(f"({STEADY_PLACE})({json.dumps(selector)})")
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

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

    def _send(self, method: str, **params: Any) -> int:
        assert self._socket is not None
        self._calls += 1
        self._socket.send(json.dumps({"id": self._calls, "method": method, "params": params}))
        return self._calls

    def _last_words(self) -> str:
        """What the page shows and has said, for whoever asks why it did not do what was expected."""
        try:
            shown = self.run(SHOWN)
        except Exception as error:
            shown = f"nothing: {error!r}"
        return f"the page shows: {shown}\nthe page said:\n" + "\n".join(self.console[-40:])

    def _note(self, message: dict[str, Any]) -> None:
        params = message.get("params", {})
        if message.get("method") == "Page.javascriptDialogOpening":
            self._send("Page.handleJavaScriptDialog", accept=True)
        if message.get("method") == "Runtime.consoleAPICalled":
            words = [str(one.get("value", one.get("description", ""))) for one in params["args"]]
            self.console.append(" ".join(words))
        elif message.get("method") == "Runtime.exceptionThrown":
            self.console.append("EXCEPTION " + json.dumps(params["exceptionDetails"])[:600])


class Chromium:
    """A browser for several tabs, one after another or at the same time; they share nothing but the process.

    with Chromium(folder) as chromium, chromium.tab() as tab: ...
    """

    def __init__(self, folder: Path, switches: Sequence[str] = ALLOWS_MEDIA) -> None:
        self._profile = folder / "profile"
        self._log = folder / "chromium.log"
        self._switches = switches
        self._program: Program | None = None
        self._address = ""
        self._path = ""

    def __enter__(self) -> Self:
        command = ["chromium", *_SWITCHES, *self._switches, f"--user-data-dir={self._profile}", "about:blank"]
        self._program = Program(command, self._log)
        try:
            wait_until("the DevTools of Chromium", self._find, PATIENCE_S)
        except BaseException:
            self._program.kill()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._program is not None:
            self._program.kill()

    @contextmanager
    def tab(self) -> Iterator[Tab]:
        """A new page with cookies, cache and storage of its own."""
        with connect(f"{self._address}{self._path}", compression=None) as socket:
            context = _ask(socket, "Target.createBrowserContext")["browserContextId"]
            target = _ask(socket, "Target.createTarget", url="about:blank", browserContextId=context)
            try:
                with Tab() as tab:
                    tab.attach(f"{self._address}/devtools/page/{target['targetId']}")
                    yield tab
            finally:
                _ask(socket, "Target.disposeBrowserContext", browserContextId=context)

    def first_tab(self) -> str:
        """Where the DevTools of the tab are that the browser begins with."""
        url: str = wait_until("the tab of Chromium", self._first_tab, PATIENCE_S)
        return url

    def _first_tab(self) -> str | None:
        with connect(f"{self._address}{self._path}", compression=None) as socket:
            targets = _ask(socket, "Target.getTargets")["targetInfos"]
        tab = next((target for target in targets if target["type"] == "page"), None)
        return f"{self._address}/devtools/page/{tab['targetId']}" if tab is not None else None

    def _find(self) -> bool:
        assert self._program is not None
        if not self._program.is_running:
            raise self._program.error("ended while starting")
        port_file = self._profile / "DevToolsActivePort"
        if not port_file.exists() or len(lines := port_file.read_text().splitlines()) < 2:
            return False
        self._address, self._path = f"ws://127.0.0.1:{int(lines[0])}", lines[1]
        return True


class DrivenBrowser(Tab):
    """A browser of its own with one tab, for a test that needs switches or a profile of its own."""

    def __init__(self, folder: Path, switches: Sequence[str] = ALLOWS_MEDIA) -> None:
        super().__init__()
        self._chromium = Chromium(folder, switches)

    def __enter__(self) -> Self:
        self._owned.enter_context(self._chromium)
        try:
            self.attach(self._chromium.first_tab())
        except BaseException:
            self._owned.close()
            raise
        return self


def _ask(socket: ClientConnection, method: str, **params: Any) -> dict[str, Any]:
    """A command to the browser rather than to a page; news that come between are passed over."""
    socket.send(json.dumps({"id": 1, "method": method, "params": params}))
    while (message := json.loads(socket.recv(timeout=PATIENCE_S))).get("id") != 1:
        pass
    assert "error" not in message, f"{method}: {message['error']}"
    result: dict[str, Any] = message["result"]
    return result
