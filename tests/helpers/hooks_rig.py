"""An RTMP server whose peers a backend is asked about, by the REST hooks of WCS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from helpers.clocks import MovableClock
from helpers.http_backend import HttpBackend
from helpers.patience import PATIENCE_S

from aircheck.faces.wcs.hooks import WcsHooks
from aircheck.facts import EndReason
from aircheck.hub.registry import Registry
from aircheck.ingest.pump import Pump
from aircheck.ingest.rtmp_server import RtmpServer, Timeouts
from aircheck.playback.rtmp_play import RtmpViewer
from aircheck.service.access import AccessService
from aircheck.service.backend import Backend, BackendPlan

HANDSHAKE_S = 30.0
"""How long a peer may take to begin."""


class HooksRig:
    def __init__(
        self,
        there: HttpBackend,
        access: AccessService,
        timeout_s: float,
        secret: str,
        **options: object,
    ) -> None:
        self.clock = clock = MovableClock()
        self.registry = Registry()
        self.backend = Backend(BackendPlan(url=there.url, timeout_s=timeout_s, secret=secret))
        self.backend.start()
        self.hooks = WcsHooks(
            access,
            self.registry,
            self.backend,
            clock,
            node_id="node-1",
            **options,  # type: ignore[arg-type]
        )
        self.pump = Pump(asyncio.get_running_loop(), interval_s=0.05)
        self.rtmp = RtmpServer(
            self.pump,
            self.registry,
            self.hooks,
            clock,
            new_viewer=lambda stream, session, number: RtmpViewer(stream, session, number),
            timeouts=Timeouts(handshake_s=HANDSHAKE_S, idle_s=100 * HANDSHAKE_S),
        )
        self.rtmp.on_session_ended.append(self.hooks.session_ended)
        self.address = self.rtmp.listen("127.0.0.1", 0)

    def pass_by(self, seconds: float) -> None:
        """Let that time pass for everybody who is connected."""
        self.clock.ahead_s += seconds
        for session in list(self.rtmp.sessions.values()):
            session.sweep(self.clock.monotonic_s())


@asynccontextmanager
async def running(
    there: HttpBackend,
    access: AccessService | None = None,
    *,
    timeout_s: float = PATIENCE_S,
    secret: str = "",
    **options: object,
) -> AsyncIterator[HooksRig]:
    rig = HooksRig(there, access or AccessService(), timeout_s, secret, **options)
    try:
        yield rig
    finally:
        await rig.rtmp.stop(EndReason.SHUTDOWN)
        await rig.backend.stop(2)
        rig.pump.close()
