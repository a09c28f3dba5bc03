"""Descriptors: a flood of connections must not leave the recorder without one for a file."""

from __future__ import annotations

import resource

RESERVED = 256
"""For the catalogue, HTTP and the program itself."""

PER_CONNECTION = 3
"""The socket, the file that grows, and its predecessor or successor around a cut."""


def raise_limit() -> None:
    """Take as many open files as this user may have; shells and service managers begin with 1024."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def allowed_connections(wanted: int) -> int:
    """How many media connections, of those that are wanted, leave descriptors for what they record."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return wanted
    return max(1, min(wanted, (soft - RESERVED) // PER_CONNECTION))
