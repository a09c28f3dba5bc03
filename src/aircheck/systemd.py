"""What systemd wants to hear of a service of `Type=notify`: ready, still alive, stopping.

The protocol (sd_notify(3)): datagrams of `KEY=value` lines to the Unix socket that `NOTIFY_SOCKET` names; a
leading `@` stands for the abstract namespace. Without that variable every call does nothing.
"""

from __future__ import annotations

import logging
import os
import socket

_log = logging.getLogger(__name__)


class Notifier:
    """Tells systemd how the service is. Never blocks nor raises: failures are counted, the first logged."""

    def __init__(self, address: str | None = None) -> None:
        self.failures = 0
        address = os.environ.get("NOTIFY_SOCKET", "") if address is None else address
        self._address = "\0" + address[1:] if address.startswith("@") else address

    @property
    def is_on(self) -> bool:
        return bool(self._address)

    def ready(self, status: str = "") -> None:
        self._send("READY=1", f"STATUS={status}")

    def status(self, status: str) -> None:
        """The line that `systemctl status` shows."""
        self._send(f"STATUS={status}")

    def alive(self) -> None:
        """Feed the watchdog; due at least once every `watchdog_interval_s`."""
        self._send("WATCHDOG=1")

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def _send(self, *lines: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
                sock.setblocking(False)
                sock.sendto("\n".join(lines).encode(), self._address)
        except OSError as error:
            self.failures += 1
            if self.failures == 1:
                _log.warning("systemd does not listen socket=%s error=%s", self._address, error)


def watchdog_interval_s() -> float | None:
    """How often to call `Notifier.alive`: half of `WatchdogSec=`; None when no watchdog waits for us."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    try:
        interval_us = int(os.environ.get("WATCHDOG_USEC", "0"))
    except ValueError:
        return None
    return interval_us / 2_000_000 if interval_us > 0 else None
