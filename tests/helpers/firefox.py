"""Firefox with a fake camera and microphone, driven from the test by WebDriver BiDi.

    with Firefox(tmp_path) as firefox, firefox.tab() as tab:
        tab.open("http://127.0.0.1:8081/record/")
        tab.wait_for("document.title")

A tab does what one of `driven_browser` does, so that a test may be given either.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from helpers.driven_browser import PATIENCE_S, SHOWN, STEADY_PLACE
from helpers.programs import Program, wait_until
from helpers.tools import firefox_program
from websockets.sync.client import ClientConnection, connect

_PREFERENCES: Mapping[str, bool | int | str] = {
    "media.navigator.streams.fake": True,
    "media.navigator.permission.disabled": True,
    "media.autoplay.default": 0,
    "media.autoplay.blocking_policy": 0,
    "dom.disable_beforeunload": True,
    # Nobody is called at home.
    "media.gmp-manager.updateEnabled": False,
    "media.gmp-manager.url": "",
    "app.normandy.enabled": False,
    "app.update.disabledForTesting": True,
    "browser.aboutwelcome.enabled": False,
    "browser.safebrowsing.downloads.enabled": False,
    "browser.safebrowsing.malware.enabled": False,
    "browser.safebrowsing.phishing.enabled": False,
    "browser.shell.checkDefaultBrowser": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "extensions.update.enabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "services.settings.server": "data:,#remote-settings-dummy/v1",
    "toolkit.telemetry.server": "data:,",
}


class FirefoxTab:
    """One page. Values come back as JSON does."""

    def __init__(self, firefox: Firefox, context: str) -> None:
        self.context = context
        self._firefox = firefox

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """A command that is about this page, and its result. Raises AssertionError for an error."""
        return self._firefox.call(method, context=self.context, **params)

    @property
    def console(self) -> list[str]:
        """What pages have said."""
        return self._firefox.console

    def open(self, url: str) -> None:
        """Go to a page and wait until it is loaded."""
        self.call("browsingContext.navigate", url=url, wait="complete")

    def run(self, script: str) -> Any:
        """The value of an expression; a promise is waited for."""
        answer = self._firefox.call(
            "script.evaluate",
            expression=script,
            target={"context": self.context},
            awaitPromise=True,
            userActivation=True,
        )
        assert answer["type"] == "success", json.dumps(answer["exceptionDetails"])[:1000]
        return _plain(answer["result"])

    def wait_for(self, condition: str, timeout_s: float = PATIENCE_S) -> Any:
        """Ask until an expression is true; its value."""
        try:
            return wait_until(condition, lambda: self.run(condition), timeout_s, every_s=0.1)
        except AssertionError as error:
            said = "\n".join(self.console[-40:])
            error.add_note(f"the page shows: {self.run(SHOWN)}\nthe page said:\n{said}")
            raise

    def click(self, selector: str) -> None:
        """With the mouse, as a person does."""
        x, y = self.run(f"({STEADY_PLACE})({json.dumps(selector)})")
        move = {"type": "pointerMove", "x": round(x), "y": round(y)}
        press = [{"type": kind, "button": 0} for kind in ("pointerDown", "pointerUp")]
        mouse = {"type": "pointer", "id": "mouse", "actions": [move, *press]}
        self.call("input.performActions", actions=[mouse])


class Firefox:
    """A browser for several tabs."""

    def __init__(self, folder: Path) -> None:
        self.console: list[str] = []
        self._profile = folder / "profile"
        self._log = folder / "firefox.log"
        self._program: Program | None = None
        self._socket: ClientConnection | None = None
        self._owned = ExitStack()
        self._calls = 0

    def __enter__(self) -> Self:
        self._profile.mkdir()
        lines = [
            f"user_pref({json.dumps(name)}, {json.dumps(value)});" for name, value in _PREFERENCES.items()
        ]
        (self._profile / "user.js").write_text("\n".join(lines))
        name = firefox_program()
        assert name is not None
        command = [name, "--headless", "--no-remote", "--profile", str(self._profile)]
        quiet = {**os.environ, "MOZ_CRASHREPORTER_DISABLE": "1"}
        self._program = program = Program(
            [*command, "--remote-debugging-port=0", "about:blank"], self._log, quiet
        )
        # Its helpers go with it.
        self._owned.callback(program.kill)
        try:
            port = wait_until("the WebDriver port of Firefox", self._port, PATIENCE_S)
            url = f"ws://127.0.0.1:{port}/session"
            self._socket = self._owned.enter_context(connect(url, max_size=None, compression=None))
            wishes = {"acceptInsecureCerts": True, "unhandledPromptBehavior": {"default": "accept"}}
            self.call("session.new", capabilities={"alwaysMatch": wishes})
            self.call("session.subscribe", events=["log.entryAdded"])
        except BaseException:
            self._owned.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._owned.close()

    @contextmanager
    def tab(self) -> Iterator[FirefoxTab]:
        """A new page with cookies, cache and storage of its own."""
        user = self.call("browser.createUserContext")["userContext"]
        try:
            made = self.call("browsingContext.create", type="tab", userContext=user)
            yield FirefoxTab(self, made["context"])
        finally:
            self.call("browser.removeUserContext", userContext=user)

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """A command of the protocol and its result. Raises AssertionError for an error."""
        assert self._socket is not None
        self._calls += 1
        self._socket.send(json.dumps({"id": self._calls, "method": method, "params": params}))
        end_s = time.monotonic() + PATIENCE_S
        while time.monotonic() < end_s:
            message = json.loads(self._socket.recv(timeout=PATIENCE_S))
            if message.get("id") == self._calls:
                assert message["type"] == "success", f"{method}: {message['error']} {message['message']}"
                result: dict[str, Any] = message["result"]
                return result
            if message.get("method") == "log.entryAdded":
                self.console.append(f"{message['params']['level']} {message['params']['text']}"[:600])
        raise AssertionError(f"{method}: no answer within {PATIENCE_S} s")

    def _port(self) -> int | None:
        assert self._program is not None
        if not self._program.is_running:
            raise self._program.error("ended while starting")
        told = self._profile / "WebDriverBiDiServer.json"
        try:
            port: int = json.loads(told.read_text())["ws_port"]
        except (FileNotFoundError, json.JSONDecodeError):
            return None
        return port


def _plain(value: Mapping[str, Any]) -> Any:
    """What a value of the protocol stands for."""
    match value["type"]:
        case "undefined" | "null":
            return None
        case "number":
            return float(value["value"]) if isinstance(value["value"], str) else value["value"]
        case "string" | "boolean":
            return value["value"]
        case "array":
            return [_plain(one) for one in value.get("value", ())]
        case "object":
            return {name: _plain(one) for name, one in value.get("value", ())}
        case other:
            return f"<{other}>"
