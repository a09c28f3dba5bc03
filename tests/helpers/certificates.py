"""A certificate for 127.0.0.1 and localhost, and what its clients need to trust it."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from aircheck.certificates import Certificate
from aircheck.cli.certifying import write_certificate


@dataclass(frozen=True, slots=True)
class TestCertificate:
    __test__ = False

    cert: Path
    key: Path

    @classmethod
    def made(cls, folder: Path) -> TestCertificate:
        return cls(*write_certificate(folder, ["localhost", "127.0.0.1"], 1))

    def server(self) -> ssl.SSLContext:
        return Certificate(self.cert, self.key).context

    def client(self) -> ssl.SSLContext:
        """Trusts this one and nothing else."""
        return ssl.create_default_context(cafile=str(self.cert))

    def settings(self) -> str:
        """Tables of a settings file: HTTPS on a free port of this machine."""
        return f'[https]\nlisten = "127.0.0.1:0"\n[tls]\ncert = "{self.cert}"\nkey = "{self.key}"\n'
