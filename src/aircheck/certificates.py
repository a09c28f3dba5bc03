"""Certificates of listeners: what a server shows to its clients, read anew when the files change.

Certificates are renewed every few weeks, and a recorder must not be restarted for that. Listeners are given
one context for good; each client that greets it is handed on to the newest one behind it.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from pathlib import Path

from aircheck.errors import ConfigError

CHECK_INTERVAL_S = 60.0

_log = logging.getLogger(__name__)


class Certificate:
    """A certificate chain and its key, PEM. Making one touches the disk. Raises ConfigError."""

    def __init__(self, cert: Path, key: Path) -> None:
        self.files = (cert, key)
        self._stamp = self._stamped()
        self._newest = _context(cert, key)
        self.context = _context(cert, key)
        """For listeners."""
        self.context.sni_callback = self._hand_on

    async def watch(self, interval_s: float = CHECK_INTERVAL_S) -> None:
        """Look at the files for ever. Ones that are of no use are logged once, and the former go on."""
        while True:
            await asyncio.sleep(interval_s)
            await asyncio.to_thread(self.renew)

    def renew(self) -> bool:
        """Read the files if they have changed; True if that gave a new certificate. Touches the disk."""
        stamp = self._stamped()
        if stamp == self._stamp:
            return False
        self._stamp = stamp
        try:
            self._newest = _context(*self.files)
        except ConfigError as error:
            _log.error("new certificate not used, the former goes on error=%s", error)
            return False
        _log.info("new certificate cert=%s", self.files[0])
        return True

    def _hand_on(
        self, connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, _: ssl.SSLContext
    ) -> None:
        """Called for every client, also for one that names no host."""
        connection.context = self._newest

    def _stamped(self) -> tuple[tuple[int, int, int], ...]:
        """What tells that a file is another one; nothing while it is not there, as between two renames."""
        stamps = []
        for path in self.files:
            try:
                status = path.stat()
            except OSError:
                continue
            stamps.append((status.st_ino, status.st_mtime_ns, status.st_size))
        return tuple(stamps)


def _context(cert: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # Without a passphrase at hand OpenSSL would ask for one on the terminal.
        context.load_cert_chain(cert, key, password=lambda: b"")
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"cannot use the certificate {cert} with the key {key}: {error}",
            remedy="give the PEM files of a certificate chain and its key without a passphrase",
        ) from error
    return context
