"""Certificates: what `aircheck cert` makes, and what a server says of files that are of no use."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import stat
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from helpers.certificates import TestCertificate
from helpers.patience import PATIENCE_S

from aircheck.certificates import Certificate
from aircheck.cli.certifying import write_certificate
from aircheck.errors import ConfigError


async def greet(server: ssl.SSLContext, client: ssl.SSLContext, host: str) -> bytes:
    """A connection to 127.0.0.1 as if it were `host`."""

    async def welcome(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"welcome")
        writer.close()

    async with await asyncio.start_server(welcome, "127.0.0.1", 0, ssl=server) as listener:
        port = listener.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client, server_hostname=host)
        said = await reader.read()
        writer.close()
        return said


@pytest.mark.parametrize("host", ["studio.example", "www.studio.example", "192.0.2.7", "2001:db8::7"])
async def test_clients_that_trust_it_accept_it_for_each_of_its_names(tmp_path: Path, host: str) -> None:
    hosts = ["studio.example", "*.studio.example", "192.0.2.7", "[2001:db8::7]"]
    cert, key = write_certificate(tmp_path, hosts, 30)
    trusting = ssl.create_default_context(cafile=str(cert))
    trusting.verify_flags |= ssl.VERIFY_X509_STRICT
    assert await greet(Certificate(cert, key).context, trusting, host) == b"welcome"


async def test_clients_refuse_it_for_another_name(tmp_path: Path) -> None:
    certificate = TestCertificate.made(tmp_path)
    with pytest.raises(ssl.SSLCertVerificationError):
        await greet(certificate.server(), certificate.client(), "other.example")


def test_only_the_owner_can_read_the_key(tmp_path: Path) -> None:
    cert, key = write_certificate(tmp_path / "tls", ["localhost"], 1)
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert cert == tmp_path / "tls" / "cert.pem"


@pytest.mark.parametrize("taken", ["cert.pem", "key.pem"])
def test_nothing_is_replaced(tmp_path: Path, taken: str) -> None:
    (tmp_path / taken).write_text("dear")
    with pytest.raises(ConfigError, match=f"{taken} exists"):
        write_certificate(tmp_path, ["localhost"], 1)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(taken, "dear")]


@pytest.mark.parametrize("host", ["", "https://studio.example", "studio.example:1", "a b", "..", "x" * 300])
def test_what_is_no_host_is_refused(tmp_path: Path, host: str) -> None:
    with pytest.raises(ConfigError, match="neither a host name nor an address"):
        write_certificate(tmp_path, [host], 1)


def test_the_command_prints_the_settings_that_put_it_to_use(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "aircheck", "cert", "Студия.example", "--dir", str(tmp_path / "a b")]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert tomllib.loads(done.stdout) == {
        "tls": {"cert": str(tmp_path / "a b" / "cert.pem"), "key": str(tmp_path / "a b" / "key.pem")}
    }


@pytest.mark.parametrize("content", ["", "no certificate"])
def test_a_file_that_is_no_certificate_is_refused_with_its_name(tmp_path: Path, content: str) -> None:
    certificate = TestCertificate.made(tmp_path)
    certificate.cert.write_text(content)
    with pytest.raises(ConfigError, match=r"cannot use the certificate .*cert\.pem"):
        certificate.server()


def test_a_key_with_a_passphrase_is_refused_and_nobody_asked_for_it(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization

    certificate = TestCertificate.made(tmp_path)
    key = serialization.load_pem_private_key(certificate.key.read_bytes(), None)
    locked = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    certificate.key.write_bytes(locked)
    with pytest.raises(ConfigError, match="cannot use the certificate") as refused:
        certificate.server()
    assert "without a passphrase" in refused.value.remedy


async def test_a_renewed_certificate_is_shown_to_whoever_comes_next(tmp_path: Path) -> None:
    old, new = (TestCertificate.made(tmp_path / name) for name in ("old", "new"))
    trusts_old, trusts_new = old.client(), new.client()
    certificate = Certificate(old.cert, old.key)
    assert not certificate.renew()
    # One after the other, as programs do that renew them: in between the two do not belong together.
    new.cert.replace(old.cert)
    assert not certificate.renew()
    assert await greet(certificate.context, trusts_old, "localhost") == b"welcome"
    new.key.replace(old.key)
    assert certificate.renew()
    assert await greet(certificate.context, trusts_new, "localhost") == b"welcome"
    with pytest.raises(ssl.SSLCertVerificationError):
        await greet(certificate.context, trusts_old, "localhost")


async def test_a_client_that_names_no_host_gets_the_newest_too(tmp_path: Path) -> None:
    old, new = (TestCertificate.made(tmp_path / name) for name in ("old", "new"))
    certificate = Certificate(old.cert, old.key)
    new.cert.replace(old.cert)
    new.key.replace(old.key)
    watching = asyncio.create_task(certificate.watch(0.01))
    try:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                # An address is no name that could be told in a greeting.
                with contextlib.suppress(ssl.SSLCertVerificationError):
                    assert await greet(certificate.context, old.client(), "127.0.0.1") == b"welcome"
                    break
    finally:
        watching.cancel()
