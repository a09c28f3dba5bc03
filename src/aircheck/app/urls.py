"""Addresses of listeners as a person types them."""

from __future__ import annotations


def url_of(scheme: str, address: tuple[str, int]) -> str:
    return f"{scheme}://{host_of(address[0])}:{address[1]}"


def host_of(host: str) -> str:
    """A host that can be typed: the machine itself where every address is meant."""
    if host in ("0.0.0.0", "::", ""):
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host
