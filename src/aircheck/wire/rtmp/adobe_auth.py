"""Adobe's challenge for encoders (`authmod=adobe`), for both roles.

Three connections, each ended by the server but the last:

1. `connect` to `app` → refused: `code=403 need auth; authmod=adobe`
2. `connect` to `app?authmod=adobe&user=U` → refused: `?reason=needauth&user=U&salt=S&challenge=C&opaque=O`
3. `connect` to `app?authmod=adobe&user=U&challenge=D&response=R&opaque=O` → accepted

with `R = base64(md5(base64(md5(U + S + password)) + O + D))`; without an opaque value C stands in its place.

MD5 is what the method is made of. It hides the password from a listener, no more: use rtmps where it matters.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

_NEED_AUTH = "[ AccessManager.Reject ] : [ code=403 need auth; authmod=adobe ] : "
_REASON = "[ AccessManager.Reject ] : [ authmod=adobe ] : ?reason="

REJECT_CODE = "NetConnection.Connect.Rejected"


@dataclass(frozen=True, slots=True)
class Credentials:
    user: str
    password: str


def respond(user: str, password: str, *, salt: str, server_part: str, client_challenge: str) -> str:
    """`server_part` is the opaque value, or the server's challenge if it has sent none."""
    inner = _md5(user + salt + password)
    return _md5(inner + server_part + client_challenge)


def _md5(text: str) -> str:
    digest = hashlib.md5(text.encode(), usedforsecurity=False).digest()
    return base64.b64encode(digest).decode()


class AdobeAuthenticator:
    """The server's side.

    It keeps nothing between connections: a challenge is made from a secret and the time, so that any process
    that shares the secret can check the answer.
    """

    def __init__(self, secret: bytes | None = None, *, max_age_s: float = 60.0) -> None:
        self._secret = secret or secrets.token_bytes(32)
        self._max_age_s = max_age_s

    def refusal(self, query: Mapping[str, str], password: str | None, now_s: float) -> str:
        """Empty if the client has proved, in the query of its `connect`, that it knows `password` (`None`: no
        such user); else the description for `reject_connect` with `REJECT_CODE`. `now_s` is any clock that
        all processes share."""
        user = query.get("user", "")
        if query.get("authmod") != "adobe" or not user:
            return _NEED_AUTH
        if "response" not in query:
            return self._challenge(user, now_s)
        return "" if self._is_answered(query, user, password, now_s) else f"{_REASON}authfailed"

    def _challenge(self, user: str, now_s: float) -> str:
        opaque = f"{int(now_s):x}-{secrets.token_hex(6)}"
        salt, challenge = self._derived(user, opaque)
        name = quote(user, safe="")
        return f"{_REASON}needauth&user={name}&salt={salt}&challenge={challenge}&opaque={opaque}"

    def _derived(self, user: str, opaque: str) -> tuple[str, str]:
        digest = hmac.digest(self._secret, f"{user}\0{opaque}".encode(), hashlib.sha256).hex()
        return digest[:8], digest[8:16]

    def _is_answered(self, query: Mapping[str, str], user: str, password: str | None, now_s: float) -> bool:
        opaque = query.get("opaque", "")
        if password is None or not self._is_fresh(opaque, now_s):
            return False
        salt, _ = self._derived(user, opaque)
        expected = respond(
            user, password, salt=salt, server_part=opaque, client_challenge=query.get("challenge", "")
        )
        # A plus sign in a query that nobody has escaped arrives as a space.
        given = query["response"].replace(" ", "+")
        return hmac.compare_digest(given.encode(), expected.encode())

    def _is_fresh(self, opaque: str, now_s: float) -> bool:
        try:
            issued_s = int(opaque.partition("-")[0], 16)
        except ValueError:
            return False
        return -1 <= now_s - issued_s <= self._max_age_s


def next_query(description: str, credentials: Credentials) -> str:
    """The client's side: what to put behind application and URL of the next connection, given the description
    of a refusal. Empty when the server asks for nothing that we have, or says that we are wrong."""
    if "authmod=adobe" not in description:
        return ""
    user = quote(credentials.user, safe="")
    _, separator, challenge = description.partition("?reason=needauth")
    if not separator:
        return "" if "?reason=" in description else f"authmod=adobe&user={user}"
    fields = dict(part.partition("=")[::2] for part in challenge.split("&"))
    client_challenge = secrets.token_hex(4)
    response = respond(
        credentials.user,
        credentials.password,
        salt=fields.get("salt", ""),
        server_part=fields.get("opaque") or fields.get("challenge", ""),
        client_challenge=client_challenge,
    )
    query = f"authmod=adobe&user={user}&challenge={client_challenge}&response={quote(response, safe='')}"
    return f"{query}&opaque={fields['opaque']}" if fields.get("opaque") else query
