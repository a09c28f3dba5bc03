"""A node as a process: signals, the watchdog of systemd, the collector, the exit code."""

from __future__ import annotations

import asyncio
import gc
import ipaddress
import logging
import os
import signal
from collections.abc import Callable

from aircheck.app.greeting import greeting
from aircheck.app.node import Node
from aircheck.descriptors import raise_limit
from aircheck.observability import LineWriter, configure_logging
from aircheck.settings import Settings
from aircheck.systemd import Notifier, watchdog_interval_s

_log = logging.getLogger(__name__)


def serve(settings: Settings) -> int:
    """Run a node until SIGTERM or SIGINT; returns the exit code. Raises ConfigError, CatalogError."""
    writer = configure_logging(settings.log.level, settings.log.format)
    raise_limit()
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(_serve(settings, writer))
    finally:
        writer.close()


async def _serve(settings: Settings, log: LineWriter) -> int:
    stop = _stop_on_signals()
    notifier = Notifier()
    async with Node(settings, log=log) as node:
        for line in greeting(node):
            print(line, flush=True)
        if node.access.is_open and not _is_loopback(settings.rtmp.listen.host):
            _log.warning("everybody who reaches the RTMP port may publish: set rules in [access]")
        _calm_collector()
        notifier.ready("recording")
        keep_alive = node.tasks.spawn(_feed_watchdog(notifier), "watchdog")
        await stop.wait()
        keep_alive.cancel()
        notifier.stopping()
        _log.info("stopping streams=%d", len(node.registry))
    _log.info("stopped")
    return 0


def _calm_collector() -> None:
    """Packets are freed by their reference counts; the collector only has rare cycles to find.

    What lives now lives as long as the process, so it need not be looked at again, and with the default
    thresholds the packets of a hundred streams would be walked through several times a second, for a
    seventh of all CPU.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(200_000, 20, 20)


def _stop_on_signals() -> asyncio.Event:
    """The first signal asks to stop in good order, the second one ends the process at once."""
    stop = asyncio.Event()

    def on_signal() -> None:
        if stop.is_set():
            os._exit(1)
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    return stop


async def _feed_watchdog(notifier: Notifier) -> None:
    interval_s = watchdog_interval_s()
    while interval_s is not None:
        notifier.alive()
        await asyncio.sleep(interval_s)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def _is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address; a name other than localhost counts as reachable."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
