"""STUN and TURN servers, from a setting to the header in which clients are told of them."""

from __future__ import annotations

import re
from dataclasses import dataclass

_TEXT = re.compile(r"(stuns?|turns?):(?:([^:@]+):([^@]+)@)?([^@/?\s]+(?:\?transport=(?:udp|tcp))?)")


@dataclass(frozen=True, slots=True)
class IceServer:
    """One server; `url` as RFC 7064 and RFC 7065 write it."""

    url: str
    username: str = ""
    credential: str = ""

    @classmethod
    def parse(cls, text: str) -> IceServer:
        """Read `stun:HOST` or `turn:USER:PASSWORD@HOST?transport=tcp`. Raises ValueError."""
        match = _TEXT.fullmatch(text)
        if match is None:
            raise ValueError("a server is written stun:HOST or turn:USER:PASSWORD@HOST:PORT?transport=tcp")
        scheme, username, credential, place = match.groups()
        return cls(f"{scheme}:{place}", username or "", credential or "")

    @property
    def link(self) -> str:
        """A value of the Link header (RFC 9725 4.6)."""
        link = f'<{self.url}>; rel="ice-server"'
        if self.username:
            username, credential = _quoted(self.username), _quoted(self.credential)
            link += f'; username={username}; credential={credential}; credential-type="password"'
        return link


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
