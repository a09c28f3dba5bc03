"""`aircheck cert`: a certificate signed by itself, to have TLS before there is one that others vouch for."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from aircheck.errors import ConfigError

CERT_FILE, KEY_FILE = "cert.pem", "key.pem"
_LABELS = re.compile(r"(\*\.)?[a-z0-9_]([a-z0-9-_]*[a-z0-9])?(\.[a-z0-9_]([a-z0-9-_]*[a-z0-9])?)*")
_COMMON_NAME_MAX = 64


def default_hosts() -> list[str]:
    """What this machine is called, by itself and by others."""
    return list(dict.fromkeys([socket.gethostname().lower(), "localhost", "127.0.0.1", "::1"]))


def write_certificate(folder: Path, hosts: Sequence[str], days: int) -> tuple[Path, Path]:
    """Make a key and a certificate for these names and addresses; returns the paths of both, absolute.

    The key is for the owner's eyes only. Nothing that exists is replaced. Raises ConfigError.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    cert = _certificate(key, [_general_name(host) for host in hosts], days)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    cert_path, key_path = (folder.absolute() / name for name in (CERT_FILE, KEY_FILE))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _check_free(cert_path)
        _write_new(key_path, private, 0o600)
        _write_new(cert_path, cert.public_bytes(Encoding.PEM), 0o644)
    except FileExistsError as error:
        raise ConfigError(
            f"{error.filename} exists", remedy="Name another folder with --dir, or move the file away."
        ) from error
    except OSError as error:
        raise ConfigError(
            f"{folder} cannot be written: {error.strerror}", remedy="Name another folder with --dir."
        ) from error
    return cert_path, key_path


def _certificate(
    key: ec.EllipticCurvePrivateKey, names: Sequence[x509.GeneralName], days: int
) -> x509.Certificate:
    """For servers only: whoever gets hold of its key can certify nothing else with it."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, str(names[0].value)[:_COMMON_NAME_MAX])])
    now = datetime.now(UTC)
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # A client's clock may be a little behind.
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host.removeprefix("[").removesuffix("]")))
    except ValueError:
        pass
    try:
        name = host.lower() if host.isascii() else host.encode("idna").decode()
    except UnicodeError:
        name = ""
    if _LABELS.fullmatch(name) is None or len(name) > 253:
        raise ConfigError(
            f'"{host}" is neither a host name nor an address',
            remedy="Give names without scheme and port, such as studio.example or 192.0.2.7.",
        )
    return x509.DNSName(name)


def _check_free(path: Path) -> None:
    """So that no key is left behind whose certificate cannot be written."""
    if path.exists():
        raise FileExistsError(17, "exists", str(path))


def _write_new(path: Path, content: bytes, mode: int) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
