"""Values that settings are written as: addresses to listen on.

Text in, frozen values out.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Listen:
    """An address and a TCP port. Port 0 takes any free port; an empty host means every address."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Listen:
        """`127.0.0.1:1935`, `[::1]:1935` or `:1935`. Raises ValueError."""
        host, colon, port = text.strip().rpartition(":")
        if not colon or not (port.isascii() and port.isdigit()) or int(port) > 65535:
            raise ValueError(
                f'"{text}" is not ADDRESS:PORT; write for example "127.0.0.1:1935" or "[::1]:1935"'
            )
        if ":" in host and not (host.startswith("[") and host.endswith("]")):
            raise ValueError(f'an IPv6 address stands in brackets: "[{host}]:{port}"')
        return cls(host.removeprefix("[").removesuffix("]"), int(port))

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"
