"""DTLS (RFC 5764): proves that the peer is the one of the offer, and makes the keys of SRTP.

OpenSSL does the protocol over memory; datagrams go in and come out here, and the owner keeps the time. A peer
costs memory only from its first DTLS packet on, which nobody can send who was not given our ICE password.
"""

from __future__ import annotations

import hmac
import secrets
import struct
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from OpenSSL import SSL

from aircheck.webrtc.srtp import PROFILES, SrtpKeys
from aircheck.wire.errors import RemoteProtocolError

MTU_BYTES = 1200
_RECORD_HEADER_BYTES = 13
_CERTIFICATE_DAYS = 365
_CIPHERS = (
    b"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES256-GCM-SHA384:"
    b"ECDHE-RSA-AES128-GCM-SHA256:ECDHE-RSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES128-SHA:ECDHE-ECDSA-AES256-SHA"
)
_HASHES = {"sha-256": hashes.SHA256(), "sha-384": hashes.SHA384(), "sha-512": hashes.SHA512()}
_HINTS = {
    "wrong curve": "its certificate is of a curve that TLS has given up; FFmpeg 8 makes such where it was"
    " built with GnuTLS: give it one of P-256 by -cert_file and -key_file"
}
_EXPORTER_LABEL = b"EXTRACTOR-dtls_srtp"


class DtlsError(RemoteProtocolError):
    """The handshake failed, or the peer is not the one of the offer."""


class Identity:
    """Our certificate: made for this process, signed by itself, known to peers by its fingerprint."""

    def __init__(self, now: datetime | None = None) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _certificate(key, now or datetime.now(UTC))
        self.fingerprint = f"sha-256 {_fingerprint(certificate, 'sha-256')}"
        context = SSL.Context(SSL.DTLS_METHOD)
        context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, lambda *_: True)
        context.use_certificate(certificate)
        context.use_privatekey(key)
        context.set_options(SSL.OP_NO_TICKET | SSL.OP_NO_QUERY_MTU | SSL.OP_NO_RENEGOTIATION)
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        context.set_cipher_list(_CIPHERS)
        context.set_tlsext_use_srtp(b":".join(profile.name for profile in PROFILES))
        self._context = context

    def connection(self) -> SSL.Connection:
        connection = SSL.Connection(self._context, None)
        connection.set_ciphertext_mtu(MTU_BYTES)
        return connection


@dataclass(slots=True)
class _Progress:
    is_connected: bool = False
    is_closed: bool = False


class DtlsSession:
    """One peer's handshake and what follows it. `fingerprint` is the one of the offer: hash name and digits.

    `receive`, `begin` and `handle_timeout` return datagrams to send and raise `DtlsError`; after that the
    session is of no use.
    """

    def __init__(self, identity: Identity, fingerprint: tuple[str, str], *, is_client: bool) -> None:
        self.keys: SrtpKeys | None = None
        self._fingerprint = fingerprint
        self._is_client = is_client
        self._ssl = identity.connection()
        self._progress = _Progress()
        if is_client:
            self._ssl.set_connect_state()
        else:
            self._ssl.set_accept_state()

    @property
    def is_connected(self) -> bool:
        return self._progress.is_connected

    @property
    def is_closed(self) -> bool:
        """The peer has said good-bye."""
        return self._progress.is_closed

    def begin(self) -> list[bytes]:
        """As the client: the first flight."""
        return self._handshake()

    def receive(self, datagram: bytes) -> list[bytes]:
        self._ssl.bio_write(datagram)
        if not self.is_connected:
            return self._handshake()
        try:
            while True:
                self._ssl.recv(2048)
        except SSL.ZeroReturnError:
            self._progress.is_closed = True
        except SSL.Error:
            # Nobody sends data here; a record that cannot be read is dropped, as RFC 6347 4.1.2.7 says.
            pass
        return self._output()

    def timeout_s(self) -> float | None:
        """Until a flight must be sent again; `None` when nothing is awaited."""
        return None if self.is_connected else self._ssl.DTLSv1_get_timeout()

    def handle_timeout(self) -> list[bytes]:
        try:
            self._ssl.DTLSv1_handle_timeout()
        except SSL.Error as error:
            raise DtlsError(f"DTLS: {_reason(error)}") from error
        return self._output()

    def close(self) -> list[bytes]:
        """Say good-bye."""
        if self.is_connected and not self.is_closed:
            try:
                self._ssl.shutdown()
            except SSL.Error:
                return []
            return self._output()
        return []

    def _handshake(self) -> list[bytes]:
        try:
            self._ssl.do_handshake()
        except SSL.WantReadError:
            return self._output()
        except SSL.Error as error:
            raise DtlsError(f"DTLS: {_reason(error)}") from error
        self._check_peer()
        self.keys = self._export_keys()
        self._progress.is_connected = True
        return self._output()

    def _check_peer(self) -> None:
        """RFC 8122 6.2: the certificate must be the one whose fingerprint came by signalling."""
        certificate = self._ssl.get_peer_certificate(as_cryptography=True)
        name, expected = self._fingerprint
        if certificate is None or not hmac.compare_digest(_fingerprint(certificate, name), expected):
            raise DtlsError("the peer's certificate is not that of its offer")

    def _export_keys(self) -> SrtpKeys:
        selected = self._ssl.get_selected_srtp_profile()
        profile = next((one for one in PROFILES if one.name == selected), None)
        if profile is None:
            raise DtlsError("no common SRTP profile")
        size = 2 * (profile.key_bytes + profile.salt_bytes)
        material = self._ssl.export_keying_material(_EXPORTER_LABEL, size)
        return SrtpKeys.split(profile, material, is_client=self._is_client)

    def _output(self) -> list[bytes]:
        """What OpenSSL wants to send, in datagrams: it runs the records together."""
        records: list[bytes] = []
        while True:
            try:
                records.append(self._ssl.bio_read(65536))
            except SSL.Error:
                return _into_datagrams(b"".join(records))


def _into_datagrams(records: bytes) -> list[bytes]:
    datagrams: list[bytes] = []
    start = offset = 0
    while offset < len(records):
        (length,) = struct.unpack_from("!H", records, offset + _RECORD_HEADER_BYTES - 2)
        end = offset + _RECORD_HEADER_BYTES + length
        if end - start > MTU_BYTES and offset > start:
            datagrams.append(records[start:offset])
            start = offset
        offset = end
    if offset > start:
        datagrams.append(records[start:offset])
    return datagrams


def _certificate(key: ec.EllipticCurvePrivateKey, now: datetime) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, secrets.token_hex(8))])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=_CERTIFICATE_DAYS))
        .sign(key, hashes.SHA256())
    )


def _fingerprint(certificate: x509.Certificate, name: str) -> str:
    return certificate.fingerprint(_HASHES[name]).hex(":").upper()


def _reason(error: SSL.Error) -> str:
    """OpenSSL's own words, of its list of (library, function, reason), and ours where those do not help."""
    reasons = [str(part[-1]) for part in (error.args[0] if error.args else []) if part]
    hints = [_HINTS[reason] for reason in reasons if reason in _HINTS]
    return ", ".join(reasons)[:200] + "".join(f" ({hint})" for hint in hints) or type(error).__name__
