"""ICE as an agent answers it that is reachable itself (RFC 8445 2.5, lite).

We never send checks. The peer learns our addresses from the answer, and we learn its addresses from the
checks that arrive (peer-reflexive): its own candidates are not needed, so clients that send none are served
like those that trickle. A check proves by our password that its sender has seen our answer.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from aircheck.wire import stun

UFRAG_CHARACTERS = 12
MAX_PATHS = 16
"""Addresses of one peer that checks came from. A client has a few for each of its networks."""
MAX_GENERATIONS = 2
"""Credentials that are valid at a time: those of a restart, and those before it until it is done."""

PathT = TypeVar("PathT")


@dataclass(frozen=True, slots=True)
class Credentials:
    ufrag: str
    password: str

    @classmethod
    def new(cls) -> Credentials:
        """RFC 8445 5.3 demands 24 and 128 random bits."""
        return cls(secrets.token_hex(UFRAG_CHARACTERS // 2), secrets.token_hex(16))


class IceAgent(Generic[PathT]):
    """One peer's checks. A path is whatever the owner sends by; it must be hashable."""

    def __init__(self) -> None:
        self.generations: list[Credentials] = [Credentials.new()]
        self.paths: dict[PathT, None] = {}
        self.selected: PathT | None = None
        """Where to send: the pair that the peer nominated last, else the first that was checked."""
        self.restarts = 0
        self._is_restarting = False

    @property
    def credentials(self) -> Credentials:
        return self.generations[-1]

    def restart(self) -> Credentials:
        """New credentials; the old ones stay valid until the peer uses these (RFC 8445 9)."""
        self.generations = [*self.generations, Credentials.new()][-MAX_GENERATIONS:]
        self.restarts += 1
        self._is_restarting = True
        return self.credentials

    def check(self, request: stun.Message, path: PathT, address: tuple[str, int]) -> bytes | None:
        """The answer to a check from `address`, or `None` for one that is not to be believed."""
        ufrag = request.username.partition(":")[0]
        credentials = next((one for one in self.generations if one.ufrag == ufrag), None)
        if credentials is None:
            return None
        key = credentials.password.encode()
        if not request.is_proven(key):
            return None
        if unknown := request.unknown_attributes:
            return stun.error(request, 420, "Unknown Attribute", key=key, unknown=unknown)
        if request.is_from_controlled:
            return stun.error(request, 487, "Role Conflict", key=key)
        self._learn(path, nominates=request.nominates, is_new=credentials is self.credentials)
        return stun.success(request, address[0], address[1], key)

    def forget(self, path: PathT) -> None:
        """A path that is gone."""
        self.paths.pop(path, None)
        if self.selected == path:
            self.selected = None

    def surplus(self) -> Sequence[PathT]:
        """Paths beyond the limit, oldest first, for the owner to drop."""
        spare = [path for path in self.paths if path != self.selected]
        return spare[: max(0, len(self.paths) - MAX_PATHS)]

    def _learn(self, path: PathT, *, nominates: bool, is_new: bool) -> None:
        self.paths[path] = None
        if self.selected is None or (is_new and (nominates or self._is_restarting)):
            self.selected = path
        if is_new:
            self._is_restarting = False
            if nominates:
                self.generations = self.generations[-1:]
