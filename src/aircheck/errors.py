"""The exception tree.

AircheckError
├── ConfigError            settings that cannot be used; says where and what to do
├── WireError              (aircheck.wire.errors) a peer or we broke a protocol
│   ├── RemoteProtocolError    the peer's fault
│   └── LocalProtocolError     ours: a bug
├── ContainerError         a file cannot be written, read or made whole
├── StreamError            a stream cannot be published or found
└── CatalogError           the catalogue cannot be opened or migrated
"""

from __future__ import annotations


class AircheckError(Exception):
    """Everything this program raises on purpose. `remedy` says what a person can do about it."""

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy


class ConfigError(AircheckError):
    pass


class ContainerError(AircheckError):
    pass


class StreamError(AircheckError):
    pass


class CatalogError(AircheckError):
    pass


def reason_of(error: OSError) -> str:
    """What the system says of it. `socket.create_server` adds to that what the message says already."""
    return (error.strerror or str(error)).partition(" (while attempting to bind")[0]
