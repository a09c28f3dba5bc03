"""Certificates of listeners: what a server shows to its clients, read anew when it was renewed."""

from __future__ import annotations

import ssl
from pathlib import Path

from aircheck.errors import ConfigError


def server_context(cert: Path, key: Path) -> ssl.SSLContext:
    """What listeners inside TLS are given. Touches the disk. Raises ConfigError for files of no use."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _load(context, cert, key)
    return context


def _load(context: ssl.SSLContext, cert: Path, key: Path) -> None:
    try:
        # Without a passphrase at hand OpenSSL would ask for one on the terminal.
        context.load_cert_chain(cert, key, password=lambda: b"")
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"cannot use the certificate {cert} with the key {key}: {error}",
            remedy="give the PEM files of a certificate chain and its key without a passphrase",
        ) from error
