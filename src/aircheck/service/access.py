"""Who may publish and play: users with passwords, tokens, and keys that are stream names."""

from __future__ import annotations

import hmac
from collections.abc import Collection, Mapping

from aircheck.hub.gatekeeper import Admission, Attempt

_ALLOWED = Admission(True)
_NEEDED = "publishing needs ?user=…&pass=…, ?token=… or a stream key that this server knows"
_UNKNOWN = "this server does not know the user with that password, or the token"
_REMEDY = "ask whoever runs the server for credentials: [access] names those that count"


class AccessService:
    """The rules of `[access]`. Without any rule everybody may publish who reaches the port.

    A peer gets in by any one of them: `?user=…&pass=…` (or a login proven by challenge), `?token=…`, or a
    stream name that is one of the keys. Comparisons take the same time whatever differs.
    """

    def __init__(
        self,
        *,
        users: Mapping[str, str] | None = None,
        tokens: Collection[str] = (),
        keys: Collection[str] = (),
    ) -> None:
        self._users = dict(users or {})
        self._tokens = tuple(tokens)
        self._keys = tuple(keys)

    @property
    def is_open(self) -> bool:
        return not (self._users or self._tokens or self._keys)

    @property
    def has_users(self) -> bool:
        return bool(self._users)

    def password_of(self, user: str) -> str | None:
        return self._users.get(user)

    async def may_publish(self, attempt: Attempt) -> Admission:
        if self.is_open:
            return Admission(True, login=attempt.proven_user or attempt.query.get("user", ""))
        if login := attempt.proven_user or self._user_of(attempt.query):
            return Admission(True, login=login)
        if _is_one_of(attempt.query.get("token", ""), self._tokens) or _is_one_of(attempt.name, self._keys):
            return _ALLOWED
        has_some = bool(attempt.query.keys() & {"user", "token"})
        return Admission(False, reason=_UNKNOWN if has_some else _NEEDED, remedy=_REMEDY)

    async def may_play(self, attempt: Attempt) -> Admission:
        return _ALLOWED

    def _user_of(self, query: Mapping[str, str]) -> str:
        user = query.get("user", "")
        expected = self._users.get(user)
        password = query.get("pass", query.get("password", ""))
        if expected is None or not _is_same(password, expected):
            return ""
        return user


def _is_same(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode(), expected.encode())


def _is_one_of(given: str, known: Collection[str]) -> bool:
    return bool(given) and sum(_is_same(given, one) for one in known) > 0
